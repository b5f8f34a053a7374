"""How far presence and doubt can be believed: fitted on half of the clips, scored on the other half, for each
released network.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from sstlib import paths, weights
from sstlib.datasets import open_dataset
from sstlib.experiments import records
from sstlib.experiments.validation import fingerprint
from sstlib.inference import Segmenter
from sstlib.metrics import region_similarity
from sstlib.model import presence
from sstlib.paths import atomic_write
from sstlib.provenance import provenance
from sstlib.video import Sequence

EXPERIMENT = "doubt"
SOURCES = {"sst-occlusion": "val", "davis2016": "train"}  # neither is a test set
FRAMES = 36  # of each clip
BINS = 5  # of the reliability curve
WRONG = 0.5  # J below which a mask is


def looks(network: torch.nn.Module, sequence: Sequence, frames: int = FRAMES) -> list[dict[str, Any]]:
    """A row an object and predicted frame: the evidence, J, and whether the object is in sight."""
    segmenter, rows = Segmenter(network), []
    for t in range(min(len(sequence), frames)):
        truth = sequence.label(t)
        prediction = segmenter.step(sequence.frame(t), truth if t == 0 else None)
        if t == 0:
            continue
        alike = presence.likeness(segmenter.memories[0])
        for channel, identity in enumerate(prediction.ids[1:], 1):
            true = truth == identity
            rows.append({
                "evidence": [float(alike[channel]), prediction.confidence[identity]],
                "J": float(region_similarity(prediction.labels == identity, true)), "visible": bool(true.any())
            })
    return rows


def gather(name: str, source: str, seconds: float = np.inf) -> dict[str, list[dict[str, Any]]]:
    """The rows of each clip of a source by its name, those of earlier calls among them; no new clip is begun after
    so many seconds.
    """
    folder, network = paths.RESULTS / "training" / EXPERIMENT / f"{name}-{fingerprint(name)}", weights.load(name)
    sequences, found = open_dataset(source, SOURCES[source]), {}
    with tqdm(total=len(sequences), unit="clip", ascii=True, desc=f"{name}, {source}", mininterval=30) as bar:
        for number in np.random.default_rng(0).permutation(len(sequences)):  # so that those of a part are of every kind
            sequence = sequences[number]
            path = folder / f"{source}-{sequence.name}.json"
            if not path.exists():
                if bar.format_dict["elapsed"] > seconds:
                    continue
                rows = looks(network, sequence)
                with atomic_write(path, "w") as file:
                    json.dump(rows, file)
            found[sequence.name] = json.loads(path.read_text())
            bar.update()
    return found


def fit(numbers: np.ndarray, truth: np.ndarray, decay: float = 1e-3) -> list[float]:
    """Coefficients of a logistic function of each column, and what is added: least cross-entropy with a little
    weight decay.
    """
    mean, spread = numbers.mean(0), numbers.std(0) + 1e-6
    x, y = torch.from_numpy((numbers - mean) / spread), torch.from_numpy(truth.astype(float))
    solution = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([solution], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(x @ solution[:-1] + solution[-1],
                                                   y) + decay * solution[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    slopes = solution.detach().numpy()[:-1] / spread
    return [*slopes.tolist(), float(solution[-1].detach()) - float(slopes @ mean)]


def area_under_curve(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """Probability that a true case scores above a false one, ties half (ROC); None without cases of both kinds."""
    if truth.all() or not truth.any():
        return None
    above = (scores[truth][:, None] > scores[~truth]).mean() + 0.5 * (scores[truth][:, None] == scores[~truth]).mean()
    return float(above)


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> list[dict[str, float | int]]:
    """Where a probability was said, how often it came true: a row a fifth of the range, with its number of cases."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return [{
        "said": float(probabilities[bins == b].mean()), "true": float(truth[bins == b].mean()), "cases": int(
            (bins == b).sum())
    } for b in range(BINS) if (bins == b).any()]


def _columns(rows: Iterable[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = list(rows)
    return (np.array([row["evidence"] for row in rows]), np.array([row["J"] < WRONG for row in rows]),
            np.array([row["visible"] for row in rows]))


def halves(clips: dict[str, list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of every second clip by name, and of the others: the first are fitted on, the others scored."""
    names = sorted(clips)
    return [row for name in names[::2] for row in clips[name]], [row for name in names[1::2] for row in clips[name]]


def scored(rows: list[dict[str, Any]], doubt: list[float], seen: list[float]) -> dict[str, Any]:
    """Areas under the curves and reliability of both probabilities over some rows."""
    numbers, wrong, visible = _columns(rows)
    told = {
        kind: presence.logistic(torch.from_numpy(numbers), coefficients).numpy()
        for kind, coefficients in (("doubt", doubt), ("presence", seen))
    }
    return {
        "cases": len(wrong), "wrong": float(wrong.mean()), "hidden": float(1 - visible.mean()), "doubt": {
            "area_under_curve": area_under_curve(told["doubt"], wrong),
            "reliability": reliability(told["doubt"], wrong), "of_each_alone": {
                name: area_under_curve(-column, wrong) for name, column in zip(presence.EVIDENCE, numbers.T)
            }
        }, "presence": {
            "area_under_curve": area_under_curve(told["presence"], visible),
            "reliability": reliability(told["presence"], visible)
        }
    }


def calibrate(names: Iterable[str] = ("sst-small", "sst-small-davis2016"), seconds: float = np.inf) -> Path:
    """The record of the coefficients for networks without a presence head, and of what they are worth; they are copied
    to `presence` by hand.

    `sst-small` saw no frame of DAVIS; its sibling was trained on these sequences, and is scored on them for comparison
    alone.
    """
    clips = {name: {source: gather(name, source, seconds) for source in SOURCES} for name in names}
    parts = {
        name: {source: halves(found) for source, found in sources.items() if found} for name, sources in clips.items()
    }
    numbers, wrong, visible = _columns(
        row for sources in parts.values() for first, _ in sources.values() for row in first)
    doubt, seen = fit(numbers, wrong), fit(numbers, visible)
    metrics = {
        name: {source: scored(second, doubt, seen) for source, (_, second) in sources.items()}
        for name, sources in parts.items()
    }
    config = {
        "evidence": presence.EVIDENCE, "doubt": doubt, "presence": seen, "frames": FRAMES,
        "weights": {name: fingerprint(name) for name in clips}, "clips": {
            name: {source: sorted(found) for source, found in sources.items()} for name, sources in clips.items()
        }
    }
    data = ", ".join(f"{source} {split}" for source, split in SOURCES.items())
    return records.RunRecord(EXPERIMENT, "statistic", 0, config, metrics, {"fitted_on": len(wrong)},
                             provenance(data)).write()
