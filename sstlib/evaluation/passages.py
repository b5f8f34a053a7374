"""Paired scenes segmented and scored: SST-Occlusion 2, DAVIS-Occlusion, or any clips with and without an occlusion."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from sstlib import video
from sstlib.datasets import DATASETS
from sstlib.evaluation.folders import existing_folder
from sstlib.evaluation.occlusion_windows import (
    PassageTable,
    Track,
    first_copied,
    follow,
    mean_of_known,
    nothing_predicted,
    passage,
    tabulate,
)
from sstlib.evaluation.pairing import chosen
from sstlib.evaluation.predicted import PredictedClips
from sstlib.evaluation.result import Evaluation
from sstlib.metrics import PROTOCOLS, score_sequence
from sstlib.shapes import Bool, UInt8

Frames = UInt8[np.ndarray, "time height width 3"]
Labels = UInt8[np.ndarray, "time height width"]
Mask = UInt8[np.ndarray, "height width"]
FLOORS = {"first mask copied": first_copied, "nothing predicted": nothing_predicted}  # what follows nothing

WINDOWS = {  # of a row, and the field of `Passage` that it is the mean of; J&F unless it says J or area
    "before": "before", "claimed": "claimed", "J returning": "returning",
    "J control": "returning_control", "back": "back",
    "control back": "back_control", "end": "end", "control end": "end_control", "bystander": "bystander"}


@runtime_checkable
class PairedClip(Protocol):
    """A sequence all of whose frames have labels, and the full masks of its target, object 1."""

    def __len__(self) -> int: ...

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]: ...

    def label(self, t: int) -> Mask | None: ...

    @property
    def amodal(self) -> Bool[np.ndarray, "time height width"]: ...


def segment_scenes(scenes: Iterable[Sequence[PairedClip]],
                   segmenters: Mapping[str, Callable[[Frames, Labels], Labels]]) -> dict[str, PassageTable]:
    """Segments every clip of every scene in several ways and tabulates what the occlusions cost each; a clip, which may
    be rendered when asked for, is asked for once.

    Args:
        scenes: each as its clips, the control first, then one for each length of the occlusion.
        segmenters: by name, label maps from the frames and the true labels, of which a network reads the first alone;
            the floors `first_copied` and `nothing_predicted` need no frames.

    Returns:
        By name, arrays (scene, length), the control's in columns of their own.

    Raises:
        ValueError: no scenes, or some with other lengths; a target that is hidden in the control, or never else.
    """

    rows: dict[str, list] = {name: [] for name in segmenters}
    for scene in scenes:
        tracks: dict[str, list[Track]] = {name: [] for name in segmenters}
        for clip in scene:
            labels, amodal = labels_of(clip), clip.amodal
            frames = np.stack([clip.frame(t) for t in range(len(clip))])
            for name, segment in segmenters.items():
                tracks[name].append(follow(segment(frames, labels), labels, amodal))
        for name, (control, *occluded) in tracks.items():
            rows[name].append([passage(track, control) for track in occluded])
    return {name: tabulate(passages) for name, passages in rows.items()}


def evaluate_scenes(predictions: str | Path, name: str = "sst-occlusion-2", split: str = "test", *,
                    folder: Path | None = None, sequences: Sequence[str] | None = None, missing: str = "error",
                    progress: bool = False, predict: Callable[[PairedClip], None] | None = None) -> Evaluation:
    """Scores a folder of CLIP/FRAME.png against the paired scenes of a data set, which are made for it.

    The result's `occlusion` holds `passages`: lengths, names of scenes, and a `PassageTable` of the predictions and of
    each floor. J and F of whole clips, the bystander's among them, are there too and are no measure of occlusion.

    Args:
        predictions: the folder.
        name, split: a data set of paired scenes, and its split.
        folder: where the data are that it is made of, if of any.
        sequences: names of clips, each scene's control among them, and the same lengths of every scene.
        missing, progress, predict: as `evaluate_clips`; a bar on the screen.

    Raises:
        FileNotFoundError: the folder or a predicted frame is missing, or the data are.
        ValueError: an unknown split or clip, a part of a scene, or masks of another size.
    """
    known, predictions = DATASETS.find(name), existing_folder(predictions, "predictions")
    if split not in known.splits:
        raise ValueError(f"{name} has no split {split!r}; expected one of {', '.join(known.splits)}")
    scenes = _whole_scenes(list(known.scenes(split, folder)), sequences, f"{name} {split}")
    read = PredictedClips(predictions, [clip for row in scenes for clip in row], missing, predict)
    result = Evaluation(PROTOCOLS[known.protocol], {}, tuple(read.notes), {}, {})
    rows: dict[str, list] = {source: [] for source in ("predictions", *FLOORS)}
    for row in tqdm(scenes, unit="scene", disable=None if progress else True):
        tracks: dict[str, list[Track]] = {source: [] for source in rows}
        for clip in row:
            labels = read.labels(clip, truth := labels_of(clip))
            result.sequences[clip.name] = score_sequence(labels, truth, result.protocol, clip.name)
            floors = {floor: made(truth) for floor, made in FLOORS.items()}
            for source, masks in ({"predictions": labels} | floors).items():
                tracks[source].append(follow(masks, truth, clip.amodal))
        for source, (control, *occluded) in tracks.items():
            rows[source].append([passage(track, control) for track in occluded])
    result.occlusion["passages"] = {
        "lengths": [clip.length for clip in scenes[0][1:]], "scenes": [row[0].scene_name for row in scenes],
        "tables": {source: tabulate(passages).to_dict() for source, passages in rows.items()}}
    return read.with_provenance(result, f"{name} {split}", known.content(split))


def labels_of(sequence: PairedClip | video.Sequence) -> Labels:
    """The true labels of all frames."""
    return np.stack([sequence.label(t) for t in range(len(sequence))])


def _whole_scenes(scenes: list[tuple], names: Sequence[str] | None, where: str) -> list[tuple]:
    """The scenes that names of clips mean."""
    if names is None:
        return scenes
    names = chosen(names, [clip.name for row in scenes for clip in row], where)
    wanted = {clip.length for row in scenes for clip in row if clip.name in names} | {0}
    whole = [tuple(clip for clip in row if clip.length in wanted)
              for row in scenes if {clip.name for clip in row} & set(names)]
    if len(wanted) == 1:
        raise ValueError("scenes are scored as pairs, so name clips with an occlusion beside their controls")
    if gone := [clip.name for row in whole for clip in row if clip.name not in names]:
        raise ValueError("scenes are scored as pairs, so name a scene's control and the same lengths of every scene; "
                         f"missing: {', '.join(gone)}")
    return whole


def tables(passages: Mapping[str, Any]) -> dict[str, PassageTable]:
    """The tables of `Evaluation.occlusion["passages"]`, by what was scored: predictions, then the floors."""
    return {source: PassageTable.from_dict(table) for source, table in passages["tables"].items()}


def rows(passages: Mapping[str, Any], source: str = "predictions", window: str = "back") -> list[dict[str, Any]]:
    """One row a length of the occlusion, means over scenes: `WINDOWS`, and as `loss` what the window loses against the
    control, with its bootstrap interval over scenes.
    """
    table = tables(passages)[source]
    intervals = table.intervals(window)
    return [{"hidden for": length, **{name: mean_of_known(table[field][:, column]) for name, field in WINDOWS.items()},
             "loss": intervals[column]} for column, length in enumerate(passages["lengths"])]
