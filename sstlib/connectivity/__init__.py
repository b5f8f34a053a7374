"""Who may attend to whom (the sets I_p of section 3.2): the definition that attention, its tests and the figures share.

Each pattern is a union of products of three relations, one an axis: a key is connected when, in one of the products,
its time, its row and its column are all related to the query's. `relations` writes that down as three small boolean
matrices; masks, neighbors, hops and pair counts all follow from it. Axes are (time, height, width) and a cell is
(t, y, x) everywhere.

A subclass is a pattern by itself: its name in lower case is its text in configurations, and what computes attention
takes a general path for it (attention/general.py). Files of patterns named in the environment variable SST_PATTERNS
are read before a text is, so that commands know them, too.

>>> pattern = parse("local(radius=1)")
>>> pattern.pairs((2, 3, 5)), int(pattern.mask(2, 3, 5).sum())
(364, 364)
>>> pattern.neighbors((1, 0, 0), (2, 3, 5))
[(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
"""

import ast
import dataclasses
import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy
import torch

from sstlib.config.declared import fault
from sstlib.config.values import LARGEST, Whole, shown, sides
from sstlib.connectivity.unions import Cell, Product, Size, checked, count, disjoint, inside, served, spread
from sstlib.native import pytorch
from sstlib.shapes import Bool

PATTERNS: dict[str, type["Connectivity"]] = {}
_fault = pytorch.constant(fault)  # types are not for torch.compile to trace


@dataclass(frozen=True)
class Connectivity:
    """A pattern of connected cells. A subclass is a frozen dataclass that says how the axes are related."""

    causal: bool = dataclasses.field(default=False, kw_only=True)  # only keys of the same or earlier frames
    # Fields that the name always shows; the others only when they are not the default
    shown: ClassVar[tuple[str, ...]] = ()
    glyph: ClassVar[dict[str, Any]] = {}  # fields of the example that pictures show on a few cells; none: as it is

    def __init_subclass__(cls) -> None:
        name = cls.__name__.lower()
        if getattr(PATTERNS.get(name), "__module__", None) == __name__ != cls.__module__:
            raise ValueError(f"class {cls.__name__}: {name!r} is sstlib's own pattern in every configuration; give "
                             "yours another name")
        if "pairs" not in next(vars(base) for base in cls.__mro__ if {"relations", "pairs"} & vars(base).keys()):
            cls.pairs = Connectivity.pairs  # a closed form is of the relations that it was found for
        PATTERNS[name] = cls

    def __post_init__(self) -> None:
        """Raises ValueError where a field has another type than it is declared with, or a default that none has."""
        for field in dataclasses.fields(self):
            if wrong := _fault(type(self), field.name, getattr(self, field.name)):
                raise ValueError(wrong)

    def relations(self, size: Size) -> Sequence[Product]:
        """Products of boolean (query, key) matrices over time, height and width whose union is the pattern.

        They depend on the size and the fields alone. `causal` is not theirs to obey: it is applied to every pattern
        alike.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how its axes are related: define "
                                  "relations(self, size)")

    def pairs(self, size: Size) -> int:
        """How many (query, key) pairs a buffer of this size has, one that several products hold counted once."""
        return pairs_of_last(size[0], self, size)

    def mask(self, time: int, height: int, width: int) -> Bool[torch.Tensor, "queries keys"]:
        """Which keys each query has, in raster order: the definition, for small sizes (its size is cells squared)."""
        terms = products(self, (time, height, width))
        joined = numpy.zeros((time * height * width,) * 2, dtype=bool)
        for along_time, along_y, along_x in terms:
            joined |= numpy.kron(numpy.kron(along_time, along_y), along_x)
        return torch.from_numpy(joined)

    def neighbors(self, cell: Cell, size: Size) -> list[Cell]:
        """The keys of one query (I_p of Eq. 6), in raster order."""
        terms, keys = products(self, size), numpy.zeros(size, dtype=bool)
        for product in terms:
            along_time, along_y, along_x = (relation[place] for relation, place in zip(product, inside(cell, size)))
            keys |= along_time[:, None, None] & along_y[:, None] & along_x
        return [(int(t), int(y), int(x)) for t, y, x in numpy.argwhere(keys)]

    def reach(self, cell: Cell, hops: int, size: Size) -> numpy.ndarray:
        """Cells whose content arrives at `cell` after at most `hops` layers, as booleans over the buffer."""
        return reach([self] * Whole().check(hops, "hops"), cell, size)

    def _text(self, title: str) -> str:
        given = [f"{f.name}={getattr(self, f.name)!r}"
                 for f in sorted(dataclasses.fields(self), key=lambda f: f.kw_only is True)
                 if f.init and (f.name in self.shown or repr(getattr(self, f.name)) != repr(f.default))]
        return f"{title}({', '.join(given)})" if given else title

    @property
    def name(self) -> str:
        """For people: 'Local(radius=7)'."""
        return self._text(type(self).__name__)

    def __str__(self) -> str:
        """For configurations: 'local(radius=7)', which `parse` reads back."""
        return self._text(type(self).__name__.lower())


@dataclass(frozen=True)
class Dense(Connectivity):
    """Every cell of the buffer (Eq. 5)."""

    def relations(self, size: Size) -> list[Product]:
        """All cells."""
        time, rows, columns = (numpy.ones((n, n), dtype=bool) for n in size)
        return [(time, rows, columns)]

    def pairs(self, size: Size) -> int:
        """(T H W)^2, or T (T + 1) / 2 (H W)^2 when causal."""
        return _time_pairs(size, 1, self.causal) * (size[1] * size[2]) ** 2


@dataclass(frozen=True)
class Grid(Connectivity):
    """Cells that share two of three coordinates: three axis lines, the cell itself once (section 3.2, Eq. 7-9)."""

    def relations(self, size: Size) -> list[Product]:
        """One product an axis: anything along it, equal along the two others."""
        one, all_ = ([numpy.eye(n, dtype=bool) for n in size], [numpy.ones((n, n), dtype=bool) for n in size])
        return [(all_[0], one[1], one[2]), (one[0], all_[1], one[2]), (one[0], one[1], all_[2])]

    def pairs(self, size: Size) -> int:
        """T H W (T + H + W - 2), with (T + 1) / 2 in place of T when causal."""
        time, height, width = sides(size)
        return height * width * (_time_pairs(size, 1, self.causal) + time * (height + width - 2))


@dataclass(frozen=True)
class Local(Connectivity):
    """A window of (2 radius + 1)^2 cells around the query, cut off at the border, in every frame of the buffer."""

    radius: int | tuple[int, int] = 7  # cells up and down, left and right; one number for both
    shown: ClassVar[tuple[str, ...]] = ("radius",)
    glyph: ClassVar[dict[str, Any]] = {"radius": 1}

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", _one_or_two("Local", "radius", self.radius, 0))
        super().__post_init__()

    def relations(self, size: Size) -> list[Product]:
        """Rows and columns at most the radius apart."""
        offsets = [numpy.abs(numpy.subtract.outer(numpy.arange(n), numpy.arange(n))) for n in size[1:]]
        rows, columns = (d <= r for d, r in zip(offsets, self.radii))
        return [(numpy.ones((size[0],) * 2, dtype=bool), rows, columns)]

    def pairs(self, size: Size) -> int:
        """A product over the axes; n (2 r + 1) - r (r + 1) along one of length n > r."""
        along = [n * (2 * r + 1) - r * (r + 1) for n, r in ((n, min(r, n - 1)) for n, r in zip(size[1:], self.radii))]
        return _time_pairs(size, 1, self.causal) * along[0] * along[1]

    @property
    def radii(self) -> tuple[int, int]:
        """The radius along height and along width."""
        return self.radius if isinstance(self.radius, tuple) else (self.radius, self.radius)


@dataclass(frozen=True)
class Strided(Connectivity):
    """Cells a whole number of strides away in height and width, in every frame (or every `temporal_stride`-th)."""

    stride: int | tuple[int, int] = 8  # h, about the square root of the frame's side; one number for both axes
    temporal_stride: int = 1  # 1 is the authors' setting; h itself would connect no two frames of a short buffer
    shown: ClassVar[tuple[str, ...]] = ("stride",)
    glyph: ClassVar[dict[str, Any]] = {"stride": 3}

    def __post_init__(self) -> None:
        object.__setattr__(self, "stride", _one_or_two("Strided", "stride", self.stride, 1))
        _one_or_two("Strided", "temporal_stride", self.temporal_stride, 1, only_one=True)
        super().__post_init__()

    def relations(self, size: Size) -> list[Product]:
        """Equal residues along every axis."""
        residues = [numpy.arange(n) % h for n, h in zip(size, (self.temporal_stride, *self.strides))]
        time, rows, columns = (numpy.equal.outer(r, r) for r in residues)
        return [(time, rows, columns)]

    def pairs(self, size: Size) -> int:
        """A product over the axes of the sum of squared class sizes."""
        along = [sum(many * c * c for c, many in _classes(n, h)) for n, h in zip(size[1:], self.strides)]
        return _time_pairs(size, self.temporal_stride, self.causal) * along[0] * along[1]

    @property
    def strides(self) -> tuple[int, int]:
        """The stride along height and along width."""
        return self.stride if isinstance(self.stride, tuple) else (self.stride, self.stride)


def parse(text: str, kind: type[Connectivity] | None = None) -> Connectivity:
    """The pattern that a text such as 'local(radius=7)' or 'grid' names, or one of a given class, whatever the name.

    Raises:
        ValueError: no such pattern, or arguments that it does not take.
    """
    known = registered()
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        word = ast.unparse(call.func)
        pattern = kind or known[word.lower()]
        arguments = [ast.literal_eval(a) for a in call.args]
        named = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, AttributeError, KeyError, ValueError, TypeError, MemoryError, RecursionError):
        defaults = ", ".join(map(_with_defaults, known.values()))
        raise ValueError(f"unknown connectivity {shown(text)}; known patterns, with their defaults: {defaults}; what "
                         "they take are numbers, texts or tuples, and SST_PATTERNS names files of more") from None
    takes = f"{shown(text)}: {word} takes {', '.join(f.name for f in dataclasses.fields(pattern))}, each once"
    if len(named) < len(call.keywords):
        raise ValueError(takes)
    try:
        return pattern(*arguments, **named)
    except Exception as error:  # of a field that is unknown, or an assertion of a class of one's own
        own = isinstance(error, ValueError)
        raise error if own else ValueError(f"{takes}; {type(error).__name__}: {error}") from None


def registered() -> dict[str, type[Connectivity]]:
    """All patterns by their names in texts: the library's, those that a program defines, and those in files of
    SST_PATTERNS.

    Raises:
        OSError: a file that is not there, does not run, or defines what another does; no ValueError, which a
            configuration would take for its own.
    """
    _read(os.environ.get("SST_PATTERNS", ""))
    return PATTERNS


@functools.cache
def _read(files: str) -> None:
    owners: dict[str, str] = {}
    for file in filter(None, files.split(os.pathsep)):
        if not os.path.isfile(file):
            raise OSError(f"SST_PATTERNS names {file!r}, which is no file; name Python files that define "
                          f"patterns, with {os.pathsep!r} between")
        spec = importlib.util.spec_from_file_location(f"patterns_of_{Path(file).stem}", file)
        sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        before = dict(PATTERNS)
        try:
            spec.loader.exec_module(sys.modules[spec.name])
        except (Exception, SystemExit) as error:
            kind = type(error).__name__
            raise OSError(f"SST_PATTERNS names {file!r}, which does not run: {kind}: {error}") from error
        for name in (n for n, new in PATTERNS.items() if new is not before.get(n) and new.__module__ == spec.name):
            if (other := owners.setdefault(name, file)) != file:
                raise OSError(f"SST_PATTERNS names {other!r} and {file!r}, which both define {name!r}; rename one")


def _with_defaults(pattern: type[Connectivity]) -> str:
    """The text of a pattern with its defaults, or with the names of what it cannot be made without."""
    listed = [f.name if f.default is f.default_factory is dataclasses.MISSING else f"{f.name}={f.default!r}"
              for f in dataclasses.fields(pattern) if f.name in pattern.shown or f.default is f.default_factory]
    return pattern.__name__.lower() + (f"({', '.join(listed)})" if listed else "")


def products(pattern: Connectivity | str, size: Size) -> list[Product]:
    """`relations` once checked and, where the pattern is causal, without keys of later frames.

    Raises:
        ValueError: no size; fields of another type than declared; relations that are no boolean matrices of this size.
    """
    pattern, size = parse(pattern) if isinstance(pattern, str) else pattern, sides(size)
    Connectivity.__post_init__(pattern)
    if type(pattern).mask is not Connectivity.mask:
        raise ValueError(f"{pattern.name} defines a mask of its own, which only `relations` may decide; define "
                         "relations instead")
    try:
        terms = checked(pattern.name, pattern.relations(size), size)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{pattern.name}: relations({tuple(size)}) raises {type(error).__name__}: {error}") from error
    return [(numpy.tril(t), y, x) for t, y, x in terms] if pattern.causal else terms


def attended(queried: int, pattern: Connectivity, size: Size) -> list[Product]:
    """The products of the queries of the last frames, who attend to something each.

    Raises:
        ValueError: one has no key at all.
    """
    last = [(t[-queried:], y, x) for t, y, x in products(pattern, size)]
    lonely = numpy.argwhere(~served((queried, *size[1:]), last))
    if len(lonely):
        cell = (size[0] - queried + int(lonely[0, 0]), *lonely[0, 1:].tolist())
        raise ValueError(f"{pattern.name} connects cell {cell} of a buffer of {tuple(size)} to no key, and softmax "
                         "over nothing is undefined; relate every cell to one key at least, such as itself")
    return last


def pairs_of_last(queried: int, pattern: Connectivity, size: Size) -> int:
    """How many pairs the queries of the last frames have, counted without a mask."""
    return count(disjoint([(t[-queried:], y, x) for t, y, x in products(pattern, size)]))


def reach(layers: Sequence[Connectivity | str], cell: Cell, size: Size) -> numpy.ndarray:
    """Cells whose content arrives at `cell` through a stack of layers (Fig. 1), as booleans over (time, height, width).

    The cell is one of the last layer's output, so the hops are followed from the last layer back to the first.
    """
    turned = [[(t.T, y.T, x.T) for t, y, x in products(layer, size)] for layer in reversed(layers)]
    return spread(turned, cell, size)


def arrive(layers: Sequence[Connectivity | str], cell: Cell, size: Size) -> numpy.ndarray:
    """Cells at which a first-layer cell's content arrives through a stack of layers: `reach` the other way round."""
    return spread([products(layer, size) for layer in layers], cell, size)


def _one_or_two(pattern: str, field: str, value: Any, least: int, only_one: bool = False) -> int | tuple[int, int]:
    """The value itself once checked: a whole number, or one for height and one for width (equal ones become one)."""
    pair = tuple(value) if isinstance(value, (tuple, list)) and not only_one else (value,)
    whole = all(isinstance(v, int) and not isinstance(v, bool) and least <= v <= LARGEST for v in pair)
    if not whole or len(pair) not in (1, 2):
        wanted = f"a whole number from {least} to {LARGEST}{'' if only_one else ', or a pair (height, width) of them'}"
        raise ValueError(f"{pattern}: {field} is {value!r}; expected {wanted}")
    return pair[0] if len(set(pair)) == 1 else pair


def _classes(length: int, stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sizes of the residue classes of an axis, and how many have each."""
    short, longer = divmod(length, stride)
    return (short + 1, longer), (short, stride - longer)


def _time_pairs(size: Sequence[Any], stride: int, causal: bool) -> int:
    return sum(many * (c * (c + 1) // 2 if causal else c * c) for c, many in _classes(sides(size)[0], stride))
