"""Video files in and out through PyAV, which is imported only when one is opened; contact sheets."""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sstlib.files import written_aside
from sstlib.shapes import UInt8
from sstlib.video import FolderSequence, Sequence, read_mask

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif"})
KEPT = 64  # decoded frames in memory, so that going back by one does not decode from a key frame again
RUN_ON = 32  # frames that are rather decoded one after another than jumped over


class VideoSequence:
    """A video file as a sequence: frames are decoded when asked for, turned upright, and a few are kept.

    Attributes:
        rate: frames a second.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, or damaged, or a mask of another size.
    """

    def __init__(self, path: Path | str, mask: Path | str | None = None) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such video file")
        with _damage_told(self.path):
            self._open()
            stamps = sorted(packet.pts for packet in self._container.demux(self._stream) if packet.pts is not None)
        if not stamps:
            raise ValueError(f"{path}: has no video frames")
        self._warn_if_cut_off(len(stamps))
        self._stamps, self._index = stamps, {stamp: t for t, stamp in enumerate(stamps)}
        self.rate: Fraction = self._stream.average_rate or Fraction(25)
        self.frame_names = [f"{t:05d}" for t in range(len(stamps))]
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._open()
        self._mask = read_mask(mask) if mask is not None else None
        if self._mask is not None and self._mask.shape != self.frame(0).shape[:2]:
            height, width = self.frame(0).shape[:2]
            raise ValueError(
                f"{mask}: the mask is {self._mask.shape[1]}x{self._mask.shape[0]}, frames of {path} are {width}x{height}"
            )

    def _warn_if_cut_off(self, found: int) -> None:
        """Some containers (AVI, MKV) can be read up to where they were cut off; what their header tells gives it away."""
        seconds = (self._container.duration or 0) / 1_000_000
        declared = self._stream.frames or round(seconds * (self._stream.average_rate or 0))
        if found < 0.98 * declared - 1:
            warnings.warn(f"{self.path}: the header tells of {declared} frames, {found} are there; the file may be cut off", stacklevel=3)

    def _open(self, at: int | None = None) -> None:
        import av

        if at is None:
            self._container = av.open(str(self.path))
            if not self._container.streams.video:
                raise ValueError(f"{self.path}: has no video stream")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
        else:
            self._container.seek(self._stamps[at], stream=self._stream, backward=True)
        self._decoded = self._container.decode(self._stream)
        self._next = 0 if at is None else -1

    def __len__(self) -> int:
        return len(self.frame_names)

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        return self._mask if range(len(self))[t] == 0 else None

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        t = range(len(self))[t]
        if t not in self._kept:
            with _damage_told(self.path):
                self._decode_to(t)
        return self._kept[t]

    def _decode_to(self, t: int) -> None:
        if not 0 <= self._next <= t <= self._next + RUN_ON:
            self._open() if t == 0 else self._open(t)
        for frame in self._decoded:
            at = self._index.get(frame.pts)
            if at is None:
                continue
            picture = frame.to_ndarray(format="rgb24")
            turns = round(getattr(frame, "rotation", 0) / 90) % 4
            self._kept[at] = np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            self._next = at + 1
            if at == t:
                return
        raise ValueError(f"{self.path}: frame {t} of {len(self)} cannot be decoded; the file may be cut off")


class _damage_told:  # noqa: N801 - a context manager that reads as a phrase
    """Turns FFmpeg's errors into one that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import av

        if isinstance(error, (av.error.FFmpegError, IndexError)):
            raise ValueError(f"{self.path}: not a video, or damaged ({error})") from None


def open_clip(path: Path | str, mask: Path | str | None = None) -> Sequence:
    """A video file, or a folder of frames, with the mask of its first frame or a folder of masks named as frames.

    Raises:
        FileNotFoundError: neither a file nor a folder.
        ValueError: a file that is no video.
    """
    path = Path(path)
    if path.is_dir():
        return FolderSequence(path, mask)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such video file or folder of frames")
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f"{path}: expected a folder of frames or a video file ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return VideoSequence(path, mask)


def write_video(
    path: Path | str, frames: Iterable[UInt8[np.ndarray, "height width 3"]], rate: int | float | Fraction = 24
) -> int:
    """Writes frames as H.264 in MP4, whole or not at all, and returns their number.

    Even sizes are written in the pixel format that all players know (4:2:0), odd ones in 4:4:4, so that the size stays.

    Raises:
        ValueError: no frames, or frames of different sizes.
    """
    import av

    count, size = 0, None
    with written_aside(path) as file, av.open(file, "w", format="mp4") as container:
        for frame in frames:
            if size is None:
                size = frame.shape
                stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
                stream.height, stream.width = size[:2]
                stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
                stream.options = {"crf": "18"}
            if frame.shape != size:
                raise ValueError(
                    f"{path}: frame {count} is {frame.shape[1]}x{frame.shape[0]}, the first is {size[1]}x{size[0]}"
                )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            count += 1
        if size is None:
            raise ValueError(f"{path}: no frames to write")
        container.mux(stream.encode())
    return count


def contact_sheet(
    pictures: Iterable[UInt8[np.ndarray, "height width 3"]], columns: int = 6, width: int = 240, gap: int = 4
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Pictures scaled to one width, side by side in rows on white.

    Raises:
        ValueError: no pictures.
    """
    small = [
        np.asarray(
            Image.fromarray(p).resize((width, max(1, round(width * p.shape[0] / p.shape[1]))), Image.Resampling.LANCZOS)
        )
        for p in pictures
    ]
    if not small:
        raise ValueError("no pictures for a contact sheet")
    columns, height = min(columns, len(small)), max(p.shape[0] for p in small)
    rows = -(-len(small) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for n, picture in enumerate(small):
        y, x = n // columns * (height + gap), n % columns * (width + gap)
        sheet[y:y + picture.shape[0], x:x + width] = picture
    return sheet


