"""Grid attention (Eq. 6-9) in PyTorch: the lines along x, y and t as dense blocks, merged by their log-sum-exp.

The three lines of a cell meet in it; the x line keeps it and the two others mask it. Merged, each line weighs as one
key would whose score is the line's log-sum-exp and whose value is its output; backward, each line has its part in the
joint softmax. A time line is too short for a block of its own to pay: those of many cells are one batch of small
products. Object affinity involves the time line alone, since rows and columns lie in the query's own frame.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.attention.affinity import INFINITY, Ranking
from sstlib.attention.softmax import LN2, LOG2E, gradients, room, weights, wide
from sstlib.attention.tensors import Keys, Outputs, PerQueries, Queries, Values
from sstlib.connectivity import Grid, Size

NEVER = -1e30  # a masked score of time lines, which may have no other: their weight is 0 beside the other lines
# Floats that a vector may have: what is left over beyond whole vectors is what PyTorch's maxima and sums take longest
# for
WHOLE = 16
SMALL = 400  # multiply-adds of a product below which PyTorch's batched one is a plain loop


def _steps(number: int, each: int, device: torch.device) -> Iterator[slice]:
    """Slices of so many things that have so many scores each."""
    step = max(1, room(device) // each)
    return (slice(first, first + step) for first in range(0, number, step))


def _lines(blocks: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Some frames, with some of their lines, of (group, frame, line, cell, dim) at a time."""
    groups, frames, lines, length, _ = blocks.shape
    for some in _steps(frames, groups * lines * length**2, blocks.device):
        for which in _steps(lines, groups * length**2, blocks.device):
            yield slice(None), some, which


def _turned(tensor: Tensor) -> Tensor:
    """Of (group, frame, y, x, ...), the lines along y where those along x were."""
    return tensor.transpose(2, 3)


def _own(query: Tensor) -> Tensor:
    """Masks each cell of a line along y for itself."""
    height = query.shape[2]
    return query.new_zeros(height, height).fill_diagonal_(-INFINITY)


def _others(query: Tensor, time: int, causal: bool) -> Tensor:
    """Masks the frames of a buffer that a query's time line does not have: its own and, where causal, later ones."""
    queried = torch.arange(time - query.shape[1], time, device=query.device)[:, None]
    frames = torch.arange(time, device=query.device)
    return query.new_zeros(query.shape[1], time).masked_fill_(frames >= queried if causal else frames == queried, NEVER)


def _products(left: Tensor, right: Tensor) -> Tensor:
    """Products (group, cell, n, m) of frames (group, n, cell, dim) and (group, m, cell, dim) of the same cells."""
    return left.transpose(1, 2) @ right.permute(0, 2, 3, 1)


def _summed(weight: Tensor, right: Tensor) -> Tensor:
    """Sums (group, n, cell, dim) of frames (group, m, cell, dim) by weights (group, cell, n, m)."""
    if weight.shape[2] * weight.shape[3] * right.shape[-1] >= SMALL or weight.device.type != "cpu":
        return (weight @ right.transpose(1, 2)).transpose(1, 2)
    weight = weight.permute(0, 2, 3, 1).contiguous()[..., None]
    total = weight[:, :, 0] * right[:, None, 0]
    for frame in range(1, right.shape[1]):
        total.addcmul_(weight[:, :, frame], right[:, None, frame])
    return total


class Line(NamedTuple):
    """Softmax over one line of each cell, in units of log 2: the highest score, and sums of weights and of values."""

    top: Tensor  # (group, frame, y, x), as total
    total: Tensor
    summed: Tensor  # (group, frame, y, x, dim)


def forward(query: Queries, key: Keys, value: Values, pattern: Grid, size: Size, scale: float,
            rank: Ranking | None, remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Output, log-sum-exp, best ranking score and its key, of flattened (group, cell, dim) tensors."""
    groups, cells, _ = query.shape
    dtype = query.dtype
    query, key, value = (wide(t).unflatten(1, (-1, *size[1:])) for t in (query, key, value))
    queried, own, others = query.shape[1], _own(query), _others(query, size[0], pattern.causal)
    output, lse = query.new_empty(*query.shape[:-1], value.shape[-1]), query.new_empty(query.shape[:-1])
    best = argmax = None
    if rank is not None:
        best = query.new_full((groups, rank.terms.shape[1], cells), rank.least)
        argmax = torch.full(best.shape if remember else (0,), -1, dtype=torch.int32, device=query.device)
    for heads in _steps(groups, cells * sum(size), query.device):
        q, k, v = query[heads] * (scale * LOG2E), key[heads], value[heads]
        current = q, k[:, -queried:], v[:, -queried:]
        lines = [_across(None, *current)]
        if size[1] > 1:
            lines.append(Line(*map(_turned, _across(own, *map(_turned, current)))))
        if size[0] > 1:
            ranker = functools.partial(_rank, rank, heads, best[heads],
                                       argmax[heads] if remember else None) if rank is not None else None
            lines.append(_through(q, k, v, others, ranker))
        shares = torch.stack([line.top for line in lines])
        top = shares.amax(0)
        shares.sub_(top).exp2_()
        total = sum(share * line.total for share, line in zip(shares, lines))
        lse[heads] = (total.log2() + top) * LN2
        shares = shares.div_(total)[..., None]
        out = torch.mul(lines[0].summed, shares[0], out=output[heads])
        for share, line in zip(shares[1:], lines[1:]):
            out.addcmul_(line.summed, share)
    return output.flatten(1, 3).to(dtype), lse.flatten(1), best, argmax


def _across(mask: Tensor | None, q: Tensor, k: Tensor, v: Tensor) -> Line:
    """The lines of (group, frame, line, cell, dim)."""
    line = Line(torch.empty_like(q[..., 0]), torch.empty_like(q[..., 0]), torch.empty_like(v))
    length = q.shape[3]
    k = functional.pad(k, (0, 0, 0, -length % WHOLE))
    for part in _lines(q):
        scores = q[part] @ k[part].mT
        scores[..., length:] = -INFINITY
        if mask is not None:
            scores[..., :length].add_(mask)
        weight, total, top = weights(scores)
        for to, result in zip(line, (top[..., 0], total[..., 0], weight[..., :length] @ v[part]), strict=True):
            to[part] = result
    return line


def _time_scores(q: Tensor, k: Tensor, others: Tensor) -> Iterator[tuple[tuple, Tensor]]:
    """Scores (group, cell, query frame, key frame) of some cells' time lines at a time; where those cells are."""
    for some in _steps(q.shape[2], len(q) * others.numel(), q.device):
        cells = slice(None), slice(None), some
        yield cells, _products(q[cells], k[cells]).add_(others)


def _through(q: Tensor, k: Tensor, v: Tensor, others: Tensor, ranker: Callable | None) -> Line:
    """The time lines, whose scores `ranker` sees."""
    line = Line(q.new_empty(q.shape[:-1]), q.new_empty(q.shape[:-1]), q.new_empty(*q.shape[:-1], v.shape[-1]))
    q, k, v, *flat = (t.flatten(2, 3) for t in (q, k, v, *line))
    for cells, those in _time_scores(q, k, others):
        if ranker:
            ranker(cells[-1], those * LN2)
        weight, total, top = weights(those)
        for to, result in zip(flat, (top[..., 0].mT, total[..., 0].mT, _summed(weight, v[cells])), strict=True):
            to[cells] = result
    return line


def _rank(rank: Ranking, heads: slice, best: Tensor, argmax: Tensor | None, some: slice, scores: Tensor) -> None:
    """Writes some cells' best ranking scores over earlier frames, (group, object, query cell), and perhaps the keys."""
    _, _, queried, time = scores.shape
    plane = best.shape[-1] // queried
    by_frame = lambda t: t.unflatten(-1, (-1, plane))[..., some]
    best, argmax = by_frame(best), None if argmax is None else by_frame(argmax)
    cells = torch.arange(plane, device=best.device)[some]
    key_term = None if rank.key_term is None else by_frame(rank.key_term[heads])
    query_term = None if rank.query_term is None else by_frame(rank.query_term[heads])
    terms = by_frame(rank.terms[heads])
    for at in range(max(0, queried - time + 1), queried):
        frames = slice(0, time - queried + at)
        along = scores[:, :, at, frames].mT
        sides = None if key_term is None else key_term[:, frames], None if query_term is None else query_term[:, at,
                                                                                                              None]
        for number in range(best.shape[1]):
            ranked = rank.ranked(along, terms[:, number, frames], *sides)
            if argmax is None:
                best[:, number, at] = ranked.amax(1).clamp_min_(rank.least)
                continue
            top, frame = ranked.max(1)
            best[:, number, at] = top.clamp_min(rank.least)
            argmax[:, number, at] = torch.where(top > rank.least, frame * plane + cells, -1).int()


def backward(query: Queries, key: Keys, value: Values, output: Outputs, lse: PerQueries, grad: Outputs,
             grad_lse: PerQueries | None, pattern: Grid, size: Size, scale: float) -> tuple[Tensor, ...]:
    """Gradients of query, key and value; each line's weights are computed again from the joint log-sum-exp."""
    dtype = query.dtype
    query, key, value, output, grad = (wide(t).unflatten(1, (-1, *size[1:])) for t in (query, key, value, output, grad))
    lse, grad_lse = (None if t is None else t.unflatten(1, (-1, *size[1:])) for t in (lse, grad_lse))
    queried, own, others = query.shape[1], _own(query), _others(query, size[0], pattern.causal)
    grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for heads in _steps(len(query), query[0, ..., 0].numel() * sum(size), query.device):
        q, k, v, g, norm = (t[heads] for t in (query, key, value, grad, lse[..., None] * LOG2E))
        delta = torch.linalg.vecdot(g, output[heads])[..., None]
        delta = delta if grad_lse is None else delta - grad_lse[heads, ..., None]
        totals = [t[heads] for t in grads]
        current = [q, *(t[:, -queried:] for t in (k, v)), g, norm, delta, totals[0],
                   *(t[:, -queried:] for t in totals[1:])]
        _across_backward(current, None, scale, Tensor.copy_)
        if size[1] > 1:
            _across_backward([_turned(t) for t in current], own, scale, Tensor.add_)
        if size[0] > 1:
            _through_backward([q, k, v, g, norm, delta, *totals], others, scale)
    return tuple(t.flatten(1, 3).to(dtype) for t in grads)


def _across_backward(tensors: list[Tensor], mask: Tensor | None, scale: float, put: Callable) -> None:
    """Puts the gradients of the lines of (group, frame, line, cell, dim) into their totals."""
    q, k, v, grad, norm, delta, *totals = tensors
    for part in _lines(q):
        results = gradients(mask, scale, *(t[part] for t in (q, k, v, grad, norm, delta)))
        for total, result in zip(totals, results, strict=True):
            put(total[part], result)


def _through_backward(tensors: list[Tensor], others: Tensor, scale: float) -> None:
    """Adds the gradients of the time lines."""
    q, k, v, grad, norm, delta, *totals = (t.flatten(2, 3) for t in tensors)
    for cells, those in _time_scores(q * (scale * LOG2E), k, others):
        weight = those.sub_(norm[cells].transpose(1, 2)).exp2_()
        inner = _products(grad[cells], v[cells]).sub_(delta[cells].transpose(1, 2)).mul_(weight).mul_(scale)
        results = _summed(inner, k[cells]), _summed(inner.mT, q[cells]), _summed(weight.mT, grad[cells])
        for total, result in zip(totals, results, strict=True):
            total[cells] += result
