"""What an occlusion costs: one object in windows of time, with the occlusion against the same scene without it.

Scenes come in pairs: the same clip with the target hidden for some frames, and with the target never hidden. Each is
reduced to a `Track`, a few numbers a frame, which is cheap to keep. A `Passage` compares the two over the frames that
the truth of the hidden one names: before the occluder touches the target, while it hides all of it, the first whole
frames after that, and the end of the clip. The other objects, which nobody hides on purpose, are kept apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from sstlib.metrics.counts import frame_counts
from sstlib.metrics.scores import VOID, accuracy, object_ids, similarity
from sstlib.shapes import Bool, Float, Int, Shaped, UInt8
from sstlib.statistics.uncertainty import Interval, bootstrap
from sstlib.synthetic.spec import BACK, WHOLE

SOON = 5  # the first of them
END = 8  # last frames of the clip


@dataclass(frozen=True)
class Track:
    """One prediction of one clip, frame by frame; the first frame, whose mask was given, is there and never scored.

    Attributes:
        quality: J&F of the target; where it is hidden, 1 if nothing is claimed and 0 otherwise.
        visible: share of the target that can be seen: 0 while it is hidden, NaN while it is outside the frame.
        claimed: predicted pixels of the target over those of its full mask; NaN while it is outside the frame.
        bystander: mean J&F of the other objects that can be seen, NaN without one.
        swapped: another object's label covers at least half of what is seen of the target.
        overlap: J of the target.
    """

    quality: Float[np.ndarray, "time"]
    visible: Float[np.ndarray, "time"]
    claimed: Float[np.ndarray, "time"]
    bystander: Float[np.ndarray, "time"]
    swapped: Bool[np.ndarray, "time"]
    overlap: Float[np.ndarray, "time"]


@dataclass(frozen=True)
class Windows:
    """Numbers of the frames that are looked at; only frames in which the target is whole, but for `hidden`."""

    before: Int[np.ndarray, "before"]
    hidden: Int[np.ndarray, "hidden"]
    back: Int[np.ndarray, "back"]
    end: Int[np.ndarray, "end"]
    returning: Int[np.ndarray, "returning"]  # the first frames in which anything of it is seen again

    @classmethod
    def of(cls, visible: Float[np.ndarray, "time"]) -> "Windows":
        """The windows of a clip whose target is hidden once or more often; `back` is after the last time.

        Raises:
            ValueError: the target is never hidden in full.
        """
        hidden = np.flatnonzero(visible == 0)
        if not hidden.size:
            raise ValueError(
                "the target is never hidden in full: its visible share is 0 in no frame; "
                "give the clip with the occlusion first and its control second"
            )
        whole = np.flatnonzero(visible >= WHOLE)
        whole = whole[whole > 0]
        back = whole[whole > hidden[-1]]
        seen = np.flatnonzero(visible > 0)
        return cls(whole[whole < hidden[0]], hidden, back[:BACK], back[back >= len(visible) - END],
                   seen[seen > hidden[-1]][:SOON])


@dataclass(frozen=True)
class Passage:
    """One pair of clips in numbers; those that end in `_control` are of the clip without occlusion, in the same frames.

    Attributes:
        before: mean J&F of the target before it is touched.
        claimed: mean area claimed for the target while it is hidden, in areas of the target; all of it is false.
        back: mean J&F in the first `BACK` whole frames after the occlusion, or in as many as there are.
        soon: the same in the first `SOON`.
        end: the same in the whole frames among the clip's last `END`.
        bystander: mean J&F of the other objects in the frames of `back`.
        swapped: share of the frames of `back` in which the target bears another object's label.
        returning: mean J of the target in the first `SOON` frames in which anything of it is seen again.
    """

    before: float
    claimed: float
    back: float
    soon: float
    end: float
    bystander: float
    swapped: float
    returning: float
    before_control: float
    back_control: float
    soon_control: float
    end_control: float
    bystander_control: float
    swapped_control: float
    returning_control: float


@dataclass(frozen=True)
class PassageTable:
    """Passages of all scenes (rows) and lengths of the occlusion (columns), NaN where there is nothing to average."""

    values: dict[str, Float[np.ndarray, "scene length"]]

    def __getitem__(self, name: str) -> Float[np.ndarray, "scene length"]:
        return self.values[name]

    def to_dict(self) -> dict[str, list[list[float | None]]]:
        """All arrays as JSON values, None for NaN."""
        return {
            name: [[None if np.isnan(v) else float(v) for v in row] for row in rows]
            for name, rows in self.values.items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Sequence[Sequence[float | None]]]) -> "PassageTable":
        """The table that `to_dict` wrote."""
        return cls({name: np.array(rows, dtype=float) for name, rows in record.items()})

    def loss(self, window: str = "back") -> Float[np.ndarray, "scene length"]:
        """What the occlusion costs in one window: the control's value less that with the occlusion.

        Raises:
            ValueError: not a window that the control has too.
        """
        if f"{window}_control" not in self.values:
            known = ", ".join(name.removesuffix("_control") for name in self.values if name.endswith("_control"))
            raise ValueError(f"no loss in a window {window!r}; known: {known}")
        return self.values[f"{window}_control"] - self.values[window]

    def intervals(self, window: str = "back") -> list[Interval]:
        """Mean loss at each length with its bootstrap interval over scenes; a scene keeps its two clips together."""
        return [bootstrap({str(scene): [loss] for scene, loss in enumerate(column) if not np.isnan(loss)})
                for column in self.loss(window).T]


def follow(
    predicted: UInt8[np.ndarray, "predicted rows columns"],
    labels: UInt8[np.ndarray, "time height width"],
    amodal: Bool[np.ndarray, "known tall wide"],
    target: int = 1,
) -> Track:
    """Reduces one clip's prediction to what is asked of it.

    Args:
        predicted: label maps.
        labels: the truth, visible labels.
        amodal: full masks of the target within the frame, whether visible or not.
        target: the target's label.

    Raises:
        ValueError: the three differ in shape, or more of the target is visible than its full mask holds.
    """
    if not predicted.shape == labels.shape == amodal.shape:
        raise ValueError(
            f"predicted {predicted.shape}, labels {labels.shape} and amodal {amodal.shape} differ; "
            "give the three for the same frames at the same size"
        )
    seen, full = labels == target, amodal.astype(bool)
    if (seen & ~full).any():
        raise ValueError(
            f"label {target} lies outside of the full masks in frame {(seen & ~full).any((1, 2)).argmax()}; "
            "amodal must hold all of the target, also what is visible"
        )
    area = full.sum((1, 2))
    share = np.full((2, len(labels)), np.nan)
    np.divide([seen.sum((1, 2)), (predicted == target).sum((1, 2))], area, out=share, where=area > 0)
    rows = [_frame(*pair, target) for pair in zip(predicted, labels)]
    quality, bystander, overlap = np.array([row[:3] for row in rows]).reshape(-1, 3).T
    return Track(quality, share[0], share[1], bystander, np.array([row[3] for row in rows], bool), overlap)


def _frame(
    predicted: UInt8[np.ndarray, "height width"], labels: UInt8[np.ndarray, "height width"], target: int
) -> tuple[float, float, float, bool]:
    others = [value for value in object_ids(labels) if value != target]
    counts = frame_counts(predicted, labels, [target, *others])
    overlaps = similarity(counts)
    scores = (overlaps + accuracy(counts)) / 2
    votes = np.bincount(predicted[labels == target], minlength=VOID + 1)
    total = votes.sum()
    votes[[0, target, VOID]] = 0
    swapped = 2 * int(votes.max()) >= int(total) > 0
    return float(scores[0]), float(scores[1:].mean()) if others else np.nan, float(overlaps[0]), swapped


def passage(occluded: Track, control: Track) -> Passage:
    """Compares the two clips of a pair over the windows of the occluded one.

    Raises:
        ValueError: the clips differ in length, or it is not the first in which the target is hidden and that alone.
    """
    if len(occluded.quality) != len(control.quality):
        raise ValueError(
            f"{len(occluded.quality)} frames with the occlusion and {len(control.quality)} without; a pair has as many"
        )
    if (control.visible == 0).any():
        raise ValueError(
            f"the target is hidden in frame {(control.visible == 0).argmax()} of the control too; "
            "the control is the same scene with the target never hidden"
        )
    windows = Windows.of(occluded.visible)
    frames = {"before": windows.before, "back": windows.back, "soon": windows.back[:SOON], "end": windows.end}
    values = {"claimed": mean_of_known(occluded.claimed[windows.hidden])}
    for track, suffix in ((occluded, ""), (control, "_control")):
        values |= {name + suffix: mean_of_known(track.quality[at]) for name, at in frames.items()}
        values["bystander" + suffix] = mean_of_known(track.bystander[windows.back])
        values["swapped" + suffix] = mean_of_known(track.swapped[windows.back])
        values["returning" + suffix] = mean_of_known(track.overlap[windows.returning])
    return Passage(**values)


def mean_of_known(values: Shaped[np.ndarray, "values"]) -> float:
    """The mean of those that are numbers, NaN of none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else np.nan


def tabulate(passages: Sequence[Sequence[Passage]]) -> PassageTable:
    """Arrays (scene, length) of passages given scene by scene, each with the same lengths in the same order.

    Raises:
        ValueError: there are none, or scenes differ in their number of lengths.
    """
    sizes = sorted({len(row) for row in passages})
    if len(sizes) != 1:
        raise ValueError(f"scenes have {sizes or 'no'} lengths of occlusion; give every scene the same ones")
    values = np.array([[astuple(one) for one in row] for row in passages], dtype=float)
    return PassageTable({field.name: values[..., k] for k, field in enumerate(fields(Passage))})


def first_copied(labels: UInt8[np.ndarray, "time height width"]) -> UInt8[np.ndarray, "time height width"]:
    """The floor that follows nothing: the given mask in every frame."""
    return np.repeat(labels[:1], len(labels), axis=0)


def nothing_predicted(labels: UInt8[np.ndarray, "time height width"]) -> UInt8[np.ndarray, "time height width"]:
    """The floor that claims nothing: background in every frame after the given one."""
    predicted = np.zeros_like(labels)
    predicted[:1] = labels[:1]
    return predicted
