"""Videos written as H.264 with the times and the sound of the one that they show; pictures side by side on a sheet."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sstlib.movies.reading import VideoSequence
from sstlib.paths import atomic_write
from sstlib.shapes import UInt8

CLOCK = 90_000  # ticks a second where frames do not come at one rate
SOUND_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)  # that AAC has


def write_video(
    path: Path | str, frames: Iterable[UInt8[np.ndarray, "height width 3"]], rate: int | float | Fraction = 24,
    source: VideoSequence | None = None,
) -> int:
    """Writes frames as H.264 in MP4, whole or not at all, and returns their number.

    Even sizes are written in the pixel format that all players know (4:2:0), odd ones in 4:4:4, so that the size stays.

    Args:
        source: a video that the frames are those of: each is shown when it is there, and its sound goes with them, in
            AAC.

    Raises:
        ValueError: no frames, or frames of different sizes.
    """
    import av

    count, size, times = 0, None, _uneven(source)
    rate = Fraction(source.rate if source else rate).limit_denominator(1001)
    with atomic_write(path) as file, av.open(file, "w", format="mp4") as container, closing(_sound(container,
                                                                                                   source)) as sound:
        for frame in frames:
            if size is None:
                size = frame.shape
                stream = container.add_stream("libx264", rate=rate)
                stream.height, stream.width = size[:2]
                stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
                stream.options = {"crf": "18"}
                if times:
                    stream.codec_context.time_base = Fraction(1, CLOCK)
                next(sound)  # declares its stream, which must be done before anything is written
            if frame.shape != size:
                raise ValueError(
                    f"{path}: frame {count} is {frame.shape[1]}x{frame.shape[0]}, the first is {size[1]}x{size[0]}"
                )
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            if times:
                picture.pts, picture.time_base = round(times[count] * CLOCK), Fraction(1, CLOCK)
            container.mux(stream.encode(picture))
            sound.send(count / rate)
            count += 1
        if size is None:
            raise ValueError(f"{path}: no frames to write")
        container.mux(stream.encode())
        sound.send(None)
    return count


def _uneven(source: VideoSequence | None) -> list[Fraction]:
    """When frames are shown, where that is not one after another at one rate."""
    times = source.times if source else []
    return times if any(abs(time * source.rate - t) > Fraction(1, 2) for t, time in enumerate(times)) else []


def _sound(container: Any, source: VideoSequence | None) -> Iterator[None]:
    """Writes the sound of a video beside its frames: sent a time, all up to it; sent None, all that is left."""
    import av

    pieces = _pieces(source) if source else iter(())
    until, first = Fraction(0), next(pieces, None)
    if first is None:
        while True:
            yield
    stream = container.add_stream("aac", rate=first[1].sample_rate, layout=first[1].layout.name)
    until = yield
    position, piece = first
    try:
        while True:
            while until is not None and position > until * piece.sample_rate:
                until = yield
            container.mux(stream.encode(piece))
            position, piece = next(pieces)
    except (StopIteration, av.error.FFmpegError) as error:
        if not isinstance(error, StopIteration):
            warnings.warn(f"{source.path}: its sound is damaged and ends early ({error})", stacklevel=3)
    while until is not None:
        until = yield
    container.mux(stream.encode())
    yield


def _pieces(source: VideoSequence) -> Iterator[tuple[int, Any]]:
    """The sound of a video from its first frame on, in pieces with their positions in samples."""
    import av

    with av.open(str(source.path), metadata_errors="ignore") as container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        rate = next((rate for rate in SOUND_RATES if rate == stream.rate), SOUND_RATES[0])
        layout = "mono" if stream.layout.nb_channels == 1 else "stereo"
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                position = round((piece.pts * piece.time_base - source.start) * rate)
                if position + piece.samples <= 0:
                    continue
                piece.pts, piece.time_base = position, Fraction(1, rate)
                yield position, piece


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
