"""Products that are exported from a clip's masks: each a file or folder within that of the masks, written whole or not
at all.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from PIL import Image

from sstlib.config.values import require_place
from sstlib.metrics.scores import object_ids
from sstlib.movies import Timing
from sstlib.paths import atomic_write
from sstlib.shapes import Shaped, UInt8
from sstlib.video import is_signed, write_picture
from sstlib.video.masks import smallest_part

Frame = UInt8[np.ndarray, "height width 3"]
Labels = UInt8[np.ndarray, "height width"]
Alpha = UInt8[np.ndarray, "height width"]


@dataclass
class Shot:
    """The clip that products are made from.

    Attributes:
        name: of the video.
        frame_names: of its frames, in order.
        file_names: of their files; for a video, the names under which frames are written.
        size: height and width.
        timing: when they are shown.
        names: the user's names of objects, by id.
        ids: of all objects.
        codec, crf: of videos for viewing.
        numbers, seconds: of the frames in the whole video, if only some are selected.
    """

    name: str
    frame_names: list[str]
    size: tuple[int, int]
    timing: Timing = Timing()
    names: Mapping[int, str] = field(default_factory=dict)
    ids: set[int] = field(default_factory=set)
    file_names: list[str] = field(default_factory=list)
    codec: str = "h264"
    crf: int | None = None
    numbers: Sequence[int] = ()
    seconds: Sequence[Fraction] = ()

    def number(self, t: int) -> int:
        """The number of a frame in its video."""
        return self.numbers[t] if self.numbers else t

    def second(self, t: int) -> float:
        """The time of a frame in its video, in seconds from the first frame."""
        times = self.seconds or self.timing.times
        return float(times[t] if times else t / self.timing.rate)

    def title(self, identity: int) -> str:
        """The name of an object, or "object ID"."""
        return self.names.get(identity) or f"object {identity}"

    def kind(self, identity: int) -> str:
        """The class of an object: its name without a number at the end, so that dog1 and dog 2 are dogs."""
        title = self.title(identity)
        return re.sub(r"[\s_-]*\d+$", "", title) or title

    def kinds(self) -> list[str]:
        """The classes of all objects, sorted."""
        return sorted({self.kind(identity) for identity in self.ids})


class Product:
    """One exported form of a clip's masks. `add` is called with each frame in the clip's order; if `soft` is "all",
    `take` is called instead with each prediction, in the order of segmentation.
    """

    place: ClassVar[str]  # within the folder of masks
    soft: ClassVar[str] = ""  # "alpha": is given the objects' alpha; "all": is given predictions
    pictures: ClassVar[bool] = True  # whether it needs the frames' pictures
    unsigned: ClassVar[tuple[str, ...]] = ("*",)  # its files that do not say which program wrote them

    def __init__(self, shot: Shot, folder: Path) -> None:
        self.shot, self.path = shot, folder / self.where(shot.codec)

    @classmethod
    def where(cls, codec: str) -> str:
        """The path within the folder of masks, given the codec of videos."""
        return cls.place

    @classmethod
    def check(cls, path: Path) -> None:
        """Raises a ValueError or an OSError if something is in the way that must not be replaced."""
        require_place(path)

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        """Takes the next frame."""

    def close(self) -> None:
        """Completes the product, which then appears."""

    def discard(self) -> None:
        """Removes what was written."""


class FileProduct(Product):
    """A text file, written as frames come."""

    def __init__(self, shot: Shot, folder: Path) -> None:
        super().__init__(shot, folder)
        self._stack = ExitStack()
        self._file: IO[str] | None = None

    @property
    def file(self) -> IO[str]:
        """The file, opened when it is first written to."""
        if self._file is None:
            self._file = self._stack.enter_context(atomic_write(self.path, "w"))
        return self._file

    def close(self) -> None:
        self.file.flush()
        self._stack.close()

    def discard(self) -> None:
        with suppress(KeyboardInterrupt, OSError):
            self._stack.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


class FolderProduct(Product):
    """A folder of files, made beside its place and moved there when all are written."""

    unsigned = ()  # pictures of `put` all say it

    def __init__(self, shot: Shot, folder: Path) -> None:
        super().__init__(shot, folder)
        self.scratch = self.path.with_name(f".{self.path.name}.part")

    @classmethod
    def check(cls, path: Path) -> None:
        """The folder would be replaced as a whole, so everything in it must come from this command.

        Raises:
            ValueError: it is a link, or holds other files.
        """
        require_place(path, folder=True)
        if path.is_symlink():
            raise ValueError(f"{path} is a link, and would be replaced; remove it, or give another folder")
        beside = lies_beside_masks(path)
        for file in sorted(file for file in path.rglob("*") if not file.is_dir()):
            known = beside and any(file.relative_to(path).match(pattern) for pattern in cls.unsigned)
            if not (known or is_signed(file)):
                raise ValueError(f"{file} was not written by this command, and {path} would be replaced; move it "
                                 "elsewhere")

    def put(self, name: str, picture: Shaped[np.ndarray, "..."]) -> None:
        """Writes a picture into the folder."""
        write_picture(self.scratch / name, Image.fromarray(picture))

    def close(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            shutil.rmtree(self.path)
        self.scratch.rename(self.path)

    def discard(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def subfolder(self, identity: int) -> str:
        """The folder of one object within."""
        name = re.sub(r"[^\w.-]+", "_", self.shot.names.get(identity) or "").strip("._")
        return f"{identity}-{name}" if name else str(identity)


def lies_beside_masks(path: Path) -> bool:
    """Whether masks of this command are in a file's folder, which shows the origin of files that do not state it."""
    return any(map(is_signed, path.parent.glob("*.png")))


def objects(labels: Labels) -> Iterator[tuple[int, Shaped[np.ndarray, "height width"]]]:
    """Ids of visible objects, and the mask of each."""
    for identity in object_ids(labels):
        yield identity, labels == identity


def box(mask: Shaped[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    """Left, top, width and height of what a mask covers, in pixels."""
    rows, columns = smallest_part(mask)
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
