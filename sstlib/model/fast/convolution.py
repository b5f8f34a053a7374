"""Convolution blocks that are cheaper where no gradient is wanted, on the CPU in float32; PyTorch's everywhere else.

The blocks are C++: 3x3 convolutions, nine tenths of a small network's multiply-adds, go by Winograd's algorithm; group
normalization and ReLU are applied as the next step reads its input, so no pass over memory is spent on them. Results
differ from PyTorch's by rounding.
"""

import ctypes
import functools
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib import native
from sstlib.native import pytorch
from sstlib.shapes import Float

# Filters are evaluated at 0, +-NEAR, +-FAR and infinity, which rounds less than Lavin and Gray's 1 and 2.
NEAR, FAR = 0.5**0.5, 2**0.5
POINTS = ((1, 0, 0),
          *((1 / scale, p / scale, p * p / scale) for p, scale in ((NEAR, -1.5), (-NEAR, -1.5), (FAR, 6), (-FAR, 6))),
          (0, 0, 1))


Image = Float[Tensor, "batch channels height width"]


class Pending(NamedTuple):
    """An image whose normalization and ReLU are still to be applied, by whoever reads it."""

    image: Float[Tensor, "batch channels height width"]
    affine: Float[Tensor, "batch 2 channels"]  # scale and shift of each channel


class Convolution3(nn.Conv2d):
    """A 3x3 convolution of stride 1 that keeps the size, without bias."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1):
        super().__init__(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.transformed: tuple[tuple[int, int], Tensor] | None = None  # which weights, and what they became

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs height width"]:
        return convolved(self, x)[0] if fits(x, self) else super().forward(x)

    def filters(self) -> Float[Tensor, "36 inputs outputs"]:
        """The weights' values at the 36 pairs of points; kept until the weights change (a change in place through
        `.data` is not seen).
        """
        state = self.weight.data_ptr(), pytorch.version(self.weight)
        if self.transformed is None or state[1] is None or self.transformed[0] != state:
            points = self.weight.new_tensor(POINTS, dtype=torch.float64)
            filters = torch.einsum("pi,qj,ocij->pqco", points, points, self.weight.detach().double())
            self.transformed = state, filters.flatten(0, 1).float().contiguous()
        return self.transformed[1]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None."""
    loaded = native.load(Path(__file__).with_suffix(".cpp"))
    if loaded:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        for name, kinds in {
                "convolve": [pointer] * 6, "measure": [pointer] * 3, "finish": [pointer] * 4, "halve": [pointer] * 4,
                "normalize": [pointer, number, pointer, pointer, number, ctypes.c_double, pointer, pointer]
        }.items():
            getattr(loaded, name).argtypes, getattr(loaded, name).restype = kinds, None
        for name in ("tile_blocks", "cell_blocks"):
            getattr(loaded, name).argtypes, getattr(loaded, name).restype = [pointer], number
    return loaded


def fits(x: Image | Pending, *modules: nn.Module) -> bool:
    """Whether the kernels do it: no gradient, cells at all, the CPU, float32, and channels that fill their vectors."""
    image = x.image if isinstance(x, Pending) else x
    weights = [module.weight for module in modules]
    if not image.numel():  # the kernels divide by the number of cells
        return False
    if torch.is_grad_enabled() and any(t.requires_grad for t in (image, *weights)):
        return False
    if any(t.device.type != "cpu" or t.dtype != torch.float32
           for t in (image, *weights)) or torch.is_autocast_enabled("cpu"):
        return False
    loaded = None if torch.jit.is_tracing() else library()  # a trace would not see what they do
    return loaded is not None and all(
        module.in_channels >= loaded.lanes() and module.out_channels %
        loaded.lanes() == 0 if isinstance(module, nn.Conv2d) else module.num_channels % loaded.lanes() == 0
        for module in modules)


def residual(block: nn.Module, x: Float[Tensor, "batch channels height width"] | Pending
             ) -> Float[Tensor, "batch outputs out_height out_width"]:
    """What `layers.ResidualBlock` computes, where `fits`."""
    x = halved(x) if block.halve else x
    y = normalized(block.norm1, *convolved(block.conv1, x))
    y = normalized(block.norm2, *convolved(block.conv2, y))
    return rectified(y, block.skip(x))


def stem(layers: nn.Sequential, image: Float[Tensor, "batch 3 height width"], block: nn.Module) -> Tensor | Pending:
    """A convolution, a norm and ReLU before a residual block, which reads the image unfinished where both fit."""
    convolution, norm, _ = layers
    return normalized(norm, convolution(image)) if fits(image, norm, block.conv1, block.conv2) else layers(image)


def sharpened(layers: nn.Sequential,
              x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Norm, ReLU and 3x3 convolution, twice, the last one to a single channel."""
    before, _, convolution, after, _, last = layers
    if not fits(x, before, convolution):
        return layers(x)
    return summed(last, rectified(normalized(after, *convolved(convolution, normalized(before, x)))))


def convolved(convolution: Convolution3, x: Image | Pending) -> tuple[Tensor, Tensor]:
    """The convolution of an image, and the moments of the result (see the kernels)."""
    image, affine = x if isinstance(x, Pending) else (_last(x), None)
    out = image.new_empty(image.shape[0], *image.shape[2:], convolution.out_channels).movedim(3, 1)
    sizes = _sizes(image, convolution.out_channels, convolution.dilation[0])
    moments = image.new_empty(image.shape[0], library().tile_blocks(sizes), 2, convolution.out_channels)
    library().convolve(*_addresses(image, affine, convolution.filters(), out, moments), sizes)
    return out, moments


def normalized(norm: nn.GroupNorm, x: Image, moments: Float[Tensor, "batch block 2 channels"] | None = None) -> Pending:
    """An image with its normalization to come, from its moments if they are known."""
    x = _last(x)
    sizes = _sizes(x)
    if moments is None:
        moments = x.new_empty(x.shape[0], library().cell_blocks(sizes), 2, x.shape[1])
        library().measure(*_addresses(x, moments), sizes)
    affine = x.new_empty(x.shape[0], 2, x.shape[1])
    addresses = _addresses(moments, norm.weight, norm.bias, affine)
    library().normalize(addresses[0], moments.shape[1], *addresses[1:3], norm.num_groups, norm.eps, addresses[3], sizes)
    return Pending(x, affine)


def rectified(x: Pending, other: Image | None = None) -> Tensor:
    """ReLU of the normalized image, plus another if one is given; takes the image's place."""
    other = None if other is None else _last(other)
    library().finish(*_addresses(x.image, x.affine, other), _sizes(x.image))
    return x.image


def summed(convolution: nn.Conv2d, x: Image) -> Tensor:
    """A 3x3 convolution to one channel: every cell's product with each of the nine weights, then nine shifted sums."""
    batch, channels, height, width = x.shape
    products = convolution.weight.view(channels, 9).T @ _last(x).permute(1, 0, 2, 3).reshape(channels, -1)
    products = F.pad(products.view(9, batch, height, width), (1, 1, 1, 1))
    out = convolution.bias.view(1, 1, 1).repeat(batch, height, width)
    for place, product in enumerate(products):
        out += product[:, place // 3:, place % 3:][:, :height, :width]
    return out[:, None]


def halved(x: Image | Pending) -> Tensor:
    """Each 2x2 cells averaged (fewer at the border), after normalization and ReLU where they are to come."""
    image, affine = x if isinstance(x, Pending) else (_last(x), None)
    batch, channels, height, width = image.shape
    if channels % library().lanes():  # never of a pending one
        return F.avg_pool2d(image, 2, ceil_mode=True)
    out = image.new_empty(batch, (height + 1) // 2, (width + 1) // 2, channels).movedim(3, 1)
    library().halve(*_addresses(image, affine, out), _sizes(image))
    return out


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _addresses(*tensors: Tensor | None) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def _sizes(image: Tensor, outputs: int | None = None, dilation: int = 1) -> ctypes.Array:
    batch, channels, height, width = image.shape
    return (ctypes.c_int64 * 7)(batch, height, width, channels, outputs or channels, dilation, torch.get_num_threads())
