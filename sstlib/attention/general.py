"""Attention over any pattern by the blocks of plan.py, in PyTorch: `forward`, `backward` and `attention`.

What a query finds in several products is merged as softmax demands: by the highest score and the sum of the weights
below it. Scores of a few blocks exist at a time, forward and backward, so that memory is bounded; a pair in several
products counts once.

`attention` is the same of ordinary PyTorch operations, none in place, for what has to see them: forward-mode and second
derivatives, torch.func and vmap. It keeps the scores of all pairs where they are differentiated.
"""

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sstlib.attention.affinity import INFINITY, Ranking, memberships
from sstlib.attention.plan import Chunk, chunks, plan
from sstlib.attention.reference import affinities
from sstlib.attention.softmax import LN2, LOG2E, gradients, room, scores, weights, wide
from sstlib.attention.tensors import Bias, Key, Keys, Labels, Outputs, PerQueries, Queries, Query, Value, Values
from sstlib.connectivity import Connectivity
from sstlib.connectivity.unions import Size
from sstlib.native.pytorch import logsumexp

NEVER = -1e30  # a score of no weight whose derivatives are numbers, as those of -inf are not


def _chunks(query: Tensor, key: Tensor, value: Tensor, pattern: Connectivity,
            size: Size) -> Iterator[tuple[slice, Chunk]]:
    """All chunks of a call on (group, cell, dim) tensors."""
    for blocks in plan(pattern, size, query.shape[-2] // (size[1] * size[2]), query.device):
        for block in blocks:
            yield from chunks(block, size, query.shape[0], max(key.shape[-1], value.shape[-1]), 2 * room(query.device))


def _take(tensor: Tensor, index: Tensor) -> Tensor:
    """Cells (group, block, cell, ...) of a (group, cell, ...) tensor."""
    return tensor.index_select(1, index.flatten()).unflatten(1, index.shape)


def _put(total: Tensor, index: Tensor, part: Tensor) -> None:
    total.index_copy_(1, index.flatten(), part.flatten(1, 2))


def forward(query: Queries, key: Keys, value: Values, pattern: Connectivity, size: Size, scale: float,
            rank: Ranking | None, remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Output, log-sum-exp, best ranking score and its key, of flattened (group, cell, dim) tensors (Eq. 6)."""
    dtype = query.dtype
    query, key, value = wide(query), wide(key), wide(value)
    tops = query.new_full((*query.shape[:2], 1), -INFINITY)
    totals, summed = torch.zeros_like(tops), query.new_zeros(*query.shape[:2], value.shape[-1])
    best, argmax = (None, None) if rank is None else rank.records(query, remember)
    for heads, chunk in _chunks(query, key, value, pattern, size):
        q, k = _take(query[heads], chunk.queries) * (scale * LOG2E), _take(key[heads], chunk.keys)
        raw = scores(q, k, chunk.bias(q.dtype))
        if rank is not None and chunk.earlier is not None:
            _rank(rank, raw * LN2, chunk, heads, best[heads], argmax[heads] if remember else None)
        weight, total, top = weights(raw)
        before = _take(tops[heads], chunk.queries)
        highest = torch.maximum(before, top)
        shares = (before - highest).exp2_(), (top - highest).exp2_()
        merged = (highest, _take(totals[heads], chunk.queries) * shares[0] + total * shares[1],
                  _take(summed[heads], chunk.queries).mul_(shares[0]).add_(
                      (weight @ _take(value[heads], chunk.keys)).mul_(shares[1])))
        for state, part in zip((tops, totals, summed), merged, strict=True):
            _put(state[heads], chunk.queries, part)
    lse = ((totals.log2() + tops) * LN2)[..., 0]
    return (summed / totals
            ).to(dtype), lse, None if rank is None else best.mT, argmax.mT if rank is not None and remember else argmax


def _rank(rank: Ranking, scores: Tensor, chunk: Chunk, heads: slice, best: Tensor, argmax: Tensor | None) -> None:
    """Keeps each query's best ranking score over keys of earlier frames, by object, and where wanted its key."""
    key_term = None if rank.key_term is None else _take(rank.key_term[heads], chunk.keys)[:, :, None]
    query_term = None if rank.query_term is None else _take(rank.query_term[heads], chunk.queries)[..., None]
    records = _take(best, chunk.queries)
    places = None if argmax is None else _take(argmax, chunk.queries)
    for number, terms in enumerate(rank.terms.unbind(1)):
        ranked = rank.ranked(scores, _take(terms[heads], chunk.keys)[:, :, None], key_term, query_term)
        # A product with -inf is no number, but fills no other place
        top, place = ranked.masked_fill_(~chunk.earlier, -INFINITY).max(-1)
        if places is not None:
            cells = chunk.keys.expand(len(top), *chunk.keys.shape).gather(-1, place).int()
            places[..., number] = torch.where(top > records[..., number], cells, places[..., number])
        records[..., number] = torch.maximum(top, records[..., number])
    _put(best, chunk.queries, records)
    if argmax is not None:
        _put(argmax, chunk.queries, places)


def backward(query: Queries, key: Keys, value: Values, output: Outputs, lse: PerQueries, grad: Outputs,
             grad_lse: PerQueries | None, pattern: Connectivity, size: Size, scale: float) -> tuple[Tensor, ...]:
    """Gradients of query, key and value; the weights are computed again from the log-sum-exp."""
    dtype = query.dtype
    query, key, value, grad, output = (wide(t) for t in (query, key, value, grad, output))
    delta = torch.linalg.vecdot(grad, output)[..., None]
    delta = delta if grad_lse is None else delta - grad_lse[..., None]
    norm, grads = lse[..., None] * LOG2E, [torch.zeros_like(t) for t in (query, key, value)]
    for heads, chunk in _chunks(query, key, value, pattern, size):
        q, g, top, minus = (_take(t[heads], chunk.queries) for t in (query, grad, norm, delta))
        k, v = (_take(t[heads], chunk.keys) for t in (key, value))
        parts = gradients(chunk.bias(q.dtype), scale, q, k, v, g, top, minus)
        for total, part, index in zip(grads, parts, (chunk.queries, chunk.keys, chunk.keys), strict=True):
            total[heads].index_add_(1, index.flatten(), part.flatten(1, 2))
    return tuple(t.to(dtype) for t in grads)


def attention(query: Query, key: Key, value: Value, pattern: Connectivity, scale: float, kind: str,
              bias: Bias | None, labels: Labels | None, objects: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """As `reference.attention`: output, affinity and log-sum-exp of (batch, head, time, height, width, dim) tensors."""
    size, shape, dtype = tuple(key.shape[2:5]), query.shape[:5], query.dtype
    q, k, v = (wide(t).flatten(0, 1).flatten(1, 3) for t in (query, key, value))
    limit = max(1, 2 * room(query.device) // max(1, len(q)) // (q.shape[-1] if kind == "distance" else 1))
    products = [[chunk for block in blocks for _, chunk in chunks(block, size, 1, max(q.shape[-1], v.shape[-1]), limit)]
                for blocks in plan(pattern, size, shape[2], query.device)]
    parts = [_each(lambda chunk: _softmax(q, k, v, chunk, scale), product, q, (0.0, NEVER)) for product in products]
    lse = logsumexp(torch.stack([own for _, own in parts]), 0)
    output = sum((own - lse).exp()[..., None] * out for out, own in parts)
    affinity = None
    if labels is not None:
        bias = None if bias is None else bias.expand(*shape[:2], 1, 1, 1).flatten(0, 1)
        members = memberships(labels, objects, q.dtype)[:, None].expand(-1, shape[1], -1, -1).flatten(0, 1)
        ranked = lambda chunk: (_best(q, k, lse, chunk, scale, kind, bias, members),)
        bests = [_each(ranked, those, q, (0.0,))[0] for product in products
                 if (those := [c for c in product if c.earlier is not None])]
        affinity = functools.reduce(torch.maximum, bests, q.new_zeros(*q.shape[:2], objects))
        affinity = affinity.mT.clamp_min(0).to(dtype).reshape(*shape[:2], objects, *shape[2:])
    return output.to(dtype).view(*shape, v.shape[-1]), affinity, lse.view(shape)


def _softmax(q: Tensor, k: Tensor, v: Tensor, chunk: Chunk, scale: float) -> tuple[Tensor, Tensor]:
    """What the queries of a chunk gather from its keys alone, and the log-sum-exp of their scores."""
    scores = _take(q, chunk.queries) @ _take(k, chunk.keys).mT * scale
    scores = scores if chunk.related is None else scores.masked_fill(~chunk.related, NEVER)
    lse = logsumexp(scores, -1)
    return (scores - lse[..., None]).exp() @ _take(v, chunk.keys), lse


def _best(q: Tensor, k: Tensor, lse: Tensor, chunk: Chunk, scale: float, kind: str, bias: Tensor | None,
          members: Tensor) -> Tensor:
    """The affinity (group, block, query, object) of the best keys of earlier frames in a chunk."""
    left, right = _take(q, chunk.queries), _take(k, chunk.keys)
    values = affinities(kind, left, right, left @ right.mT * scale, _take(lse, chunk.queries), bias)
    carried = [values * _take(member, chunk.keys)[:, :, None] for member in members.unbind(1)]
    return torch.stack([weighed.masked_fill(~chunk.earlier, 0).amax(-1) for weighed in carried], -1)


def _each(compute: Callable[[Chunk], tuple[Tensor, ...]], some: list[Chunk], q: Tensor,
          missing: tuple[float, ...]) -> list[Tensor]:
    """What each chunk (group, block, query, ...) gives as (group, cell, ...); a number where none has the query."""
    index = torch.cat([chunk.queries.flatten() for chunk in some])
    back = index.new_full((q.shape[1],), len(index))
    back[index] = torch.arange(len(index), device=index.device)
    columns = zip(*(compute(chunk) for chunk in some), strict=True)
    joined = [torch.cat([part.flatten(1, 2) for part in column], 1) for column in columns]
    padded = [torch.cat([t, t.new_full((len(t), 1, *t.shape[2:]), number)], 1)
              for t, number in zip(joined, missing, strict=True)]
    return [t.index_select(1, back) for t in padded]
