"""Sparse attention as small dense blocks in PyTorch: tiles with a halo (Local), residue classes (Strided), rows (Dense).

A pattern that is a product over the axes splits each axis into pieces whose queries share their keys. Pieces of equal
shape form one batch, so nothing is padded, a mask is shared by the batch, and border tiles do not compute keys that the
border cuts off. Scores of a few blocks exist at a time, forward and backward.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from sstlib.attention.affinity import INFINITY, Ranking
from sstlib.connectivity import Connectivity, Dense, Local, Size, Strided

SCORES = 1 << 18  # scores held at a time: 1 MB, what a core's cache holds
GATHERED = 1 << 22  # floats of gathered keys at a time, where a fused kernel holds the scores
WIDE_TILE = 8  # side of a Local tile under a fused kernel, which prefers longer rows
REMEMBERED = 1 << 15  # cells of the largest buffer whose blocks are kept from one call to the next (some 10 MB)
TILE = 4  # side of a Local tile otherwise: the smaller, the fewer keys that only some of its queries see


class Pieces(NamedTuple):
    """Pieces of one axis that have the same shape."""

    queries: numpy.ndarray  # (piece, query)
    keys: numpy.ndarray  # (piece, key)
    related: numpy.ndarray  # (query, key), the same for each piece


class Block(NamedTuple):
    """Blocks of one shape: cells by their raster index, queries within the queried frames."""

    queries: Tensor  # (block, query)
    keys: Tensor  # (block, key)
    mask: Tensor | None  # (query, key), None where all are connected
    earlier: Tensor  # (query, key): the key's frame comes before the query's


def _batched(pieces: list[tuple[numpy.ndarray, numpy.ndarray]], relation: numpy.ndarray) -> list[Pieces]:
    """Joins the pieces whose shape and relation agree."""
    groups: dict[tuple, list] = {}
    for queries, keys in pieces:
        related = relation[numpy.ix_(queries, keys)]
        offset = int(queries[0] - keys[0])  # with the shape, this settles which key is how far from which query
        groups.setdefault((len(queries), len(keys), offset, related.tobytes()), []).append((queries, keys, related))
    return [Pieces(numpy.stack([q for q, _, _ in g]), numpy.stack([k for _, k, _ in g]), g[0][2]) for g in groups.values()]


def _split(pattern: Connectivity, size: Size, queried: int, tile: int) -> tuple[list[Pieces], list[Pieces], list[Pieces]]:
    """The pieces of each axis: frames, rows, columns."""
    along_time, along_y, along_x = pattern.relations(size)[0]
    time, height, width = size
    frames = numpy.arange(time - queried, time)
    classes = getattr(pattern, "temporal_stride", 1)
    spans = [frames[frames % classes == c] for c in range(min(classes, time))]
    spans = [part for span in spans if len(span) for part in numpy.array_split(span, -(-len(span) // (1 if pattern.causal else 4)))]
    split = [_batched([(span, numpy.flatnonzero(along_time[span].any(0))) for span in spans], along_time)]
    for axis, (length, relation) in enumerate(((height, along_y), (width, along_x))):
        if isinstance(pattern, Strided):
            cells = [numpy.arange(c, length, pattern.strides[axis]) for c in range(min(length, pattern.strides[axis]))]
        else:
            step = tile if isinstance(pattern, Local) else max(1, 256 // width) if axis == 0 else length
            cells = [numpy.arange(s, min(s + step, length)) for s in range(0, length, step)]
        split.append(_batched([(c, numpy.flatnonzero(relation[c].any(0))) for c in cells], relation))
    return tuple(split)


def blocks(pattern: Connectivity, size: Size, queried: int, tile: int, device: torch.device) -> Iterator[Block]:
    """All blocks of a pattern over a buffer whose last `queried` frames are queried; remembered for buffers that are not large."""
    small = size[0] * size[1] * size[2] <= REMEMBERED
    return iter(_remembered(pattern, size, queried, tile, device)) if small else _blocks(pattern, size, queried, tile, device)


@functools.lru_cache(maxsize=8)
def _remembered(*which) -> tuple[Block, ...]:
    return tuple(_blocks(*which))


def _blocks(pattern: Connectivity, size: Size, queried: int, tile: int, device: torch.device) -> Iterator[Block]:
    time, height, width = size
    for along_time, along_y, along_x in itertools.product(*_split(pattern, size, queried, tile)):
        queries = _raster(along_time.queries - (time - queried), along_y.queries, along_x.queries, height, width)
        keys = _raster(along_time.keys, along_y.keys, along_x.keys, height, width)
        mask = numpy.kron(numpy.kron(along_time.related, along_y.related), along_x.related)
        before = numpy.greater.outer(along_time.queries[0], along_time.keys[0])  # the same for each piece: see _batched
        cells = [numpy.ones((p.queries.shape[1], p.keys.shape[1]), dtype=bool) for p in (along_y, along_x)]
        earlier = numpy.kron(numpy.kron(before, cells[0]), cells[1]) & mask
        tensors = [torch.from_numpy(a).to(device) for a in (queries, keys, mask, earlier)]
        yield Block(tensors[0], tensors[1], None if mask.all() else tensors[2], tensors[3])


def _raster(t: numpy.ndarray, y: numpy.ndarray, x: numpy.ndarray, height: int, width: int) -> numpy.ndarray:
    """Raster indices (block, cell) of the products of pieces."""
    index = (t[:, None, None, :, None, None] * height + y[None, :, None, None, :, None]) * width + x[None, None, :, None, None, :]
    return index.reshape(len(t) * len(y) * len(x), -1)


def _chunks(block: Block, groups: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Slices of groups and batches of blocks, so that about SCORES scores exist at a time."""
    each = block.queries.shape[1] * block.keys.shape[1]
    heads = max(1, min(groups, SCORES // each))
    step = max(1, SCORES // (each * heads))
    for first in range(0, groups, heads):
        for start in range(0, len(block.queries), step):
            yield slice(first, first + heads), block.queries[start:start + step], block.keys[start:start + step]


def _take(tensor: Tensor, groups: slice, index: Tensor) -> Tensor:
    """Cells (group, block, cell, ...) of a (group, cell, ...) tensor, in float32 at least."""
    part = tensor[groups]
    taken = part.index_select(1, index.flatten()).unflatten(1, index.shape)
    return taken.float() if taken.dtype in (torch.bfloat16, torch.float16) else taken


def _scores(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores = q @ k.mT
    return scores if mask is None else scores.masked_fill_(~mask, -INFINITY)


def forward(query: Tensor, key: Tensor, value: Tensor, pattern: Connectivity, size: Size, scale: float,
            rank: Ranking | None, tile: int = TILE) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Output, log-sum-exp, best ranking score and its key, of flattened (group, cell, dim) tensors (Eq. 6)."""
    groups, cells, _ = query.shape
    wide = torch.promote_types(query.dtype, torch.float32)
    if rank is None and query.device.type == "cpu" and query.dtype == wide and query.shape[-1] == value.shape[-1]:
        return *_fused(query, key, value, pattern, size, scale), None, None
    output = query.new_empty(groups, cells, value.shape[-1])
    lse = query.new_empty(groups, cells, dtype=wide)
    best = argmax = None
    if rank is not None:
        best = query.new_full((groups, rank.terms.shape[1], cells), rank.least, dtype=wide)
        argmax = torch.full(best.shape, -1, dtype=torch.int32, device=query.device)
    for block in blocks(pattern, size, cells // (size[1] * size[2]), tile, query.device):
        for heads, queries, keys in _chunks(block, groups):
            scores = _scores(_take(query, heads, queries) * scale, _take(key, heads, keys), block.mask)
            if rank is not None and block.earlier.any():
                _rank(scores, rank, heads, queries, keys, block.earlier, best, argmax)
            here = scores.logsumexp(-1)
            weights = scores.sub_(here[..., None]).exp_()
            output[heads, queries] = (weights @ _take(value, heads, keys)).to(output.dtype)
            lse[heads, queries] = here
    return output, lse, best, argmax


def _fused(query: Tensor, key: Tensor, value: Tensor, pattern: Connectivity, size: Size, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp by PyTorch's fused CPU kernel on each block; twice as fast, but it ranks nothing."""
    output, lse = torch.empty_like(query), query.new_empty(query.shape[:2])
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    for block in blocks(pattern, size, query.shape[1] // (size[1] * size[2]), WIDE_TILE, query.device):
        mask = None if block.mask is None else torch.zeros(block.mask.shape, dtype=query.dtype).masked_fill_(~block.mask, -INFINITY)
        step = max(1, GATHERED // (block.keys.shape[1] * query.shape[2] * query.shape[0]))
        for queries, keys in zip(block.queries.split(step), block.keys.split(step)):
            q, k, v = (t[:, index] for t, index in ((query, queries), (key, keys), (value, keys)))
            output[:, queries], lse[:, queries] = attend(q, k, v, attn_mask=mask, scale=scale)
    return output, lse


def _rank(scores: Tensor, rank: Ranking, heads: slice, queries: Tensor, keys: Tensor, earlier: Tensor,
          best: Tensor, argmax: Tensor) -> None:
    """Writes the best ranking score of each query and object, and the key that has it."""
    key_term = None if rank.key_term is None else _take(rank.key_term, heads, keys)[:, :, None]
    query_term = None if rank.query_term is None else _take(rank.query_term, heads, queries)[..., None]
    for number in range(best.shape[1]):
        term = _take(rank.terms[:, number], heads, keys)[:, :, None]
        ranked = rank.ranked(scores, term, key_term, query_term).masked_fill_(~earlier, -INFINITY)
        found, place = ranked.max(-1)
        cell = keys.expand(found.shape[0], *keys.shape).gather(-1, place)
        best[heads, number, queries] = found.clamp_min(rank.least)
        argmax[heads, number, queries] = torch.where(found > rank.least, cell, -1).int()


def backward(query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, grad: Tensor, grad_lse: Tensor,
             pattern: Connectivity, size: Size, scale: float, tile: int = TILE) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value; the weights are computed again from the log-sum-exp, a few blocks at a time."""
    groups, cells, _ = query.shape
    wide = lse.dtype
    grad_query = torch.empty_like(query)
    grad_key, grad_value = torch.zeros_like(key, dtype=wide), torch.zeros_like(value, dtype=wide)
    delta = (grad.to(wide) * output.to(wide)).sum(-1) - grad_lse
    for block in blocks(pattern, size, cells // (size[1] * size[2]), tile, query.device):
        for heads, queries, keys in _chunks(block, groups):
            q, k = _take(query, heads, queries), _take(key, heads, keys)
            weights = _scores(q * scale, k, block.mask).sub_(_take(lse, heads, queries)[..., None]).exp_()
            upstream = _take(grad, heads, queries)
            _add(grad_value, heads, keys, weights.mT @ upstream)
            inner = upstream @ _take(value, heads, keys).mT
            inner.sub_(_take(delta, heads, queries)[..., None]).mul_(weights).mul_(scale)
            grad_query[heads, queries] = (inner @ k).to(query.dtype)
            _add(grad_key, heads, keys, inner.mT @ q)
    return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype)


def _add(total: Tensor, heads: slice, keys: Tensor, part: Tensor) -> None:
    total[heads].index_add_(1, keys.flatten(), part.flatten(1, 2))
