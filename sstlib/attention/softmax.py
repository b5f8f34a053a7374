"""Softmax attention of blocks in PyTorch, by products and powers: the queries of a block see the same keys, or share a
mask.

Scores are in units of log 2, since PyTorch's exponential takes three times as long as its power of two on some
processors.
"""

import math

import torch
from torch import Tensor

from sstlib.attention.tensors import Carried, Columns, PerRow, Rows, Scores, Some
from sstlib.shapes import Float

LOG2E, LN2 = 1 / math.log(2), math.log(2)


def room(device: torch.device) -> int:
    """How many scores to hold at a time: 1 MB of them, what a core's cache holds; enough to fill a GPU (unmeasured)."""
    return 1 << (18 if device.type == "cpu" else 25)


def wide(tensor: Some) -> Tensor:
    """The tensor in float32 at least."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def scores(q: Rows, k: Columns, mask: Some | None) -> Tensor:
    """Scores (..., query, key), -inf where the mask is: a block's own, or a smaller one that repeats on both axes."""
    raw = q @ k.mT
    if mask is not None and mask.ndim > 2:
        raw.add_(mask)
    elif mask is not None:  # to add is vectorised where to fill under a mask is not
        times = [n // m for n, m in zip(raw.shape[-2:], mask.shape)]
        raw.unflatten(-1, (times[1], -1)).unflatten(-3, (times[0], -1)).add_(mask[:, None, :])
    return raw


def weights(raw: Scores) -> tuple[Tensor, Tensor, Tensor]:
    """What softmax makes of scores in units of log 2, in their place: weights; their sums; the highest score."""
    top = raw.amax(-1, keepdim=True)
    return raw.sub_(top).exp2_(), raw.sum(-1, keepdim=True), top


def weighed(raw: Scores, values: Carried) -> tuple[Tensor, Tensor]:
    """What queries gather from values by scores in units of log 2, which are written over, and their log-sum-exp."""
    weight, total, top = weights(raw)
    return (weight @ values).div_(total), (total.log2() + top)[..., 0] * LN2


def gradients(mask: Some | None, scale: float, q: Rows, k: Columns, v: Carried, grad: Float[Tensor, "*block row dim_v"],
              norm: PerRow, delta: PerRow) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a block's queries, keys and values.

    `norm` is the log-sum-exp of each query over all of its blocks, in units of log 2; `delta` the product of its
    gradient and output, less the gradient of its log-sum-exp; both (..., query, 1).
    """
    weight = scores(q * (scale * LOG2E), k, mask).sub_(norm).exp2_()
    inner = (grad @ v.mT).sub_(delta).mul_(weight)
    return (inner @ k).mul_(scale), inner.mT @ (q * scale), weight.mT @ grad
