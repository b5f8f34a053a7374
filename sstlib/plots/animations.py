"""A clip with masks over it as a short animation: what stills of an occlusion leave out is when an object is lost."""

import base64
import html
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, features
from tqdm import tqdm

from sstlib.plots.style import ACCENT, DPI, FAINT, figure, pictures, rendered, styled
from sstlib.shapes import Shaped, UInt8
from sstlib.video import overlay

ACROSS = 6.55  # inches of a page, 720 pixels
DAVIS = 24.0  # frames a second of its videos; generated clips move as these do
SCALES = (1.0, 0.8, 0.64, 0.512, 0.4096)  # of the size, where the file has to be small
# AVIF predicts a frame from the last one, and has a quarter of a WebP's bytes; browsers show it since 2023
QUALITIES, SPEED = (40, 30), 8  # of its encoder: a tenth of the time of speed 6, for as many bytes


@dataclass(frozen=True)
class Animation:
    """An AVIF that shows itself in a notebook and in the report, in a fold that closes where movement disturbs."""

    avif: bytes = field(repr=False)
    description: str
    size: tuple[int, int]  # width and height in pixels

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.avif).decode()
        width, height = self.size
        # It scrolls where a page is narrow: shrunk, its words could not be read
        return (f'<details open><summary>As an animation</summary><div style="overflow-x:auto"><img '
                f'alt="{html.escape(self.description)}" width="{width}" height="{height}" style="max-width:none" '
                f'src="data:image/avif;base64,{source}"></div></details>')


def animated(rows: Mapping[str, tuple[UInt8[np.ndarray, "time height width 3"], Shaped[np.ndarray, "..."]]],
             stride: int = 1, limit: int = 150_000, progress: bool = False) -> Animation:
    """What `side_by_side` shows of some frames, of all: a picture a method, with its name, and a strip that says how
    far the clip is, at a third of DAVIS's rate.

    Args:
        rows: A clip and its labels by method; clips of one size and length, such as one with an occlusion and without.
        stride: Of every so many frames one is shown, the first among them; the rest is as fast as with all.
        limit: Bytes that the file may have at most; quality gives way first, then size.
        progress: Whether bars say how far it is.

    Raises:
        ValueError: clips and masks are not of the same frames, the limit cannot be kept, or the installed Pillow
            writes no AVIF.
    """
    shape = next(iter(rows.values()))[0].shape
    for name, (frames, labels) in rows.items():
        if frames.shape != shape or labels.shape != shape[:3]:
            raise ValueError(f"{name}: frames of shape {frames.shape} with labels of shape {labels.shape}; {shape[0]} "
                             f"frames of {shape[1]} x {shape[2]} are expected, as of the first, and labels of each")
    drawing = page(rows)
    pages = [_turned(drawing, rows, t)
             for t in tqdm(range(0, shape[0], stride), unit="frame", ascii=True, disable=not progress)]
    description = (f"Animation of {len(pages)} frames, for each the masks of {', '.join(rows)} over the picture, "
                   "tinted and outlined.")
    avif, size = _within(pages, DAVIS / 3 / stride, limit, description, progress)
    return Animation(avif, description, size)


@styled
def page(rows: Mapping[str, tuple[UInt8[np.ndarray, "time height width 3"], Shaped[np.ndarray, "..."]]]) -> Figure:
    """What stays while the frames change: a picture a method under its name, and a strip along the lower edge."""
    height, width = next(iter(rows.values()))[0].shape[1:3]
    across = min(ACROSS, 4 * len(rows) * width / DPI)
    drawing = figure(0.5 + across / len(rows) * height / width, across)
    pictures(drawing, {"": [frames[0] for frames, _ in rows.values()]}, list(rows), interpolation="antialiased")
    drawing.axes[0].set_xlabel("frame 0", loc="left")
    drawing.get_layout_engine().set(rect=(0, 0.05, 1, 0.95))
    for width, color in ((1, FAINT), (0, ACCENT)):
        drawing.add_artist(Rectangle((0, 0), width, 0.04, color=color))
    return drawing


def _turned(drawing: Figure, rows: Mapping[str, tuple[np.ndarray, np.ndarray]], t: int) -> Image.Image:
    """The page at a moment."""
    for axes, (frames, labels) in zip(drawing.axes, rows.values()):
        axes.images[0].set_data(overlay(frames[t], labels[t], white=True))
    last = len(frames) - 1
    drawing.axes[0].set_xlabel(f"frame {t} of {last}", loc="left")
    drawing.artists[-1].set_width(t / max(last, 1))
    return rendered(drawing)


def _within(pages: Sequence[Image.Image], rate: float, limit: int, description: str,
            progress: bool) -> tuple[bytes, tuple[int, int]]:
    """The animation as a file that keeps the limit, at the best quality and then size that do."""
    if not features.check("avif"):
        raise ValueError("this Pillow was built without AVIF, of which animations are; its wheels from 11.3 have it: "
                         "pip install --force-reinstall --only-binary :all: pillow")
    exif = Image.Exif()
    exif[0x010E] = description  # ImageDescription
    pauses = [round(1000 / rate)] * (len(pages) - 1) + [1500]  # it ends visibly before it begins again
    for scale, quality in tqdm([*itertools.product(SCALES, QUALITIES)], desc="encoding, smaller and smaller",
                               unit="try", ascii=True, disable=not progress):
        size = round(scale * pages[0].width), round(scale * pages[0].height)
        scaled = pages if scale == 1 else [page.resize(size, Image.Resampling.LANCZOS) for page in pages]
        file = io.BytesIO()
        scaled[0].save(file, "AVIF", save_all=True, append_images=scaled[1:], duration=pauses, quality=quality,
                       speed=SPEED, max_threads=1, exif=exif)
        if file.tell() <= limit:
            return _timeless(file.getvalue()), size
    raise ValueError(f"{len(pages)} frames of {pages[0].width} x {pages[0].height} do not fit into {limit:,} bytes; "
                     "show fewer frames or methods, or raise the limit")


def _timeless(avif: bytes) -> bytes:
    """The file without the times of its making, so that equal animations are equal files: creation and modification
    stand after version and flags in three headers, in 8 bytes each since version 1.
    """
    content = bytearray(avif)
    for header in (b"mvhd", b"tkhd", b"mdhd"):
        begin = content.index(header) + 8
        width = 16 if content[begin - 4] else 8
        content[begin:begin + width] = bytes(width)
    return bytes(content)
