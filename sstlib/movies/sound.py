"""The sound of a video, written beside its frames: copied where nothing of it is to be cut and the container takes it,
else cut to the sample and encoded anew.
"""

import itertools
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sstlib.movies.container import naming_damage, opened
from sstlib.movies.reading import Incomplete


class Extract(NamedTuple):
    """What of a file's sound goes with the frames, in seconds on its own clock; without end, all that is left."""

    path: Path | None
    start: Fraction
    end: Fraction | None


def beside(container: Any, extract: Extract, encoder: str, rates: tuple[int, ...]) -> Iterator[None]:
    """Writes sound into a container that frames are written into: begun, it declares its stream; sent a time in
    seconds after the first frame, it writes all up to it; sent None, all that is left.

    Args:
        container: PyAV's.
        extract: the sound; without a path there is none.
        encoder: what sound is encoded with.
        rates: that the encoder has, the first of them for sound of another.
    """
    if extract.path is None:
        return _silence()
    if _whole(extract, encoder):
        return _copied(container, extract)
    return _encoded(container, extract, encoder, rates)


def _silence() -> Iterator[None]:
    while True:
        yield


def _sound(container: Any) -> Any:
    """The first stream of sound that can be decoded, None where there is none: phones write some that cannot."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def _whole(extract: Extract, encoder: str) -> bool:
    """Whether the sound can go as it is: it is what the encoder makes, and starts with the frames or later."""
    import av

    if extract.end is not None:
        return False
    try:
        with opened(extract.path) as source:
            stream = _sound(source)
            if stream is None or stream.codec.canonical_name != av.Codec(encoder, "w").canonical_name:
                return False
            first = next(source.decode(stream), None)
    except av.FFmpegError:  # gone or damaged, of which is told where it is decoded
        return False
    return first is not None and first.pts is not None and first.pts * first.time_base >= extract.start


def _copied(container: Any, extract: Extract) -> Iterator[None]:
    with opened(extract.path) as source:
        stream = _sound(source)
        copy = container.add_stream_from_template(stream)
        until = yield
        for packet in _undamaged(extract.path, source.demux(stream)):
            if packet.dts is None:  # the end
                continue
            shift = round(extract.start / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
            while until is not None and packet.dts * packet.time_base > until:
                until = yield
            container.mux(packet)
        while until is not None:
            until = yield
    yield


def _encoded(container: Any, extract: Extract, encoder: str, rates: tuple[int, ...]) -> Iterator[None]:
    pieces = _undamaged(extract.path, _pieces(extract, rates))
    until, first = Fraction(0), next(pieces, None)
    if first is None:
        yield from _silence()
    stream = container.add_stream(encoder, rate=first.sample_rate, layout=first.layout.name)
    until = yield
    for piece in itertools.chain([first], pieces):
        while until is not None and piece.pts > until * piece.sample_rate:
            until = yield
        container.mux(stream.encode(piece))
    while until is not None:
        until = yield
    container.mux(stream.encode())
    yield


def _undamaged(path: Path, parts: Iterator[Any]) -> Iterator[Any]:
    """Parts of sound up to where it is damaged, which is warned of.

    Raises:
        FileNotFoundError, PermissionError: the file is there no more.
    """
    try:
        with naming_damage(path):
            yield from parts
    except ValueError as error:
        warnings.warn(f"the sound ends early: {error}", Incomplete, stacklevel=4)


def _pieces(extract: Extract, rates: tuple[int, ...]) -> Iterator[Any]:
    """The sound that goes with the frames, in pieces cut to the sample, their times counted in samples."""
    import av

    with opened(extract.path) as container:
        stream = _sound(container)
        if stream is None:
            if container.streams.audio:
                warnings.warn(f"{extract.path}: its sound is of a kind that cannot be decoded, and left out",
                              Incomplete, stacklevel=5)
            return
        rate = next((rate for rate in rates if rate == stream.rate), rates[0])
        last = None if extract.end is None else round((extract.end - extract.start) * rate)
        layout = "mono" if stream.layout.nb_channels == 1 else "stereo"
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                position = round((piece.pts * piece.time_base - extract.start) * rate)
                if last is not None and position >= last:
                    return
                before = max(0, -position)
                after = piece.samples if last is None else min(piece.samples, last - position)
                if before >= after:
                    continue
                cut = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.to_ndarray()[:, before:after]), "fltp",
                                                 layout)
                cut.sample_rate, cut.pts, cut.time_base = rate, position + before, Fraction(1, rate)
                yield cut
