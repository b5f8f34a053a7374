"""Clips as sequences, held in arrays or in folders of pictures, and frames tinted with their masks."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sstlib.config.arrays import byte_labels
from sstlib.shapes import Shaped, UInt8
from sstlib.video.masks import VOID, Reading, palette, read_mask, reading_of
from sstlib.video.pictures import images, picture_size, read_frame, require_end


def clip_name(path: Path | str) -> str:
    """What a clip is called: as its folder, of a file without its kind; a link by its own name, and `.` by its
    folder's.
    """
    path = Path(os.path.abspath(path))
    return path.name if path.is_dir() else path.stem


@runtime_checkable
class Sequence(Protocol):
    """A clip: frames in order, some or all of them labeled."""

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

    Raises:
        ValueError: labels of another size than the frames, of none of them, or that are none (`byte_labels`); or
            another number of names than frames.
    """

    def __init__(
        self,
        frames: UInt8[np.ndarray, "time height width 3"],
        labels: Shaped[np.ndarray, "*time rows columns"] | Mapping[int, Shaped[np.ndarray, "_ _"]] | None = None,
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
            if t not in range(len(frames)):
                raise ValueError(f"{name}: there are labels of frame {t}, and frames 0..{len(frames) - 1}")
            if label.shape != frames.shape[1:3]:
                raise ValueError(
                    f"{name}: labels of frame {t} have shape {label.shape}; expected {frames.shape[1:3]} as the frames"
                )
            try:
                self.labels[t] = byte_labels(label)
            except ValueError as error:
                raise ValueError(f"{name}, frame {t}: {error}") from None
        if len(self.frame_names) != len(frames):
            raise ValueError(f"{name}: {len(self.frame_names)} frame names for {len(frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.frames[t]

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        return self.labels.get(range(len(self))[t])


class LazySequence:
    """The part that sequences have in common whose clip is made when a frame is asked for.

    Attributes:
        clip: the subclass's property, with `frames` and `labels`, arrays of equal length. Of a benchmark it raises a
            ValueError where it is not what the manifest of its version says.
    """

    clip: Any

    @property
    def frame_names(self) -> list[str]:
        """DAVIS's names, by number."""
        return [f"{t:05d}" for t in range(len(self))]

    def __len__(self) -> int:
        """Known without the clip."""
        raise NotImplementedError

    def frame(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.clip.frames[t]

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        return self.clip.labels[t]


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
        self.name = name or clip_name(self.folder)
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
    def size(self) -> tuple[int, int]:
        """Height and width of all frames, from their headers.

        Raises:
            ValueError: a frame of another size than the first, or one that is cut off.
        """
        first = picture_size(self.paths[0])
        for path in self.paths:
            if (size := picture_size(path)) != first:
                raise ValueError(f"{path}: the frame is {size[1]}x{size[0]}, the first one, {self.paths[0].name}, is "
                                 f"{first[1]}x{first[0]}; a clip has one size")
            require_end(path)
        return first

    @functools.cached_property
    def reading(self) -> Reading:
        """How the masks of this clip are read.

        Raises:
            ValueError: a mask that is refused (`masks.read_mask`).
        """
        return reading_of(self.masks.values())

    def label(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        """The mask of a frame, if there is one.

        Raises:
            ValueError: it has another size than its frame, or is no mask.
        """
        path = self.masks.get(self.frame_names[t])
        if path is None:
            return None
        labels = read_mask(path, self.reading)
        if (size := picture_size(self.paths[t])) != labels.shape:
            raise ValueError(
                f"{path}: the mask is {labels.shape[1]}x{labels.shape[0]}, its frame {self.paths[t]} is "
                f"{size[1]}x{size[0]}; masks must have their frame's size"
            )
        return np.where((labels > 0) & (labels != VOID), 1, labels).astype(np.uint8) if self.merge else labels


def overlay(
    frame: UInt8[np.ndarray, "height width 3"], labels: Shaped[np.ndarray, "height width"], opacity: float = 0.5,
    white: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame with its objects tinted in the palette's colors and outlined, `white` on any color; void is left as it
    is.

    Raises:
        ValueError: a frame that is not uint8 RGB, or labels that are none (`byte_labels`) or of another size.
    """
    labels = byte_labels(labels)
    if frame.dtype != np.uint8 or frame.shape != (*labels.shape, 3):
        raise ValueError(f"the frame is {frame.dtype} of shape {frame.shape}, its labels have shape {labels.shape}; "
                         "give RGB as uint8 of shape (height, width, 3), and labels of its size")
    shown = (labels > 0) & (labels != VOID)
    colors = palette()[labels]
    mixed = frame.copy()
    mixed[shown] = (frame[shown] * (1 - opacity) + colors[shown] * opacity + 0.5).astype(np.uint8)
    edge = np.zeros_like(shown)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    if white:
        mixed[edge] = 255
    else:
        mixed[edge & shown] = colors[edge & shown]
    return mixed
