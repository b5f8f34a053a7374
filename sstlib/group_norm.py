"""Group normalization that keeps the memory layout of convolutions.

PyTorch's own is slow on a CPU where channels are last, ten times so in bfloat16 and in every backward pass, and the copies into the other
layout and back were a sixth of a training step. A C++ kernel reads and writes channels last; without a compiler PyTorch does it, by copies.
"""

import ctypes
import functools
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from sstlib import native
from sstlib.shapes import Float

DTYPES = (torch.float32, torch.bfloat16)
LAYOUT = torch.channels_last


class GroupNorm(nn.GroupNorm):
    """PyTorch's group normalization, by whichever way is fast for the layout of its input; the result is in channels last then, too."""

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        if x.device.type != "cpu" or x.dtype not in DTYPES or not x.is_contiguous(memory_format=LAYOUT) or x.is_contiguous():
            return super().forward(x)
        if _library():
            return normalize(x, self.weight, self.bias, self.num_groups, self.eps)[0]
        slow = x.requires_grad or x.dtype == torch.bfloat16
        return super().forward(x.contiguous()).contiguous(memory_format=LAYOUT) if slow else super().forward(x)


def group_norm(channels: int) -> GroupNorm:
    """Normalization without batch statistics: the same in training and use, and for a batch of one."""
    return GroupNorm(math.gcd(channels, 8), channels)


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = native.load(Path(__file__).with_suffix(".cpp"))
    if library:
        library.group_norm.argtypes = [ctypes.c_void_p, ctypes.c_double, *[ctypes.c_void_p] * 6]
        library.group_norm_backward.argtypes = [ctypes.c_void_p] * 9
        library.group_norm.restype = library.group_norm_backward.restype = None
    return library


def _sizes(x: Tensor, groups: int) -> ctypes.Array:
    samples, channels, height, width = x.shape
    return (ctypes.c_int64 * 6)(samples, height * width, channels, groups, torch.get_num_threads(), x.dtype == torch.bfloat16)


@torch.library.custom_op("sstlib::group_norm", mutates_args=())
def normalize(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The normalized tensor in channels last, and mean and inverse deviation of each sample's groups."""
    x, y = x.contiguous(memory_format=LAYOUT), torch.empty_like(x, memory_format=LAYOUT)
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    mean = x.new_empty(x.shape[0], groups, dtype=torch.float32)
    inverse = torch.empty_like(mean)
    _library().group_norm(_sizes(x, groups), eps, *(t.data_ptr() for t in (x, weight, bias, y, mean, inverse)))
    return y, mean, inverse


@normalize.register_fake
def _(x, weight, bias, groups, eps):
    mean = x.new_empty(x.shape[0], groups, dtype=torch.float32)
    return torch.empty_like(x, memory_format=LAYOUT), mean, torch.empty_like(mean)


@torch.library.custom_op("sstlib::group_norm_backward", mutates_args=())
def normalize_backward(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the tensor, of weight and of bias."""
    x, grad = x.contiguous(memory_format=LAYOUT), grad.to(x.dtype).contiguous(memory_format=LAYOUT)
    grad_x = torch.empty_like(x, memory_format=LAYOUT)
    grad_weight, grad_bias = (torch.empty(weight.shape, dtype=torch.float32) for _ in range(2))
    scale = weight.float().contiguous()
    _library().group_norm_backward(_sizes(x, groups), *(t.data_ptr() for t in (grad, x, scale, mean, inverse, grad_x, grad_weight, grad_bias)))
    return grad_x, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)


@normalize_backward.register_fake
def _(grad, x, weight, mean, inverse, groups):
    return torch.empty_like(x, memory_format=LAYOUT), torch.empty_like(weight), torch.empty_like(weight)


def _save(ctx, inputs, output):
    x, weight, _, ctx.groups, _ = inputs
    ctx.save_for_backward(x, weight, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _gradient(ctx, grad, *_):
    return *normalize_backward(grad, *ctx.saved_tensors, ctx.groups), None, None


normalize.register_autograd(_gradient, setup_context=_save)
