"""What J and F do not say: how an object is kept through an occlusion, on clips whose visibility is known.

Four questions of every object: how well is it segmented while a given share of it can be seen, how well in the first
frames after it comes back, is it taken for another object, and is it claimed to be there while it is gone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sstlib.shapes import Bool, Float, Int, UInt8

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of bins of the visible share; a bin holds its upper edge, not its lower one
FIRST = 5


@dataclass(frozen=True)
class OcclusionScore:
    """One clip, a row an object, a column a frame after the first one.

    Attributes:
        similarity: J.
        visible: share of the object that can be seen, 0 while it is gone.
        gone: the truth holds no pixel of the object.
        claimed: predicted pixels of the object as a share of the frame.
        carrier: id of the predicted object that covers most of the true one, 0 where none covers half of it.
        objects: the ids of the rows.
    """

    similarity: Float[np.ndarray, "objects frames"]
    visible: Float[np.ndarray, "objects frames"]
    gone: Bool[np.ndarray, "objects frames"]
    claimed: Float[np.ndarray, "objects frames"]
    carrier: Int[np.ndarray, "objects frames"]
    objects: tuple[int, ...]

    def swapped(self) -> Bool[np.ndarray, "objects frames"]:
        """Frames in which another object's label lies on the object."""
        return (self.carrier != 0) & (self.carrier != np.array(self.objects)[:, None])

    def swaps(self) -> int:
        """How often an object's label changes to that of another; coming back to its own is not counted."""
        count = 0
        for value, row in zip(self.objects, self.carrier):
            known = np.concatenate([[value], row[row != 0]])
            count += int(((known[1:] != known[:-1]) & (known[1:] != value)).sum())
        return count

    def reappearances(self) -> list[tuple[int, int]]:
        """Where an object comes back, as (row, column): gone in the frame before, and there in this one."""
        return [(row, column) for row, gone in enumerate(self.gone)
                for column in (np.flatnonzero(gone[:-1] & ~gone[1:]) + 1).tolist()]


def score_occlusion(predictions: UInt8[np.ndarray, "frames height width"],
                    truths: UInt8[np.ndarray, "frames height width"],
                    visible_share: Float[np.ndarray, "frames objects"],
                    objects: Sequence[int] | None = None) -> OcclusionScore:
    """Follows every object through a clip whose first mask was given.

    Args:
        predictions: label maps.
        truths: visible labels.
        visible_share: visible over all pixels of each object, NaN while it is outside the frame.
        objects: the ids of the columns of `visible_share`; 1..n by default.
    """
    objects = tuple(range(1, 1 + visible_share.shape[1])) if objects is None else tuple(objects)
    joint = np.stack([_joint(*pair)[list(objects)] for pair in zip(predictions[1:], truths[1:])], axis=1)
    overlaps, area = joint[..., list(objects)], joint.sum(axis=-1)
    claimed = np.stack([np.bincount(p.ravel(), minlength=256)[list(objects)] for p in predictions[1:]], axis=1)
    own = np.stack([overlaps[row, :, row] for row in range(len(objects))])
    union = area + claimed - own
    held, best = overlaps.max(axis=-1), overlaps.argmax(axis=-1)
    carrier = np.where((2 * held >= area) & (held > 0), np.array(objects)[best], 0)
    visible = np.nan_to_num(visible_share[1:].T.astype(float))
    return OcclusionScore(np.where(union == 0, 1.0, own / np.maximum(union, 1)), visible, area == 0,
                          claimed / truths[0].size, carrier, objects)


def _joint(prediction: UInt8[np.ndarray, "height width"],
           truth: UInt8[np.ndarray, "height width"]) -> Int[np.ndarray, "256 256"]:
    """Number of pixels of each true label (row) that have each predicted one (column)."""
    return np.bincount(truth.ravel().astype(np.int64) * 256 + prediction.ravel(), minlength=65536).reshape(256, 256)


def summarize_occlusion(scores: Iterable[OcclusionScore], first: int = FIRST) -> dict:
    """Pools clips into the four answers, as JSON values (None: nothing to average); all frames of objects count alike.

    Args:
        scores: of any number of clips.
        first: how many frames after a reappearance to follow.

    Returns:
        `by_visible_share`: for each bin of EDGES `low`, `high`, mean `J` and number of `frames` with the object;
        `after_reappearance`: mean `J` of the first frame, the second, ..., their `mean`, and the number of `events`;
        `identity`: number of `swaps`, and `share` of frames under another object's label;
        `while_gone`: number of `frames`, `share` of them with a false claim, mean claimed `area`, a share of the frame.
    """
    scores = list(scores)

    def pooled(name: str) -> np.ndarray:
        return np.concatenate([np.ravel(getattr(score, name)) for score in scores] or [np.zeros(0)])

    values, visible, gone, claimed = (pooled(name) for name in ("similarity", "visible", "gone", "claimed"))
    gone = gone.astype(bool)
    bins = [~gone & (low < visible) & (visible <= high) for low, high in zip(EDGES, EDGES[1:])]
    steps: list[list[float]] = [[] for _ in range(first)]
    for score in scores:
        for row, column in score.reappearances():
            for step in range(min(first, score.gone.shape[1] - column)):
                if score.gone[row, column + step]:
                    break
                steps[step].append(float(score.similarity[row, column + step]))
    swapped = np.concatenate([score.swapped().ravel() for score in scores] or [np.zeros(0, bool)])
    return {"by_visible_share": [{"low": low, "high": high, "J": _mean(values[chosen]), "frames": int(chosen.sum())}
                                 for low, high, chosen in zip(EDGES, EDGES[1:], bins)],
            "after_reappearance": {"J": [_mean(step) for step in steps], "mean": _mean(sum(steps, [])),
                                   "events": len(steps[0])},
            "identity": {"swaps": sum(score.swaps() for score in scores), "share": _mean(swapped[~gone])},
            "while_gone": {"frames": int(gone.sum()), "share": _mean(claimed[gone] > 0), "area": _mean(claimed[gone])}}


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
