"""ResNet-18/34/50/101 with torchvision's parameter names, and DeepLabV3+'s neck: f of Eq. 1 at the paper's size.

Dilation keeps the resolution at an output stride of 8 or 16 (multigrid 1, 2, 4 in the last stage). Published weights
load by name, from a file or from a URL with its checksum; nothing here needs torchvision.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.model.layers import FilterResponseNorm, GroupNorm, Levels, Normalize, group_norm, upsample
from sstlib.shapes import Float

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
MULTIGRID = (1, 2, 4)
ASPP_RATES = (6, 12, 18)  # at an output stride of 16


class FrozenBatchNorm(nn.Module):
    """Batch normalization with its statistics and affine map fixed, as buffers of torchvision's names."""

    def __init__(self, channels: int):
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        scale = self.weight * torch.rsqrt(self.running_var + 1e-5)
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


NORMS = {
    "frozen": FrozenBatchNorm, "frn": FilterResponseNorm, "group": group_norm,
    "group32": lambda channels: GroupNorm(32, channels)
}


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size, up to its stride."""
    return nn.Conv2d(inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18 and 34)."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, dilation: int, norm: str):
        super().__init__()
        self.conv1, self.bn1 = _convolution(inputs, planes, 3, stride, dilation), NORMS[norm](planes)
        self.conv2, self.bn2 = _convolution(planes, planes, 3, dilation=dilation), NORMS[norm](planes)
        self.downsample = _shortcut(inputs, planes, stride, norm)

    def forward(self, x: Float[Tensor, "batch channels height width"]
                ) -> Float[Tensor, "batch outputs out_height out_width"]:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions (ResNet-50 and 101); the 3x3 one strides, as in torchvision."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, dilation: int, norm: str):
        super().__init__()
        self.conv1, self.bn1 = _convolution(inputs, planes, 1), NORMS[norm](planes)
        self.conv2, self.bn2 = _convolution(planes, planes, 3, stride, dilation), NORMS[norm](planes)
        self.conv3, self.bn3 = _convolution(planes, planes * 4, 1), NORMS[norm](planes * 4)
        self.downsample = _shortcut(inputs, planes * 4, stride, norm)

    def forward(self, x: Float[Tensor, "batch channels height width"]
                ) -> Float[Tensor, "batch outputs out_height out_width"]:
        return F.relu(self.residual(x) + self.downsample(x))

    def residual(self, x: Float[Tensor, "batch channels height width"]
                 ) -> Float[Tensor, "batch outputs out_height out_width"]:
        """What is added to the shortcut."""
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(y))


def _shortcut(inputs: int, outputs: int, stride: int, norm: str) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), NORMS[norm](outputs))


class ResNet(nn.Module):
    """A residual network without its classifier.

    Args:
        name: resnet18, resnet34, resnet50 or resnet101.
        output_stride: of the last stage, 8 or 16 (32 is ImageNet's, for comparison with torchvision).
        norm: frozen (BatchNorm with published statistics), frn (filter response normalization) or group, for training
            from nothing.
    """

    def __init__(self, name: str, output_stride: int = 16, norm: str = "frozen"):
        super().__init__()
        block = BasicBlock if name in ("resnet18", "resnet34") else Bottleneck
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), NORMS[norm](64)
        inputs, stride, dilation = 64, 4, 1
        for stage, depth in enumerate(DEPTHS[name]):
            planes, step = 64 * 2**stage, 1 if stage == 0 else 2
            if stride * step > output_stride:
                step, dilation = 1, dilation * 2
            grid = MULTIGRID if stage == 3 and dilation > 1 else (1,) * depth
            blocks = []
            for number in range(depth):
                blocks.append(block(inputs, planes, step if number == 0 else 1, dilation * grid[number], norm))
                inputs = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            stride *= step
        self.channels = (64 * block.expansion, inputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        """Features of the first stage (stride 4) and of the last (the output stride)."""
        low = self.layer1(F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1))
        return low, self.layer4(self.layer3(self.layer2(low)))


class _Branch(nn.Module):
    """One atrous convolution of ASPP."""

    def __init__(self, inputs: int, outputs: int, rate: int, norm: str):
        super().__init__()
        self.atrous_conv = _convolution(inputs, outputs, 1 if rate == 1 else 3, dilation=rate)
        self.bn = NORMS[norm](outputs)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs height width"]:
        return F.relu(self.bn(self.atrous_conv(x)))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 and dilated 3x3 convolutions and the image's mean, joined by a 1x1."""

    def __init__(self, inputs: int, width: int, pooled: int, outputs: int, rates: tuple[int, ...], norm: str,
                 dropout: float = 0.0):
        super().__init__()
        for number, rate in enumerate((1, *rates), 1):
            setattr(self, f"aspp{number}", _Branch(inputs, width, rate, norm))
        self.branches = 1 + len(rates)
        self.global_avg_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), _convolution(inputs, pooled, 1),
                                             _pooled_norm(pooled, norm), nn.ReLU())
        self.conv1, self.bn1 = _convolution(self.branches * width + pooled, outputs, 1), NORMS[norm](outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs height width"]:
        parts = [getattr(self, f"aspp{number}")(x) for number in range(1, self.branches + 1)]
        parts.append(self.global_avg_pool(x).expand(-1, -1, *x.shape[2:]))
        return self.dropout(F.relu(self.bn1(self.conv1(torch.cat(parts, 1)))))


def _pooled_norm(channels: int, norm: str) -> nn.Module:
    """The norm of a 1x1 map; filter response normalization would erase it (each value by its own size)."""
    return NORMS["group" if norm == "frn" else norm](channels)


class DeepLabDecoder(nn.Module):
    """DeepLabV3+'s decoder to 256 channels at stride 4: low-level features to 48, joined, two 3x3 convolutions."""

    def __init__(self, low: int, norm: str):
        super().__init__()
        self.conv1, self.bn1 = _convolution(low, 48, 1), NORMS[norm](48)
        self.last_conv = nn.Sequential(_convolution(304, 256, 3), NORMS[norm](256), nn.ReLU(), nn.Identity(),
                                       _convolution(256, 256, 3), NORMS[norm](256), nn.ReLU())

    def forward(self, x: Float[Tensor, "batch 256 height width"], low: Float[Tensor, "batch low low_height low_width"]
                ) -> Float[Tensor, "batch 256 low_height low_width"]:
        low = F.relu(self.bn1(self.conv1(low)))
        return self.last_conv(torch.cat([upsample(x, low.shape[2:], centered=True), low], 1))


class ResNetFeatures(nn.Module):
    """A ResNet as SST's backbone. An output stride of 4 means DeepLabV3+ over stride 16 (the paper); 8 and 16 take the
    last stage itself.

    Args:
        name: of the ResNet.
        output_stride: image pixels a cell of the embedding: 4, 8 or 16.
        embedding: channels of the embedding; CFBI's head: depthwise 3x3, 1x1, each with GroupNorm and ReLU.
        norm: see `ResNet`.
    """

    def __init__(self, name: str, output_stride: int, embedding: int, norm: str):
        super().__init__()
        self.normalize = Normalize()
        self.backbone = ResNet(name, 16 if output_stride == 4 else output_stride, norm)
        low, deep = self.backbone.channels
        self.aspp = ASPP(deep, 256, 256, 256, ASPP_RATES, norm, dropout=0.1) if output_stride == 4 else None
        self.decoder = DeepLabDecoder(low, norm) if output_stride == 4 else None
        inputs = 256 if output_stride == 4 else deep
        self.embed = nn.Sequential(nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs), GroupNorm(32, inputs),
                                   nn.ReLU(), nn.Conv2d(inputs, embedding, 1), _embedding_norm(embedding), nn.ReLU())
        self.channels = (low, embedding, embedding)

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Levels:
        low, deep = self.backbone(self.normalize(frame))
        if self.aspp is not None and self.decoder is not None:
            deep = self.decoder(self.aspp(deep), low)
        embedding = self.embed(deep)
        return Levels(low, embedding, F.avg_pool2d(embedding, 2, ceil_mode=True))


def _embedding_norm(channels: int) -> GroupNorm:
    """Groups of four channels, as CFBI's 25 for 100."""
    return GroupNorm(channels // 4 if channels % 4 == 0 else 1, channels)
