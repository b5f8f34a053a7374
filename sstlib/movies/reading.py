"""Video files as sequences, decoded by PyAV, which is imported only when one is opened."""

import functools
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sstlib.movies.container import (
    INTERLACED,
    Extent,
    declared_frames,
    emitted,
    errors,
    has_end,
    is_interlaced,
    moving_stream,
    naming_damage,
    opened,
    pixel_aspect,
    require_opaque,
    unread_streams,
    upright,
)
from sstlib.shapes import UInt8
from sstlib.video import FolderSequence, Sequence, clip_name, read_mask
from sstlib.video.pictures import FRAME_SUFFIXES, UNREAD, left_out, passed_over, several_series

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".m2v", ".gif", ".ts", ".mts",
    ".m2ts", ".m2t", ".vob", ".mxf", ".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".nut",
    ".apng", ".y4m", ".ivf", ".obu", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg"
})
CACHE_BYTES = 256 << 20  # of decoded frames in memory, so that going back by one does not decode from a key frame again
RUN_ON = 32  # frames that are rather decoded one after another than jumped over
NOWHERE = -1_000_000
SHORT = 2.0  # seconds that reading a file may take without a line of progress


def is_movie(path: Path | str) -> bool:
    """Whether this is, or would be, a video file by its name, and not a folder of frames."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES and not Path(path).is_dir()


class Incomplete(UserWarning):
    """A file or folder of which not all is used, that may be more than one clip, or whose frames are not as filmed."""


class VideoSequence:
    """A video file as a sequence: what its decoder emits, in its order, turned upright; of high dynamic range (PQ, HLG)
    as an ordinary screen shows it.

    The file is decoded once when it is opened: containers tell of frames that are cut away (a phone's trim), or cannot
    be decoded without what was before them, and no header says which. Each frame's checksum is kept, so that a jump is
    known to give the same picture: it goes to an earlier key frame until it does, at last to the start. A few frames
    are kept.

    Attributes:
        rate: frames a second, on average.
        size: height and width of all frames.
        times: when each frame is shown, in seconds after the first.
        aspect: width of a pixel by its height, as players show it.

    Args:
        progress: a line of progress on a terminal while a long file is decoded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, damaged from its start, transparent, of frames of several sizes, or a mask of another
            size.
    """

    def __init__(self, path: Path | str, mask: Path | str | None = None, progress: bool = False) -> None:
        self.path = Path(path)
        self.name = clip_name(self.path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such video file")
        self._threads = "AUTO"
        self._checksums: list[int] = []
        self._stamps: list[int | None] = []
        self._keys: list[int] = []  # numbers of the key frames
        with naming_damage(self.path):
            self._index(progress)
        self.frame_names = [f"{t:05d}" for t in range(len(self._stamps))]
        self._numbers = {stamp: t for t, stamp in enumerate(self._stamps)}
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._decoded: Iterator[tuple[int, Any]] = iter(())
        self._next = NOWHERE  # number of the frame that comes next
        self.size: tuple[int, int] = self.frame(0).shape[:2]
        self._mask = read_mask(mask) if mask is not None else None
        if self._mask is not None and self._mask.shape != self.size:
            height, width = self.size
            raise ValueError(
                f"{mask}: the mask is {self._mask.shape[1]}x{self._mask.shape[0]}, frames of {path} are "
                f"{width}x{height}"
            )

    def _index(self, progress: bool) -> None:
        """Decodes the whole file once, and keeps when each frame is shown, whether it is a key frame, and its
        checksum.
        """
        sizes, extent, damage, spoilt, interlaced = {}, Extent(), None, False, False
        with self._opened() as (container, stream):
            # Before anything is read: AVI's is another one after that
            self.rate: Fraction = stream.average_rate or Fraction(25)
            bar = tqdm(total=declared_frames(container, stream, self.rate) or None, desc=f"reading {self.path.name}",
                       unit="frame", ascii=True, delay=SHORT, leave=False, disable=None if progress else True)

            with bar:
                try:
                    for frame in emitted(extent.measured(container, stream, 1 / self.rate, bar), stream):
                        if not self._stamps:
                            self.aspect: Fraction = pixel_aspect(stream, frame)
                        require_opaque(frame, self.path)
                        sizes.setdefault((frame.width, frame.height), len(self._stamps))
                        spoilt |= bool(frame.is_corrupt)
                        interlaced |= is_interlaced(stream, frame)
                        if frame.key_frame:
                            self._keys.append(len(self._stamps))
                        self._stamps.append(frame.pts)
                        self._checksums.append(_checksum(frame))
                except errors() as error:
                    damage = error
            self._unit: Fraction = stream.time_base
            self._pixels = stream.width * stream.height
            declared = declared_frames(container, stream, self.rate)
            early = extent.early(container, stream, self.rate) or not has_end(container, self.path, extent.byte)
            others = unread_streams(container, stream, self.path)
        # What comes of damage must not depend on how threads take turns
        if (damage or spoilt) and self._threads != "NONE":
            self._threads, self._stamps, self._keys, self._checksums = "NONE", [], [], []
            return self._index(progress)
        self._check(sizes, damage, damage is not None or early, max(declared, extent.packets))
        for note in filter(None, (others, f"{self.path} {INTERLACED}" if interlaced else "")):
            warnings.warn(note, Incomplete, stacklevel=4)

    def _check(self, sizes: dict[tuple[int, int], int], damage: Exception | None, early: bool, declared: int) -> None:
        """Refuses a file without frames, or with frames of several sizes, and warns of one that ends early."""
        if not self._stamps:
            raise ValueError(f"{self.path}: " + (
                f"not a video, or damaged ({damage})" if damage else
                f"of {declared} frames none is there in full; the file may be cut off" if early else
                "has no video frames"))
        if len(sizes) > 1:
            (width, height), t = list(sizes.items())[1]
            raise ValueError(f"{self.path}: from frame {t} on frames are {width}x{height}, those before are "
                             f"{'x'.join(map(str, next(iter(sizes))))}; a clip has one size")
        if early:
            counted = f"the header tells of {declared} frames, {len(self._stamps)} are there" \
                if declared > len(self._stamps) else f"it has no end after its {declared} frames"
            warnings.warn(f"{self.path}: {counted}; the file may be cut off", Incomplete, stacklevel=5)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The file and its video stream."""
        with opened(self.path) as container:
            stream = moving_stream(container, self.path)
            stream.thread_type = self._threads
            yield container, stream

    @functools.cached_property
    def times(self) -> list[Fraction]:
        stamps = self._stamps
        if None in stamps or any(later <= earlier for earlier, later in zip(stamps, stamps[1:])):
            return [t / self.rate for t in range(len(self))]
        return [(stamp - stamps[0]) * self._unit for stamp in stamps]

    @property
    def start(self) -> Fraction:
        """When the first frame is shown, on the file's own clock in seconds: its sound goes by the same."""
        return (self._stamps[0] or 0) * self._unit

    def __len__(self) -> int:
        return len(self.frame_names)

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        return self._mask.copy() if range(len(self))[t] == 0 and self._mask is not None else None

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        t = range(len(self))[t]
        if t not in self._cache:
            with naming_damage(self.path):
                self._decode(t)
        return self._cache[t].copy()  # whoever draws on it draws on no later one

    def _decode(self, t: int) -> None:
        """Brings frame `t` into the cache: by decoding on, from the last key frame before it, from earlier ones,
        from the start.
        """
        if self._next <= t <= self._next + RUN_ON and self._decoded_to(t):
            return
        keys, back = [key for key in self._keys if 0 < key <= t], 1
        while back <= len(keys) and len(self._numbers) == len(self) and None not in self._numbers:
            self._decoded = self._emitted(self._stamps[keys[-back]])
            if self._decoded_to(t):
                return
            back *= 2
        self._decoded = self._emitted()
        if not self._decoded_to(t):
            raise ValueError(f"{self.path}: frame {t} of {len(self)} cannot be decoded again; has the file changed?")

    def _emitted(self, stamp: int | None = None) -> Iterator[tuple[int, Any]]:
        """Frames with their numbers, from the start or from the key frame that a jump to `stamp` leads to."""
        damaging = errors()
        with self._opened() as (container, stream):
            if stamp is None:
                yield from enumerate(emitted(container.demux(stream), stream))
                return
            try:
                container.seek(stamp, stream=stream, backward=True)
                for frame in emitted(container.demux(stream), stream):
                    if frame.pts in self._numbers:
                        yield self._numbers[frame.pts], frame
            except damaging:
                return

    def _decoded_to(self, t: int) -> bool:
        """Decodes on until frame `t` is in the cache; False if it does not come, or not as decoding from the start
        gives it.
        """
        self._next, most = NOWHERE, max(1, CACHE_BYTES // (3 * self._pixels))
        for number, frame in self._decoded:
            same = number <= t and _checksum(frame) == self._checksums[number]
            if number > t or number == t and not same:
                return False
            if same and number > t - most:
                self._cache[number] = upright(frame)
                while len(self._cache) > most:
                    self._cache.popitem(last=False)
            if number == t:
                self._next = t + 1
                return True
        return False


def _checksum(frame: Any) -> int:
    """Checksum of a decoded frame: every pixel's brightness where that is a plane of its own, else its colors."""
    if not frame.format.name.startswith(("yuv4", "yuvj4", "yuva4", "gray", "nv12", "nv21", "gbrp")):
        return zlib.crc32(np.ascontiguousarray(frame.to_ndarray(format="rgb24")))
    plane = frame.planes[0]
    wide = plane.width * (1 if frame.format.components[0].bits <= 8 else 2)
    return zlib.crc32(
        np.ascontiguousarray(np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:plane.height, :wide]))


def open_clip(path: Path | str, mask: Path | str | None = None, progress: bool = False) -> Sequence:
    """A video file, or a folder of frames, with the mask of its first frame or a folder of masks named as frames.

    Args:
        progress: a line of progress on a terminal while a long video is decoded for the first time.

    Raises:
        FileNotFoundError: neither a file nor a folder.
        ValueError: a file that is no video.
    """
    path = Path(path)
    if path.is_dir():
        sequence = FolderSequence(path, mask)
        sequence.size  # noqa: B018 - refuses frames of several sizes before anything is done with the first
        names = sequence.frame_names
        for note in filter(None, (passed_over(path), several_series(names) or left_out(names))):
            warnings.warn(f"{path}: {note}", Incomplete, stacklevel=2)
        return sequence
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such video file or folder of frames")
    if path.suffix.lower() in FRAME_SUFFIXES | UNREAD and not is_movie(path):
        raise ValueError(f"{path}: a picture by its name; give the folder that frames lie in, and of an animation a "
                         "folder of its frames (magick FILE -coalesce FOLDER/%05d.png)")
    if not is_movie(path):
        raise ValueError(f"{path}: expected a folder of frames or a video file ({', '.join(sorted(VIDEO_SUFFIXES))}); "
                         "what has another name can be piped, raw RGB with its --size: sst segment - ... < FILE")
    return VideoSequence(path, mask, progress)
