"""The input of a session: the selected frames of a video, the given masks, and the names of the objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from sstlib.metrics.scores import object_ids
from sstlib.shapes import Shaped, UInt8
from sstlib.video import VOID, Sequence


class Part:
    """Some frames of a sequence, under their own names.

    Args:
        sequence: all frames.
        times: the numbers of the selected frames, in order.
    """

    def __init__(self, sequence: Sequence, times: range) -> None:
        self.sequence, self.times, self.name = sequence, times, sequence.name
        self.frame_names = [sequence.frame_names[t] for t in times]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of all frames."""
        return size_of(self.sequence)

    @property
    def rate(self) -> Fraction | float:
        """Frames a second."""
        return getattr(self.sequence, "rate", 24.0) / abs(self.times.step)

    def __len__(self) -> int:
        return len(self.times)

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.sequence.frame(self.times[t])

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        return self.sequence.label(self.times[t])


@dataclass(frozen=True)
class Clip:
    """Frames, given masks by frame number, and names of objects by id.

    Attributes:
        frames: a sequence, or a `Part` of one; all numbers are of it.
        given: masks of all objects, integers (height, width), for the frames where they are known.
        names: the user's names of objects, by id.
        absent: ids of objects that are not in a frame, by its number.
    """

    frames: Sequence
    given: Mapping[int, Shaped[np.ndarray, "height width"]]
    names: Mapping[int, str] = field(default_factory=dict)
    absent: Mapping[int, frozenset[int]] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of all frames."""
        return next(iter(self.given.values())).shape

    @property
    def ids(self) -> set[int]:
        """All objects of the given masks."""
        return {identity for labels in self.given.values() for identity in object_ids(labels)}

    def number(self, t: int) -> int:
        """The number of a frame in its video."""
        return self.frames.times[t] if isinstance(self.frames, Part) else t

    @property
    def first(self) -> int:
        """The first frame with a given mask that holds an object."""
        return min(t for t in self.given if t >= self.before)

    @property
    def before(self) -> int:
        """The number of frames at the start that hold no object according to the given masks."""
        return first_object(self.given)


def size_of(sequence: Sequence) -> tuple[int, int]:
    """Height and width of all frames of a sequence, if it states them, or else of its first frame."""
    return getattr(sequence, "size", None) or sequence.frame(0).shape[:2]


def first_object(given: Mapping[int, Shaped[np.ndarray, "height width"]]) -> int:
    """The number of frames at the start without an object: up to the last empty mask before the first with an object.
    """
    before = 0
    for t, labels in sorted(given.items()):
        if ((labels > 0) & (labels != VOID)).any():
            break
        before = t + 1
    return before
