"""Predicted masks of generated clips, such as SST-Occlusion's: J and F, and what happens at their occlusions."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sstlib.datasets import DATASETS, open_dataset
from sstlib.evaluation.folders import dataset_masks, evaluate, existing_folder
from sstlib.evaluation.occlusion import score_occlusion, summarize_occlusion
from sstlib.evaluation.pairing import chosen
from sstlib.evaluation.predicted import PredictedClips
from sstlib.evaluation.result import Evaluation
from sstlib.metrics import PROTOCOLS, score_sequence
from sstlib.video import Sequence as Clip


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
    if protocol not in (None, known.protocol) or settings.get("groups"):
        raise ValueError(f"{dataset} is scored as {known.protocol}, without seen and unseen objects; leave protocol "
                         "and groups (--meta, --seen) out")
    own = {name: settings[name] for name in ("sequences", "missing", "progress", "predict") if name in settings}
    if known.scenes is None:
        result = evaluate_clips(predictions, split, dataset=dataset, **own)
    else:
        from sstlib.evaluation.passages import evaluate_scenes  # brings PyTorch along, which scoring files does without

        result = evaluate_scenes(predictions, dataset, split, **own)
    if record:
        result.write(record)
    return result


def evaluate_clips(predictions: str | Path, split: str = "test", *, sequences: Sequence[str] | None = None,
                   missing: str = "error", progress: bool = False, dataset: str = "sst-occlusion",
                   predict: Callable[[Clip], None] | None = None) -> Evaluation:
    """Scores a folder of SEQUENCE/FRAME.png against the clips of a split, which are rendered for it.

    The result's `occlusion` holds `summarize_occlusion` over `all` clips and those of each value of an axis,
    where they lie on one. `predict` writes the masks of a clip that are about to be scored (see `PredictedClips`).

    Raises:
        FileNotFoundError: the folder or a predicted frame is missing.
        ValueError: an unknown data set, split or clip, or masks of another size.
    """
    known = DATASETS.find(dataset)
    predictions = existing_folder(predictions, "predictions")
    clips = {clip.name: clip for clip in open_dataset(dataset, split)}
    scored = [clips[name] for name in chosen(sequences, list(clips), f"{dataset} {split}")]
    read = PredictedClips(predictions, scored, missing, predict)
    result = Evaluation(PROTOCOLS[known.protocol], {}, tuple(read.notes), {}, {})
    scores = defaultdict(list)
    for clip in tqdm(scored, unit="clip", disable=None if progress else True):
        truth = clip.clip.labels
        labels = read.labels(clip, truth)
        result.sequences[clip.name] = score_sequence(labels, truth, result.protocol, clip.name)
        score = score_occlusion(labels, truth, clip.clip.visible_share)
        for group in ("all", *([f"{clip.axis} {clip.value:g}"] if hasattr(clip, "axis") else [])):
            scores[group].append(score)
    result.occlusion.update({group: summarize_occlusion(members) for group, members in scores.items()})
    return read.with_provenance(result, f"{dataset} {split}", known.content(split))
