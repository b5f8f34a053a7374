"""Predicted masks of generated clips, such as SST-Occlusion's: J and F, and what happens at their occlusions."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sstlib.datasets import DATASETS, open_dataset
from sstlib.digests import sha256
from sstlib.evaluation.folders import (
    absent_noted,
    dataset_masks,
    evaluate,
    existing_folder,
    predicted_masks,
    scorer_code,
)
from sstlib.evaluation.result import Evaluation
from sstlib.metrics import PROTOCOLS, score_occlusion, score_sequence, summarize_occlusion
from sstlib.shapes import UInt8
from sstlib.video import Reading, read_mask, reading_of


def evaluate_on(dataset: str, predictions: str | Path, split: str | None = None, *, protocol: str | None = None,
                record: str | Path | None = None, **settings: Any) -> Evaluation:
    """Scores a folder of SEQUENCE/FRAME.png on a data set by its name, as its entry says.

    Args:
        dataset: a name of `datasets.DATASETS`.
        predictions: the folder.
        split: by default the one that the entry names for scoring.
        protocol: another one than the data set's.
        record: JSON file of the result (see `evaluate`).
        settings: others of `evaluate`; of generated clips only those that `evaluate_clips` has count.

    Raises:
        ValueError: an unknown data set or split, or one whose annotations are not public; or as `evaluate`.
        FileNotFoundError: the data set, the folder or a predicted frame is missing.
    """
    known = DATASETS.find(dataset)
    split = split or known.scored
    if known.content is None:
        return evaluate(predictions, dataset_masks(dataset, split), protocol=protocol or known.protocol, record=record,
                        **settings)
    own = {name: settings[name] for name in ("sequences", "missing", "progress") if name in settings}
    result = evaluate_clips(predictions, split, dataset=dataset, **own)
    if record:
        result.write(record)
    return result


def evaluate_clips(predictions: str | Path, split: str = "test", *, sequences: Sequence[str] | None = None,
                   missing: str = "error", progress: bool = False, dataset: str = "sst-occlusion") -> Evaluation:
    """Scores a folder of SEQUENCE/FRAME.png against the clips of a split, which are rendered for it.

    The result's `occlusion` holds `metrics.summarize_occlusion` over `all` clips and those of each value of an axis,
    where they lie on one.

    Raises:
        FileNotFoundError: the folder or a predicted frame is missing.
        ValueError: an unknown data set, split or clip, or masks of another size.
    """
    known = DATASETS.find(dataset)
    predictions = existing_folder(predictions, "predictions")
    clips = {clip.name: clip for clip in open_dataset(dataset, split)}
    if unknown := set(sequences or ()) - set(clips):
        raise ValueError(f"{dataset} {split} has no {', '.join(sorted(unknown))}; it has {', '.join(clips)}")
    chosen = [clips[name] for name in sequences or clips]
    files = {clip.name: [predictions / clip.name / f"{frame}.png" for frame in clip.frame_names] for clip in chosen}
    there = {name: predicted_masks(predictions / name, paths) for name, paths in files.items()}
    gone = {name: [path for path in paths[1:-1] if path.stem not in there[name]] for name, paths in files.items()}
    notes = absent_noted({name: (paths, len(files[name]) - 2) for name, paths in gone.items()}, predictions, missing)
    result = Evaluation(PROTOCOLS[known.protocol], {}, tuple(notes), {}, {})
    scores, content = defaultdict(list), []
    for clip in tqdm(chosen, unit="clip", disable=None if progress else True):
        truth = clip.clip.labels
        reading = reading_of([mask for name, mask in there[clip.name].items() if name != clip.frame_names[0]])
        later = [_labels(there[clip.name].get(path.stem), path, label, reading, content)
                 for path, label in zip(files[clip.name][1:], truth[1:])]
        labels = np.stack([truth[0], *later])
        result.sequences[clip.name] = score_sequence(labels, truth, result.protocol, clip.name)
        score = score_occlusion(labels, truth, clip.clip.visible_share)
        for group in ("all", *([f"{clip.axis} {clip.value:g}"] if hasattr(clip, "axis") else [])):
            scores[group].append(score)
    result.occlusion.update({group: summarize_occlusion(members) for group, members in scores.items()})
    result.provenance.update({
        "predictions": {"folder": str(predictions), "fingerprint": sha256(*content)},
        "annotations": {"folder": f"{dataset} {split}", "fingerprint": known.content(split)},
        "code": scorer_code()})
    return result.noted(*(note for score in result.sequences.values() for note in score.notes))


def _labels(mask: Path | None, name: Path, truth: UInt8[np.ndarray, "height width"], reading: Reading,
            content: list[str]) -> UInt8[np.ndarray, "height width"]:
    """A predicted mask, empty where there is none; adds it to the fingerprint under the name that it should have."""
    content.append(f"{name.parent.name}/{name.name} {mask is not None}")
    if mask is None:
        return np.zeros_like(truth)
    labels = read_mask(mask, reading)
    content.append(sha256(labels.tobytes()))
    if labels.shape != truth.shape:
        raise ValueError(f"{mask}: the mask is {' x '.join(map(str, labels.shape))} (height x width), "
                         f"the clip {' x '.join(map(str, truth.shape))}")
    return labels
