"""What a user has drawn on a clip: masks by frame and objects by id. Every change can be undone."""

import dataclasses
import functools
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from sstlib.metrics.scores import object_ids
from sstlib.shapes import Shaped, UInt8
from sstlib.video import VOID, mask_image

MOST_OBJECTS = VOID - 1
MOST_CHANGES = 100  # that can be undone; each holds a mask


@dataclass(frozen=True)
class Annotation:
    """A frame's mask, and the objects that were erased from it, which are absent."""

    labels: UInt8[np.ndarray, "height width"]
    absent: frozenset[int] = frozenset()

    @functools.cached_property
    def ids(self) -> set[int]:
        """Objects that have a pixel."""
        return set(object_ids(self.labels))

    def without(self, identity: int) -> "Annotation | None":
        """This annotation without an object; None if nothing is left."""
        labels = np.where(self.labels == identity, np.uint8(0), self.labels)
        rest = Annotation(labels, self.absent - {identity})
        return rest if labels.any() or rest.absent else None


@dataclass(frozen=True)
class Drawn:
    """All annotations by frame and all names by object id at one time; neither is changed in place."""

    frames: Mapping[int, Annotation] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)


class Annotations:
    """The annotations of a clip, with their history.

    Args:
        size: height and width of the frames.
        length: number of frames.
        drawn: the initial annotations.
    """

    def __init__(self, size: tuple[int, int], length: int, drawn: Drawn = Drawn()) -> None:
        self.size, self.length = size, length
        self.now = drawn
        self._past: list[Drawn] = []
        self._future: list[Drawn] = []

    def __getitem__(self, t: int) -> Annotation | None:
        return self.now.frames.get(t)

    @property
    def names(self) -> Mapping[int, str]:
        """Names of the objects by id."""
        return self.now.names

    @property
    def masks(self) -> dict[int, UInt8[np.ndarray, "height width"]]:
        """The masks that were drawn, by frame in temporal order."""
        return {t: annotation.labels for t, annotation in sorted(self.now.frames.items())}

    @property
    def first(self) -> int | None:
        """The first frame on which there is an object."""
        return next((t for t, annotation in sorted(self.now.frames.items()) if annotation.ids), None)

    def draw(self, t: int, labels: Shaped[np.ndarray, "..."],
             before: UInt8[np.ndarray, "height width"] | None = None) -> set[int]:
        """Sets the mask of frame `t`, with new objects for ids that are not known yet. Returns the frames that changed.

        Args:
            before: the labels that were shown there; objects that the new labels lack were erased.

        Raises:
            ValueError: no such frame, or labels of another size or with values outside 0..255.
        """
        if not 0 <= t < self.length:
            raise ValueError(f"there is no frame {t}; the clip has frames 0..{self.length - 1}")
        if labels.shape != self.size:
            raise ValueError(f"the mask is of shape {labels.shape}, the frames are {self.size[1]}x{self.size[0]}; it "
                             "must have their size")
        whole = labels.dtype == bool or np.issubdtype(labels.dtype, np.integer)
        if not whole or labels.min() < 0 or labels.max() > VOID:
            raise ValueError(f"the mask is {labels.dtype}, {labels.min()} to {labels.max()}; ids are "
                             f"0..{MOST_OBJECTS}, {VOID} is void")
        drawn = Annotation(labels.astype(np.uint8))
        known, earlier = self[t], set() if before is None else Annotation(before).ids
        absent = ((known.absent if known else frozenset()) | earlier) - drawn.ids
        elsewhere = set().union(*(annotation.ids for s, annotation in self.now.frames.items() if s != t))
        drawn = dataclasses.replace(drawn, absent=frozenset(absent & elsewhere))  # of others nothing would be known
        names = {**{identity: f"object {identity}" for identity in sorted(drawn.ids)}, **self.names}
        frames = dict(self.now.frames)
        frames.pop(t, None)
        if drawn.labels.any() or drawn.absent:
            frames[t] = drawn
        return self._change(Drawn(frames, dict(sorted(names.items()))))

    def clear(self, t: int) -> set[int]:
        """Clears a frame."""
        return self._change(Drawn({s: annotation for s, annotation in self.now.frames.items() if s != t}, self.names))

    def add(self, name: str = "") -> int:
        """A new object, of the least free id, which is returned.

        Raises:
            ValueError: there are 254 already.
        """
        identity = next((n for n in range(1, MOST_OBJECTS + 1) if n not in self.names), None)
        if identity is None:
            raise ValueError(f"{MOST_OBJECTS} objects are the most that a mask holds; remove one")
        names = {**self.names, identity: name or f"object {identity}"}
        self._change(Drawn(self.now.frames, dict(sorted(names.items()))))
        return identity

    def rename(self, identity: int, name: str) -> set[int]:
        """Gives an object another name; an empty one gives back the first. No frame changes.

        Raises:
            ValueError: there is no such object.
        """
        self._require(identity)
        return self._change(Drawn(self.now.frames, {**self.names, identity: name.strip() or f"object {identity}"}))

    def remove(self, identity: int) -> set[int]:
        """Takes an object out of all frames. Returns the frames that changed.

        Raises:
            ValueError: there is no such object.
        """
        self._require(identity)
        frames = {t: annotation.without(identity) if identity in annotation.ids | annotation.absent else annotation
                  for t, annotation in self.now.frames.items()}
        names = {other: name for other, name in self.names.items() if other != identity}
        return self._change(Drawn({t: annotation for t, annotation in frames.items() if annotation}, names))

    def undo(self) -> set[int]:
        """Takes the last change back, where there is one. Returns the frames that changed."""
        return self._turn(self._past, self._future)

    def redo(self) -> set[int]:
        """Makes the change that was taken back last. Returns the frames that changed."""
        return self._turn(self._future, self._past)

    def _require(self, identity: int) -> None:
        if identity not in self.names:
            known = ", ".join(map(str, self.names)) or "none"
            raise ValueError(f"there is no object {identity}; the objects are {known}")

    def _change(self, drawn: Drawn) -> set[int]:
        self._past = [*self._past, self.now][-MOST_CHANGES:]
        self._future = []
        return self._become(drawn)

    def _turn(self, source: list[Drawn], target: list[Drawn]) -> set[int]:
        if not source:
            return set()
        target.append(self.now)
        return self._become(source.pop())

    def _become(self, drawn: Drawn) -> set[int]:
        earlier, self.now = self.now, drawn
        return {t for t in earlier.frames.keys() | drawn.frames.keys()
                if earlier.frames.get(t) is not drawn.frames.get(t)}


def mask_bytes(labels: UInt8[np.ndarray, "height width"] | None) -> bytes:
    """Labels as a palette PNG for the browser; empty if there are none."""
    if labels is None:
        return b""
    file = io.BytesIO()
    mask_image(labels).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def labels_of(content: Iterable[int]) -> UInt8[np.ndarray, "height width"]:
    """The ids of a PNG that the browser made.

    Raises:
        ValueError: not a PNG with 8 bits of palette or gray.
    """
    try:
        with Image.open(io.BytesIO(bytes(content)), formats=["PNG"]) as image:
            image.load()
            if image.mode in ("P", "L"):
                return np.array(image)
            fault = f"of mode {image.mode}"
    except (OSError, SyntaxError) as error:
        fault = f"damaged ({error})"
    raise ValueError(f"the mask that was drawn came as a PNG {fault}; expected ids of 8 bits")
