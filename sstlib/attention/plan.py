"""Blocks of queries and keys that cover any union of products of per-axis relations (connectivity/unions.py).

The union is split into products that share no pair. In each, queries with the same keys along an axis belong together,
and those with nearly the same are joined while few useless pairs come in; three such groups, one an axis, make a block
of queries that attends to a block of keys. Blocks of one shape are listed together, and given out a few at a time.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from sstlib.attention.affinity import INFINITY
from sstlib.connectivity import Connectivity, attended
from sstlib.connectivity.unions import Size, disjoint
from sstlib.native import pytorch
from sstlib.shapes import Int

WASTE = 1.5  # pairs along an axis, to those that are related, up to which queries share their keys
FEW = 6  # shapes of groups along an axis that stay apart; more are padded, so that there are fewer calls
PADDED = 0.8  # least share of the longest list of keys that another may have to be padded to it
NEAR = 64  # candidates that are looked at when a group grows


class Axis(NamedTuple):
    """Groups of queries of one shape along one axis, with their keys; NumPy arrays until placed on a device."""

    queries: Tensor  # (group, query)
    keys: Tensor  # (group, key); what pads a list is related to no query
    related: Tensor | None  # (group, query, key), or (1, query, key) for all groups alike; None where all are
    earlier: Tensor | None  # (group, query, key): related, and the key comes before the query; None where none does

    def of(self, groups: Int[Tensor, "number"], some: slice) -> "Axis":
        """Some of the groups, and some of the queries of each."""
        relations = (
            t if t is None else t[groups if len(t) > 1 else slice(1), some] for t in (self.related, self.earlier))
        return Axis(self.queries[groups, some], self.keys[groups], *relations)


class Block(NamedTuple):
    """Blocks of one shape: each group of times with each of rows and each of columns."""

    time: Axis
    rows: Axis
    columns: Axis

    @property
    def shape(self) -> tuple[int, ...]:
        """How many blocks, and how many queries and keys in each."""
        return tuple(
            int(numpy.prod(numbers)) for numbers in zip(*((*axis.queries.shape, axis.keys.shape[1]) for axis in self)))


class Chunk(NamedTuple):
    """Some queries of some blocks."""

    queries: Tensor  # (block, query) raster indices within the queried frames
    keys: Tensor  # (block, key) raster indices within the buffer
    related: Tensor | None  # (block or 1, query, key); None where all are
    earlier: Tensor | None  # the same of related keys of earlier frames; None where there are none

    def bias(self, dtype: torch.dtype) -> Tensor | None:
        """-inf where not related, else 0."""
        if self.related is None:
            return None
        return torch.zeros(self.related.shape, dtype=dtype,
                           device=self.related.device).masked_fill_(~self.related, -INFINITY)


def plan(pattern: Connectivity, size: Size, queried: int, device: torch.device) -> tuple[tuple[Block, ...], ...]:
    """The blocks of each disjoint product of a pattern, over a buffer whose last `queried` frames are queried.

    Raises:
        ValueError: a query without a key.
    """
    # A tensor that is made within a mode or a transform belongs to it
    if pytorch.dispatch_modes() or pytorch.transformed() or torch.compiler.is_compiling():
        return _placed.__wrapped__(pattern, size, queried, device)
    return _placed(pattern, size, queried, device)


@functools.lru_cache(maxsize=16)
def _placed(pattern: Connectivity, size: Size, queried: int, device: torch.device) -> tuple[tuple[Block, ...], ...]:
    place = lambda axis: Axis(*(t if t is None else torch.as_tensor(t, device=device) for t in axis))
    return tuple(tuple(Block(*map(place, block)) for block in blocks) for blocks in _listed(pattern, size, queried))


@functools.lru_cache(maxsize=16)
def _listed(pattern: Connectivity, size: Size, queried: int) -> tuple[tuple[Block, ...], ...]:
    """The plan as NumPy arrays."""
    products = disjoint(attended(queried, pattern, size))
    axes = ([_axes(along_time, size[0] - queried), *map(_axes, rest)] for along_time, *rest in products)
    return tuple(tuple(itertools.starmap(Block, itertools.product(*three))) for three in axes)


def computed(pattern: Connectivity, size: Size, queried: int) -> tuple[int, int, int]:
    """How many pairs the blocks compute (useless ones, too), of how many disjoint products, in how many shapes."""
    products = _listed(pattern, size, queried)
    shapes = [block.shape for blocks in products for block in blocks]
    return sum(number * queries * keys for number, queries, keys in shapes), len(products), len(shapes)


def _axes(relation: numpy.ndarray, first: int | None = None) -> list[Axis]:
    """Groups of queries (rows of the relation, of frames from the `first` on) by their shape."""
    groups = _groups(relation)
    exact: dict[tuple, list] = {}
    for queries, keys in groups:
        related = relation[numpy.ix_(queries, keys)]
        exact.setdefault((related.shape, related.tobytes()), []).append((queries, keys))
    parts = list(exact.values()) if len(exact) <= FEW else _by_length(groups)
    axes = []
    for part in parts:
        longest = max(len(keys) for _, keys in part)
        queries = numpy.stack([queries for queries, _ in part])
        keys = numpy.stack([numpy.pad(keys, (0, longest - len(keys))) for _, keys in part])
        related = relation[queries[:, :, None], keys[:, None]] & (numpy.arange(longest)
                                                                  < [[[len(keys)]] for _, keys in part])
        earlier = related & (keys[:, None] < queries[:, :, None] + first) if first is not None else related[:0]
        alike = slice(1) if (related == related[:1]).all() else slice(None)
        axes.append(Axis(queries, keys, None if related.all() else related[alike], earlier if earlier.any() else None))
    return axes


def _groups(relation: numpy.ndarray) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """Queries that share their keys, each in one group unless it has no key, and all the keys of a group."""
    keys, which = numpy.unique(relation, axis=0, return_inverse=True)
    queries = [numpy.flatnonzero(which.ravel() == number) for number in range(len(keys))]
    left = sorted((number for number in range(len(keys)) if keys[number].any()), key=lambda number: queries[number][0])
    many, sizes = numpy.array([len(q) for q in queries]), keys.sum(1)
    groups = []
    while left:
        chosen = [left.pop(0)]
        union = keys[chosen[0]].copy()
        while left:
            near = numpy.array(left[:NEAR])
            grown = union.sum() + sizes[near] - (keys[near] & union).sum(1)
            useful = (many * sizes)[chosen].sum() + (many * sizes)[near]
            waste = (many[chosen].sum() + many[near]) * grown / useful
            if waste.min() > WASTE:
                break
            best = int(near[waste.argmin()])
            chosen.append(best)
            left.remove(best)
            union |= keys[best]
        groups.append((numpy.sort(numpy.concatenate([queries[number] for number in chosen])), numpy.flatnonzero(union)))
    return groups


def _by_length(groups: list[tuple[numpy.ndarray, numpy.ndarray]]) -> list[list[tuple[numpy.ndarray, numpy.ndarray]]]:
    """Groups with as many queries and about as many keys."""
    parts: list[list] = []
    for group in sorted(groups, key=lambda group: (len(group[0]), -len(group[1]))):
        if parts and len(parts[-1][0][0]) == len(group[0]) and len(group[1]) >= PADDED * len(parts[-1][0][1]):
            parts[-1].append(group)
        else:
            parts.append([group])
    return parts


def chunks(block: Block, size: Size, groups: int, dim: int, limit: int) -> Iterator[tuple[slice, Chunk]]:
    """A block's queries in pieces of at most `limit` scores or channels of keys, each with some groups (heads)."""
    number, queries, keys = block.shape
    most = max(1, limit // keys)  # queries of one block and head at a time
    steps = []
    for axis, inner in zip(
            block, (block.rows.queries.shape[1] * block.columns.queries.shape[1], block.columns.queries.shape[1], 1)):
        steps.append(max(1, min(axis.queries.shape[1], most // inner)))
    each = keys * max(int(numpy.prod(steps)), dim)
    heads = max(1, min(groups, limit // each))
    together = max(1, limit // (each * heads))
    parts = [[slice(first, first + step) for first in range(0, axis.queries.shape[1], step)]
             for axis, step in zip(block, steps)]
    for first in range(0, number, together):
        which = torch.arange(first, min(first + together, number), device=block.time.queries.device)
        inner = block.rows.queries.shape[0] * block.columns.queries.shape[0]
        places = which // inner, which // block.columns.queries.shape[0] % block.rows.queries.shape[
            0], which % block.columns.queries.shape[0]
        for some in itertools.product(*parts):
            chunk = _chunk([axis.of(*part) for axis, *part in zip(block, places, some)], size)
            for head in range(0, groups, heads):
                yield slice(head, head + heads), chunk


def _chunk(axes: list[Axis], size: Size) -> Chunk:
    time, rows, columns = axes
    raster = lambda t, y, x: (
        (t[:, :, None, None] * size[1] + y[:, None, :, None]) * size[2] + x[:, None, None]).flatten(1)
    sides = [axis.queries for axis in axes], [axis.keys for axis in axes]
    shapes = [[t.shape[1] for t in side] for side in sides]
    earlier = None if time.earlier is None else _joined([time.earlier, rows.related, columns.related], *shapes)
    queries, keys = (raster(*side) for side in sides)
    return Chunk(queries, keys, _joined([axis.related for axis in axes], *shapes), earlier)


def _joined(relations: list[Tensor | None], queries: list[int], keys: list[int]) -> Tensor | None:
    """The product (block or 1, query, key) of relations along the axes."""
    total = None
    for axis, relation in enumerate(relations):
        if relation is not None:
            before, after = (1,) * axis, (1,) * (len(relations) - 1 - axis)
            number, queried, attended_to = relation.shape
            relation = relation.view(number, *before, queried, *after, *before, attended_to, *after)
            total = relation if total is None else total & relation
    return None if total is None else total.expand(-1, *queries, *keys).flatten(4).flatten(1, 3)
