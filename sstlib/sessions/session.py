"""The order in which the frames of a clip are segmented, how that goes on after an interrupt or goes back for a
correction, and the hands that the masks go through.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sstlib.inference import Prediction, Segmenter
from sstlib.model import Propagator
from sstlib.sessions import state
from sstlib.sessions.clip import Clip, first_object
from sstlib.sessions.corrections import Corrections
from sstlib.sessions.sinks import Sink
from sstlib.shapes import Shaped, UInt8
from sstlib.video import VOID, Sequence

Step = tuple[int, Prediction, UInt8[np.ndarray, "height width 3"]]
SECONDS, STEPS = 20.0, 100  # after which the state is written again, whichever comes first
SNAPSHOTS = 16  # of a clip's memory, to go back to for a correction


class Session:
    """Number, prediction and picture of each frame of a clip, by iteration: from the first given mask with an object to
    the end, then from it backward, then the frames of which the given masks say that nothing is in them.

    A frame comes again where a correction appears for it, or for one before it, once it is done.

    Args:
        network: trained weights.
        clip: what is segmented.
        options: of `Segmenter`.
        corrections: masks that replace predictions, read when their frames are reached.
        watching: goes on when all is done, until an interrupt, and waits for corrections.
        precision: makes a context in which a step is computed (`sessions.precision.within`).

    Attributes:
        judgments: presence, doubt, confidence and area in pixels of each object, by frame number and id.

    Raises:
        ValueError: a frame or a correction that does not fit, by its name.
    """

    def __init__(self, network: Propagator, clip: Clip, options: dict[str, Any] | None = None,
                 corrections: Corrections | None = None, watching: bool = False,
                 precision: Callable[[], AbstractContextManager] = nullcontext) -> None:
        self.network, self.clip, self.options = network, clip, options or {}
        self.corrections, self.watching, self.precision = corrections, watching, precision
        self.start = clip.first
        backward = range(self.start, clip.before - 1, -1) if self.start > clip.before else range(0)
        self.legs = [range(self.start, len(clip.frames)), backward, range(clip.before)]
        self.leg = self.done = 0  # where the next step is
        self.ended = False  # with all that is made of its masks
        self.segmenter = Segmenter(network, **self.options)
        self.judgments: dict[int, dict[int, list[float | int]]] = {}
        self._snapshots: dict[tuple[int, int], dict[str, Any]] = {}
        self._path: Path | None = None
        self._facts: Any = None
        self._written = 0.0, 0
        for t in sorted(corrections.listed() if corrections is not None else ()):
            if t < clip.before:
                self._require_empty(t)
        self._settle()

    def _settle(self) -> None:
        """Keeps where the session is between two steps: an interrupt may come within one."""
        self._settled = {"leg": self.leg, "done": self.done, "segmenter": state.of_segmenter(self.segmenter)}

    def keep_state(self, path: Path, facts: Any) -> None:
        """Writes the state when a first mask is known, before it is handed on, and again every so often.

        Args:
            path: of the file.
            facts: what must be equal for another session to go on from it; kept beside it.
        """
        self._path, self._facts = path, facts

    def write_state(self) -> None:
        """Writes where the session is, if it was told where to; every frame before that was handed on."""
        if self._path is not None:
            judgments = {str(t): {str(i): row for i, row in rows.items()} for t, rows in self.judgments.items()}
            applied = {} if self.corrections is None else self.corrections.applied
            state.write(self._path, {"facts": self._facts, "told": judgments, "ended": self.ended, **self._settled,
                                     "corrections": {str(t): mark for t, mark in applied.items()}})
            self._written = time.monotonic(), 0

    def write_ended(self) -> None:
        """Writes the state of a session of which nothing is left to do, outputs included."""
        self.ended, self.segmenter = True, Segmenter(self.network, **self.options)
        self._settle()
        self.write_state()

    def go_on_from(self, known: dict[str, Any]) -> None:
        """Takes over where another session was when it wrote its state (`state.read`)."""
        self.leg, self.done, self.ended = known["leg"], known["done"], known["ended"]
        self.judgments = {int(t): {int(i): row for i, row in rows.items()} for t, rows in known["told"].items()}
        if self.corrections is not None:
            self.corrections.applied = {int(t): mark for t, mark in known["corrections"].items()}
        state.into_segmenter(self.segmenter, known["segmenter"])
        self._settle()
        self._gone_back()

    @property
    def finished(self) -> int:
        """How many frames are done."""
        return len(self.judgments)

    def __iter__(self) -> Iterator[Step]:
        while True:
            while self.leg < len(self.legs):
                yield from self._walked(self.legs[self.leg])
                if self.done >= len(self.legs[self.leg]):
                    self.leg, self.done = self.leg + 1, 0
            if not self.watching or self.corrections is None:
                return
            self.write_state()
            try:
                while not self._gone_back():
                    time.sleep(0.5)
            except KeyboardInterrupt:
                return

    def _walked(self, times: range) -> Iterator[Step]:
        """The rest of a leg; ends early where a correction has led back."""
        leg = self.leg
        while self.leg == leg and self.done < len(times):
            t = times[self.done]
            frame = self.clip.frames.frame(t)
            prediction = self._step(t, frame)
            if self._path is not None and not self._written[0]:
                self.write_state()
            if self.leg != 1 or self.done:  # backward, the first is done already
                self.judgments[t] = _rows(prediction)
                yield t, prediction, frame
            self.done += 1
            self._settle()
            self._keep(len(times))
            self._gone_back()

    def _step(self, t: int, frame: np.ndarray) -> Prediction:
        if self.leg == 2:
            self._require_empty(t)
            return nothing(self.clip.size)
        if not self.done:
            self.segmenter = Segmenter(self.network, **self.options)
        try:
            corrected = self.corrections.at(t) if self.corrections is not None else None
            given, absent = self.clip.given.get(t), self.clip.absent.get(t, frozenset()) & set(self.segmenter.ids)
            if corrected is not None:
                given = corrected if given is None else replaced(given, corrected)
                absent -= set(np.unique(corrected).tolist())  # a mask is the later word
            with self.precision():
                return self.segmenter.step(frame, given, absent)
        except ValueError as error:
            raise ValueError(f"{self.clip.frames.name}, frame {self.clip.frames.frame_names[t]}: {error}") from error

    def _require_empty(self, t: int) -> None:
        """Raises a ValueError where a correction shows an object in a frame that the given masks say to be empty."""
        corrected = self.corrections.at(t) if self.corrections is not None else None
        if corrected is not None and (corrected % VOID).any():
            names = self.clip.frames.frame_names
            raise ValueError(f"{self.corrections.folder}: the correction of frame {names[t]} shows an object, and the "
                             f"given masks say that there is none up to frame {names[self.clip.before - 1]}; give it "
                             "among these, in place of the empty one")

    def _keep(self, length: int) -> None:
        """Writes the state where it is time to, and a snapshot where corrections may lead back to it."""
        since, steps = self._written
        self._written = since, steps + 1
        if self._path is not None and (steps + 1 >= STEPS or time.monotonic() - since > SECONDS):
            self.write_state()
        if self.corrections is not None and self.leg < 2 and self.done % max(1, length // SNAPSHOTS) == 0:
            self._snapshots[self.leg, self.done] = state.of_segmenter(self.segmenter)

    def _gone_back(self) -> bool:
        """Goes back to before the earliest frame that a correction has appeared for since it was done."""
        late = [] if self.corrections is None else [self._place(t) for t in self.corrections.unseen()]
        late = [place for place in late if place is not None and place < (self.leg, self.done)]
        if not late:
            return False
        leg, done = min(late)
        self._snapshots = {place: known for place, known in self._snapshots.items() if place <= (leg, done)}
        before = max((place for place in self._snapshots if place[0] == leg), default=(leg, 0))
        self.leg, self.done = before
        if self.done:
            state.into_segmenter(self.segmenter, self._snapshots[before])
        self._settle()
        return True

    def _place(self, t: int) -> tuple[int, int] | None:
        """The leg and the step in it at which a frame's mask is made."""
        for leg, times in enumerate(self.legs):
            if t in times:
                return leg, times.index(t)
        return None


def replaced(given: Shaped[np.ndarray, "height width"],
             corrected: UInt8[np.ndarray, "height width"]) -> Shaped[np.ndarray, "height width"]:
    """Given labels with a correction of them: an object that this shows is as it says, outside of its void."""
    stays = (corrected == VOID) | ~np.isin(given, np.setdiff1d(corrected, [0, VOID]))
    return np.where(corrected % VOID > 0, corrected, np.where(stays, given, 0))


def _rows(prediction: Prediction) -> dict[int, list[float | int]]:
    areas = np.bincount(prediction.labels.ravel(), minlength=256)
    return {identity: [float(prediction.presence[identity]), float(prediction.doubt[identity]),
                       float(prediction.confidence[identity]), int(areas[identity])] for identity in prediction.ids[1:]}


def nothing(size: tuple[int, int]) -> Prediction:
    """The prediction of a frame without objects."""
    background = torch.ones(1, 1, 1).expand(1, *size).numpy()
    return Prediction(np.zeros(size, np.uint8), background, (0,), {}, {}, {})


def segment_sequence(network: Propagator, sequence: Sequence,
                     given: Mapping[int, Shaped[np.ndarray, "height width"]] | None = None,
                     **options: object) -> Iterator[tuple[int, Prediction]]:
    """Masks of every frame of a sequence in the order of a session, as they come; frames are read one at a time.

    Args:
        network: trained weights.
        sequence: frames in a folder, a video file or arrays.
        given: masks by frame number; None takes the first that the sequence has.
        **options: of `Segmenter`.

    Raises:
        ValueError: no mask with an object, or a frame number outside the sequence.
    """
    if given is None:
        given = next(({t: labels} for t in range(len(sequence)) if (labels := sequence.label(t)) is not None), {})
    outside = [t for t in given if not 0 <= t < len(sequence)]
    if outside or not given:
        raise ValueError(f"{sequence.name} has frames 0..{len(sequence) - 1}; masks were given for {outside or 'none'}")
    if first_object(given) > max(given):
        raise ValueError(f"{sequence.name}: no given mask holds an object; give the mask of at least one to follow")
    return ((t, prediction) for t, prediction, _ in Session(network, Clip(sequence, given), options))


def carry(steps: Iterable[Step], sinks: Iterable[Sink]) -> Iterator[Step]:
    """Hands every frame to all sinks, then passes it on; closes them after the last, or has them discard what they
    hold.
    """
    sinks = list(sinks)
    try:
        for t, prediction, frame in steps:
            for sink in sinks:
                sink.write(t, frame, prediction)
            yield t, prediction, frame
        for sink in sinks:
            sink.close()
    except BaseException:
        for sink in sinks:
            sink.discard()
        raise
