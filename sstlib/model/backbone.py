"""Per-frame features f of Eq. 1: image in, embedding at the output stride out, with a finer and a coarser companion."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.model import fast
from sstlib.model.efficientnet import EfficientNetLite
from sstlib.model.layers import Levels, Normalize, ResidualBlock, group_norm, upsample
from sstlib.shapes import Float


class SmallBackbone(nn.Module):
    """A small residual network of our own: strides 2, 4, 8 and 16, the last two joined at stride 8.

    Every halving is aligned with the pixel grid (cell i of stride s covers pixels s*i to s*i + s - 1, the last cell may
    be partial), so that masks can be averaged onto cells and logits brought back without a shift.
    """

    def __init__(self, width: int, embedding: int):
        super().__init__()
        fine, middle, deep = width * 3 // 2, width * 3, width * 6
        self.channels = (fine, embedding, deep)
        self.normalize = Normalize()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False), group_norm(width), nn.ReLU())
        self.stage4 = ResidualBlock(width, fine, halve=True)
        self.stage8 = nn.Sequential(ResidualBlock(fine, middle, halve=True), ResidualBlock(middle, middle))
        self.stage16 = nn.Sequential(ResidualBlock(middle, deep, halve=True), ResidualBlock(deep, deep),
                                     ResidualBlock(deep, deep, dilation=2))
        self.lateral = nn.Conv2d(middle, embedding, 1)
        self.top = nn.Conv2d(deep, embedding, 1)
        self.smooth = nn.Sequential(fast.Convolution3(embedding, embedding), group_norm(embedding))

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Levels:
        low, middle = self.fine(frame)
        deep = self.stage16(middle)
        embedding = self.smooth(F.relu(self.lateral(middle) + upsample(self.top(deep), middle.shape[-2:])))
        return Levels(low, embedding, deep)

    def fine(self, frame: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        """Features at strides 4 and 8."""
        height, width = frame.shape[-2:]
        image = self.normalize(frame)
        if height % 2 or width % 2:
            image = F.pad(image, (0, width % 2, 0, height % 2), mode="replicate")
        low = self.stage4(fast.stem(self.stem, image, self.stage4))
        return low, self.stage8(low)


class SemanticBackbone(SmallBackbone):
    """The small network as far as stride 8, with EfficientNet-Lite beside it on the frame at half size: details, and
    what they belong to.

    The semantic branch reaches stride 32 of the frame for half of what the small network's own stride 16 and the rest
    would cost at full size. Its features, at stride 16, are what dense matching compares.
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
        deep = torch.cat([upsample(deepest, sixteen.shape[-2:]), sixteen], 1)
        joined = self.lateral(middle) + self.detail(eight) + upsample(self.top(deep), middle.shape[-2:])
        return Levels(low, self.smooth(F.relu(joined)), deep)


class LiteBackbone(nn.Module):
    """EfficientNet-Lite at full size: its strides 4, 8 and 16, the last two joined at stride 8."""

    def __init__(self, embedding: int, trunk: str):
        super().__init__()
        self.trunk = EfficientNetLite(trunk)
        low, middle, deep = self.trunk.channels
        self.channels = (low, embedding, deep)
        self.lateral, self.top = nn.Conv2d(middle, embedding, 1), nn.Conv2d(deep, embedding, 1)
        self.smooth = nn.Sequential(fast.Convolution3(embedding, embedding), group_norm(embedding))

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Levels:
        low, middle, deep = self.trunk(frame)
        return Levels(low, self.smooth(F.relu(self.lateral(middle) + upsample(self.top(deep), middle.shape[-2:]))),
                      deep)
