"""How sure a result is: bootstrap intervals over sequences, and two results compared sequence by sequence.

Sequences are what a data set is a sample of: objects of one sequence share its frames and are drawn together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from sstlib.shapes import Float

SAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean and the percentile interval of its bootstrap, whose bounds are NaN for fewer than two sequences."""

    mean: float
    low: float
    high: float
    level: float

    def to_dict(self) -> dict[str, float | None]:
        """The four numbers by name, None where there is none."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}

    @property
    def columns(self) -> dict[str, float]:
        """Mean, low and high by name, for a row of a table."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


UNKNOWN = Interval(math.nan, math.nan, math.nan, math.nan)  # of what was not measured


@dataclass(frozen=True)
class Comparison:
    """A second result against a first one.

    Attributes:
        difference: mean of the second less that of the first, with its interval.
        better, worse, equal: in how many sequences the second is better, worse, or just as good.
        probability: of a split at least so uneven if either were as likely to be better (two-sided sign test, no ties).
        contributions: what each sequence adds to the difference, the largest first; they sum to it.
        deciding: the fewest sequences without whose contributions the difference would vanish or turn.
    """

    difference: Interval
    better: int
    worse: int
    equal: int
    probability: float
    contributions: dict[str, float]
    deciding: tuple[str, ...]

    def to_dict(self) -> dict:
        """All as JSON values."""
        return asdict(self) | {"difference": self.difference.to_dict(), "deciding": list(self.deciding)}


def bootstrap(values: Mapping[str, Sequence[float]], level: float = 0.95, seed: int = 0) -> Interval:
    """Interval of the mean over all objects, from drawing sequences with replacement; `values` are by sequence.

    Raises:
        ValueError: a value is not finite, or `level` is not a share between 0 and 1.
    """
    _require_finite(values)
    sums = np.array([np.sum(v) for v in values.values()], dtype=float)
    sizes = np.array([len(v) for v in values.values()], dtype=float)
    return _interval(sums[sizes > 0], sizes[sizes > 0], level, seed)


def _require_finite(result: Mapping[str, Sequence[float]]) -> None:
    for name, values in result.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {list(values)}; leave a sequence out that was not scored")


def _interval(sums: Float[np.ndarray, "sequences"], sizes: Float[np.ndarray, "sequences"], level: float,
              seed: int) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; an interval covers a share between 0 and 1, such as 0.95")
    mean = float(sums.sum() / sizes.sum()) if sizes.size else math.nan
    if sizes.size < 2:
        return Interval(mean, math.nan, math.nan, level)
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(SAMPLES, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), level)


def paired_comparison(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]],
                      level: float = 0.95, seed: int = 0) -> Comparison:
    """Compares two results, given as objects' values by sequence.

    Sequences are drawn for both at once, so that what is hard for both cancels.

    Raises:
        ValueError: the sequences or their numbers of objects differ, or there are none; a value is not finite, or
            `level` is not a share between 0 and 1.
    """
    _require_finite(first)
    _require_finite(second)
    objects = [{name: len(values) for name, values in result.items()} for result in (first, second)]
    if objects[0] != objects[1] or not any(objects[0].values()):
        raise ValueError("the two results are not of the same sequences and objects; compare like with like")
    gains = {name: float(sum(second[name]) - sum(values)) for name, values in first.items() if values}
    sizes = np.array([len(first[name]) for name in gains], dtype=float)
    difference = _interval(np.array(list(gains.values())), sizes, level, seed)
    better, worse = sum(gain > 0 for gain in gains.values()), sum(gain < 0 for gain in gains.values())
    contributions = {name: gain / sizes.sum() for name, gain in sorted(gains.items(), key=lambda item: -abs(item[1]))}
    return Comparison(difference, better, worse, len(gains) - better - worse, sign_test(better, worse), contributions,
                      _deciding(contributions, difference.mean))


def sign_test(better: int, worse: int) -> float:
    """Two-sided probability of a split at least this uneven in fair coin throws; 1 where there are no throws."""
    throws = better + worse
    tail = sum(math.comb(throws, k) for k in range(min(better, worse) + 1)) / 2 ** throws
    return min(1.0, 2 * tail)


def _deciding(contributions: Mapping[str, float], difference: float) -> tuple[str, ...]:
    """From the largest contribution in the difference's direction on, until what is left no longer points that way."""
    direction, left, names = math.copysign(1, difference), difference, []
    for name, part in contributions.items():
        if left * direction <= 0:
            break
        if part * direction > 0:
            names.append(name)
            left -= part
    return tuple(names)
