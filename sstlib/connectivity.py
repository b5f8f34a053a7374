"""Who may attend to whom (the sets I_p of section 3.2): the definition that attention, its tests and the figures share.

Each pattern is a union of products of three relations, one an axis: a key is connected when, in one of the products,
its time, its row and its column are all related to the query's. `relations` writes that down as three small boolean
matrices; masks, neighbours and hops all follow from it, and only the pair counts have closed forms of their own.
Axes are (time, height, width) and a cell is (t, y, x) everywhere.
"""

import ast
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import torch
from torch import Tensor

from sstlib.shapes import Bool

Size = tuple[int, int, int]
Cell = tuple[int, int, int]
PATTERNS: dict[str, type["Connectivity"]] = {}


@dataclass(frozen=True)
class Connectivity:
    """A pattern of connected cells. A subclass says how the axes are related and how many pairs that makes."""

    causal: bool = dataclasses.field(default=False, kw_only=True)  # only keys of the same or earlier frames
    shown: ClassVar[tuple[str, ...]] = ()  # fields that the name always shows; the others only when they are not the default

    def __init_subclass__(cls) -> None:
        PATTERNS[cls.__name__.lower()] = cls

    def relations(self, size: Size) -> list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]:
        """Products of boolean (query, key) matrices over time, height and width whose union is the pattern."""
        raise NotImplementedError

    def pairs(self, size: Size) -> int:
        """How many (query, key) pairs a buffer of this size has, in closed form."""
        raise NotImplementedError

    def mask(self, time: int, height: int, width: int) -> Bool[Tensor, "queries keys"]:
        """Which keys each query has, cells in raster order: the definition, for small sizes (its size is cells squared)."""
        joined = numpy.zeros((time * height * width,) * 2, dtype=bool)
        for along_time, along_y, along_x in self.relations((time, height, width)):
            joined |= numpy.kron(numpy.kron(along_time, along_y), along_x)
        return torch.from_numpy(joined)

    def neighbours(self, cell: Cell, size: Size) -> list[Cell]:
        """The keys of one query (I_p of Eq. 6), in raster order and including itself."""
        return [tuple(int(i) for i in found) for found in numpy.argwhere(self.reach(cell, 1, size))]

    def reach(self, cell: Cell, hops: int, size: Size) -> numpy.ndarray:
        """Cells whose content arrives at `cell` after at most `hops` layers of this pattern, as booleans over the buffer."""
        return reach([self] * hops, cell, size)

    def _text(self, title: str) -> str:
        given = [f"{f.name}={getattr(self, f.name)}" for f in sorted(dataclasses.fields(self), key=lambda f: f.kw_only)
                 if f.name in self.shown or getattr(self, f.name) != f.default]
        return f"{title}({', '.join(given)})" if given else title

    @property
    def name(self) -> str:
        """For people: 'Local(radius=7)'."""
        return self._text(type(self).__name__)

    def __str__(self) -> str:
        """For configurations: 'local(radius=7)', which `parse` reads back."""
        return self._text(type(self).__name__.lower())

    def _time(self, time: int, related: numpy.ndarray | None = None) -> numpy.ndarray:
        related = numpy.ones((time, time), dtype=bool) if related is None else related
        return numpy.tril(related) if self.causal else related


@dataclass(frozen=True)
class Dense(Connectivity):
    """Every cell of the buffer (Eq. 5)."""

    def relations(self, size: Size) -> list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]:
        """All cells."""
        time, height, width = size
        return [(self._time(time), *(numpy.ones((n, n), dtype=bool) for n in (height, width)))]

    def pairs(self, size: Size) -> int:
        """(T H W)^2, or T (T + 1) / 2 (H W)^2 when causal."""
        time, height, width = size
        return _time_pairs(time, 1, self.causal) * (height * width) ** 2


@dataclass(frozen=True)
class Grid(Connectivity):
    """The cells that share two of the three coordinates: three axis lines, the cell itself once (section 3.2, Eq. 7-9)."""

    def relations(self, size: Size) -> list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]:
        """One product an axis: anything along it, equal along the two others."""
        one, all_ = ([numpy.eye(n, dtype=bool) for n in size], [numpy.ones((n, n), dtype=bool) for n in size])
        return [(self._time(size[0]), one[1], one[2]), (one[0], all_[1], one[2]), (one[0], one[1], all_[2])]

    def pairs(self, size: Size) -> int:
        """T H W (T + H + W - 2), with (T + 1) / 2 in place of T when causal."""
        time, height, width = size
        return height * width * (_time_pairs(time, 1, self.causal) + time * (height + width - 2))


@dataclass(frozen=True)
class Local(Connectivity):
    """A window of (2 radius + 1)^2 cells around the query, cut off at the frame's border, in every frame of the buffer."""

    radius: int | tuple[int, int] = 7  # cells up and down, left and right; one number for both
    shown: ClassVar[tuple[str, ...]] = ("radius",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", _one_or_two("Local", "radius", self.radius, 0))

    def relations(self, size: Size) -> list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]:
        """Rows and columns at most the radius apart."""
        offsets = [numpy.abs(numpy.subtract.outer(numpy.arange(n), numpy.arange(n))) for n in size[1:]]
        return [(self._time(size[0]), *(d <= r for d, r in zip(offsets, self.radii)))]

    def pairs(self, size: Size) -> int:
        """A product over the axes; n (2 r + 1) - r (r + 1) along one of length n > r."""
        along = [n * (2 * r + 1) - r * (r + 1) for n, r in ((n, min(r, n - 1)) for n, r in zip(size[1:], self.radii))]
        return _time_pairs(size[0], 1, self.causal) * along[0] * along[1]

    @property
    def radii(self) -> tuple[int, int]:
        """The radius along height and along width."""
        return _both(self.radius)


@dataclass(frozen=True)
class Strided(Connectivity):
    """Cells a whole number of strides away in height and width, in every frame (or every `temporal_stride`-th)."""

    stride: int | tuple[int, int] = 8  # h, about the square root of the frame's side; one number for both axes
    temporal_stride: int = 1  # 1 is the authors' setting; h itself would connect no two frames of a short buffer
    shown: ClassVar[tuple[str, ...]] = ("stride",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stride", _one_or_two("Strided", "stride", self.stride, 1))
        _one_or_two("Strided", "temporal_stride", self.temporal_stride, 1, only_one=True)

    def relations(self, size: Size) -> list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]:
        """Equal residues along every axis."""
        residues = [numpy.arange(n) % h for n, h in zip(size, (self.temporal_stride, *self.strides))]
        along_time, along_y, along_x = (numpy.equal.outer(r, r) for r in residues)
        return [(self._time(size[0], along_time), along_y, along_x)]

    def pairs(self, size: Size) -> int:
        """A product over the axes of the sum of squared class sizes."""
        along = [sum(c * c for c in _classes(n, h)) for n, h in zip(size[1:], self.strides)]
        return _time_pairs(size[0], self.temporal_stride, self.causal) * along[0] * along[1]

    @property
    def strides(self) -> tuple[int, int]:
        """The stride along height and along width."""
        return _both(self.stride)


def parse(text: str) -> Connectivity:
    """The pattern that a text such as 'local(radius=7)' or 'grid' names.

    Raises:
        ValueError: no such pattern, or arguments that it does not take.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        name, positional, keywords = tree, [], []
        if isinstance(tree, ast.Call):
            name, positional, keywords = tree.func, tree.args, tree.keywords
        pattern = PATTERNS[name.id.lower()]
        arguments = [ast.literal_eval(a) for a in positional]
        named = {k.arg: ast.literal_eval(k.value) for k in keywords}
    except (SyntaxError, AttributeError, KeyError, ValueError):
        known = ", ".join(str(p()) for p in PATTERNS.values())
        raise ValueError(f"unknown connectivity {text!r}; known patterns, with their defaults: {known}") from None
    try:
        return pattern(*arguments, **named)
    except TypeError:
        fields = ", ".join(f.name for f in dataclasses.fields(pattern))
        raise ValueError(f"{text!r}: {name.id} takes {fields}") from None


def reach(layers: Sequence[Connectivity], cell: Cell, size: Size) -> numpy.ndarray:
    """Cells whose content arrives at `cell` through a stack of layers (Fig. 1), as booleans over (time, height, width).

    The cell is one of the last layer's output, so the hops are followed from the last layer back to the first.
    """
    if len(cell) != 3 or not all(0 <= i < n for i, n in zip(cell, size)):
        raise ValueError(f"cell {cell} lies outside a buffer of (time, height, width) {tuple(size)}")
    reached = numpy.zeros(size, dtype=bool)
    reached[tuple(cell)] = True
    for layer in reversed(layers):
        start, reached = reached.astype(numpy.float32), reached.copy()
        for relation in layer.relations(size):
            along_time, along_y, along_x = (r.astype(numpy.float32) for r in relation)
            hop = numpy.einsum("tyx,tk->kyx", start, along_time)
            hop = numpy.matmul(along_y.T, numpy.minimum(hop, 1))
            reached |= numpy.matmul(numpy.minimum(hop, 1), along_x) > 0
    return reached


def _both(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _one_or_two(pattern: str, field: str, value: Any, least: int, only_one: bool = False) -> int | tuple[int, int]:
    """The value itself once checked: a whole number, or one for height and one for width (equal ones become one)."""
    pair = tuple(value) if isinstance(value, (tuple, list)) and not only_one else (value,)
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in pair)
    if not whole or len(pair) not in (1, 2):
        wanted = f"a whole number of at least {least}" + ("" if only_one else ", or a pair (height, width) of them")
        raise ValueError(f"{pattern}: {field} is {value!r}; expected {wanted}")
    return pair[0] if len(set(pair)) == 1 else pair


def _classes(length: int, stride: int) -> list[int]:
    """Sizes of the residue classes of an axis."""
    short, longer = divmod(length, stride)
    return [short + 1] * longer + [short] * (stride - longer)


def _time_pairs(time: int, stride: int, causal: bool) -> int:
    return sum(c * (c + 1) // 2 if causal else c * c for c in _classes(time, stride))


