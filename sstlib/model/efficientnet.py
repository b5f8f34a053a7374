"""EfficientNet-Lite0 and 2 (ImageNet) in plain PyTorch, as far as stride 32: features that know what belongs together.

Batch normalization is folded into the convolutions when published weights are loaded (weights/published.py): frozen
statistics cost nothing so.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.shapes import Float

MEAN, DEVIATION = 127.0, 128.0  # of RGB in 0..255, as the weights were trained
SCALES = {"lite0": (1.0, 1.0), "lite2": (1.1, 1.2)}  # of width and depth
# Expansion, kernel, stride, channels and blocks of each stage of EfficientNet-B0.
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
          (6, 3, 1, 320, 1))
STEM = 32  # channels; neither the stem nor the first and the last stage's depth grow in the Lite family
TAPS = {2: 4, 3: 8, 5: 16, 7: 32}  # number of stages passed, and the stride that the network has reached then


class Convolution(nn.Conv2d):
    """A convolution with bias whose cells are those of a grid of blocks, however odd the size.

    Cell i of a stride of 2 sees pixels around 2 i or, if `late`, around 2 i + 1. A network that alternates strays from
    the blocks' centers by at most a quarter of a cell; where it samples is all that differs, as every filter sees what
    it was trained to see.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, late: bool = False):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 + late, groups=groups)
        self.late = late

    def forward(self, x: Float[Tensor, "batch inputs height width"]
                ) -> Float[Tensor, "batch outputs out_height out_width"]:
        y = super().forward(x)
        return y[..., 1:, 1:] if self.late else y  # uneven margins would take a copy of x


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, filter each channel by itself, project; beside a skip where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, late: bool):
        super().__init__()
        hidden = inputs * expansion
        self.expand = Convolution(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = Convolution(hidden, hidden, kernel, stride, hidden, late)
        self.project = Convolution(hidden, outputs, 1)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "batch inputs height width"]
                ) -> Float[Tensor, "batch outputs out_height out_width"]:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.skips else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite up to a stride.

    Args:
        name: lite0 or lite2.
        stride: the last one wanted: 16 or 32.

    Attributes:
        channels: of the features at strides 4, 8, 16 (and 32).
    """

    def __init__(self, name: str, stride: int = 16):
        super().__init__()
        wide, deep = SCALES[name]
        self.name = name
        self.stem = Convolution(3, STEM, 3, 2)
        self.blocks, self.taps, self.channels = nn.ModuleList(), [], []
        inputs, halvings = STEM, 1
        for number, (expansion, kernel, step, width, depth) in enumerate(STAGES, 1):
            outputs = rounded(width * wide)
            repeats = depth if number in (1, len(STAGES)) else -int(-depth * deep // 1)
            for index in range(repeats):
                halves = step == 2 and index == 0
                self.blocks.append(
                    InvertedResidual(inputs, outputs, expansion, kernel, 2 if halves else 1, halves
                                     and halvings % 2 == 1))
                inputs, halvings = outputs, halvings + halves
            if number in TAPS:
                self.taps.append(len(self.blocks))
                self.channels.append(outputs)
                if TAPS[number] == stride:
                    break

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """Features of frames (RGB in [0, 1]) at strides 4, 8, 16 and so on."""
        x = F.relu6(self.stem(frame * (255 / DEVIATION) - MEAN / DEVIATION))
        maps = []
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in self.taps:
                maps.append(x)
        return maps


def rounded(channels: float) -> int:
    """The multiple of 8 nearest to a number of channels, but never less than nine tenths of it."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
