"""Sparse attention in PyTorch alone: any device, any precision."""

from types import ModuleType

import torch
from torch import Tensor

from sstlib.attention import blocks, general, grid
from sstlib.attention.affinity import Wanted
from sstlib.attention.tensors import Key, Output, PerQuery, Query, Value
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided

# Written for these very patterns; any other takes the general path
PATHS = {Grid: grid, Dense: blocks, Local: blocks, Strided: blocks}


def lacks(pattern: Connectivity, dtype: torch.dtype, device: torch.device) -> str:
    """An empty text: the general path takes every pattern."""
    return ""


def path(pattern: Connectivity) -> ModuleType:
    """The file that computes a pattern."""
    return PATHS.get(type(pattern), general)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.flatten(0, 1).flatten(1, 3)


def forward(query: Query, key: Key, value: Value, pattern: Connectivity, scale: float, wanted: Wanted | None,
            remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Output, log-sum-exp, affinities and their keys, of (batch, head, time, height, width, dim) tensors."""
    rank = wanted.ranking(query, key, scale) if wanted else None
    if rank is not None and rank.terms.shape[0] != query.shape[0] * query.shape[1]:
        rank = rank._replace(terms=rank.terms.repeat_interleave(query.shape[1], 0))
    shape = query.shape[:5]
    output, lse, best, argmax = path(pattern).forward(_flat(query), _flat(key), _flat(value), pattern,
                                                      tuple(key.shape[2:5]), scale, rank, remember)
    output, lse = output.view(*shape, -1), lse.view(shape)
    if rank is None:
        return output, lse, None, None
    best, argmax = (t.reshape(*shape[:2], -1, *shape[2:]) if t.numel() else t for t in (best, argmax))
    return output, lse, wanted.affinity(query, lse, best, scale), argmax


def backward(query: Query, key: Key, value: Value, output: Output, lse: PerQuery, grad: Output,
             grad_lse: PerQuery | None, pattern: Connectivity, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    flat = [_flat(t) for t in (query, key, value, output)]
    lse, grad_lse = (t if t is None else t.flatten(0, 1).flatten(1) for t in (lse, grad_lse))
    grads = path(pattern).backward(*flat, lse, _flat(grad), grad_lse, pattern, tuple(key.shape[2:5]), scale)
    return tuple(g.view(t.shape) for g, t in zip(grads, (query, key, value)))
