"""Predictions of all frames from what was drawn, updated one frame at a time; frames that a correction does not affect
are not computed again.
"""

import copy
import dataclasses
from collections.abc import Callable

import numpy as np

from sstlib.explorers.drawn import Annotation, Annotations
from sstlib.inference import Prediction, Segmenter
from sstlib.model import Propagator
from sstlib.shapes import UInt8

STATES = 16  # snapshots of the segmenter, with its memory, to continue from after a correction


class Propagation:
    """Masks of a whole clip as `sessions.segment_sequence` gives them: from the first annotated frame forward, then
    backward from it; annotations of other frames are used when they are reached.

    Args:
        network: trained weights.
        picture: frame number -> frame.
        length: number of frames.
        **options: of `Segmenter`.

    Attributes:
        predicted: by frame number, without memberships, which are large; a prediction that is out of date stays until
            it is computed again.
    """

    def __init__(self, network: Propagator, picture: Callable[[int], UInt8[np.ndarray, "height width 3"]], length: int,
                 **options: object) -> None:
        self.network, self.picture, self.length, self.options = network, picture, length, options
        self.predicted: dict[int, Prediction] = {}
        self.start: int | None = None  # the first frame with an object
        self._used: dict[int, Annotation] = {}
        Segmenter(network, **options)  # raises for wrong options
        self._restart()

    def _restart(self) -> None:
        """Marks all frames as out of date."""
        self._ahead = self.start or 0  # frames from `start` up to here are up to date
        self._back = self._ahead  # and frames from here up to `start`
        self._states: dict[int, Segmenter] = {}  # snapshots of the segmenter before a frame
        self._live: tuple[int, Segmenter] | None = None  # the segmenter, and the frame that it takes next
        self._behind: tuple[int, Segmenter] | None = None  # likewise, backward

    def current(self, t: int) -> bool:
        """Whether a frame's prediction is up to date."""
        return self.start is not None and self._back <= t < self._ahead

    @property
    def done(self) -> int:
        """How many frames are up to date."""
        return self._ahead - self._back

    @property
    def waiting(self) -> bool:
        """Whether there are frames to compute."""
        return self.start is not None and self.done < self.length

    def follows(self, t: int, annotation: Annotation | None) -> bool:
        """Whether a frame's prediction is up to date and includes this annotation of it."""
        return self.current(t) and self._used.get(t) is annotation

    def update(self, annotations: Annotations) -> None:
        """Takes in what was drawn since, and marks the frames that it affects as out of date."""
        drawn = {t: annotation for t, annotation in annotations.now.frames.items()
                 if t >= (annotations.first or 0) or annotation.absent}
        changed = [t for t in drawn.keys() | self._used.keys() if drawn.get(t) is not self._used.get(t)]
        self._used = drawn
        if annotations.first != self.start or self.start in changed:
            self.start = annotations.first
            self._restart()
        elif self.start is not None:
            self._go_back([t for t in changed if t > self.start], [t for t in changed if t < self.start])

    def _go_back(self, after: list[int], before: list[int]) -> None:
        """Marks what depends on these frames, after the start and before it, as out of date."""
        if after and min(after) < self._ahead:
            self._ahead = min(after)
            self._states = {t: state for t, state in self._states.items() if t <= self._ahead}
            self._live = None
        if before and max(before) >= self._back:
            self._back, self._behind = max(before) + 1, None

    def step(self) -> int:
        """Computes the next frame that is out of date, or one on the way to it, and returns its number."""
        return self._forward() if self._ahead < self.length else self._backward()

    def _forward(self) -> int:
        if self._live is None:
            at = max(self._states, default=self.start)
            self._live = at, twin(self._states[at]) if at in self._states else Segmenter(self.network, **self.options)
        t, segmenter = self._live
        if (t - self.start) % max(1, -(-self.length // STATES)) == 0:
            self._states[t] = twin(segmenter)
        self._live = None  # in case the step fails
        self._take(t, segmenter)
        self._live = t + 1, segmenter
        self._ahead = max(self._ahead, t + 1)
        return t

    def _backward(self) -> int:
        if self._behind is None:
            segmenter = Segmenter(self.network, **self.options)
            segmenter.step(self.picture(self.start), self._used[self.start].labels)
            self._behind = self.start - 1, segmenter
        t, segmenter = self._behind
        self._take(t, segmenter)
        self._behind, self._back = (t - 1, segmenter), min(t, self._back)
        return t

    def _take(self, t: int, segmenter: Segmenter) -> None:
        annotation = self._used.get(t)
        absent = () if annotation is None else annotation.absent & set(segmenter.ids)
        labels = None if annotation is None or not annotation.labels.any() else annotation.labels
        prediction = segmenter.step(self.picture(t), labels, absent)
        small = np.zeros((len(prediction.ids), 0, 0), prediction.memberships.dtype)
        self.predicted[t] = dataclasses.replace(prediction, memberships=small)


def twin(segmenter: Segmenter) -> Segmenter:
    """A copy that continues independently: what a segmenter remembers is never changed in place."""
    other = copy.copy(segmenter)
    other.memories, other.ids = list(segmenter.memories), list(segmenter.ids)
    other.evidence = dict(segmenter.evidence)
    return other
