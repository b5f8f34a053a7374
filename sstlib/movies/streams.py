"""Frames that come once, one after another, and nobody knows how many: piped in, or from a camera."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BufferedIOBase
from typing import Any

import numpy as np
from tqdm import tqdm

from sstlib.movies.container import (
    INTERLACED,
    Extent,
    emitted,
    ends_within_frame,
    errors,
    is_interlaced,
    moving_stream,
    naming_damage,
    pixel_aspect,
    require_opaque,
    unread_streams,
    upright,
)
from sstlib.movies.reading import Incomplete
from sstlib.shapes import UInt8

Frame = UInt8[np.ndarray, "height width 3"]
PIPEABLE = "; of MP4 and MOV the end is needed first: give the file, or pipe it by ffmpeg -i FILE -c copy -f matroska -"
CAMERA = re.compile(r"camera:(\d{1,4})")


class Stream:
    """Frames by iteration, RGB, once.

    Attributes:
        rate, aspect: frames a second, and width of a pixel by its height, as far as the first frame tells.

    Args:
        name: "-" for what is piped in, camera:N for a camera by its number.
        piped: what is read then.
        size: height and width of raw frames, 3 bytes a pixel, red first, as `ffmpeg -f rawvideo -pix_fmt rgb24` pipes
            them; None for a video that can be piped (Y4M, Matroska, MPEG-TS, Motion JPEG).
        rate: frames a second, of raw frames and cameras that do not say.

    Raises:
        ValueError: no such source, a size that goes with another one, or, by iteration, a video that is transparent.
    """

    def __init__(self, name: str, piped: BufferedIOBase | None = None, size: tuple[int, int] | None = None,
                 rate: int | float | Fraction | None = None) -> None:
        if not is_stream(name):
            raise ValueError(f"{name}: expected - for standard input, or camera:NUMBER")
        if name != "-" and size is not None:
            raise ValueError(f"a size goes with raw frames from standard input; {name} has its own")
        self.name = "standard input" if name == "-" else name
        self.aspect = Fraction(1)
        self.rate = Fraction(24 if rate is None else rate).limit_denominator(1001)
        if name != "-":
            self._frames = self._filmed(int(CAMERA.fullmatch(name)[1]), rate is None)
        elif size is not None:
            self._frames = self._raw(piped, size)
        else:
            self._frames = self._decoded(piped, rate is None)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Lets go of the camera, or of what is decoded."""
        self._frames.close()

    def _raw(self, piped: BufferedIOBase, size: tuple[int, int]) -> Iterator[Frame]:
        length, t = 3 * size[0] * size[1], 0
        while content := piped.read(length):
            if len(content) < length:
                raise ValueError(f"{self.name} ends within frame {t}, after {len(content)} of its {length} bytes; are "
                                 f"frames raw RGB of {size[1]}x{size[0]} pixels?")
            yield np.frombuffer(content, np.uint8).reshape(*size, 3).copy()  # to be drawn on
            t += 1

    def _decoded(self, piped: BufferedIOBase, asks: bool) -> Iterator[Frame]:
        import av

        source, extent = _Readable(piped), Extent()
        with (source.raising(), naming_damage(self.name, PIPEABLE),
              av.open(source, metadata_errors="ignore") as container):
            stream = moving_stream(container, self.name)
            if asks and stream.average_rate:
                self.rate = stream.average_rate
            if others := unread_streams(container, stream, self.name):
                warnings.warn(others, Incomplete, stacklevel=3)
            rate, count, damage, interlaced = stream.average_rate or self.rate, 0, False, False
            try:
                for frame in emitted(extent.measured(container, stream, 1 / rate, tqdm(disable=True)), stream):
                    require_opaque(frame, self.name)
                    self.aspect = pixel_aspect(stream, frame)
                    if not interlaced and is_interlaced(stream, frame):
                        interlaced = True
                        warnings.warn(f"{self.name} {INTERLACED}", Incomplete, stacklevel=3)
                    yield upright(frame)
                    count += 1
            except errors():
                damage = True
                if not count:
                    raise
            if source.error:
                return
            damage = damage or extent.early(container, stream, rate)
            if damage or ends_within_frame(container, extent.byte, source.length):
                warnings.warn(f"{self.name} ends before it says that it does, or within a frame; it may be cut off",
                              Incomplete, stacklevel=3)

    def _filmed(self, number: int, asks: bool) -> Iterator[Frame]:
        import cv2

        camera = cv2.VideoCapture(number)
        try:
            if not camera.isOpened():
                raise ValueError(f"{self.name} cannot be opened; is it there, and does no other program use it?")
            if asks and camera.get(cv2.CAP_PROP_FPS) >= 1:
                self.rate = Fraction(camera.get(cv2.CAP_PROP_FPS)).limit_denominator(1001)
            while True:
                grabbed, picture = camera.read()
                if not grabbed:
                    return
                yield np.ascontiguousarray(picture[..., ::-1])
        finally:
            camera.release()


class _Readable:
    """A pipe as PyAV takes it: without the means to seek, which it has by name only.

    Attributes:
        length: bytes that were read.
        error: what ended the reading, Ctrl-C among it: raised within FFmpeg, it would be printed and passed over.
    """

    def __init__(self, piped: Any) -> None:
        self.length, self.error = 0, None
        self._next = getattr(piped, "read1", piped.read)  # what is there: a frame would wait for those after it

    def read(self, size: int) -> bytes:
        """The next bytes, fewer than asked for where no more have come yet, and none at the end."""
        try:
            content = b"" if self.error else self._next(size)
        except (Exception, KeyboardInterrupt) as error:
            self.error, content = error, b""
        self.length += len(content)
        return content

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raises what ended the reading, instead of what FFmpeg makes of it."""
        try:
            yield
        except Exception:
            if not self.error:
                raise
        if self.error:
            raise self.error


def is_stream(name: str) -> bool:
    """Whether a name is that of standard input or of a camera."""
    return name == "-" or CAMERA.fullmatch(name) is not None
