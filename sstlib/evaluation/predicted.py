"""Folders of predicted masks of clips whose truth is made, not read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sstlib.evaluation.folders import one_of_several, scorer_code, unlike_ids
from sstlib.evaluation.pairing import absent_noted, predicted_masks
from sstlib.evaluation.result import Evaluation
from sstlib.metrics.scores import object_ids
from sstlib.paths.digests import sha256
from sstlib.shapes import UInt8
from sstlib.video import Reading, read_mask, reading_of
from sstlib.video import Sequence as Clip


class PredictedClips:
    """The masks of clips in a folder of CLIP/FRAME.png, read when asked for and then part of the fingerprint.

    Args:
        predict: what writes the masks of a clip into the folder, called before they are read: then whoever predicts and
            scores has a clip made once for both. Without it all masks have to be there.

    Attributes:
        notes: what is missing, if that is allowed.
    """

    def __init__(self, folder: Path, clips: Sequence[Clip], missing: str,
                 predict: Callable[[Clip], None] | None = None) -> None:
        self.folder, self.content, self.predict, self.notes = folder, [], predict, []
        self._unlike: list[str] = []  # what is to be said of how masks are read
        self.files = {clip.name: [folder / clip.name / f"{frame}.png" for frame in clip.frame_names] for clip in clips}
        if predict is not None:
            return
        masks = {name: predicted_masks(folder / name, paths) for name, paths in self.files.items()}
        gone = {name: [path for path in paths[1:-1] if path.stem not in masks[name]]
                for name, paths in self.files.items()}
        self.notes = absent_noted({name: (paths, len(self.files[name]) - 2) for name, paths in gone.items()}, folder,
                                  missing)

    def labels(self, clip: Clip, truth: UInt8[np.ndarray, "time height width"]
               ) -> UInt8[np.ndarray, "time height width"]:
        """The label maps of one clip, the first as given.

        Raises:
            ValueError: masks of another size, or named as no frame of the clip is.
        """
        if self.predict is not None:
            self.predict(clip)
        masks = predicted_masks(self.folder / clip.name, self.files[clip.name])
        reading = reading_of([mask for name, mask in masks.items() if name != clip.frame_names[0]])
        self._unlike += unlike_ids(clip.name, "predictions", reading)
        self._unlike += one_of_several(clip.name, reading, object_ids(truth[0]))
        later = [_labels(masks.get(path.stem), path, label, reading, self.content)
                 for path, label in zip(self.files[clip.name][1:], truth[1:])]
        return np.stack([truth[0], *later])

    def with_provenance(self, result: Evaluation, truth: str, content: str) -> Evaluation:
        """The result with what was read, when all is; `truth` names the data, whose fingerprint is `content`."""
        result.provenance.update({
            "predictions": {"folder": str(self.folder), "fingerprint": sha256(*self.content)},
            "annotations": {"folder": truth, "fingerprint": content}, "code": scorer_code()})
        return result.noted(*self._unlike, *(note for score in result.sequences.values() for note in score.notes))


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
