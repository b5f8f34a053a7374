"""Masks in and out: what an image of any kind says about objects, by one rule for all masks of a clip.

Of a clip, the first mask that shows anything says how all are read (`reading_of`), so that a frame which happens to
hold only some of the values is not read as another kind of mask:

- palette images by index and gray ones by value, 0 the background and 255 void; but where a clip's masks hold nothing
  beside 0 and 255, 255 is the object, as in DAVIS 2016, and so is white where its masks show nothing else on black;
  16-bit copies of 8-bit levels (0 and 65535) count as those;
- color images with black, or transparent, background: by DAVIS's palette where all their colors are of it, else each
  color is an object, numbered in the order of their codes #RRGGBB over all masks of the clip; white on black is object
  1;
- images whose colors say nothing (one of black, or a picture cut out): what is not transparent is object 1.

Samples of a picture (soft or resized edges, JPEG) look like hundreds of ids; they are told from ids and refused, or
become one object where a threshold is given. What can be read in two ways is refused.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sstlib.config.arrays import byte_labels
from sstlib.metrics.counts import present
from sstlib.paths import atomic_write
from sstlib.shapes import Bool, Shaped, UInt8
from sstlib.video.contents import (
    MOST_COLORS,
    PALETTE_IDS,
    VOID,
    Content,
    content_of,
    intensity,
    palette,
    refuse_samples,
)

SIGNED = ("Software", "sstlib")  # what masks written here say in their header


class Reading(NamedTuple):
    """How the masks of one clip are read.

    Attributes:
        kind: "ids", "binary" (0 and 255), "indices" (0 and one of a palette, 255 or white), "bit" (1-bit images),
            "palette" (DAVIS's colors), "colors", "alpha", "threshold", or "empty" where each mask has one value
            throughout, 0 or 255.
        colors: the color of object 1, 2, ... as 0xRRGGBB.
        color: whether the masks are color images.
        threshold: the least level of the object.
        indices: that the masks show, but for 0, of a palette of their own, each with its color.
    """

    kind: str
    colors: tuple[int, ...] = ()
    color: bool = False
    threshold: int = 0
    indices: frozenset[tuple[int, int]] = frozenset()

    @property
    def by_id(self) -> bool:
        """Whether masks hold ids; else their colors, or what of them is the object, were numbered here."""
        return self.kind in ("ids", "palette")

    def __str__(self) -> str:
        numbered = ", ".join(f"{n} = #{code:06X}" for n, code in enumerate(self.colors, 1))
        return {
            "empty": "one value throughout", "bit": "1 bit, white on black", "ids": "by id, a value an object",
            "indices": "by palette, 255 or white is the object",
            "binary": "white on black" if self.color else "0 and 255: 255 is the object",
            "palette": "by color, DAVIS's palette", "colors": f"by color: {numbered}",
            "alpha": "by transparency: what is opaque is the object",
            "threshold": f"levels from {self.threshold} to 255 are the object"
        }[self.kind]


def read_mask(path: Path | str, reading: Reading | None = None) -> UInt8[np.ndarray, "height width"]:
    """Labels of a mask image.

    Args:
        path: an image file.
        reading: how the masks of its clip are read (`reading_of`); None for a mask that stands alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of samples instead of ids, ambiguous, or of another kind than the clip's others.
    """
    path = Path(path)
    if reading is not None and reading.kind == "threshold":
        return (intensity(path) >= reading.threshold).astype(np.uint8)
    content = content_of(path)
    if reading is None:
        if content.color and not content.values.any():
            raise ValueError(f"{path}: mask is a color image (mode {content.mode}), black throughout; it holds no "
                             "object")
        reading = reading_of([path])
    if content.kind in ("samples", "gray", "color"):
        refuse_samples(path, content)
    if content.kind == "alpha" or reading.kind == "alpha":
        if content.kind != reading.kind and content.values.any():
            raise ValueError(f"{path}: mask is read {reading}, as the clip's first, but shows its objects otherwise; "
                             "save all alike")
        return (content.values > 0).astype(np.uint8)
    if content.color != reading.color and reading.kind != "empty":
        raise ValueError(f"{path}: mask is {'a color image' if content.color else 'gray or by index'} (mode "
                         f"{content.mode}), "
                         f"but the clip's first one is not (read {reading}); save all masks of a clip alike")
    if reading.kind in ("palette", "colors"):
        return _by_color(path, content, reading)
    return _by_value(path, content, reading)


def reading_of(masks: Iterable[Path], threshold: int | None = None, known: tuple[int, ...] = ()) -> Reading:
    """How the masks of one clip are read: the first that shows anything decides, as it gives the objects.

    Args:
        threshold: the least level of the one object; None where ids are read.
        known: colors of the objects of other masks of this clip, 0xRRGGBB: they keep their numbers, and others follow.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a mask that is refused (`read_mask`), or a threshold outside 1..255.
    """
    if threshold is not None:
        if not 1 <= threshold <= VOID:
            raise ValueError(f"the threshold is {threshold}; give a level from 1 to {VOID}")
        return Reading("threshold", threshold=threshold)
    masks, undecided = list(masks), Reading("empty")
    for path in masks:
        content = content_of(path)
        if content.color and content.values.any():
            return _color_reading(masks, known)
        reading = _plain_reading(path, content)
        if reading is not None and reading.kind != "indices":
            return reading._replace(indices=_one_palette(masks) if content.shown else frozenset())
        undecided = reading or undecided  # 255 alone may be a frame of void alone, and white one of several objects
    return undecided


def _one_palette(masks: list[Path]) -> frozenset[tuple[int, int]]:
    """The indices that the masks of a clip show and their colors (`require_one_palette`)."""
    known: dict[int, tuple[int, str]] = {}
    for path in masks:
        require_one_palette(path, content_of(path).shown, known)
    return frozenset((index, code) for index, (code, _) in known.items())


def require_one_palette(path: Path, shown: Iterable[tuple[int, int]], known: dict[int, tuple[int, str]]) -> None:
    """Raises a ValueError where an index has another color than it is known to have, so that it is no id: programs that
    make files smaller keep the colors that a frame shows, and number these.

    Args:
        path: the mask that shows these indices, each with its color.
        known: the color of each index and where it is so, to which those of the mask are added.
    """
    for index, code in sorted(shown):
        color, first = known.setdefault(index, (code, path.name))
        if color != code:
            raise ValueError(f"{path}: index {index} of its palette is #{code:06X}, and #{color:06X} in {first}, so "
                             "that it cannot be known which object it is; save all masks of a clip with one palette, "
                             "or gray by id")


def _plain_reading(path: Path, content: Content) -> Reading | None:
    """What one image that is not in color says about its clip; None where it says nothing."""
    if content.kind in ("samples", "gray"):
        refuse_samples(path, content)
    levels = [level for level in present(content.values) if level]
    if not levels:
        return None
    if content.kind in ("alpha", "bit"):
        return Reading(content.kind)
    if levels in ([VOID], [content.white]) and not is_signed(path):
        return None if content.values.all() else Reading("indices" if content.kind == "index" else "binary")
    return Reading("ids")


def _color_reading(masks: list[Path], known: tuple[int, ...]) -> Reading:
    """How color masks are read: from the colors of all of them together, and those that are known."""
    codes: set[int] = set()
    for path in masks:
        content = content_of(path)
        if content.color:
            refuse_samples(path, content)
            codes |= set(np.unique(content.codes).tolist())
    if 0 not in codes:
        raise ValueError(f"{masks[0]}: mask is a color image (mode {content.mode}) without a black or transparent "
                         "background, so it "
                         "cannot be known what of it is object; paint the background black")
    codes -= {0}
    if codes & {*known} and len(codes) <= MOST_COLORS:
        return Reading("colors", (*known, *sorted(codes - {*known})), color=True)
    if all(code % 0x010101 == 0 for code in codes):
        return Reading("binary" if codes == {0xFFFFFF} else "ids", color=True)
    if codes <= PALETTE_IDS.keys():
        return Reading("palette", color=True)
    if len(codes) > MOST_COLORS:
        raise ValueError(f"{masks[0]}: the masks of this clip have {len(codes)} colors; expected at most "
                         f"{MOST_COLORS}, each an object")
    return Reading("colors", tuple(sorted(codes)), color=True)


def _by_color(path: Path, content: Content, reading: Reading) -> UInt8[np.ndarray, "height width"]:
    """Labels of a color image by the colors of its clip."""
    ids = PALETTE_IDS if reading.kind == "palette" else {code: n for n, code in enumerate(reading.colors, 1)}
    codes, places = np.unique(content.codes, return_inverse=True)
    unknown = [code for code in codes.tolist() if code and code not in ids]
    if unknown:
        raise ValueError(
            f"{path}: mask has color #{unknown[0]:06X}, which the clip's reading does not know ({reading})")
    return np.array([ids.get(code, 0) for code in codes.tolist()], np.uint8)[places].reshape(content.values.shape)


def _by_value(path: Path, content: Content, reading: Reading) -> UInt8[np.ndarray, "height width"]:
    """Labels of an image by index or level."""
    if content.kind == "color":
        raise ValueError(f"{path}: mask is a color image (mode {content.mode}), but the clip's first one is gray; save "
                         "all alike")
    if content.kind == "bit" or reading.kind == "ids":
        return content.values
    others = sorted(set(present(content.values)) - {0, VOID, content.white})
    if others:
        raise ValueError(f"{path}: mask has value {others[0]}, but the clip's first one is binary (0 and 255 alone); "
                         "save all of them binary, or all by id")
    return (content.values > 0).astype(np.uint8)


def areas(labels: UInt8[np.ndarray, "height width"]) -> str:
    """What a mask was taken for, in words: its objects with their pixels."""
    counts = np.bincount(labels.ravel(), minlength=256)
    ids = [n for n in np.flatnonzero(counts).tolist() if n not in (0, VOID)]
    void = f"; void (255): {counts[VOID]:,} pixels" if counts[VOID] else ""
    sizes = ", ".join(f"{n} = {counts[n]:,} pixels" for n in ids)
    corners = set(labels[::max(1, labels.shape[0] - 1), ::max(1, labels.shape[1] - 1)].ravel().tolist())
    around = f"; {min(corners)} is at all four corners: if it is the background, make it 0 (black)"
    return (f"{len(ids)} object{'s' if len(ids) > 1 else ''}: {sizes}" if ids else "no object") + void + around * (
        len(corners) == 1 and corners != {0})


def require_background(path: Path, labels: UInt8[np.ndarray, "height width"], reading: Reading) -> None:
    """Raises a ValueError where a mask that tells one object from the background alone shows no background."""
    if reading.kind not in ("ids", "palette", "colors") and labels.all():
        raise ValueError(f"{path}: the mask is one object throughout and has no background; give one that tells them "
                         "apart")


def write_mask(path: Path | str, labels: Shaped[np.ndarray, "height width"]) -> None:
    """Writes labels as palette PNG in DAVIS's colors; the file appears whole or not at all.

    Raises:
        ValueError: ids outside 0..255, numbers that are not whole, such as probabilities, or another shape.
    """
    try:
        levels = byte_labels(labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if levels.ndim != 2:
        raise ValueError(f"{path}: labels have shape {levels.shape}; expected height and width")
    write_picture(path, mask_image(levels))


def write_picture(path: Path | str, picture: Image.Image) -> None:
    """Writes a PNG that says who wrote it; the file appears whole or not at all."""
    signed = PngInfo()
    signed.add_text(*SIGNED)
    with atomic_write(path) as file:
        picture.save(file, format="PNG", pnginfo=signed)


def is_signed(path: Path) -> bool:
    """Whether `write_mask` or `write_picture` wrote a file."""
    try:
        with Image.open(path) as image:
            return image.info.get(SIGNED[0]) == SIGNED[1]
    except (OSError, ValueError, SyntaxError):
        return False


def mask_image(labels: UInt8[np.ndarray, "height width"]) -> Image.Image:
    """Labels as a palette image in DAVIS's colors."""
    image = Image.fromarray(labels)
    image.putpalette(palette().tobytes())
    return image


def smallest_part(mask: Bool[np.ndarray, "height width"]) -> tuple[slice, slice] | None:
    """The rows and columns of the smallest box that holds all of a mask; None of an empty one."""
    rows, columns = (np.flatnonzero(mask.any(axis)).tolist() for axis in (1, 0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows else None
