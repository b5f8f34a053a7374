"""Sinks: a folder of masks, and the video tinted with them, as a video and on a sheet."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sstlib.inference import Prediction
from sstlib.paths import atomic_write
from sstlib.sessions.clip import Clip
from sstlib.shapes import UInt8
from sstlib.video import Reading, Sequence, overlay, read_mask, write_mask

SHEET = 24  # frames on a contact sheet
OVERLAY = "overlay.mp4"


class Sink:
    """What takes the masks of a clip and makes something of them, such as files.

    `write` is called once a frame, in the order in which frames are segmented: from the first given mask to the end,
    and then backward from it. What needs another order, or all frames at once, is made in `close` from the masks that
    are in the folder by then.
    """

    def write(self, t: int, frame: UInt8[np.ndarray, "height width 3"], prediction: Prediction) -> None:
        """Takes the masks of frame number `t`."""

    def close(self) -> None:
        """All frames were written."""

    def discard(self) -> None:
        """There will be no more, for an error or an interrupt: leaves nothing half-written."""


class MaskFolder(Sink):
    """FRAME.png of every frame, a palette PNG, as soon as it is known."""

    def __init__(self, clip: Clip, out: Path, stale: list[Path]) -> None:
        self.clip, self.out, self.stale, self.count = clip, out, stale, 0

    def write(self, t: int, frame: np.ndarray, prediction: Prediction) -> None:
        write_mask(self.out / f"{self.clip.frames.frame_names[t]}.png", prediction.labels)
        self.count += 1
        while self.stale:  # not before a first mask is there: until then all may still be refused
            self.stale.pop().unlink()

    def close(self) -> None:
        print(f"{self.count} masks are in {self.out}")


class Overlay(Sink):
    """The video tinted with the masks in a folder, as overlay.mp4 beside them, with its times and its sound."""

    def __init__(self, clip: Clip, out: Path) -> None:
        self.clip, self.out = clip, out

    def close(self) -> None:
        from sstlib.movies import VideoSequence, write_video

        frames = self.clip.frames
        steps = tqdm(range(len(frames)), unit="frame", ascii=True, desc="overlay", disable=None)
        source = frames if isinstance(frames, VideoSequence) else None
        write_video(self.out / OVERLAY, tinted(frames, self.out, steps), getattr(frames, "rate", 24.0), source)
        print(f"and {self.out / OVERLAY}")


class Sheet(Sink):
    """Tinted frames of the whole video on one sheet; not beside the masks, which are all images of their folder."""

    def __init__(self, clip: Clip, out: Path, path: Path) -> None:
        self.clip, self.out, self.path = clip, out, path

    def close(self) -> None:
        from sstlib.movies import contact_sheet

        times = sorted({round(t) for t in np.linspace(0, len(self.clip.frames) - 1, SHEET)})
        with atomic_write(self.path) as file:
            Image.fromarray(contact_sheet(tinted(self.clip.frames, self.out, times))).save(file, format="PNG")
        print(f"and {self.path}")


def tinted(sequence: Sequence, folder: Path, times: Iterable[int]) -> Iterator[np.ndarray]:
    """Frames tinted with their masks in a folder."""
    for t in times:
        yield overlay(sequence.frame(t), read_mask(folder / f"{sequence.frame_names[t]}.png", Reading("ids")))
