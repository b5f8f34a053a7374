"""Video files in FFmpeg's hands: how they are opened, how long they say they are, how much of them is there, and how
their frames are shown. PyAV is imported only when one is opened.
"""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sstlib.shapes import UInt8
from sstlib.video.pictures import stand_in

LISTS = frozenset({"concat", "dash", "hls", "imf"})  # what FFmpeg calls files that hold names of others
SIGNS = {"gif": b";", "apng": b"IEND\xae\x42\x60\x82"}  # that close files of a kind
NAMES = "is no video by its content, but names other files; give one of these"
HIGH_RANGE = {16, 18}  # PQ and HLG among the transfer characteristics of ITU-T H.273: phones film so
INTERLACED = ("is marked as interlaced: a frame then holds two moments, and what moves has combed edges, in masks too; "
              "unless it looks well, deinterlace it first (ffmpeg -i FILE -vf bwdif NEW)")
SCANNED = {"apng", "png"}  # whose decoders call interlaced what is stored in another order of rows
TRANSPARENT = "the video has transparency, and what shows through it is not known; save it opaque"


def opened(path: Path | str) -> Any:
    """A file in FFmpeg's hands, by its whole path: of 12:30.mp4 alone it takes 12 for a protocol, and of concat:a|b
    other files.
    """
    import av

    return av.open(str(Path(path).absolute()), metadata_errors="ignore")


def moving_stream(container: Any, name: Path | str) -> Any:
    """The video stream that players show of an open file, as FFmpeg ranks them: neither a cover nor a thumbnail of one
    frame, wherever these stand.

    Raises:
        ValueError: there is none, none that can be decoded, or it is transparent; or what it is of are other files.
    """
    import av

    if LISTS.intersection(container.format.name.split(",")):
        raise ValueError(f"{name}: {NAMES}")
    streams = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise ValueError(f"{name}: has no video stream")
    decoded = [one for one in streams if one.codec_context is not None]
    if not decoded:
        raise ValueError(f"{name}: not a video that can be decoded, or damaged (its kind is unknown)")
    best = container.streams.best("video")
    stream = next((one for one in decoded if best is not None and one.index == best.index), decoded[0])
    if stream.metadata.get("alpha_mode") == "1":  # VP8 and VP9, whose decoders leave it out
        raise ValueError(f"{name}: {TRANSPARENT}")
    return stream


def unread_streams(container: Any, stream: Any, name: Path | str) -> str:
    """What is to be said of a file with other video streams than the one that is read, "" where there are none."""
    import av

    others = [one for one in container.streams.video if one.index != stream.index and one.codec_context is not None
              and not one.disposition & av.stream.Disposition.attached_pic]
    if not others:
        return ""
    listed = ", ".join(f"{one.index} ({one.width}x{one.height})" for one in others)
    return (f"{name}: holds {len(others) + 1} videos, of which the one that players show is read, stream "
            f"{stream.index} ({stream.width}x{stream.height}), and not {listed}; for another give a file of it alone "
            f"(ffmpeg -i FILE -map 0:{others[0].index} -c copy NEW)")


@dataclass
class Extent:
    """How much of a file was read: packets of its frames, the second at which the last of all that is in it ends,
    sound too, and the byte after it.
    """

    packets: int = 0
    end: Fraction = Fraction(0)
    byte: int = 0

    def measured(self, container: Any, stream: Any, each: Fraction, bar: Any) -> Iterator[Any]:
        """The packets of a stream, while all are measured; `each` is how long what does not say so lasts."""
        for packet in container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None and packet.time_base:
                self.end = max(self.end, time * packet.time_base + ((packet.duration or 0) * packet.time_base or each))
            self.byte = max(self.byte, (packet.pos or 0) + packet.size)
            if packet.stream.index == stream.index:
                self.packets += packet.size > 0
                bar.update(packet.size > 0)
                yield packet

    def ends_before(self, until: Fraction, each: Fraction) -> bool:
        """Whether what was read ends early: by a frame, or by more where that is less than headers are exact."""
        return until - self.end > max(each * 3 / 4, until / 100)

    def early(self, container: Any, stream: Any, rate: Fraction) -> bool:
        """Whether what was read to its end is less than the header tells of."""
        if stream.frames:
            return self.packets < 0.98 * stream.frames - 1
        return self.ends_before(ends_at(container, stream), 1 / rate)


def declared_frames(container: Any, stream: Any, rate: Fraction) -> int:
    """How many frames a file's header tells of: some containers (AVI, MKV) can be read up to where they were cut
    off.
    """
    start = Fraction(max(0, container.start_time or 0), 1_000_000)
    return stream.frames or max(0, round((ends_at(container, stream) - start) * rate))


def ends_at(container: Any, stream: Any) -> Fraction:
    """The second on its own clock at which a file's header says that it ends, 0 where it says nothing."""
    start = max(0, container.start_time or 0) if stream.duration is not None else 0
    return Fraction((container.duration or -start) + start, 1_000_000)


def ends_within_frame(container: Any, byte: int, length: int) -> bool:
    """Whether frames before a byte are all that a Y4M of so many bytes has whole: FFmpeg passes over what follows."""
    return container.format.name == "yuv4mpegpipe" and byte < length


def has_end(container: Any, path: Path, byte: int) -> bool:
    """Whether a file of which everything before a byte was read ends as its kind does, where FFmpeg does not ask: a GIF
    or APNG with its own sign, a Y4M with its last frame.
    """
    if ends_within_frame(container, byte, path.stat().st_size):
        return False
    sign = SIGNS.get(container.format.name)
    return sign is None or path.read_bytes().rstrip(b"\0").endswith(sign)


def emitted(packets: Iterator[Any], stream: Any) -> Iterator[Any]:
    """All frames that the decoder emits. Before the first, packets that need what was cut away are passed over.

    Raises:
        FFmpegError: damage, after all frames before it.
    """
    import av

    started, damaging = False, errors()  # looked up before: a generator may be closed when the interpreter ends
    spoilt: list[Any] = []  # a packet of which not all is there: the file may end within it
    try:
        for packet in packets:
            if not packet.size and packet.pts is not None:  # AVI: the same picture for longer
                continue
            due, spoilt = [*spoilt, packet] if packet.size else [packet], []
            if packet.is_corrupt:
                spoilt.append(due.pop())
            for one in due:
                try:
                    frames = one.decode()
                except av.error.InvalidDataError:
                    if started:
                        raise
                    continue
                for frame in frames:
                    started = True
                    yield frame
    except damaging:
        if started:
            yield from stream.decode(None)
        raise


def upright(frame: Any) -> UInt8[np.ndarray, "height width 3"]:
    """A decoded frame in RGB, in the colors of an ordinary screen, turned and mirrored as its file says."""
    picture = (_in_standard_range(frame) if frame.color_trc in HIGH_RANGE else frame).to_ndarray(format="rgb24")
    lying, across, down = _placed(frame)
    picture = picture.swapaxes(0, 1) if lying else picture
    return np.ascontiguousarray(picture[::-1 if down < 0 else 1, ::-1 if across < 0 else 1])


def _in_standard_range(frame: Any) -> Any:
    """A frame of high dynamic range in sRGB, as players show it on an ordinary screen: the white of a sheet of paper
    (203 candela a square meter, ITU-R BT.2408) becomes white, and so does all that is brighter.
    """
    with _converting:
        graph = _to_standard_range(frame.width, frame.height, frame.format.name, int(frame.colorspace),
                                   int(frame.color_range))
        graph.push(frame)
        return graph.pull()


_converting = threading.Lock()  # a graph takes one frame after another


@functools.lru_cache(maxsize=2)  # its table of colors takes a second or two to make
def _to_standard_range(width: int, height: int, pixels: str, colorspace: int, color_range: int) -> Any:
    import av

    graph = av.filter.Graph()
    nodes = [graph.add("buffer", f"video_size={width}x{height}:pix_fmt={pixels}:time_base=1/1000:"
                                 f"colorspace={colorspace}:range={color_range}"),
             graph.add("sidedata", "mode=delete"),  # HDR10+ tells of each frame's lights, for tables of its own
             graph.add("scale", "out_primaries=bt709:out_transfer=srgb"), graph.add("format", "pix_fmts=rgb24"),
             graph.add("buffersink")]
    for one, following in zip(nodes, nodes[1:]):
        one.link_to(following)
    graph.configure()
    return graph


def _placed(frame: Any) -> tuple[bool, int, int]:
    """Whether a frame is shown with rows for columns, and signs of the directions in which it then goes."""
    placed = frame.side_data.get("DISPLAYMATRIX")
    if placed is None:
        return False, 1, 1
    # A pixel (x, y) is shown at (a x + c y, b x + d y)
    a, b, _, c, d = np.frombuffer(placed, np.int32)[:5].tolist()
    lying = abs(b) + abs(c) > abs(a) + abs(d)
    return lying, *((c, b) if lying else (a, d))


def pixel_aspect(stream: Any, frame: Any) -> Fraction:
    """Width of a pixel by its height as players show an upright frame: not 1 of DVD, DV and some cameras."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return 1 / aspect if _placed(frame)[0] else aspect


def is_interlaced(stream: Any, frame: Any) -> bool:
    """Whether a decoded frame is marked as holding two moments, in every second row each."""
    return bool(frame.interlaced_frame) and stream.codec_context.name not in SCANNED


def require_opaque(frame: Any, name: Path | str) -> None:
    """Raises a ValueError where a decoded frame has transparent pixels."""
    if not (frame.format.has_palette or any(component.is_alpha for component in frame.format.components)):
        return
    if frame.to_ndarray(format="rgba")[..., 3].min() < 255:
        raise ValueError(f"{name}: {TRANSPARENT}")


def errors() -> tuple[type[Exception], ...]:
    import av

    return av.error.FFmpegError, IndexError


@contextmanager
def naming_damage(path: Path | str, advice: str = "") -> Iterator[None]:
    """Turns FFmpeg's errors into one that names the file, and ends with advice.

    Raises:
        FileNotFoundError, PermissionError: instead of what FFmpeg raises, the file is there no more, or not to be read.
        ValueError: it is damaged.
    """
    try:
        yield
    except errors() as error:
        # What is not there, or not to be read, is another one; a pipe has no name
        if isinstance(error, FileNotFoundError | PermissionError) and (error.filename == "<none>"
                                                                       or os.access(path, os.R_OK)):
            raise ValueError(f"{path}: {NAMES}") from None
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{path}: there is no such file any more; was it moved or removed?") from None
        if isinstance(error, PermissionError):
            raise PermissionError(f"{path}: the file may not be read") from None
        absent = stand_in(Path(path)) if os.path.isfile(path) else ""
        raise ValueError(f"{path}: {absent or f'not a video, or damaged ({error})'}{advice}") from None
