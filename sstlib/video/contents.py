"""What the images that people save as masks hold: indices, levels, colors, transparency, or the samples of a
picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sstlib.metrics.counts import present
from sstlib.shapes import Bool, Shaped, UInt8
from sstlib.video import png
from sstlib.video.pictures import load_picture, naming_damage, require_file

VOID = 255
MOST_COLORS = 16  # of a mask; a picture has thousands
LEAST_LEVEL = 32  # of gray levels that stand for shades; ids count from 1
FEW_BETWEEN = 3  # levels between darkest and brightest that ids may have whatever their shapes
MANY_BETWEEN = 40  # more of them that fill no area are samples even where they cover most of the image
SPREAD = 32  # levels that samples span; ids are close to each other
LOSSY = frozenset({"JPEG", "MPO", "AVIF", "JPEG2000"})  # formats, of which some files are
COLOR_MODES = frozenset({"RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"})
THRESHOLD = "sst segment --threshold 128 takes what is at least so bright for the one object"
ADVICE = f"save it without soft edges as PNG, by nearest neighbor where it is resized; {THRESHOLD}"


class Content(NamedTuple):
    """What one image holds: `values` are indices, levels or codes 0xRRGGBB, 0 where it is transparent; `shown` are
    the indices of a palette of its own that occur, but for 0, each with its color.
    """

    kind: str  # "index", "bit", "gray", "color", "alpha" or "samples"
    values: Shaped[np.ndarray, "height width"]
    mode: str
    shown: frozenset[tuple[int, int]] = frozenset()

    @property
    def color(self) -> bool:
        """Whether it is a color image, be all its colors gray."""
        return self.kind != "alpha" and self.mode in COLOR_MODES

    @property
    def white(self) -> int | None:
        """The index that alone is shown, in white: one of several objects, or white on black."""
        (index, code), *others = [*self.shown] or [(0, 0)]
        return index if code == 0xFFFFFF and not others else None

    @property
    def codes(self) -> Shaped[np.ndarray, "height width"]:
        """The colors as 0xRRGGBB."""
        return self.values.astype(np.int32) * 0x010101 if self.kind == "gray" else self.values


def refuse_samples(path: Path, content: Content) -> None:
    """Refuses soft edges and other shades: levels that fill no area, as between the colors of a picture, never ids.

    Raises:
        ValueError: samples, or gray levels that may be read in two ways.
    """
    if content.kind == "samples" or (content.kind == "color" and _has_soft_colors(content.values)):
        _refuse(path, len(np.unique(content.values)) - 1, "color" if content.kind == "color" else "level")
    if content.kind != "gray":
        return
    levels = [level for level in present(content.values) if level]
    if _has_soft_levels(content.values, levels[:-1]):
        _refuse(path, len(levels), "level")
    if len(levels) > 1 and levels[-1] == VOID and levels[0] >= LEAST_LEVEL:
        raise ValueError(f"{path}: mask has gray levels {', '.join(map(str, levels))}, and 255 may be void or an "
                         f"object among them; number the objects 1, 2, ..., or save it with a palette; {THRESHOLD}")


def _refuse(path: Path, count: int, noun: str) -> None:
    raise ValueError(f"{path}: mask holds the samples of a picture ({count} {noun}{'s' * (count > 1)} beside black), "
                     f"not ids; {ADVICE}")


def _has_soft_levels(values: UInt8[np.ndarray, "height width"], between: list[int]) -> bool:
    """Whether the levels between a gray image's darkest and its brightest are edges and ringing."""
    if len(between) < FEW_BETWEEN or between[-1] - between[0] < SPREAD:
        return False
    counts = np.bincount(values.ravel(), minlength=256)
    solid = np.bincount(values[_solid(values)], minlength=256)
    thin = sum(2 * solid[level] < counts[level] for level in between)
    return bool(2 * thin > len(between) and (counts[between].sum() < values.size / 3 or len(between) > MANY_BETWEEN))


def _has_soft_colors(codes: Shaped[np.ndarray, "height width"]) -> bool:
    """Whether a color image has colors that fill no area, of which DAVIS's palette knows nothing."""
    colors, counts = np.unique(codes, return_counts=True)
    if len(colors) < 3 or set(colors.tolist()) <= PALETTE_IDS.keys():
        return False
    if len(colors) > MOST_COLORS + 1:
        return True
    solid = _solid(codes)
    return any(2 * np.count_nonzero(solid & (codes == color)) < count for color, count in zip(colors, counts) if color)


def _solid(values: Shaped[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels in any block of 2 x 2 of one value."""
    same = values[1:, 1:] == values[:-1, 1:]
    same &= (values[1:, 1:] == values[1:, :-1]) & (values[1:, 1:] == values[:-1, :-1])
    solid = np.zeros(values.shape, bool)
    for rows in (slice(1, None), slice(None, -1)):
        for columns in (slice(1, None), slice(None, -1)):
            solid[rows, columns] |= same
    return solid


def content_of(path: Path) -> Content:
    """The content of an image: directly from the commonest kinds of PNG, else through Pillow.

    Raises:
        ValueError: it is damaged, or can be read in two ways.
    """
    require_file(path)
    try:
        direct = png.decode(path.read_bytes()) if path.suffix.lower() == ".png" else None
    except OSError:
        direct = None  # and Pillow's reader says what is wrong
    if direct is not None:
        values, mode = direct
        return Content({"P": "index", "1": "bit", "L": "gray"}[mode], values, mode)
    image = load_picture(path)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep(path, np.array(image), image.mode)
    with naming_damage(path):
        content = _decoded(image)
    if content is None:
        raise ValueError(f"{path}: mask of mode {image.mode} can be read in two ways; its background must be black or "
                         "transparent, "
                         "and its indices ids. Save it as palette PNG in DAVIS's colors, or gray by id")
    if not content.values.any() and png.lower_bytes_alone(path.read_bytes()):
        raise ValueError(f"{path}: mask has 16 bits a sample, of which the upper 8 are read, and these are 0 all over; "
                         "save it with 8 bits a sample, or gray by id")
    if _may_be_lossy(image, path) and len(np.unique(content.values)) > 2:
        return content._replace(kind="samples")
    return content


def _may_be_lossy(image: Image.Image, path: Path) -> bool:
    """Whether the values of a file need not be those that were saved; of AVIF and JPEG 2000 nobody knows."""
    if image.format == "TIFF":
        return image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    return image.format in LOSSY or image.format == "WEBP" and b"VP8L" not in _parts(path.read_bytes())


def _parts(content: bytes) -> Iterator[bytes]:
    """The names of the parts of a WebP file, in their order."""
    at = 12
    while at + 8 <= len(content):
        yield content[at:at + 4]
        at += 8 + (int.from_bytes(content[at + 4:at + 8], "little") + 1) // 2 * 2


def _decoded(image: Image.Image) -> Content | None:
    """The content of an image of any mode; None where it is ambiguous."""
    if image.mode in ("1", "L", "RGB") and "transparency" in image.info:  # one level or color of it is
        return _layered(image.convert("RGBA"), image.mode)
    if image.mode == "1":
        return Content("bit", np.array(image).astype(np.uint8), "1")
    if image.mode in ("P", "PA"):
        return _indexed(image)
    if image.mode == "L":
        return Content("gray", np.array(image), "L")
    if image.mode in ("LA", "La", "RGBA", "RGBa"):
        return _layered(image.convert("RGBA"), image.mode)
    return _colored(np.array(image.convert("RGB")), image.mode)


def _indexed(image: Image.Image) -> Content | None:
    """A palette image by its indices if these are ids, the background 0 black; by its colors if not; None if they
    contradict.
    """
    values = np.array(image.getchannel(0) if image.mode == "PA" else image)
    colors = np.array(image.getpalette() or [0] * 3, np.uint8).reshape(-1, 3)
    if np.array_equal(colors, np.repeat(np.arange(len(colors))[:, None], 3, 1)) and len(colors) > 2:
        return Content("gray", values, "P")
    used = [index for index in present(values) if index < len(colors)]
    if _gray_levels(colors, used) and values.max() < len(colors) and not image.has_transparency_data:
        return Content("gray", colors[values][..., 0], "P")
    if colors[0].any():
        return _layered(image.convert("RGBA"), "RGBA")
    codes = [_code(colors[index]) for index in used]
    contradicted = len({*codes}) == len(codes) > 1 and {*codes} <= PALETTE_IDS.keys() and [
        PALETTE_IDS[code] for code in codes
    ] != used
    own = any(code and PALETTE_IDS.get(code) != index for index, code in zip(used, codes))
    shown = frozenset(pair for pair in zip(used, codes) if pair[0] and own)
    return None if contradicted else Content("index", values, image.mode, shown)


def _gray_levels(colors: UInt8[np.ndarray, "color 3"], used: list[int]) -> bool:
    """Whether the colors of a palette, be they used or not, are grays that nobody tells apart, so ids, or none but
    black and white: programs that make files smaller turn a gray image into its few levels and indices of these.
    """
    levels, distinct = np.unique(colors), len({*colors[used, 0].tolist()}) == len(used)
    gray = distinct and (colors == colors[:, :1]).all()
    return bool(gray and (((levels > 0) & (levels < LEAST_LEVEL)).any() or levels.tolist() == [0, VOID]))


def _layered(image: Image.Image, mode: str) -> Content | None:
    """An image with transparency, which may be the background, or say nothing."""
    pixels = np.array(image)
    alpha, codes = pixels[..., 3], _code(pixels[..., :3].astype(np.int32))
    least, most = int(alpha.min()), int(alpha.max())
    if least == most > 0:
        return _colored(pixels[..., :3], mode)
    if least > 0 or (most == 0 and codes.min() != codes.max()):
        return None
    visible = alpha > 0
    seen = np.unique(codes[visible])
    if not np.isin(alpha, (0, most)).all():
        return Content("samples", alpha, mode)
    if len(seen) > MOST_COLORS or len(seen) < 2 and not seen.any():
        return Content("alpha", visible.astype(np.uint8), mode)
    return None if not seen.all() else _colored(pixels[..., :3] * visible[..., None], mode)


def _colored(pixels: UInt8[np.ndarray, "height width 3"], mode: str) -> Content:
    """A color image, whose levels count if it is gray."""
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        return Content("gray", np.ascontiguousarray(pixels[..., 0]), mode)
    return Content("color", _code(pixels.astype(np.int32)), mode)


def _deep(path: Path, values: Shaped[np.ndarray, "height width"], mode: str) -> Content:
    """Numbers of more than 8 bits as levels: small whole ones as they are, 16-bit copies of 8-bit ones by their 8 bits.

    Raises:
        ValueError: values that are no ids.
    """
    if np.isfinite(values).all() and values.min() >= 0:
        if (values == np.floor(values)).all():
            if values.max() <= VOID:
                return Content("gray", values.astype(np.uint8), mode)
            if values.max() <= 0xFFFF and (values.astype(np.int64) % 257 == 0).all():
                return Content("gray", (values.astype(np.int64) // 257).astype(np.uint8), mode)
        elif values.max() <= VOID:
            return Content("samples", np.ceil(values if values.max() > 1 else values * VOID).astype(np.uint8), mode)
    least = f"from {values.min()} " if values.min() < 0 else ""
    raise ValueError(f"{path}: mask has values {least or 'up '}to {values.max()}; ids are 0..254 and 255 is void: "
                     "number its objects 1, 2, ...")


def intensity(path: Path) -> UInt8[np.ndarray, "height width"]:
    """How bright, or how opaque, each pixel is, for a threshold.

    Raises:
        ValueError: numbers whose white is not known.
    """
    image = load_picture(path)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.array(image).astype(np.float64)
        white = 1 if image.mode == "F" and values.max() <= 1 else VOID if image.mode == "F" or values.max(
        ) <= VOID else 0xFFFF
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > white:
            raise ValueError(f"{path}: mask has values from {values.min()} to {values.max()}; a threshold needs "
                             f"0..{white}")
        return np.round(values * (VOID / white)).astype(np.uint8)
    with naming_damage(path):
        pixels = np.array(image.convert("RGBA"))
    bright, alpha = pixels[..., :3].max(-1), pixels[..., 3]
    plain = alpha.min() < VOID and not bright[alpha > 0].any()  # black on nothing: transparency alone tells
    return alpha if plain else np.where(alpha == VOID, bright,
                                        bright.astype(np.uint16) * alpha // VOID).astype(np.uint8)


def _code(colors: Shaped[np.ndarray, "*any 3"]) -> Shaped[np.ndarray, "*any"] | int:
    """Colors as numbers 0xRRGGBB."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    codes = (red << 16) | (green << 8) | blue
    return codes if codes.ndim else int(codes)


def palette(count: int = 256) -> UInt8[np.ndarray, "count 3"]:
    """The color map of DAVIS and PASCAL VOC: id bits 0, 3, 6 set red from its highest bit down, then green, blue."""
    ids = np.arange(count)[:, None]
    channels = np.arange(3)[None]
    bits = sum((ids >> (channels + 3 * place) & 1) << (7 - place) for place in range(3))
    return bits.astype(np.uint8)


PALETTE_IDS = {int(code): n for n, code in enumerate(_code(palette()))}  # ids of DAVIS's colors
