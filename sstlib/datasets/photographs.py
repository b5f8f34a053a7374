"""Photographs with object masks, SET/JPEGImages/NAME.jpg and SET/Annotations/NAME.png in a folder or a zip file, and
objects cut out of them.

Each process decodes a photograph once and keeps it: a few hundred megabytes for a thousand of 288 pixels.
"""

import functools
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sstlib import paths
from sstlib.shapes import Bool, UInt8
from sstlib.video.masks import smallest_part
from sstlib.video.pictures import upright

LEAST = 0.004  # share of a photograph that an object must cover to be cut out


class Photograph(NamedTuple):
    """One picture and the labels of its objects."""

    name: str  # SET/NAME
    pixels: UInt8[np.ndarray, "height width 3"]
    labels: UInt8[np.ndarray, "height width"]  # 0 background, 1.. objects, 255 void

    def objects(self) -> list[int]:
        """The objects large enough to be cut out."""
        counts = np.bincount(self.labels.ravel(), minlength=256)
        return [int(o) for o in np.flatnonzero(counts >= LEAST * self.labels.size) if o not in (0, 255)]

    def cut(self, identity: int) -> tuple[UInt8[np.ndarray, "rows columns 3"], Bool[np.ndarray, "rows columns"]]:
        """The smallest part of the picture that holds an object, and the object's mask in it."""
        mask = self.labels == identity
        part = smallest_part(mask)
        return self.pixels[part], mask[part]


class Photographs:
    """All photographs of a folder or zip file, sorted by name.

    Raises:
        FileNotFoundError: there are none with masks.
        ValueError: a file that is not a zip file.
    """

    def __init__(self, place: Path):
        self.place = place
        listed = self._names()
        masks = {name for name in listed if name.endswith(".png") and "/Annotations/" in name}
        pairs = ((name, name.replace("/JPEGImages/", "/Annotations/")[:-4] + ".png") for name in sorted(listed)
                 if name.endswith(".jpg"))
        self.files = [pair for pair in pairs if pair[1] in masks]
        if not self.files:
            raise FileNotFoundError(f"{place}: holds no SET/JPEGImages/NAME.jpg with SET/Annotations/NAME.png")
        self._read = functools.cache(self._decoded)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Photograph:
        return self._read(index)

    def _names(self) -> list[str]:
        if self.place.is_dir():
            return [path.relative_to(self.place).as_posix() for path in self.place.rglob("*.*")]
        try:
            with zipfile.ZipFile(self.place) as archive:
                return archive.namelist()
        except zipfile.BadZipFile as error:
            raise ValueError(f"{self.place} is neither a folder nor a zip file ({error}); SST_PHOTOGRAPHS names one of "
                             "them") from error

    def _decoded(self, index: int) -> Photograph:
        picture, mask = (upright(Image.open(io.BytesIO(data))) for data in self._bytes(self.files[index]))
        if mask.mode not in ("P", "L") or mask.size != picture.size:
            raise ValueError(f"{self.place}: {self.files[index][1]} is {mask.mode} of {mask.size[0]}x{mask.size[1]}; "
                             "expected a palette or gray "
                             f"mask of {picture.size[0]}x{picture.size[1]}, as the picture is")
        return Photograph(self.files[index][0].replace("JPEGImages/", "")[:-4], np.asarray(picture.convert("RGB")),
                          np.asarray(mask))

    def _bytes(self, names: tuple[str, str]) -> list[bytes]:
        if self.place.is_dir():
            return [(self.place / name).read_bytes() for name in names]
        # Opened each time: processes that share an open file would move each other's position
        with zipfile.ZipFile(self.place) as archive:
            return [archive.read(name) for name in names]


def open_photographs() -> Photographs:
    """The photographs on this machine.

    Raises:
        FileNotFoundError: there are none.
        ValueError: none holds an object that can be cut out.
    """
    place = paths.photographs()
    if place is None:
        raise FileNotFoundError("no photographs with masks: set SST_PHOTOGRAPHS to the folder or the zip file with "
                                "SET/JPEGImages/NAME.jpg "
                                "and SET/Annotations/NAME.png, or put them at data/photographs")
    return _opened(place)


@functools.cache
def _opened(place: Path) -> Photographs:
    photographs = Photographs(place)
    if not any(photograph.objects() for photograph in photographs):  # cut-outs would be drawn without end
        raise ValueError(f"{place}: none of its {len(photographs)} masks shows an object that covers {LEAST:.1%} of "
                         "its picture; masks hold ids, 1 for the first object, and 255 is void: save white on black so")
    return photographs
