"""How far a network's own numbers can be trusted: do they rank what is true above what is not, and are they shares?

For scores of presence, of doubt, or whatever else foretells an outcome that is known afterwards. Scores come by
sequence, as in `uncertainty`: frames of one sequence resemble each other and are drawn together.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sstlib.shapes import Bool, Float
from sstlib.statistics.uncertainty import SAMPLES, Interval, bootstrap

Foretold = Mapping[
    str, tuple[Float[np.ndarray, "frames"], Bool[np.ndarray, "frames"]]
]  # scores and outcomes by sequence


@dataclass(frozen=True)
class Bin:
    """Scores above `low` up to `high`: their mean, what share of them came true, and how many there are."""

    low: float
    high: float
    foretold: float
    observed: Interval
    count: int


@dataclass(frozen=True)
class Reliability:
    """Scores that are meant as probabilities against what came true.

    Attributes:
        bins: those that are not empty, ascending.
        error: mean distance between what was foretold and observed, each bin weighed by its count.
        brier: mean squared distance between score and outcome.
    """

    bins: tuple[Bin, ...]
    error: float
    brier: float

    def to_dict(self) -> dict[str, Any]:
        """All as JSON values."""
        bins = [asdict(one) | {"observed": one.observed.to_dict()} for one in self.bins]
        return {"bins": bins, "error": self.error, "brier": self.brier}


def roc_area(foretold: Foretold, level: float = 0.95) -> Interval:
    """Area under the curve of true against false positives: how often a true case scores above a false one, ties half.

    That is the statistic of Mann and Whitney over all pairs of frames, also of different sequences. The interval is of
    the bootstrap over sequences: pairs are counted once for each two sequences and weighed by how often these are
    drawn. Draws without a true or without a false case are left out.

    Raises:
        ValueError: scores that are not finite or not as many as outcomes, or outcomes that are all the same.
    """
    _check(foretold)
    true = [scores[outcomes] for scores, outcomes in foretold.values()]
    false = [np.sort(scores[~outcomes]) for scores, outcomes in foretold.values()]
    trues, falses = (np.array([len(part) for part in parts], dtype=float) for parts in (true, false))
    if not trues.sum() or not falses.sum():
        raise ValueError(f"{int(trues.sum())} cases are true and {int(falses.sum())} false; ranking needs some of both")
    above = np.array(
        [[(np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")).sum() / 2 for b in false] for a in true]
    )
    mean = float(above.sum() / (trues.sum() * falses.sum()))
    if len(true) < 2:
        return Interval(mean, np.nan, np.nan, level)
    drawn = np.random.default_rng(0).multinomial(len(true), np.full(len(true), 1 / len(true)), SAMPLES).astype(float)
    pairs = (drawn @ trues) * (drawn @ falses)
    areas = ((drawn @ above) * drawn).sum(1)[pairs > 0] / pairs[pairs > 0]
    low, high = np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), level)


def reliability(foretold: Foretold, bins: int = 10) -> Reliability:
    """Probabilities sorted into bins of one width, against the share that came true in each, with its interval.

    Raises:
        ValueError: as `roc_area`, or scores outside of 0..1, or no bin.
    """
    _check(foretold)
    scores = np.concatenate([values for values, _ in foretold.values()])
    outcomes = np.concatenate([values for _, values in foretold.values()])
    if bins < 1 or scores.min() < 0 or scores.max() > 1:
        raise ValueError(
            f"scores are {scores.min():g}..{scores.max():g} and bins {bins}; expected probabilities, 0..1, "
            "and at least one bin"
        )
    rows = []
    for k in range(bins):
        members = {name: _bin(values, bins) == k for name, (values, _) in foretold.items()}
        inside = np.concatenate(list(members.values()))
        if inside.any():
            came = {name: foretold[name][1][at].astype(float).tolist() for name, at in members.items()}
            rows.append(Bin(k / bins, (k + 1) / bins, float(scores[inside].mean()), bootstrap(came), int(inside.sum())))
    error = sum(row.count * abs(row.foretold - row.observed.mean) for row in rows) / len(scores)
    return Reliability(tuple(rows), float(error), float(((scores - outcomes) ** 2).mean()))


def _bin(scores: Float[np.ndarray, "frames"], bins: int) -> np.ndarray:
    """Number of each score's bin, which holds its upper edge and not its lower one; the first holds 0 too."""
    return np.searchsorted(np.arange(1, bins) / bins, scores)


def _check(foretold: Foretold) -> None:
    if not sum(len(scores) for scores, _ in foretold.values()):
        raise ValueError("no scores are given; expected some by sequence")
    for name, (scores, outcomes) in foretold.items():
        if scores.shape != outcomes.shape or outcomes.dtype != bool or not np.isfinite(scores).all():
            raise ValueError(
                f"{name}: {scores.shape} scores, {outcomes.shape} outcomes of {outcomes.dtype}; expected as "
                "many finite scores as outcomes, which are true or false"
            )
