"""Group normalization that keeps the memory layout of convolutions.

PyTorch's own is slow on a CPU where channels are last, ten times so in bfloat16 and in every backward pass, and the copies into the other
layout and back were a sixth of a training step. A C++ kernel reads and writes channels last; without a compiler PyTorch does it, by copies.
"""

import ctypes
import functools
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib import native
from sstlib.shapes import Float

DTYPES = (torch.float32, torch.bfloat16)
LAYOUT = torch.channels_last


class GroupNorm(nn.GroupNorm):
    """PyTorch's group normalization, by whichever way is fast for the layout of its input; the result is in channels last then, too.

    Args:
        groups, channels: as PyTorch's.
        relu: ReLU comes after it.
    """

    def __init__(self, groups: int, channels: int, relu: bool = False):
        super().__init__(groups, channels)
        self.relu = relu

    def forward(self, x: Float[Tensor, "batch channels height width"],
                residual: Float[Tensor, "batch channels height width"] | None = None) -> Float[Tensor, "batch channels height width"]:
        """The normalized input, plus `residual` if there is one, and ReLU of that."""
        if x.device.type == "cpu" and x.dtype in DTYPES and x.is_contiguous(memory_format=LAYOUT) and not x.is_contiguous() and _library():
            residual = residual if residual is None else residual.to(x.dtype)
            return normalize(x, self.weight, self.bias, residual, self.num_groups, self.eps, self.relu)[0]
        y = self._portable(x)
        y = y if residual is None else y + residual
        return F.relu(y) if self.relu else y

    def _portable(self, x: Tensor) -> Tensor:
        slow = x.device.type == "cpu" and (x.requires_grad or x.dtype == torch.bfloat16) and not x.is_contiguous()
        return super().forward(x.contiguous()).contiguous(memory_format=LAYOUT) if slow else super().forward(x)


def group_norm(channels: int, relu: bool = False) -> GroupNorm:
    """Normalization without batch statistics: the same in training and use, and for a batch of one."""
    return GroupNorm(math.gcd(channels, 8), channels, relu)


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = native.load(Path(__file__).with_suffix(".cpp"))
    if library:
        library.group_norm.argtypes = [ctypes.c_void_p, ctypes.c_double, ctypes.c_void_p]
        library.group_norm_backward.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.group_norm.restype = library.group_norm_backward.restype = None
    return library


def _numbers(x: Tensor, groups: int, relu: bool) -> ctypes.Array:
    samples, channels, height, width = x.shape
    return (ctypes.c_int64 * 7)(samples, height * width, channels, groups, torch.get_num_threads(), relu, x.dtype == torch.bfloat16)


def _addresses(*tensors: Tensor | None) -> ctypes.Array:
    return (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))


@torch.library.custom_op("sstlib::group_norm", mutates_args=())
def normalize(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, groups: int, eps: float,
              relu: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The normalized tensor in channels last (with residual and ReLU); mean and inverse deviation of each sample's groups; and scale and
    shift of its channels, (sample, 2, channel)."""
    x, y = x.contiguous(memory_format=LAYOUT), torch.empty_like(x, memory_format=LAYOUT)
    residual = None if residual is None else residual.contiguous(memory_format=LAYOUT)
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    mean, inverse, affine = _statistics(x, groups)
    _library().group_norm(_numbers(x, groups, relu), eps, _addresses(x, weight, bias, residual, y, mean, inverse, affine))
    return y, mean, inverse, affine


def _statistics(x: Tensor, groups: int) -> list[Tensor]:
    samples, channels = x.shape[:2]
    return [x.new_empty(shape, dtype=torch.float32) for shape in ((samples, groups), (samples, groups), (samples, 2, channels))]


@normalize.register_fake
def _(x, weight, bias, residual, groups, eps, relu):
    return torch.empty_like(x, memory_format=LAYOUT), *_statistics(x, groups)


@torch.library.custom_op("sstlib::group_norm_backward", mutates_args=())
def normalize_backward(grad: Tensor, x: Tensor, y: Tensor | None, affine: Tensor | None, weight: Tensor, mean: Tensor, inverse: Tensor,
                       groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the tensor, of weight and of bias, and the gradient that ReLU passes on to what was added before it.

    `y` is what ReLU gave if something was added, else `affine` says it; None of both without ReLU. Without `y` the last is empty.
    """
    x, grad = x.contiguous(memory_format=LAYOUT), grad.to(x.dtype).contiguous(memory_format=LAYOUT)
    grad_x = torch.empty_like(x, memory_format=LAYOUT)
    passed = None if y is None else torch.empty_like(grad_x)
    grad_weight, grad_bias = (torch.empty(weight.shape, dtype=torch.float32) for _ in range(2))
    tensors = (grad, x, y, affine, weight.float().contiguous(), mean, inverse, passed, grad_x, grad_weight, grad_bias)
    _library().group_norm_backward(_numbers(x, groups, False), _addresses(*tensors))
    return grad_x, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), x.new_empty(0) if passed is None else passed


@normalize_backward.register_fake
def _(grad, x, y, affine, weight, mean, inverse, groups):
    grad_x = torch.empty_like(x, memory_format=LAYOUT)
    return grad_x, torch.empty_like(weight), torch.empty_like(weight), x.new_empty(0) if y is None else torch.empty_like(grad_x)


def _save(ctx, inputs, output):
    x, weight, _, residual, ctx.groups, _, relu = inputs
    y, mean, inverse, affine = output
    ctx.added = residual is not None
    ctx.save_for_backward(x, y if relu and ctx.added else None, affine if relu and not ctx.added else None, weight, mean, inverse)
    ctx.mark_non_differentiable(mean, inverse, affine)


def _gradient(ctx, grad, *_):
    grad_x, grad_weight, grad_bias, passed = normalize_backward(grad, *ctx.saved_tensors, ctx.groups)
    grad_residual = (grad if ctx.saved_tensors[1] is None else passed) if ctx.added else None
    return grad_x, grad_weight, grad_bias, grad_residual, None, None, None


normalize.register_autograd(_gradient, setup_context=_save)
