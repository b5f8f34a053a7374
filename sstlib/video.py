"""Frames and masks in and out: sequences held in folders, arrays or video files, palette PNG masks, overlays.

Frames are uint8 RGB, labels uint8 with 0 background, 1..n objects (not necessarily contiguous) and 255 void.
"""

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, UnidentifiedImageError

from sstlib import png
from sstlib.files import written_aside
from sstlib.metrics.counts import present
from sstlib.shapes import Shaped, UInt8

VOID = 255
FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


@runtime_checkable
class Sequence(Protocol):
    """A clip: frames in order, some or all of them labelled."""

    name: str
    frame_names: list[str]

    def __len__(self) -> int: ...

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        """Frame `t` in RGB."""

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        """Labels of frame `t`, or None where there are none."""


class ArraySequence:
    """A sequence whose frames are in memory.

    Args:
        frames: all frames, RGB.
        labels: labels of all frames, of frame 0 alone, by frame index, or None.
    """

    def __init__(
        self,
        frames: UInt8[np.ndarray, "time height width 3"],
        labels: Shaped[np.ndarray, "time height width"]
        | Shaped[np.ndarray, "height width"]
        | Mapping[int, np.ndarray]
        | None = None,
        name: str = "clip",
        frame_names: list[str] | None = None,
    ) -> None:
        self.name = name
        self.frames = frames
        self.frame_names = frame_names or [f"{t:05d}" for t in range(len(frames))]
        if isinstance(labels, np.ndarray):
            labels = {0: labels} if labels.ndim == 2 else dict(enumerate(labels))
        self.labels: dict[int, np.ndarray] = {}
        for t, label in (labels or {}).items():
            if label.shape != frames.shape[1:3]:
                raise ValueError(
                    f"{name}: labels of frame {t} have shape {label.shape}; expected {frames.shape[1:3]} as the frames"
                )
            if label.size and (label.min() < 0 or label.max() > VOID):
                raise ValueError(
                    f"{name}: labels of frame {t} go from {label.min()} to {label.max()}; ids are 0..254, 255 is void"
                )
            self.labels[t] = label.astype(np.uint8, copy=False)
        if len(self.frame_names) != len(frames):
            raise ValueError(f"{name}: {len(self.frame_names)} frame names for {len(frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.frames[t]

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        return self.labels.get(range(len(self))[t])


class FolderSequence:
    """A sequence of image files, read when asked for, in the order of their names whatever the order on disk.

    Args:
        frames: folder of the frames.
        masks: folder of masks named as their frames, a single mask file for frame 0, or None.
        merge: all objects count as object 1 (DAVIS 2016).
        within: where given, a folder that links among the files must not leave: data sets are what they hold.

    Raises:
        FileNotFoundError: no such folder, or a folder without images.
        ValueError: two files of one name, or a mask that belongs to no frame.
    """

    def __init__(
        self,
        frames: Path | str,
        masks: Path | str | None = None,
        name: str | None = None,
        merge: bool = False,
        within: Path | None = None,
    ) -> None:
        self.folder = Path(frames)
        self.name = name or self.folder.name
        self.merge = merge
        self.paths = list(images(self.folder, "frames", within).values())
        self.frame_names = [path.stem for path in self.paths]
        self.masks: dict[str, Path] = {}
        if masks is not None and Path(masks).is_dir():
            self.masks = images(Path(masks), "masks", within)
            stray = sorted(set(self.masks) - set(self.frame_names))
            if stray:
                raise ValueError(
                    f"{self.masks[stray[0]]}: there is no frame {stray[0]!r} in {self.folder}; masks take their names"
                )
        elif masks is not None:
            if not Path(masks).is_file():
                raise FileNotFoundError(f"{masks}: no such mask file or folder of masks")
            self.masks = {self.frame_names[0]: Path(masks)}

    def __len__(self) -> int:
        return len(self.paths)

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        return read_frame(self.paths[t])

    @functools.cached_property
    def _binary(self) -> bool:
        return are_binary(self.masks.values())

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        path = self.masks.get(self.frame_names[t])
        if path is None:
            return None
        labels = read_mask(path, self._binary)
        with _opened(self.paths[t]) as frame:
            if (frame.height, frame.width) != labels.shape:
                raise ValueError(
                    f"{path}: the mask is {labels.shape[1]}x{labels.shape[0]}, its frame {self.paths[t]} is "
                    f"{frame.width}x{frame.height}; masks must have their frame's size"
                )
        return np.where((labels > 0) & (labels != VOID), 1, labels).astype(np.uint8) if self.merge else labels


def name_order(name: str) -> list[tuple[int, int, str]]:
    """Sorting key by name in which runs of digits count as numbers: frame2 comes before frame10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts]


def images(folder: Path, what: str = "frames", within: Path | None = None) -> dict[str, Path]:
    """Image files of a folder by stem, in the order of their names.

    Args:
        within: where given, a folder that links must not leave.

    Raises:
        FileNotFoundError: the folder is missing or holds no image.
        ValueError: two images share a stem, or a link leads outside.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of {what}")
    with os.scandir(folder) as entries:
        listed = [
            (Path(entry.path), entry.is_symlink() or folder.is_symlink())
            for entry in entries
            if not entry.name.startswith(".")
        ]
    found: dict[str, Path] = {}
    for path, linked in sorted(
        ((p, linked) for p, linked in listed if p.suffix.lower() in FRAME_SUFFIXES),
        key=lambda pair: name_order(pair[0].name),
    ):
        if path.stem in found:
            raise ValueError(f"{path}: {found[path.stem].name} has the same name; keep one of them")
        if linked and within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise ValueError(
                f"{path}: a link that leads out of {within}, to {path.resolve()}; put the file itself there"
            )
        found[path.stem] = path
    if not found:
        raise FileNotFoundError(
            f"{folder}: no images in this folder of {what} (looked for {', '.join(sorted(FRAME_SUFFIXES))})"
        )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file, whose damage is told by its name."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not an image, or damaged at its start; copy or extract it again") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be decoded ({error}); copy or extract it again") from None


def read_frame(path: Path | str) -> UInt8[np.ndarray, "height width 3"]:
    """One frame in RGB, whatever the mode of its file."""
    with _opened(Path(path)) as image:
        return np.array(image.convert("RGB"))


def read_mask(path: Path | str, binary: bool | None = None) -> UInt8[np.ndarray, "height width"]:
    """Labels of a mask image: palette images by index, grey ones by value, 1-bit as 0/1, LA without its alpha.

    Args:
        path: an image file.
        binary: what 0 and 255 mean in a grey mask: background and object 1 (True, as in DAVIS 2016), or id 0 and void
            (False). None lets the mask decide: with no other values it is binary. Masks of one clip are best asked
            together, by `are_binary`.

    Raises:
        ValueError: a color image, whose ids cannot be known, values above 255, or others than 0 and 255 in a binary one.
    """
    values, mode = _mask_values(Path(path))
    if mode in ("P", "PA", "1"):
        return values.astype(np.uint8, copy=False)
    if mode not in ("L", "LA", "I", "I;16"):
        raise ValueError(f"{path}: mask is a color image (mode {mode}); its ids cannot be told from colors. "
                         "Save it as palette PNG (mode P) or grey with one value an object")
    if values.dtype != np.uint8 and values.max(initial=0) > VOID:
        raise ValueError(f"{path}: mask has values up to {values.max()}; ids are 0..254 and 255 is void")
    levels = values.astype(np.uint8, copy=False)
    others = sorted(set(present(levels)) - {0, VOID})
    if binary and others:
        raise ValueError(f"{path}: mask has value {others[0]}, but the clip's first one is binary (0 and 255 alone); "
                         "save all of them binary, or all by id")
    return levels if binary is False or others else levels & 1


def are_binary(masks: Iterable[Path]) -> bool:
    """Whether the grey masks of one clip are binary: the first that is not empty decides, as it gives the objects."""
    for path in masks:
        found = set(present(read_mask(path, binary=False))) - {0}
        if found:
            return found == {VOID}
    return True


def _mask_values(path: Path) -> tuple[Shaped[np.ndarray, "height width *channels"], str]:
    """The values of an image and its mode: directly from the commonest kinds of PNG, else through Pillow."""
    try:
        direct = png.decode(path.read_bytes()) if path.suffix.lower() == ".png" else None
    except OSError:
        direct = None  # and Pillow's reader says what is wrong
    if direct is not None:
        return direct
    with _opened(path) as image:
        return np.array(image.getchannel(0) if image.mode in ("LA", "PA") else image), image.mode


def palette(count: int = 256) -> UInt8[np.ndarray, "count 3"]:
    """The color map of DAVIS and PASCAL VOC: id bits 0, 3, 6 set red from its highest bit down, then green, blue."""
    ids = np.arange(count)[:, None]
    channels = np.arange(3)[None]
    bits = sum((ids >> (channels + 3 * place) & 1) << (7 - place) for place in range(3))
    return bits.astype(np.uint8)


def write_mask(path: Path | str, labels: Shaped[np.ndarray, "height width"]) -> None:
    """Writes labels as palette PNG in DAVIS's colors; the file appears whole or not at all.

    Raises:
        ValueError: ids outside 0..255.
    """
    if labels.size and (labels.min() < 0 or labels.max() > VOID):
        raise ValueError(f"{path}: labels go from {labels.min()} to {labels.max()}; a palette PNG holds 0..255")
    with written_aside(path) as file:
        mask_image(labels.astype(np.uint8)).save(file, format="PNG")


def mask_image(labels: UInt8[np.ndarray, "height width"]) -> Image.Image:
    """Labels as a palette image in DAVIS's colors."""
    image = Image.fromarray(labels)
    image.putpalette(palette().tobytes())
    return image


def overlay(
    frame: UInt8[np.ndarray, "height width 3"], labels: Shaped[np.ndarray, "height width"], opacity: float = 0.5
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame with its objects tinted in the palette's colors and outlined; void is left as it is."""
    shown = (labels > 0) & (labels != VOID)
    colors = palette()[labels.astype(np.uint8)]
    mixed = frame.copy()
    mixed[shown] = (frame[shown] * (1 - opacity) + colors[shown] * opacity + 0.5).astype(np.uint8)
    edge = np.zeros_like(shown)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    mixed[edge & shown] = colors[edge & shown]
    return mixed
