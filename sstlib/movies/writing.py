"""Videos written frame by frame, with the times and the sound of the one that they show; pictures side by side on a
sheet.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from sstlib.config.values import Whole
from sstlib.movies import sound
from sstlib.movies.reading import VideoSequence
from sstlib.paths import atomic_write, naming_place
from sstlib.shapes import Shaped, UInt8

CLOCK = 90_000  # ticks a second where frames do not come at one rate
SOUND_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)  # that AAC has
# Pixels of width below which x265's table of what frames inherit (cutree) is overrun: its vector code writes whole
# vectors, and the process ends with "free(): invalid pointer" when the file is closed (x265 4.2, AVX2)
NARROW = 64
BT601 = 6  # the matrix by which colors are turned into brightness and two differences; said in the file


class Codec(NamedTuple):
    """How a video is encoded.

    Attributes:
        pixels: formats for even sizes, for odd ones, and with alpha; "" where there is none.
        crf: quality, from the best to the worst, and what is taken; empty: there is one quality.
        sound: how its sound is encoded, and the rates that this takes.
    """

    encoder: str
    container: str
    suffix: str
    pixels: tuple[str, str, str]
    crf: tuple[int, int, int] | tuple[()]
    sound: str
    sound_rates: tuple[int, ...]
    options: dict[str, str]


CODECS = {
    # By the code that all processors have: that for AVX-512 reads memory that nothing was written to, and files differ
    "h264": Codec("libx264", "mp4", ".mp4", ("yuv420p", "yuv444p", ""), (0, 51, 18), "aac", SOUND_RATES,
                  {"x264-params": "cpu-independent=1"}),
    "hevc": Codec("libx265", "mp4", ".mp4", ("yuv420p", "yuv444p", ""), (0, 51, 20), "aac", SOUND_RATES,
                  {"x265-params": "log-level=error"}),
    "vp9": Codec("libvpx-vp9", "webm", ".webm", ("yuv420p", "yuv420p", "yuva420p"), (0, 63, 24), "libopus", (48_000,),
                 {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"}),
    "prores": Codec("prores_ks", "mov", ".mov", ("yuv444p10le", "yuv444p10le", "yuva444p10le"), (), "pcm_s16le",
                    (48_000, 44_100), {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}),
}


class Timing(NamedTuple):
    """When the frames of a video are shown, and which sound goes with them.

    Attributes:
        rate: frames a second, on average.
        times: of each frame in seconds after the first; empty: one after another at the rate.
        sound: the file that it is taken from.
        start, end: what of it, in seconds on that file's own clock; without end, all that is left.
        aspect: width of a pixel by its height.
    """

    rate: Fraction = Fraction(24)
    times: tuple[Fraction, ...] = ()
    sound: Path | None = None
    start: Fraction = Fraction(0)
    end: Fraction | None = None
    aspect: Fraction = Fraction(1)

    @classmethod
    def of(cls, source: VideoSequence, frames: range | None = None) -> "Timing":
        """Of a video file's frames: of all, or of some by number, which are shown as long as those left out between."""
        frames = range(len(source)) if frames is None else frames
        first, rate = source.times[frames[0]], source.rate / abs(frames.step)
        times = tuple(abs(source.times[t] - first) for t in frames)
        uneven = any(abs(time * rate - t) > Fraction(1, 2) for t, time in enumerate(times))
        end = None if frames[-1] + frames.step >= len(source) else source.start + first + times[-1] + 1 / rate
        return cls(rate, times if uneven else (), source.path, source.start + first, end, source.aspect)


class VideoWriter:
    """A video file that is written frame by frame: there and whole when closed, absent when discarded. Equal frames
    give equal files, to the byte.

    Even sizes are written in the pixel format that all players know (4:2:0), odd ones so that the size stays.

    Args:
        path: where to.
        timing: when frames are shown, and the sound that goes with them.
        codec: of `CODECS`.
        crf: quality, 0 the best; None for what the codec is given else.
        alpha: frames are RGBA.

    Raises:
        ValueError: an unknown codec, or one that has no such quality or no alpha.
    """

    def __init__(self, path: Path | str, timing: Timing, codec: str = "h264", crf: int | None = None,
                 alpha: bool = False) -> None:
        import av

        self.path, self.count, self._timing, self._alpha = Path(path), 0, timing, alpha
        self._codec, self._crf = checked_codec(codec, crf, alpha)
        self._size: tuple[int, ...] | None = None
        self._rate = timing.rate.limit_denominator(1001)
        with ExitStack() as stack:
            self._file = _Disk(stack.enter_context(atomic_write(path)))
            stack.push(self._file.ended)
            exactly = {"fflags": "+bitexact"}  # without random identifiers
            self._container = stack.enter_context(av.open(self._file, "w", self._codec.container, options=exactly))
            self._sound = stack.enter_context(closing(sound.beside(
                self._container, sound.Extract(timing.sound, timing.start, timing.end), self._codec.sound,
                self._codec.sound_rates)))
            self._stack = stack.pop_all()

    def write(self, picture: Shaped[np.ndarray, "height width channel"]) -> None:
        """The next frame, uint8.

        Raises:
            ValueError: it is of another size than the first.
        """
        import av

        if self._size is None:
            self._begin(picture.shape)
        if picture.shape != self._size:
            raise ValueError(f"{self.path}: frame {self.count} is {picture.shape[1]}x{picture.shape[0]}, the first is "
                             f"{self._size[1]}x{self._size[0]}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgba" if self._alpha else "rgb24")
        if self._timing.times:
            frame.pts, frame.time_base = round(self._timing.times[self.count] * CLOCK), Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(frame))
        self._sound.send(self.count / self._rate)
        with naming_place(self.path):
            self._file.require_written()
        self.count += 1

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._size, codec = shape, self._codec
        stream = self._stream = self._container.add_stream(codec.encoder, rate=self._rate)
        stream.height, stream.width = shape[:2]
        stream.pix_fmt = codec.pixels[2 if self._alpha else shape[0] % 2 or shape[1] % 2]
        stream.options = codec.options | ({} if self._crf is None else {"crf": str(self._crf)})
        if codec.encoder == "libx265" and shape[1] < NARROW:
            stream.options |= {"x265-params": codec.options["x265-params"] + ":cutree=0"}
        stream.codec_context.colorspace = BT601
        stream.codec_context.sample_aspect_ratio = self._timing.aspect
        # With several, what is written depends on how many cores there are, and of ProRes one file in some sixty held
        # blocks of alpha where there was no object
        stream.codec_context.thread_count = 1
        if codec.encoder == "libx265":
            stream.codec_context.codec_tag = "hvc1"  # without which QuickTime shows nothing
        if self._timing.times:
            stream.codec_context.time_base = Fraction(1, CLOCK)
        next(self._sound)  # declares its stream, which must be done before anything is written

    def close(self) -> None:
        """Ends the file, which is there from now on.

        Raises:
            ValueError: there were no frames.
        """
        if self._size is None:
            raise ValueError(f"{self.path}: no frames to write")
        self._container.mux(self._stream.encode())
        self._sound.send(None)
        self._stack.close()

    def discard(self) -> None:
        """Leaves nothing."""
        error = Discarded()
        with suppress(Discarded, OSError, ValueError):
            self._stack.__exit__(Discarded, error, None)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()  # closed before, it stays as it is


class _Disk:
    """A file as FFmpeg writes it. What the system refuses is kept and raised later: raised within FFmpeg, an error
    comes out as another one, or on standard error, and files stay open.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._error = file, None

    def write(self, content: bytes) -> int:
        return self._tried(self._file.write, content) or len(content)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._tried(self._file.seek, place, whence) or place

    def tell(self) -> int:
        return self._tried(self._file.tell) or 0

    def _tried(self, action: Callable[..., int], *values: Any) -> int | None:
        try:
            return None if self._error else action(*values)
        except OSError as error:
            self._error = error
            return None

    def require_written(self) -> None:
        """Raises the error that kept something from being written."""
        if self._error:
            raise self._error

    def ended(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        """The container is closed; an error of its own comes before."""
        if kind is None:
            self.require_written()


class Discarded(Exception):
    """What ends the writing of a file that shall not be."""


def checked_codec(name: str, crf: int | None, alpha: bool = False) -> tuple[Codec, int | None]:
    """A codec, and the quality that it is given.

    Raises:
        ValueError: an unknown codec, or one that has no such quality or no alpha.
    """
    if name not in CODECS:
        raise ValueError(f"codec is {name!r}; expected one of {', '.join(CODECS)}")
    codec = CODECS[name]
    if alpha and not codec.pixels[2]:
        raise ValueError(f"{name} has no alpha; take vp9 or prores")
    if not codec.crf:
        if crf is not None:
            raise ValueError(f"crf is {crf}; {name} has one quality: leave crf out")
        return codec, None
    best, worst, usual = codec.crf
    return codec, usual if crf is None else Whole(best, worst).check(crf, f"crf of {name}")


def write_video(
    path: Path | str, frames: Iterable[UInt8[np.ndarray, "height width 3"]], rate: int | float | Fraction = 24,
    source: VideoSequence | None = None, codec: str = "h264", crf: int | None = None,
) -> int:
    """Writes frames as a video, whole or not at all, and returns their number.

    Args:
        source: a video that the frames are those of: each is shown when it is there, and its sound goes with them.
        codec, crf: as of `VideoWriter`.

    Raises:
        ValueError: no frames, or frames of different sizes.
    """
    with VideoWriter(path, Timing.of(source) if source else Timing(Fraction(rate)), codec, crf) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.count


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
