"""Drawings kept in a folder, to continue from: a palette PNG a frame, and the names of the objects."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sstlib.explorers.drawn import Annotation, Drawn
from sstlib.paths import write_whole
from sstlib.sessions.drawings import OBJECTS, noted
from sstlib.shapes import UInt8
from sstlib.video import Reading, Sequence, is_picture, is_signed, read_mask, reading_of, write_mask


class DrawnFolder:
    """FRAME.png of each frame that was drawn on, as `sst segment --mask` takes them, and the objects' names.

    Args:
        path: the folder, which need not be there yet.
        sequence: the clip that is drawn on.
    """

    def __init__(self, path: Path | str, sequence: Sequence) -> None:
        self.path, self.clip, self.frame_names = Path(path), sequence.name, list(sequence.frame_names)
        self._objects = b""

    def write(self, drawn: Drawn, frames: Iterable[int]) -> None:
        """Writes the masks of these frames, removes those that were cleared, and writes names if they changed."""
        for t in frames:
            path, annotation = self.path / f"{self.frame_names[t]}.png", drawn.frames.get(t)
            if annotation is not None:
                write_mask(path, annotation.labels)
            else:
                path.unlink(missing_ok=True)
        absent = {self.frame_names[t]: sorted(annotation.absent) for t, annotation in sorted(drawn.frames.items())
                  if annotation.absent}
        objects = json.dumps({"clip": self.clip, "names": drawn.names, "absent": absent}, indent=1).encode()
        if objects != self._objects and (drawn.names or self.path.is_dir()):
            self._objects = objects
            write_whole(self.path / OBJECTS, objects)

    def read(self, size: tuple[int, int]) -> Drawn:
        """What an earlier session on the same clip left, if any.

        Args:
            size: height and width of the frames.

        Raises:
            ValueError: files that are damaged, or of another clip.
        """
        known, times = noted(self.path), {name: t for t, name in enumerate(self.frame_names)}
        if known.clip not in (None, self.clip):
            raise ValueError(f"{self.path / OBJECTS}: it is of {known.clip}, not of {self.clip}; name another folder")
        frames: dict[int, Annotation] = {}
        for path in sorted(filter(is_picture, self.path.iterdir())) if self.path.is_dir() else ():
            labels = _labels(path)
            if path.stem not in times or path.suffix != ".png" or labels.shape != size:
                raise ValueError(f"{path}: {labels.shape[1]}x{labels.shape[0]} pixels, no mask of {self.clip}, whose "
                                 f"{len(times)} frames are {size[1]}x{size[0]}, with masks called FRAME.png; move it, "
                                 "or name another folder")
            frames[times[path.stem]] = Annotation(labels, known.absent.get(path.stem, frozenset()))
        ids = set().union(*(annotation.ids for annotation in frames.values()))
        return Drawn(frames, dict(sorted({**{n: f"object {n}" for n in ids}, **known.names}.items())))


def _labels(path: Path) -> UInt8[np.ndarray, "height width"]:
    """The labels of a mask that was drawn, also where a paint program has changed and saved it.

    Raises:
        ValueError: it is damaged, or does not say which objects it shows.
    """
    reading = Reading("ids") if is_signed(path) else reading_of([path])
    if not reading.by_id and reading.kind != "empty":
        raise ValueError(f"{path}: mask is read {reading}, and it cannot be known which objects these are; save their "
                         "ids, or the colors that masks have here")
    return read_mask(path, reading)
