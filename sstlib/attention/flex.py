"""Attention by PyTorch's FlexAttention over cells in tile order, so that a window touches few of its blocks of keys.

In raster order a block of 128 cells crosses a whole row of the frame and a window touches most blocks; in order of 8 x
8 tiles (Local) or of residue classes (Strided) it holds two tiles side by side. It compiles for each shape on a GPU
(seconds), where it also differentiates; elsewhere it runs unfused, which tests the masks and nothing else. It ranks
nothing: no object affinity.
"""

import functools
from collections.abc import Sequence
from typing import Any, no_type_check

import torch
from torch import Tensor

from sstlib.attention.tensors import Key, Query, Some, Value
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Size, Strided
from sstlib.native import pytorch

SIDE = 8  # of a tile
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def lacks(pattern: Connectivity, dtype: torch.dtype, device: torch.device, given: Sequence[Some] = (),
          ranks: bool = False) -> str:
    """Why FlexAttention cannot do this, for tensors where they are given, or an empty text."""
    if ranks:
        return "it ranks nothing, so it gives no object affinity"
    if type(pattern) is Grid:
        return "blocks of cells of a grid's lines hold almost nothing"
    if type(pattern) not in (Dense, Local, Strided):
        return f"it has no mask for {pattern.name}"
    if device.type == "cuda" and dtype not in DTYPES:
        return f"it computes in float32, not {str(dtype).removeprefix('torch.')}"
    if pytorch.transformed() or pytorch.forward_mode():
        return "it knows neither forward-mode derivatives nor the transforms of torch.func"
    if any(t.is_meta or not t.numel() for t in given):
        return "it takes no tensors without data"
    if device.type != "cuda" and torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return f"it has no gradient on {device.type}"
    return ""


@functools.lru_cache(maxsize=8)
def _order(pattern: Connectivity, size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cells of one frame in tile order, by their place in raster order, and the other way round."""
    _, height, width = size
    y, x = (t.flatten() for t in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    sides = pattern.strides if type(pattern) is Strided else (SIDE, SIDE)
    coarse, fine = (y // sides[0], x // sides[1]), (y % sides[0], x % sides[1])
    first, second = (fine, coarse) if type(pattern) is Strided else (coarse, fine)
    number = ((first[0] * width + first[1]) * height + second[0]) * width + second[1]
    order = number.argsort().to(device)
    return order, order.argsort()


@functools.lru_cache(maxsize=8)
def _mask(pattern: Connectivity, size: Size, queried: int, device: torch.device) -> Any:
    """The block mask of a pattern over cells in tile order, frame by frame."""
    time, height, width = size
    plane, order = height * width, _order(pattern, size, device)[0]
    rows, columns = order // width, order % width
    radii = pattern.radii if type(pattern) is Local else (height, width)
    strides = pattern.strides if type(pattern) is Strided else (1, 1)
    every, latest = getattr(pattern, "temporal_stride", 1), 0 if pattern.causal else time

    @no_type_check  # FlexAttention counts the arguments of the function itself
    def connected(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        frames = query // plane + time - queried, key // plane
        along_y, along_x = (part[query % plane] - part[key % plane] for part in (rows, columns))
        return ((frames[1] - frames[0] <= latest) & ((frames[1] - frames[0]) % every == 0) & (along_y.abs() <= radii[0])
                & (along_x.abs() <= radii[1]) & (along_y % strides[0] == 0) & (along_x % strides[1] == 0))

    return pytorch.block_mask(connected, queried * plane, time * plane, device)


@functools.cache
def compiled() -> Any:
    """FlexAttention as one kernel for each shape."""
    from torch.nn.attention.flex_attention import flex_attention
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


def attention(query: Query, key: Key, value: Value, pattern: Connectivity, scale: float,
              *_: Any) -> tuple[Tensor, None, Tensor]:
    """Output, no affinity, and log-sum-exp of (batch, head, time, height, width, dim) tensors, differentiable."""
    from torch.nn.attention.flex_attention import AuxRequest, flex_attention

    size = tuple(key.shape[2:5])
    order, back = _order(pattern, size, query.device)
    q, k, v = (t.flatten(3, 4).index_select(3, order).flatten(2, 3) for t in (query, key, value))
    attend = compiled() if query.device.type == "cuda" else flex_attention
    blocks = _mask(pattern, size, query.shape[2], query.device)
    # One for each pattern, size and direction; beyond it PyTorch would not fuse
    with pytorch.recompilations(1 << 10):
        output, aux = attend(q, k, v, block_mask=blocks, scale=scale, return_aux=AuxRequest(lse=True))
    undo = lambda t: t.unflatten(2, (query.shape[2], -1)).index_select(3, back).unflatten(3, size[1:])
    return undo(output), None, undo(aux.lse)
