"""Grid attention (Eq. 6-9) in PyTorch: two matrix products and one elementwise one a frame, under one joint softmax.

The lines along x, y and t meet in the query's own cell, which the x line keeps and the two others mask. One (head, frame)
at a time holds H W (T + H + W) scores, forward and backward. Object affinity involves the time line alone, since rows and
columns lie in the query's own frame.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sstlib.attention.affinity import INFINITY, Ranking
from sstlib.connectivity import Grid, Size

SCORES = 1 << 18  # scores held at a time where one frame of one head has fewer


def _frames(groups: int, size: Size, queried: int) -> Iterator[tuple[slice, int, int]]:
    """Slices of groups with a queried frame each: the group slice, the frame in the queries, the frame in the buffer."""
    time, height, width = size
    step = max(1, SCORES // (height * width * (time + height + width)))
    for first in range(0, groups, step):
        for frame in range(queried):
            yield slice(first, first + step), frame, time - queried + frame


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _lines(q: Tensor, k: Tensor, frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores along x (g, y, x, key x), y (g, x, y, key y) and t (g, key t, y, x); the own cell counts along x only."""
    along_x = q @ k[:, frame].mT
    along_y = q.transpose(1, 2) @ k[:, frame].transpose(1, 2).mT
    along_y.diagonal(dim1=-2, dim2=-1).fill_(-INFINITY)
    along_t = (k * q[:, None]).sum(-1)
    along_t[:, frame] = -INFINITY
    return along_x, along_y, along_t


def forward(query: Tensor, key: Tensor, value: Tensor, pattern: Grid, size: Size, scale: float,
            rank: Ranking | None, remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Output, log-sum-exp, best ranking score and its key, of flattened (group, cell, dim) tensors."""
    groups, cells, _ = query.shape
    kind, plane = query.dtype, size[1] * size[2]
    query, key, value = (_wide(t).unflatten(1, (-1, *size[1:])) for t in (query, key, value))
    output = query.new_empty(*query.shape[:-1], value.shape[-1])
    lse = query.new_empty(query.shape[:-1])
    best = argmax = None
    if rank is not None:
        best = query.new_full((groups, rank.terms.shape[1], cells), rank.least)
        argmax = torch.full(best.shape, -1, dtype=torch.int32, device=query.device)
    for heads, at, frame in _frames(groups, size, query.shape[1]):
        seen = frame + 1 if pattern.causal else size[0]
        q, k, v = query[heads, at] * scale, key[heads, :seen], value[heads, :seen]
        along_x, along_y, along_t = _lines(q, k, frame)
        if rank is not None and frame:
            cell = slice(at * plane, (at + 1) * plane)
            _rank(along_t[:, :frame], rank, heads, cell, best[heads, :, cell], argmax[heads, :, cell])
        top = torch.maximum(torch.maximum(along_x.amax(-1), along_y.amax(-1).mT), along_t.amax(1))
        along_x.sub_(top[..., None]).exp_()
        along_y.sub_(top.mT[..., None]).exp_()
        along_t.sub_(top[:, None]).exp_()
        total = along_x.sum(-1) + along_y.sum(-1).mT + along_t.sum(1)
        summed = along_x @ v[:, frame] + (along_y @ v[:, frame].transpose(1, 2)).transpose(1, 2)
        for other in range(seen):
            summed.addcmul_(along_t[:, other, ..., None], v[:, other])
        output[heads, at] = summed / total[..., None]
        lse[heads, at] = top + total.log()
    return output.flatten(1, 3).to(kind), lse.flatten(1), best, argmax


def _rank(along_t: Tensor, rank: Ranking, heads: slice, cell: slice, best: Tensor, argmax: Tensor) -> None:
    """The best earlier frame of each cell and object, over the time line."""
    plane, shape = best.shape[-1], (along_t.shape[0], along_t.shape[1], best.shape[-1])
    seen = slice(0, shape[1] * plane)
    scores = along_t.reshape(shape)
    key_term = None if rank.key_term is None else rank.key_term[heads, seen].reshape(shape)
    query_term = None if rank.query_term is None else rank.query_term[heads, None, cell]
    own = torch.arange(plane, device=best.device)
    for number in range(best.shape[1]):
        ranked = rank.ranked(scores, rank.terms[heads, number, seen].reshape(shape), key_term, query_term)
        found, frame = ranked.max(1)
        best[:, number] = found.clamp_min(rank.least)
        argmax[:, number] = torch.where(found > rank.least, frame * plane + own, -1).int()


def backward(query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, grad: Tensor, grad_lse: Tensor | None,
             pattern: Grid, size: Size, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value; each line's weights are computed again from the joint log-sum-exp."""
    kind = query.dtype
    delta = torch.linalg.vecdot(_wide(grad), _wide(output))
    delta = delta if grad_lse is None else delta - grad_lse
    query, key, value, grad = (_wide(t).unflatten(1, (-1, *size[1:])) for t in (query, key, value, grad))
    lse, delta = (t.unflatten(1, (-1, *size[1:])) for t in (lse, delta))
    grads = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for heads, at, frame in _frames(query.shape[0], size, query.shape[1]):
        seen = frame + 1 if pattern.causal else size[0]
        keys, values, key_grads, value_grads = (t[heads, :seen] for t in (key, value, *grads[1:]))
        q, d, g, top = query[heads, at] * scale, delta[heads, at], grad[heads, at], lse[heads, at]
        along_x, along_y, along_t = _lines(q, keys, frame)
        _row(along_x.sub_(top[..., None]).exp_(), q, keys[:, frame], values[:, frame], g, d,
             grads[0][heads, at], key_grads[:, frame], value_grads[:, frame])
        turned = [t.transpose(1, 2) for t in (q, keys[:, frame], values[:, frame], g, d, grads[0][heads, at],
                                              key_grads[:, frame], value_grads[:, frame])]
        _row(along_y.sub_(top.mT[..., None]).exp_(), *turned)
        weights = along_t.sub_(top[:, None]).exp_()
        inner = weights * ((values * g[:, None]).sum(-1) - d[:, None])
        for other in range(seen):
            value_grads[:, other].addcmul_(weights[:, other, ..., None], g)
            key_grads[:, other].addcmul_(inner[:, other, ..., None], q)
            grads[0][heads, at].addcmul_(inner[:, other, ..., None], keys[:, other])
    return tuple(t.flatten(1, 3).to(kind) for t in (grads[0] * scale, *grads[1:]))


def _row(weights: Tensor, q: Tensor, k: Tensor, v: Tensor, grad: Tensor, delta: Tensor,
         grad_q: Tensor, grad_k: Tensor, grad_v: Tensor) -> None:
    """Adds the gradients of one line's weights (..., query, key); `q` is scaled."""
    grad_v += weights.mT @ grad
    inner = weights.mul_((grad @ v.mT).sub_(delta[..., None]))
    grad_q += inner @ k
    grad_k += inner.mT @ q
