"""Masks that replace predictions, from a folder to which files may be added while a clip is segmented."""

import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from sstlib.shapes import UInt8
from sstlib.video import VOID, Reading, Sequence, areas, is_picture, read_mask, reading_of, require_background
from sstlib.video.masks import require_one_palette
from sstlib.video.pictures import composed

NAMELESS = ("bit", "binary", "indices", "alpha", "empty")  # readings of masks that show an object and not which
NOTHING = ", and nothing by it; for one that is gone there is --absent"  # of a mask without an object
SETTLED = 1.0  # seconds since a file was last written to, after which it is taken to be whole


class Corrections:
    """A folder of masks named as their frames. A mask determines the objects that it holds; the others stay as
    predicted, outside of it.

    Args:
        folder: the folder; it may be empty.
        frames: the clip.
        size: height and width of its frames.
        ids: of the clip's objects, as far as they are known before it is segmented.
        reading: how the clip's own masks were read, so that colors mean the same; None if they are not pictures.
        report: receives a line about each correction that is applied.

    Attributes:
        applied: time and size of the mask file with which each frame was segmented; None for none.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a mask in it that belongs to no frame, or is refused; one that may still be written to is looked at
            when its frame is reached.
    """

    def __init__(self, folder: Path, frames: Sequence, size: tuple[int, int], ids: Collection[int] = (),
                 reading: Reading | None = None, report: Callable[[str], object] = lambda line: None) -> None:
        if not folder.is_dir():
            kind = "is a file, not a folder" if folder.exists() else "no such folder"
            raise FileNotFoundError(f"{folder}: {kind} of corrections; make one, empty or with masks named as frames")
        self.folder, self.frames, self.size, self.ids = folder, frames, size, sorted(ids)
        self.reading, self.report = reading, report
        self._numbers: Mapping[str, int] = {composed(name): t for t, name in enumerate(frames.frame_names)}
        self.applied: dict[int, list[int] | None] = {}
        self._looked, self._late = 0.0, []
        for path in self.listed().values():
            self._require_readable(path)

    def listed(self) -> dict[int, Path]:
        """The present masks, by frame number.

        Raises:
            FileNotFoundError: the folder was removed.
            ValueError: one that belongs to no frame, or two of one frame.
        """
        files: dict[int, Path] = {}
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: the folder of corrections was removed meanwhile")
        with os.scandir(self.folder) as entries:
            for entry in sorted((entry for entry in entries if is_picture(entry)), key=lambda entry: entry.name):
                path = Path(entry.path)
                t = self._numbers.get(composed(path.stem))
                if t is None:
                    names = self.frames.frame_names
                    raise ValueError(f"{path}: {self.frames.name} has no frame {path.stem!r} among those that are "
                                     f"segmented ({names[0]} to {names[-1]}); corrections are named as their frames: "
                                     "rename it, or take it out of the folder")
                if t in files:
                    raise ValueError(f"{path}: {files[t].name} is of the same frame; keep one of them")
                files[t] = path
        return files

    def at(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        """The mask of a frame, if there is one now.

        Raises:
            ValueError: it cannot be read, or has another size.
        """
        path = self.listed().get(t)
        mark = self.applied[t] = None if path is None else _mark(path)
        if mark is None:
            return None
        try:
            labels = self._labels(path)
        except FileNotFoundError:  # removed between two looks
            self.applied[t] = None
            return None
        except ValueError:
            if _old(mark) and _mark(path) == mark:
                raise
            time.sleep(SETTLED)  # it may still be written to
            labels = self._labels(path)
        self.report(f"{path}: corrects {areas(labels)}{'' if (labels % VOID).any() else NOTHING}")
        return labels

    def _require_readable(self, path: Path) -> None:
        """Raises a ValueError where a mask that nobody writes to any more would be refused at its frame."""
        mark = _mark(path)
        if mark is None or not _old(mark):
            return
        try:
            self._labels(path)
        except FileNotFoundError:  # removed meanwhile
            return
        except ValueError:
            if _mark(path) == mark:
                raise

    def _labels(self, path: Path) -> UInt8[np.ndarray, "height width"]:
        """The labels of a correction, which may be of another kind than the clip's own masks: ids are taken as they
        are, unless the palette says that they are numbered otherwise than in the clip's masks, arbitrary colors only if
        these were read by the same colors, and a mask of one object without an id means the clip's only object.
        """
        try:
            reading = reading_of([path])
        except ValueError:  # soft edges, as those of the clip's masks may have had
            if self.reading is None or self.reading.kind != "threshold":
                raise
            reading = self.reading
        if self.reading is not None:
            require_one_palette(path, reading.indices, {index: (color, "the clip's own masks")
                                                        for index, color in self.reading.indices})
        if reading.color and self.reading is not None and self.reading.kind == "colors":
            reading = self.reading
        elif reading.kind == "colors":
            raise ValueError(f"{path}: mask is read {reading}, and it cannot be known which objects these are; save "
                             "ids, or the colors of the masks in --out")
        labels = read_mask(path, reading)
        if labels.shape != self.size:
            raise ValueError(f"{path}: the mask is {labels.shape[1]}x{labels.shape[0]} pixels, the frame is "
                             f"{self.size[1]}x{self.size[0]}; draw it on a picture of the frame's size")
        require_background(path, labels, reading)
        if reading.kind in NAMELESS and labels.any() and self.ids:
            if len(self.ids) > 1:
                raise ValueError(f"{path}: mask is read {reading}, and there are objects "
                                 f"{', '.join(map(str, self.ids))}; save the id of the one that it shows")
            labels = labels * np.uint8(self.ids[0])
        return labels

    def unseen(self) -> list[int]:
        """Frames that were not segmented with the mask that is present now; checks the folder at most twice a second.
        """
        if time.monotonic() - self._looked >= SETTLED / 2:
            self._looked = time.monotonic()
            marks = {t: _mark(path) for t, path in self.listed().items()}
            self._late = [t for t, applied in self.applied.items()
                          if applied != (mark := marks.get(t)) and (mark is None or _old(mark))]
            return self._late
        return []


def _mark(path: Path) -> list[int] | None:
    """A file's time and size; None if it was removed since the folder was listed."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_mtime_ns, status.st_size]


def _old(mark: list[int]) -> bool:
    return time.time() - mark[0] / 1e9 > SETTLED
