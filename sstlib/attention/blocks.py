"""Sparse attention as small dense blocks in PyTorch: tiles with a halo (Local), residue classes (Strided), rows
(Dense).

A pattern that is a product over the axes splits the frame into pieces whose queries share their keys. Pieces of equal
shape form one batch, so nothing is padded, a mask is shared by the batch, and border tiles do not compute keys that the
border cuts off. Cells are gathered once, frame by frame, so that the frames a query sees are a slice of its piece.
Scores of a few pieces exist at a time, forward and backward.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from sstlib.attention.affinity import INFINITY, Ranking
from sstlib.attention.softmax import LN2, LOG2E, gradients, room, scores, weighed, wide
from sstlib.attention.tensors import Keys, Outputs, PerQueries, Queries, Values
from sstlib.connectivity import Connectivity, Local, Size, Strided
from sstlib.native import pytorch
from sstlib.shapes import Float, Int, Shaped

GATHERED = 1 << 18  # floats of gathered keys at a time, where a fused kernel holds the scores: 1 MB, too
# Height and width of a Local tile: a smaller one has fewer useless keys, a larger one better matrix products
TILE = 8, 4
SPAN = 4  # frames at a time, where all are related
# Queries at a time, of several causal frames where a piece is small: a call for fewer takes longer than their products
ROWS = 32
Cells = Shaped[Tensor, "all_groups cell ..."]
Gathered = Shaped[Tensor, "group piece place ..."]


class Pieces(NamedTuple):
    """Pieces of the frame of one shape, over the frames of one temporal class; cells by their place in the frame."""

    queries: Tensor  # (piece, query)
    keys: Tensor  # (piece, key)
    # (query, key): -inf where not connected, else 0, the same for each piece and frame; None where all are
    bias: Tensor | None
    frames: Tensor  # (frame,) of the buffer, ascending: those that are related
    queried: int  # how many of them, the last, are queried

    def step(self, causal: bool, fused: bool) -> int:
        """Frames at a time."""
        return SPAN if not causal else max(1, ROWS // self.queries.shape[1]) if fused else 1

    def spans(self, causal: bool, step: int) -> Iterator[tuple[slice, slice, slice]]:
        """Rows of the queries of `step` frames, with the columns of keys they see and those of earlier frames."""
        before, cells, others = len(self.frames) - self.queried, self.queries.shape[1], self.keys.shape[1]
        for first in range(0, self.queried, step):
            last = min(first + step, self.queried)
            seen = before + last if causal else len(self.frames)
            yield slice(first * cells, last * cells), slice(0, seen * others), slice(0, (before + first) * others)

    def turned(self, causal: bool, step: int) -> Iterator[tuple[slice, slice]]:
        """Likewise for backward: rows of queries that see some columns; the first has all rows, each key is in one."""
        before, cells, others = len(self.frames) - self.queried, self.queries.shape[1], self.keys.shape[1]
        starts = [0, *range(before + step, len(self.frames), step)] if causal else range(0, len(self.frames), step)
        for first, last in zip(starts, [*starts[1:], len(self.frames)], strict=True):
            yield slice(max(first - before, 0) * cells if causal else 0,
                        self.queried * cells), slice(first * others, last * others)

    def mask(self, queries: int, keys: int, dtype: torch.dtype, causal: bool = False) -> Tensor | None:
        """The bias of so many frames' queries and keys, -inf for later frames where causal; None if there is none."""
        if self.bias is None and not causal:
            return None
        cells, others = self.queries.shape[1], self.keys.shape[1]
        mask = (torch.zeros(queries * cells, keys * others, dtype=dtype, device=self.keys.device) if self.bias is None
                else self.bias.repeat(queries, keys))
        for row in range(queries if causal else 0):
            mask[row * cells:(row + 1) * cells, (keys - queries + row + 1) * others:] = -INFINITY
        return mask

    def cells(self, which: Int[Tensor, "piece place"], frames: Int[Tensor, "frame"], plane: int) -> Tensor:
        """Raster indices (piece, frame x cell) of pieces."""
        return (which[:, None, :] + frames[:, None] * plane).flatten(1)


def _along(pattern: Connectivity, axis: int, relation: numpy.ndarray,
           step: int) -> list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]:
    """Pieces of one axis by shape: (piece, query), (piece, key) and their common relation (query, key)."""
    length = len(relation)
    if type(pattern) is Strided:
        parts = [numpy.arange(c, length, pattern.strides[axis]) for c in range(min(length, pattern.strides[axis]))]
    else:
        parts = [numpy.arange(s, min(s + step, length)) for s in range(0, length, step)]
    groups: dict[tuple, list] = {}
    for queries in parts:
        keys = numpy.flatnonzero(relation[queries].any(0))
        related = relation[numpy.ix_(queries, keys)]
        groups.setdefault((related.shape, related.tobytes()), []).append((queries, keys, related))
    return [(numpy.stack([q for q, _, _ in g]), numpy.stack([k for _, k, _ in g]), g[0][2]) for g in groups.values()]


@functools.lru_cache(maxsize=16)
def pieces(pattern: Connectivity, size: Size, queried: int, fused: bool, dtype: torch.dtype,
           device: torch.device) -> tuple[Pieces, ...]:
    """All pieces of a pattern over a buffer whose last `queried` frames are queried."""
    time, height, width = size
    _, along_y, along_x = pattern.relations((1, height, width))[0]
    rows, columns = TILE if type(pattern) is Local else (height if fused else max(1, 256 // width), width)
    split = _along(pattern, 0, along_y, rows), _along(pattern, 1, along_x, columns)
    place = lambda y, x: torch.from_numpy(
        (y[:, None, :, None] * width + x[None, :, None, :]).reshape(len(y) * len(x), -1)).to(device)
    result = []
    for (qy, ky, related_y), (qx, kx, related_x) in itertools.product(*split):
        related = numpy.kron(related_y, related_x)
        bias = None if related.all() else torch.from_numpy(numpy.where(related, 0, -INFINITY)).to(device, dtype)
        for first in range(min(time, getattr(pattern, "temporal_stride", 1))):
            frames = torch.arange(first, time, getattr(pattern, "temporal_stride", 1), device=device)
            if last := int((frames >= time - queried).sum()):
                result.append(Pieces(place(qy, qx), place(ky, kx), bias, frames, last))
    return tuple(result)


class Chunk(NamedTuple):
    """Some pieces of some groups."""

    groups: slice
    queries: Tensor  # (piece, frame x query) raster indices within the queried frames
    keys: Tensor  # (piece, frame x key) raster indices within the buffer

    def take(self, tensor: Cells, index: Int[Tensor, "piece place"]) -> Tensor:
        """Cells (group, piece, cell, ...) of a (group, cell, ...) tensor, in float32 at least."""
        return wide(tensor[self.groups].index_select(1, index.flatten()).unflatten(1, index.shape))

    def put(self, total: Cells, part: Gathered) -> None:
        """Writes the queries' (group, piece, cell, ...) into (group, cell, ...)."""
        total[self.groups].index_copy_(1, self.queries.flatten(), part.flatten(1, 2).to(total.dtype))

    def add(self, total: Cells, part: Gathered, columns: slice, size: Size) -> None:
        """Adds whole frames of windows, (group, piece, cell, ...) of some columns, to (group, cell, ...)."""
        total, others = total[self.groups], self.keys.shape[1] // size[0]
        if total.device.type != "cpu":
            total.index_add_(1, self.keys[:, columns].flatten(), part.flatten(1, 2))
            return
        total = total.unflatten(1, size)[:, columns.start // others:columns.stop // others]
        # Rows of a window are long runs, an index goes cell by cell
        for number, corners in enumerate(self.keys[:, [0, others - 1]].tolist()):
            (top, left), (bottom, right) = (divmod(corner, size[2]) for corner in corners)
            to = total[:, :, top:bottom + 1, left:right + 1]
            to.add_(part[:, number].view(to.shape))


def _chunks(some: Pieces, plane: int, groups: int, each: int, limit: int) -> Iterator[Chunk]:
    """Slices of groups and pieces, of at most `limit` floats where one piece of one group needs `each`."""
    heads = max(1, min(groups, limit // each))
    step = max(1, limit // (each * heads))
    for start in range(0, len(some.queries), step):
        queries = some.cells(some.queries[start:start + step], some.frames[-some.queried:], plane)
        keys = some.cells(some.keys[start:start + step], some.frames, plane)
        for first in range(0, groups, heads):
            yield Chunk(slice(first, first + heads), queries, keys)


def _room(some: Pieces, fused: bool, frames: int, others: int, dim: int) -> tuple[int, int]:
    """What `_chunks` bounds, scores or (under a fused kernel) gathered keys: what one piece needs, and the limit."""
    if fused:
        return len(some.frames) * some.keys.shape[1] * dim, GATHERED
    # Else calls cost more than they save
    return frames * some.queries.shape[1] * others * some.keys.shape[1], 2 * room(some.keys.device)


def _fusable(query: Tensor, value: Tensor) -> bool:
    """Whether the fused CPU kernel takes these; it computes in their own precision and gives no scores."""
    return (pytorch.has_attention() and query.device.type == "cpu" and query.dtype in (torch.float32, torch.float64)
            and query.shape[-1] == value.shape[-1])


def forward(query: Queries, key: Keys, value: Values, pattern: Connectivity, size: Size, scale: float,
            rank: Ranking | None, remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Output, log-sum-exp, best ranking score and its key, of flattened (group, cell, dim) tensors (Eq. 6)."""
    groups, cells, dim = query.shape
    dtype, ranks, fused = torch.promote_types(query.dtype, torch.float32), rank is not None, _fusable(query, value)
    before = key.shape[1] - cells
    output, lse = query.new_empty(groups, cells, value.shape[-1]), query.new_empty(groups, cells, dtype=dtype)
    best, argmax = rank.records(query, remember) if ranks else (None, None)
    terms = [term.contiguous() for term in rank.terms.unbind(1)] if ranks else []  # else each gathering would copy all
    plane = size[1] * size[2]
    for some in pieces(pattern, size, cells // plane, fused and not ranks, dtype, query.device):
        step = 1 if ranks else some.step(pattern.causal, fused)
        exact = pattern.causal and step > 1  # frames that share a call see different keys
        mask = some.mask(some.queried if exact else min(step, some.queried), len(some.frames), dtype,
                         exact) if fused else None
        for chunk in _chunks(some, plane, groups,
                             *_room(some, fused and not ranks, min(step, some.queried), len(some.frames), dim)):
            chunk = chunk._replace(queries=chunk.queries - before)
            q, k, v = chunk.take(query, chunk.queries), chunk.take(key, chunk.keys), chunk.take(value, chunk.keys)
            out, norm = q.new_empty(*q.shape[:-1], v.shape[-1]), q.new_empty(q.shape[:-1])
            sides = Sides.of(chunk, rank, terms) if ranks else None
            for rows, seen, earlier in some.spans(pattern.causal, step):
                inputs, ranked = (q[:, :, rows], k[:, :, seen], v[:, :, seen]), ranks and earlier.stop > 0
                if ranked or not fused:
                    raw = scores(inputs[0] * (scale if fused else scale * LOG2E), k[:, :, earlier if fused else seen],
                                 some.bias)
                if ranked:
                    natural = raw if fused else raw[..., earlier] * LN2
                    _rank(natural, rank, sides, chunk, rows, earlier, best, argmax if remember else None)
                if fused:
                    out[:, :, rows], norm[:, :, rows] = _fused(*inputs, mask[rows, seen] if exact else mask, scale)
                else:
                    out[:, :, rows], norm[:, :, rows] = weighed(raw, inputs[2])
            chunk.put(output, out)
            chunk.put(lse, norm)
    if ranks:
        best, argmax = best.mT, argmax.mT if remember else argmax
    return output, lse, best, argmax


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp by PyTorch's fused CPU kernel, twice as fast; it shows no scores."""
    mask = mask if mask is None else mask[:q.shape[-2], :k.shape[-2]]
    return pytorch.attention(q, k, v, mask, scale)


class Sides(NamedTuple):
    """What ranks a chunk's keys for objects beside their scores; many pieces hold one object alone."""

    terms: list[Tensor]  # (group, piece, 1, key), one an object
    absent: list[int]  # how many of the first keys no piece has of each object,
    whole: list[int]  # and how many all pieces have: their scores rank as they are
    key_term: Tensor | None  # (group, piece, 1, key)
    query_term: Tensor | None  # (group, piece, query, 1)

    @classmethod
    def of(cls, chunk: Chunk, rank: Ranking, terms: list[Float[Tensor, "all_groups cell"]]) -> "Sides":
        gathered = [chunk.take(term, chunk.keys)[:, :, None] for term in terms]
        absent = whole = [0] * len(gathered)
        if chunk.keys.device.type == "cpu":  # a GPU would have to wait for the answer
            absent = [_first(term > rank.least) for term in gathered]
            whole = [_first(term != 0) for term in gathered] if rank.mode == "add" else whole
        key_term = None if rank.key_term is None else chunk.take(rank.key_term, chunk.keys)[:, :, None]
        query_term = None if rank.query_term is None else chunk.take(rank.query_term, chunk.queries)[..., None]
        return cls(gathered, absent, whole, key_term, query_term)


def _first(wanted: Tensor) -> int:
    """How many keys come before the first that any piece wants."""
    places = wanted.flatten(0, -2).any(0).nonzero()
    return int(places[0]) if len(places) else wanted.shape[-1]


def _rank(scores: Tensor, rank: Ranking, sides: Sides, chunk: Chunk, rows: slice, earlier: slice, best: Tensor,
          argmax: Tensor | None) -> None:
    """Writes each query's best ranking score over keys of earlier frames, by object, and where wanted its key."""
    queries, keys = chunk.queries[:, rows], chunk.keys[:, earlier]
    chunk = chunk._replace(queries=queries)
    key_term = None if sides.key_term is None else sides.key_term[..., earlier]
    query_term = None if sides.query_term is None else sides.query_term[:, :, rows]
    tops, places = [], []
    for term, absent, whole in zip(sides.terms, sides.absent, sides.whole, strict=True):
        if absent >= earlier.stop:
            tops.append(scores.new_full(scores.shape[:-1], rank.least))
            places.append(torch.full(scores.shape[:-1], -1, device=scores.device))
            continue
        ranked = scores if whole >= earlier.stop else rank.ranked(scores, term[..., earlier], key_term, query_term)
        if rank.mode != "add":  # there a product with -inf is no number
            ranked = ranked.masked_fill_(scores == -INFINITY, -INFINITY)
        if argmax is None:
            tops.append(ranked.amax(-1).clamp_min_(rank.least))
            continue
        top, place = ranked.max(-1)
        cell = keys.expand(top.shape[0], *keys.shape).gather(-1, place)
        tops.append(top.clamp_min(rank.least))
        places.append(torch.where(top > rank.least, cell, -1))
    chunk.put(best, torch.stack(tops, -1))
    if argmax is not None:
        chunk.put(argmax, torch.stack(places, -1))


def backward(query: Queries, key: Keys, value: Values, output: Outputs, lse: PerQueries, grad: Outputs,
             grad_lse: PerQueries | None, pattern: Connectivity, size: Size,
             scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value; the weights are computed again from the log-sum-exp, piece by piece."""
    groups, cells, dim = query.shape
    dtype, before, plane = lse.dtype, key.shape[1] - cells, size[1] * size[2]
    fused = grad_lse is None and _fusable(query, value)  # it knows no gradient of the log-sum-exp
    delta = output if fused else torch.linalg.vecdot(wide(grad), wide(output))[..., None]
    delta = delta if grad_lse is None else delta - grad_lse[..., None]
    norm = lse[..., None] if fused else lse[..., None] * LOG2E
    grad_query = torch.empty_like(query)
    shared = type(pattern) is not Strided  # whether pieces have keys in common
    every = before == 0 and not shared  # then each key is written, and once
    grad_key, grad_value = ((torch.empty_like if every else torch.zeros_like)(t, dtype=dtype) for t in (key, value))
    for some in pieces(pattern, size, cells // plane, fused, dtype, query.device):
        step = some.step(pattern.causal, fused)
        exact = pattern.causal and step > 1
        # Frames of keys at a time
        together = len(some.frames) - some.queried + step if pattern.causal else min(step, len(some.frames))
        mask = some.mask(some.queried, len(some.frames) if exact else together, dtype, exact) if fused else some.bias
        for chunk in _chunks(some, plane, groups, *_room(some, fused, some.queried, together, dim)):
            chunk = chunk._replace(queries=chunk.queries - before)
            q, g, top, minus = (chunk.take(t, chunk.queries) for t in (query, grad, norm, delta))
            k, v = chunk.take(key, chunk.keys), chunk.take(value, chunk.keys)
            to_q = None
            for rows, columns in some.turned(pattern.causal, step):
                own, *others = (t[:, :, rows] for t in (q, g, top, minus))
                part, *parts = (_fused_backward if fused else gradients)(
                    mask[rows, columns] if exact else mask, scale, own, k[:, :, columns], v[:, :, columns], *others)
                for total, whole in zip((grad_key, grad_value), parts, strict=True):
                    if shared:
                        chunk.add(total, whole, columns, size)
                    else:
                        total[chunk.groups].index_copy_(1, chunk.keys[:, columns].flatten(), whole.flatten(1, 2))
                if to_q is None:
                    to_q = part
                else:
                    to_q[:, :, rows] += part
            chunk.put(grad_query, to_q)
    return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype)


def _fused_backward(mask: Tensor | None, scale: float, q: Tensor, k: Tensor, v: Tensor, g: Tensor, norm: Tensor,
                    output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `gradients` gives, by PyTorch's fused CPU kernel, which finds delta from the output."""
    mask = mask if mask is None else mask[:q.shape[-2], :k.shape[-2]]
    return pytorch.attention_backward(g, q, k, v, output, norm[..., 0], mask, scale)
