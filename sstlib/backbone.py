"""Per-frame features f of Eq. 1: image in, embedding at the output stride out, with a finer and a coarser companion."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.config import ModelConfig
from sstlib.convolution import Convolution3, Pending, convolved, fits, halved, normalized, rectified
from sstlib.efficientnet import EfficientNetLite
from sstlib.group_norm import group_norm
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
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        return torch.addcmul(-self.mean / self.deviation, frame, 1 / self.deviation)  # one pass


class FilterResponseNorm(nn.Module):
    """Filter response normalization (Singh and Krishnan, 2020): each channel by its root mean square over a frame; no batch statistics.

    Args:
        channels: of the input.
        threshold: apply the learned threshold (TLU) that takes the place of ReLU.
        last: channels are the last axis (batch, time, height, width, channels); else (batch, channels, height, width). Either way a
            frame's cells are axes 2 and 3.
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
    """Two 3x3 convolutions beside a skip; halves the resolution by averaging, so that cell i still covers pixels 2i and 2i + 1."""

    def __init__(self, inputs: int, outputs: int, halve: bool = False, dilation: int = 1):
        super().__init__()
        self.halve = halve
        self.conv1 = Convolution3(inputs, outputs)
        self.norm1 = group_norm(outputs, relu=True)
        self.conv2 = Convolution3(outputs, outputs, dilation)
        self.norm2 = group_norm(outputs, relu=True)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.norm2.weight)  # starts as the identity, which lets deep stacks learn from the first step

    def forward(self, x: Float[Tensor, "batch channels height width"] | Pending) -> Float[Tensor, "batch outputs out_height out_width"]:
        if fits(x, self.conv1, self.conv2):
            x = halved(x) if self.halve else x
            y = normalized(self.norm1, *convolved(self.conv1, x))
            y = normalized(self.norm2, *convolved(self.conv2, y))
            return rectified(y, self.skip(x))
        x = F.avg_pool2d(x, 2, ceil_mode=True) if self.halve else x
        return self.norm2(self.conv2(self.norm1(self.conv1(x))), residual=self.skip(x))


def enlarge(x: Tensor, size: tuple[int, int], factor: int = 2, centred: bool = False) -> Tensor:
    """Bilinear enlargement to `size`, true to where cells lie.

    Blocks (cell i covers pixels s*i to s*i + s - 1, the last perhaps partly) are enlarged by the factor and cut; centred cells (cell i
    on pixel s*i, as a convolution with stride and padding puts them) by aligned corners.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if centred:
        return F.interpolate(x, size, mode="bilinear", align_corners=True)
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)[..., :size[0], :size[1]]


class SmallBackbone(nn.Module):
    """A small residual network of our own: strides 2, 4, 8 and 16, the last two joined at stride 8.

    Every halving is aligned with the pixel grid (cell i of stride s covers pixels s*i to s*i + s - 1, the last cell may be partial),
    so that masks can be averaged onto cells and logits brought back without a shift.
    """

    def __init__(self, width: int, embedding: int):
        super().__init__()
        fine, middle, deep = width * 3 // 2, width * 3, width * 6
        self.channels = (fine, embedding, deep)
        self.normalize = Normalize()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False), group_norm(width, relu=True))
        self.stage4 = ResidualBlock(width, fine, halve=True)
        self.stage8 = nn.Sequential(ResidualBlock(fine, middle, halve=True), ResidualBlock(middle, middle))
        self.stage16 = nn.Sequential(ResidualBlock(middle, deep, halve=True), ResidualBlock(deep, deep), ResidualBlock(deep, deep, dilation=2))
        self.lateral = nn.Conv2d(middle, embedding, 1)
        self.top = nn.Conv2d(deep, embedding, 1)
        self.smooth = nn.Sequential(Convolution3(embedding, embedding), group_norm(embedding))

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Levels:
        low, middle = self.fine(frame)
        deep = self.stage16(middle)
        embedding = self.smooth(F.relu(self.lateral(middle) + enlarge(self.top(deep), middle.shape[-2:])))
        return Levels(low, embedding, deep)

    def fine(self, frame: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        """Features at strides 4 and 8."""
        height, width = frame.shape[-2:]
        image = self.normalize(frame)
        if height % 2 or width % 2:
            image = F.pad(image, (0, width % 2, 0, height % 2), mode="replicate")
        convolution, norm = self.stem
        low = self.stage4(normalized(norm, convolution(image)) if fits(image, norm, self.stage4.conv1, self.stage4.conv2) else self.stem(image))
        return low, self.stage8(low)


class SemanticBackbone(SmallBackbone):
    """The small network as far as stride 8, with EfficientNet-Lite beside it on the frame at half size: details, and what they belong to.

    The semantic branch reaches stride 32 of the frame for half of what the small network's own stride 16 and the rest would cost at full
    size. Its features, at stride 16, are what dense matching compares.
    """

    def __init__(self, width: int, embedding: int, trunk: str):
        super().__init__(width, embedding)
        del self.stage16
        self.trunk = EfficientNetLite(trunk)
        self.detail = nn.Conv2d(self.trunk.channels[0], embedding, 1, bias=False)
        nn.init.zeros_(self.detail.weight)  # a refinement, so that weights of the small network can be gone on with
        deep = sum(self.trunk.channels[1:])
        self.top = nn.Conv2d(deep, embedding, 1)
        self.channels = (self.channels[0], embedding, deep)

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Levels:
        low, middle = self.fine(frame)
        eight, sixteen, deepest = self.trunk(F.avg_pool2d(frame, 2, ceil_mode=True))
        deep = torch.cat([enlarge(deepest, sixteen.shape[-2:]), sixteen], 1)
        joined = self.lateral(middle) + self.detail(eight) + enlarge(self.top(deep), middle.shape[-2:])
        return Levels(low, self.smooth(F.relu(joined)), deep)


class LiteBackbone(nn.Module):
    """EfficientNet-Lite at full size: its strides 4, 8 and 16, the last two joined at stride 8."""

    def __init__(self, embedding: int, trunk: str):
        super().__init__()
        self.trunk = EfficientNetLite(trunk)
        low, middle, deep = self.trunk.channels
        self.channels = (low, embedding, deep)
        self.lateral, self.top = nn.Conv2d(middle, embedding, 1), nn.Conv2d(deep, embedding, 1)
        self.smooth = nn.Sequential(Convolution3(embedding, embedding), group_norm(embedding))

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Levels:
        low, middle, deep = self.trunk(frame)
        return Levels(low, self.smooth(F.relu(self.lateral(middle) + enlarge(self.top(deep), middle.shape[-2:]))), deep)


def build_backbone(config: ModelConfig) -> nn.Module:
    """The backbone that a configuration names."""
    if config.backbone == "small":
        return SmallBackbone(config.backbone_width, config.embedding)
    if config.backbone.startswith("small+"):
        return SemanticBackbone(config.backbone_width, config.embedding, config.backbone.removeprefix("small+"))
    if config.backbone.startswith("lite"):
        return LiteBackbone(config.embedding, config.backbone)
    from sstlib.resnet import ResNetFeatures  # a room of its own, after this one

    return ResNetFeatures(config.backbone, config.output_stride, config.embedding, config.backbone_norm)
