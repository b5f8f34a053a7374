"""What backbones and decoders are made of: norms without batch statistics, residual blocks, aligned enlargement."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.model import fast
from sstlib.shapes import Float

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Levels(NamedTuple):
    """Feature maps of one batch of frames."""

    low: Float[Tensor, "batch low fine_height fine_width"]  # stride 4, for the decoder's skip
    embedding: Float[Tensor, "batch embedding height width"]  # the output stride, what attention and decoder work on
    coarse: Float[Tensor, "batch coarse coarse_height coarse_width"]  # half of that resolution, for dense matching


class Normalize(nn.Module):
    """Pixels in [0, 1] to ImageNet's zero mean and unit deviation a channel (RGB)."""

    def __init__(self) -> None:
        super().__init__()
        for name, levels in (("mean", IMAGENET_MEAN), ("deviation", IMAGENET_DEVIATION)):
            self.register_buffer(name, torch.tensor(levels, dtype=torch.float32).view(3, 1, 1), persistent=False)

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        return torch.addcmul(-self.mean / self.deviation, frame, 1 / self.deviation)  # one pass


class FilterResponseNorm(nn.Module):
    """Filter response normalization (Singh and Krishnan, 2020): each channel by its root mean square over a frame; no
    batch statistics.

    Args:
        channels: of the input.
        threshold: apply the learned threshold (TLU) that takes the place of ReLU.
        last: channels are the last axis (batch, time, height, width, channels); else (batch, channels, height, width).
            Either way a frame's cells are axes 2 and 3.
    """

    def __init__(self, channels: int, threshold: bool = False, last: bool = False):
        super().__init__()
        shape = (channels,) if last else (channels, 1, 1)
        self.gain, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.threshold = nn.Parameter(torch.zeros(shape)) if threshold else None

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        y = x * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-6) * self.gain + self.bias
        return y if self.threshold is None else torch.maximum(y, self.threshold)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip; halves by averaging, so that cell i still covers pixels 2i and 2i + 1."""

    def __init__(self, inputs: int, outputs: int, halve: bool = False, dilation: int = 1):
        super().__init__()
        self.halve = halve
        self.conv1, self.norm1 = fast.Convolution3(inputs, outputs), group_norm(outputs)
        self.conv2, self.norm2 = fast.Convolution3(outputs, outputs, dilation), group_norm(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.norm2.weight)  # starts as the identity, which lets deep stacks learn from the first step

    def forward(self, x: Float[Tensor, "batch channels height width"] | fast.Pending
                ) -> Float[Tensor, "batch outputs out_height out_width"]:
        if fast.fits(x, self.conv1, self.conv2):
            return fast.residual(self, x)
        x = F.avg_pool2d(x, 2, ceil_mode=True) if self.halve else x
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.skip(x))


def upsample(x: Float[Tensor, "batch channels height width"], size: tuple[int, int], factor: int = 2,
             centered: bool = False) -> Tensor:
    """Bilinear enlargement to `size`, true to where cells lie.

    Blocks (cell i covers pixels s*i to s*i + s - 1, the last perhaps partly) are enlarged by the factor and cut;
    centered cells (cell i on pixel s*i, as a convolution with stride and padding puts them) by aligned corners.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if centered:
        return F.interpolate(x, size, mode="bilinear", align_corners=True)
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)[..., :size[0], :size[1]]


class GroupNorm(nn.GroupNorm):
    """PyTorch's group normalization, on a copy in the other layout where that is faster: on a CPU, channels last."""

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        slow = x.device.type == "cpu" and (x.requires_grad or x.dtype == torch.bfloat16) and not x.is_contiguous()
        y = super().forward(x.contiguous() if slow else x)
        return y.contiguous(memory_format=torch.channels_last) if slow else y


def group_norm(channels: int) -> GroupNorm:
    """Normalization without batch statistics: the same in training and use, and for a batch of one."""
    return GroupNorm(math.gcd(channels, 8), channels)
