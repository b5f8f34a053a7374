"""Sinks take the masks of a clip; the first of them is a folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sstlib.inference import Prediction
from sstlib.sessions.clip import Clip
from sstlib.shapes import UInt8
from sstlib.video import write_mask


class Sink:
    """What takes the masks of a clip and makes something of them, such as files.

    `write` is called once a frame, in the order in which frames are segmented: from the first given mask to the end,
    and then backward from it. What needs another order, or all frames at once, is made in `close` from the masks that
    are in the folder by then. After an interrupt, frames that were done are not written again, unless `needs_all`. A
    frame comes again that was corrected.

    Attributes:
        needs_all: whether every prediction is needed, so that an interrupted run starts over.
    """

    needs_all = False

    def done_before(self, ids: Mapping[int, set[int]]) -> None:
        """An interrupted run goes on: frames that are not written again, by number, and the objects known in each."""

    def write(self, t: int, frame: UInt8[np.ndarray, "height width 3"], prediction: Prediction) -> None:
        """Takes the masks of frame number `t`."""

    def close(self) -> None:
        """All frames were written."""

    def discard(self) -> None:
        """There will be no more, for an error or an interrupt: leaves nothing half-written."""


class MaskFolder(Sink):
    """FRAME.png of every frame, a palette PNG, as soon as it is known.

    Raises:
        FileNotFoundError: by `write` or `close`: masks, or their folder, are there no more.
    """

    def __init__(self, clip: Clip, out: Path, stale: list[Path]) -> None:
        self.clip, self.out, self.stale = clip, out, stale
        self.count = len(clip.frames)  # at least: frames of a stream become known as they come
        self._begun = False

    def write(self, t: int, frame: UInt8[np.ndarray, "height width 3"], prediction: Prediction) -> None:
        if self._begun and not self.out.is_dir():
            raise FileNotFoundError(f"{self.out}: the folder of masks was removed meanwhile; give the command again to "
                                    "start anew")
        self._begun = True
        write_mask(self.out / f"{self.clip.frames.frame_names[t]}.png", prediction.labels)
        self.count = max(self.count, t + 1)
        while self.stale:  # not before a first mask is there: until then all may still be refused
            path = self.stale.pop()
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        masks = (self.out / f"{self.clip.frames.frame_names[t]}.png" for t in range(self.count))
        if gone := [path for path in masks if not path.is_file()]:
            raise FileNotFoundError(f"{gone[0]}: {len(gone)} of {self.count} masks were removed meanwhile; start anew, "
                                    "with --no-resume --overwrite")
        print(f"{self.count} mask{'s are' if self.count > 1 else ' is'} in {self.out}")
