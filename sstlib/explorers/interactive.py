"""Interactive segmentation: masks drawn on some frames are propagated through a clip in the background, and corrected.
"""

import io
import math
import threading
import time
from collections.abc import Mapping, Set
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sstlib.config.values import require_place
from sstlib.explorers.annotator import Annotator
from sstlib.explorers.propagation import Propagation
from sstlib.inference import Prediction
from sstlib.model import Propagator
from sstlib.paths import refuse_inputs
from sstlib.sessions import Clip, MaskFolder, carry
from sstlib.sessions.exports import Exports
from sstlib.sessions.films import Overlay
from sstlib.sessions.sentences import sentences
from sstlib.shapes import Shaped, UInt8
from sstlib.video import Sequence

POLL = 0.2  # seconds between two looks at what goes on in the background


class InteractiveSegmentation(Annotator):
    """Draws masks, propagates them through the clip in the background, and continues from corrections.

    `segment` returns at once; masks appear as they are computed and the kernel stays usable. Drawing on a frame later
    corrects it, and the frames after it are computed again. An object erased from a frame is absent there. Under the
    slider, a row of cells for each object says where it was drawn, is in sight, doubtful or lost.

    Args:
        network: trained weights (`weights.load`).
        sequence, masks, rate, drawn: as of `Annotator`.
        folder: where `export` writes by default.
        **options: of `inference.Segmenter`.
    """

    segments = True

    def __init__(self, network: Propagator, sequence: Sequence,
                 masks: Mapping[int, Shaped[np.ndarray, "..."]] | None = None, rate: float | int | None = None,
                 drawn: Path | str | None = None, folder: Path | str = "", **options: object) -> None:
        self.propagation = Propagation(network, self.picture, len(sequence), **options)
        self._worker: threading.Thread | None = None
        self._canceled = threading.Event()
        self._failure: Exception | None = None
        self._gone: set[int] = set()  # objects that were predicted and are removed
        super().__init__(sequence, masks, rate, drawn)
        self.folder = str(folder)

    def labels(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        """The labels that are shown on frame `t`: what was drawn there, if no prediction includes it yet; otherwise the
        latest prediction, without objects that were removed.
        """
        drawn, predicted = self.annotations[t], self.propagation.predicted.get(t)
        if drawn is not None and not self.propagation.follows(t, drawn):
            return drawn.labels
        if predicted is None:
            return None
        gone = self._gone & predicted.presence.keys()
        return np.where(np.isin(predicted.labels, [*gone]), np.uint8(0), predicted.labels) if gone else predicted.labels

    @property
    def predictions(self) -> dict[int, Prediction]:
        """Masks, presence and doubt of the frames that are up to date, by frame number."""
        known = dict(self.propagation.predicted)  # which may grow at the same time
        return {t: predicted for t, predicted in sorted(known.items()) if self.propagation.current(t)}

    def segment(self) -> None:
        """Starts computing what is out of date, and returns at once; does nothing if that is under way.

        Raises:
            ValueError: nothing was drawn.
        """
        with self._changing:
            self._failure = None
            if self.annotations.first is None:
                raise ValueError("draw the mask of at least one object first, on any frame")
            if self._worker is None:
                self._canceled.clear()
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._tell_progress()
                self._worker.start()

    def cancel(self) -> None:
        """Stops after the current frame; masks that are done stay, and `segment` continues from them."""
        self._canceled.set()

    def wait(self, seconds: float | int | None = None, progress: bool = False) -> None:
        """Waits until `segment` is done; with `progress`, shows a bar, as the widget may be out of sight.

        Raises:
            TimeoutError: it is not done after so many seconds.
            ValueError: the error that stopped it.
        """
        if (worker := self._worker) is not None:
            end = math.inf if seconds is None else time.monotonic() + seconds
            with tqdm(total=len(self.sequence), desc=self.sequence.name, unit="frame", ascii=True,
                      initial=self.propagation.done, disable=not progress) as bar:
                while worker.is_alive() and (rest := end - time.monotonic()) > 0:
                    worker.join(min(rest, POLL))
                    bar.update(self.propagation.done - bar.n)
            if worker.is_alive():
                raise TimeoutError(f"after {seconds:g} s {self.propagation.done} of {len(self.sequence)} frames are "
                                   "segmented; wait longer, or cancel")
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        """In the background: computes frame after frame until all are up to date, or it is canceled."""
        while self._goes_on():
            try:
                t = self.propagation.step()
            except (ValueError, OSError, RuntimeError) as error:
                self._failure = error
                self._canceled.set()
            else:
                self._show(t, predicted=True)

    def _goes_on(self) -> bool:
        """Takes in what was drawn meanwhile; False if nothing is left to compute, which ends the work."""
        with self._changing:
            self.propagation.update(self.annotations)
            if self._canceled.is_set() or not self.propagation.waiting:
                self._worker = None
            self._tell_progress()
            return self._worker is not None

    def _changed(self, frames: Set[int] = frozenset(), origin: str | None = None) -> None:
        if self._worker is None:
            self.propagation.update(self.annotations)
        known = {identity for predicted in dict(self.propagation.predicted).values() for identity in predicted.presence}
        gone, self._gone = self._gone, known - self.annotations.names.keys()
        super()._changed(frames, origin)
        if gone != self._gone:
            self.send({"kind": "forget"})
        self._tell_progress()

    def _tell_progress(self) -> None:
        """Sends progress, presence and doubt to the browser."""
        self.progress = {"running": self._worker is not None, "done": self.propagation.done}
        self.strip = {str(identity): self._row(identity) for identity in self.annotations.names}
        predictions = self.predictions
        if self._failure is not None:
            self.status = str(self._failure)
        elif self._worker is not None:
            self.status = f"{len(predictions)} of {len(self.sequence)} frames are segmented"
        elif predictions:
            judgments = {t: (predicted.presence, predicted.doubt) for t, predicted in predictions.items()}
            rest = len(self.sequence) - len(predictions)
            lines = sentences(self.sequence.frame_names, judgments)
            self.status = "\n".join([f"{rest} frames are to be segmented"] * (rest > 0) + lines)

    def _row(self, identity: int) -> str:
        """A letter a frame for an object: given, seen, doubtful, lost; "-" if nothing is known. Capitals are out of
        date.
        """
        letters = []
        for t in range(len(self.sequence)):
            annotation, predicted = self.annotations[t], self.propagation.predicted.get(t)
            if annotation and identity in annotation.ids | annotation.absent:
                letters.append("g" if identity in annotation.ids else "l")
            elif predicted is None or identity not in predicted.presence:
                letters.append("-")
            else:
                letter = "l" if predicted.presence[identity] < 0.5 else "d" if predicted.doubt[identity] >= 0.5 else "s"
                letters.append(letter if self.propagation.current(t) else letter.upper())
        return "".join(letters)

    def export(self, folder: Path | str | None = None, overlaid: bool = False) -> Path:
        """Writes the masks of all frames as FRAME.png, as `sst segment` does, and if `overlaid` the tinted video.

        Raises:
            ValueError: frames without a mask, a folder that is not empty or from which frames are read, or a file in
                its place.
        """
        name = str(self.folder if folder is None else folder).strip()
        if not name:
            raise ValueError("name a folder for the masks")
        predictions = self.predictions
        if rest := len(self.sequence) - len(predictions):
            raise ValueError(f"{rest} of {len(self.sequence)} frames are not segmented yet; segment first")
        out = require_place(Path(name).expanduser(), folder=True)
        inputs = [getattr(self.sequence, "path", None), getattr(self.sequence, "folder", None)]
        refuse_inputs({"the export": out}, inputs)
        if left := sorted(path.name for path in out.iterdir()) if out.is_dir() else []:
            raise ValueError(f"{out} holds {len(left)} files already ({left[0]}, ...); nothing is written over: name "
                             "another folder")
        clip = Clip(self.sequence, self.masks, self.annotations.names)
        steps = ((t, prediction, self.picture(t)) for t, prediction in predictions.items())
        with self._changing, redirect_stdout(io.StringIO()):  # what a command would print is told in the widget
            for _ in carry(steps, [MaskFolder(clip, out, []), *[Exports(clip, out, [Overlay])] * overlaid]):
                pass
            self.status = f"{len(predictions)} masks are in {out.resolve()}"
        return out

    def _acts(self) -> dict[str, Any]:
        return super()._acts() | {
            "segment": lambda content, t, buffers: self.segment(),
            "cancel": lambda content, t, buffers: self.cancel(),
            "export": lambda content, t, buffers: self.export(content["folder"], content["overlay"]),
        }
