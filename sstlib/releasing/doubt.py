"""How reliable predicted presence and doubt are: areas under their ROC curves, and calibration.

A network with a presence head predicts presence itself; its doubt has coefficients fitted on all clips, and is scored
on each half of the clips with coefficients fitted on the other. For networks without such a head, the coefficients of
both are fitted on one half of the clips and scored on the other.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
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
from sstlib.paths import write_whole
from sstlib.provenance import provenance
from sstlib.shapes import Bool, Float
from sstlib.statistics import calibration
from sstlib.video import Sequence

EXPERIMENT = "doubt"
STATISTIC = "statistic"  # in place of a presence head
SOURCES = {"sst-occlusion": "val", "davis2016": "train"}  # neither is a test set
LABELS = {"sst-occlusion": "SST-Occlusion, validation", "davis2016": "DAVIS 2016, training"}
DATA = ", ".join(f"{source} {split}" for source, split in SOURCES.items())
WRONG = 0.5  # J below which a mask is


def looks(network: torch.nn.Module, sequence: Sequence) -> list[dict[str, Any]]:
    """A row an object and predicted frame: evidence, J, whether the object is visible, predicted presence and doubt."""
    segmenter, rows = Segmenter(network), []
    for t in range(len(sequence)):
        truth = sequence.label(t)
        prediction = segmenter.step(sequence.frame(t), truth if t == 0 else None)
        if t == 0:
            continue
        alike = presence.likeness(segmenter.memories[0])
        for channel, identity in enumerate(prediction.ids[1:], 1):
            true = truth == identity
            rows.append({
                "evidence": [float(alike[channel]), prediction.confidence[identity]],
                "usual": segmenter.evidence[identity],
                "J": float(region_similarity(prediction.labels == identity, true)), "visible": bool(true.any()),
                "presence": prediction.presence[identity], "doubt": prediction.doubt[identity]
            })
    return rows


def gather(name: str, source: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of every clip of a source, by clip; clips that an earlier call has finished are read, not computed."""
    folder, network = paths.RESULTS / "training" / EXPERIMENT / f"{name}-{fingerprint(name)}", weights.load(name)
    clips = {}
    for sequence in tqdm(sequences_of(name, source), unit="clip", ascii=True, desc=f"{name}, {source}", mininterval=5):
        path = folder / f"{source}-{sequence.name}.json"
        if not path.exists():
            rows = looks(network, sequence)
            write_whole(path, json.dumps(rows))
        clips[sequence.name] = json.loads(path.read_text())
    return clips


def sequences_of(name: str, source: str) -> list[Sequence]:
    """The sequences of a source that were held out from a network's training, or all if its weights name none."""
    sequences = list(open_dataset(source, SOURCES[source]))
    held_out = weights.facts(name)["run"]["data"].get("held_out", ())
    return [sequence for sequence in sequences if sequence.name in held_out] or sequences


def fit(numbers: Float[np.ndarray, "case kind"], truth: Bool[np.ndarray, "case"], decay: float = 1e-3) -> list[float]:
    """Logistic regression: a coefficient for each column, then the intercept, by least cross-entropy with slight weight
    decay.
    """
    mean, spread = numbers.mean(0), numbers.std(0) + 1e-6
    x, y = torch.from_numpy((numbers - mean) / spread), torch.from_numpy(truth.astype(float))
    solution = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([solution], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = F.binary_cross_entropy_with_logits(x @ solution[:-1] + solution[-1], y)
        value = error + decay * solution[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    slopes = solution.detach().numpy()[:-1] / spread
    return [*slopes.tolist(), float(solution[-1].detach()) - float(slopes @ mean)]


def halves(clips: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, list[dict[str, Any]]], ...]:
    """Every second clip by name, to fit on, and the others, to score."""
    names = sorted(clips)
    return tuple({name: clips[name] for name in half} for half in (names[::2], names[1::2]))


def columns(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evidence, whether the mask is wrong, and whether the object is visible, for each row."""
    return (np.array([row["evidence"] for row in rows]).reshape(-1, len(presence.EVIDENCE)),
            np.array([row["J"] < WRONG for row in rows], bool), np.array([row["visible"] for row in rows], bool))


def stated(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Doubt and presence as the segmenter gave them."""
    return {kind: np.array([row[kind] for row in rows]) for kind in ("doubt", "presence")}


def fitted(rows: list[dict[str, Any]], doubt: list[float], seen: list[float]) -> dict[str, np.ndarray]:
    """Doubt and presence as these coefficients give them."""
    evidence = torch.from_numpy(columns(rows)[0])
    return {kind: presence.logistic(evidence, coefficients).numpy()
            for kind, coefficients in (("doubt", doubt), ("presence", seen))}


def scored(clips: dict[str, list[dict[str, Any]]],
           scores: Callable[[list[dict[str, Any]]], dict[str, Float[np.ndarray, "case"]]] = stated) -> dict[str, Any]:
    """Area under the ROC curve, with its interval over clips, and reliability of both probabilities."""
    outcomes = {name: dict(zip(("doubt", "presence"), columns(rows)[1:])) for name, rows in clips.items()}
    numbers = {name: scores(rows) for name, rows in clips.items()}
    table: dict[str, Any] = {"clips": len(clips), "cases": sum(map(len, clips.values()))}
    for kind in ("doubt", "presence"):
        foretold = {name: (numbers[name][kind], outcomes[name][kind]) for name in clips}
        share = sum(int(came.sum()) for _, came in foretold.values()) / table["cases"]
        table[kind] = {"share": share, "reliability": calibration.reliability(foretold).to_dict(),
                       "area_under_curve": calibration.roc_area(foretold).to_dict() if 0 < share < 1 else None}
    return table


def judge(name: str) -> Path:
    """Writes the record of how reliable a network's own presence head and its doubt are on all clips of both sources,
    with the coefficients of doubt, which are copied to `presence` by hand.

    Raises:
        ValueError: the network has no presence head.
    """
    if not weights.load(name).config.presence:
        raise ValueError(f"{name} has no presence head; `calibrate` fits a statistic for it")
    clips = {source: gather(name, source) for source in SOURCES}
    first, second = ({source: halves(rows)[half] for source, rows in clips.items()} for half in (0, 1))
    metrics = {source: scored(judged(first[source], doubt_of(second)) | judged(second[source], doubt_of(first)))
               for source in clips}
    config = {"weights": fingerprint(name), "clips": {source: sorted(rows) for source, rows in clips.items()},
              "evidence": presence.EVIDENCE, "inertia": presence.INERTIA, "doubt": doubt_of(clips)}
    return records.RunRecord(EXPERIMENT, name, 0, config, metrics, {}, provenance(DATA)).write()


def doubt_of(clips: Mapping[str, dict[str, list[dict[str, Any]]]]) -> list[float]:
    """Coefficients of doubt on running means of the evidence and on its own values, fitted on the clips of all
    sources.
    """
    rows = [row for source in clips.values() for one in source.values() for row in one]
    return fit(np.array([row["usual"] + row["evidence"] for row in rows]), columns(rows)[1])


def judged(clips: dict[str, list[dict[str, Any]]], doubt: list[float]) -> dict[str, list[dict[str, Any]]]:
    """The rows of clips with the doubt that these coefficients give."""
    return {name: [row | {"doubt": float(presence.logistic(torch.tensor([row["usual"] + row["evidence"]]), doubt))}
                   for row in rows] for name, rows in clips.items()}


def calibrate(names: Iterable[str] = ("sst-small", "sst-small-davis2016")) -> Path:
    """Writes the record of the coefficients for networks without a presence head and of how reliable they are; they are
    copied to `presence` by hand.

    `sst-small` saw no frame of DAVIS; its sibling was trained on these sequences, and is scored on them for comparison
    alone.
    """
    clips = {name: {source: gather(name, source) for source in SOURCES} for name in names}
    parts = {name: {source: halves(rows) for source, rows in sources.items()} for name, sources in clips.items()}
    numbers, wrong, visible = columns([row for sources in parts.values() for first, _ in sources.values()
                                       for rows in first.values() for row in rows])
    doubt, seen = fit(numbers, wrong), fit(numbers, visible)
    metrics = {name: {source: scored(second, partial(fitted, doubt=doubt, seen=seen))
                      for source, (_, second) in sources.items()} for name, sources in parts.items()}
    config = {
        "evidence": presence.EVIDENCE, "doubt": doubt, "presence": seen,
        "weights": {name: fingerprint(name) for name in clips},
        "clips": {name: {source: sorted(rows) for source, rows in sources.items()} for name, sources in clips.items()}
    }
    return records.RunRecord(EXPERIMENT, STATISTIC, 0, config, metrics, {"fitted_on": len(wrong)},
                             provenance(DATA)).write()


def scores_of(name: str) -> dict[str, Any]:
    """The recorded scores of exactly these weights, by source; empty if there are none."""
    own, together = records.find(EXPERIMENT, name), records.find(EXPERIMENT, STATISTIC)
    if own and own.config["weights"] == fingerprint(name):
        return own.metrics
    if together and together.config["weights"].get(name) == fingerprint(name):
        return together.metrics[name]
    return {}
