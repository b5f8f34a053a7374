"""A clip with masks over it as a short animation: what stills of an occlusion leave out is when an object is lost."""

import base64
import html
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont, features
from tqdm import tqdm

from sstlib.plots.curves import outlined
from sstlib.plots.style import ACCENT, FAINT, INK, SIGNAL
from sstlib.shapes import Shaped, UInt8

ACROSS = 720  # pixels of a page, over which the pictures of a row are spread
LINE, GAP, BAR = 17, 6, 5  # pixels: a line of text, between pictures, the strip that says how far it is
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
             notes: Mapping[str, Sequence[str]] | None = None, stride: int = 1, rate: float = DAVIS / 3,
             limit: int = 150_000, progress: bool = False) -> Animation:
    """What `side_by_side` shows of some frames, of all: a picture a method, with its name, and a strip that says how
    far the clip is. By default at a third of DAVIS's rate.

    Args:
        rows: A clip and its labels by method; clips of one size and length, such as one with an occlusion and without.
        notes: A line under each picture, by method and frame; signal-colored where it begins with "lost".
        stride: Of every so many frames one is shown, the first among them; the rest is as fast as with all.
        rate: Frames of the clip a second.
        limit: Bytes that the file may have at most; quality gives way first, then size.
        progress: Whether bars say how far it is.

    Raises:
        ValueError: clips, masks and notes are not of the same frames, the limit cannot be kept, or the installed
            Pillow writes no AVIF.
    """
    notes = notes or {}
    shape = next(iter(rows.values()))[0].shape
    for name, (frames, labels) in rows.items():
        if frames.shape != shape or labels.shape != shape[:3] or len(notes.get(name, frames)) != len(frames):
            lines = f" and {len(notes[name])} notes" if name in notes else ""
            raise ValueError(f"{name}: frames of shape {frames.shape} with labels of shape {labels.shape}{lines}; "
                             f"{shape[0]} frames of {shape[1]} x {shape[2]} are expected, as of the first, and one of "
                             "each for each frame")
    pages = [_page({name: outlined(frames[t], labels[t]) for name, (frames, labels) in rows.items()},
                   {name: lines[t] for name, lines in notes.items()}, t, shape[0])
             for t in tqdm(range(0, shape[0], stride), unit="frame", ascii=True, disable=not progress)]
    description = (f"Animation of {len(pages)} frames, for each the masks of {', '.join(rows)} over the picture, "
                   "tinted and outlined.")
    avif, size = _within(pages, rate / stride, limit, description, progress)
    return Animation(avif, description, size)


def _page(pictures: Mapping[str, np.ndarray], notes: Mapping[str, str], t: int, count: int) -> Image.Image:
    """All pictures of one moment, in rows of three or four, names above and notes beneath."""
    columns = min(len(pictures), 4 if len(pictures) % 3 == 1 else 3)
    height, width = next(iter(pictures.values())).shape[:2]
    across = min((ACROSS - GAP * (columns - 1)) // columns, 4 * width)
    down, text = round(across * height / width), LINE * (2 if notes else 1)
    lines = math.ceil(len(pictures) / columns)
    page = Image.new("RGB", (columns * (across + GAP) - GAP, lines * (down + text + GAP) + LINE + BAR), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans")), 12)
    for number, (name, picture) in enumerate(pictures.items()):
        left, top = number % columns * (across + GAP), number // columns * (down + text + GAP)
        pen.text((left, top + 1), name, INK, font)
        page.paste(Image.fromarray(picture).resize((across, down), Image.Resampling.BICUBIC), (left, top + LINE))
        if name in notes:
            color = SIGNAL if notes[name].startswith("lost") else INK
            pen.text((left, top + LINE + down + 1), notes[name], color, font)
    pen.text((0, page.height - LINE - BAR), f"frame {t} of {count - 1}", INK, font)
    pen.rectangle((0, page.height - BAR, page.width, page.height), FAINT)
    pen.rectangle((0, page.height - BAR, page.width * t // max(count - 1, 1), page.height), ACCENT)
    return page


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
