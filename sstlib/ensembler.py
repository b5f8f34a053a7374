"""CFBI's collaborative ensembler in the paper's width (reference: Yang et al., ECCV 2020), as SST's decoder.

Its inputs are those of `decoder.SmallDecoder`. Three stages at strides 4, 8 and 16, atrous pyramid pooling, and back up to stride 4; each
block is gated by the object's pooled embeddings, and so are the weights of the last 1x1 convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.decoder import InstanceGate
from sstlib.group_norm import GroupNorm
from sstlib.resnet import ASPP, Bottleneck
from sstlib.shapes import Bool, Float

PREHEAD = 64
WIDTH = 256
REFINED = 64


class ContextGate(nn.Module):
    """Gated channel transformation (Yang et al., 2020): each channel by how its energy compares with the others'; starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1, 1))
        self.gamma, self.beta = nn.Parameter(torch.zeros(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        energy = self.alpha * (x.square().sum((2, 3), keepdim=True) + 1e-5).sqrt()
        relative = energy * torch.rsqrt(energy.square().mean(1, keepdim=True) + 1e-5)
        return x * (1 + torch.tanh(self.gamma * relative + self.beta))


class GatedBottleneck(Bottleneck):
    """A ResNet bottleneck with GroupNorm behind a ContextGate; the shortcut goes around both."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1):
        super().__init__(inputs, outputs // 4, stride, dilation, "group32")
        self.gate = ContextGate(inputs)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs out_height out_width"]:
        return F.relu(self.residual(self.gate(x)) + self.downsample(x))


class Ensembler(nn.Module):
    """Evidence about each object to its logit at stride 4.

    Args:
        shared: channels that all objects have in common.
        features: channels of each object's evidence that are features, which come first and enter as they are.
        maps: the remaining channels, scores and masks, which pass CFBI's 1x1 pre-head to 64.
        instance: channels of the pooled embeddings.
        low: channels of the stride-4 features.
    """

    def __init__(self, shared: int, features: int, maps: int, instance: int, low: int):
        super().__init__()
        self.features = features
        self.prehead = nn.Sequential(nn.Conv2d(maps, PREHEAD, 1), GroupNorm(PREHEAD // 4, PREHEAD), nn.ReLU())
        joined = shared + features + PREHEAD
        wide = 2 * WIDTH
        plan = [(joined, WIDTH, 1, 1), (WIDTH, WIDTH, 1, 2),
                (WIDTH, wide, 2, 1), (wide, wide, 1, 2), (wide, wide, 1, 4),
                (wide, wide, 2, 1), (wide, wide, 1, 2), (wide, wide, 1, 4)]
        self.blocks = nn.ModuleList(GatedBottleneck(*block) for block in plan)
        refined = WIDTH + REFINED
        gated = [*(block[0] for block in plan), wide, refined, WIDTH // 2]
        self.gates = nn.ModuleList(InstanceGate(instance, channels, background=False) for channels in gated)
        self.aspp = ASPP(wide, 128, 128, WIDTH, (6, 12, 18), "group32")
        self.skip = nn.Sequential(ContextGate(low + WIDTH), nn.Conv2d(low + WIDTH, REFINED, 1, bias=False),
                                  GroupNorm(REFINED // 4, REFINED), nn.ReLU())
        self.refine = nn.ModuleList(nn.Sequential(nn.Conv2d(channels, WIDTH // 2, 3, padding=1, bias=False),
                                                  GroupNorm(32, WIDTH // 2), nn.ReLU()) for channels in (refined, WIDTH // 2))
        self.inside, self.outside = (nn.Linear(instance, WIDTH // 2 + 1) for _ in range(2))

    def forward(self, low: Float[Tensor, "batch low fine_height fine_width"], shared: Float[Tensor, "batch shared height width"],
                evidence: Float[Tensor, "batch object evidence height width"], instance: Float[Tensor, "batch object instance"],
                known: Bool[Tensor, "batch object"]) -> Float[Tensor, "batch object fine_height fine_width"]:
        objects = evidence.shape[1]
        evidence = evidence.flatten(0, 1)
        x = torch.cat([shared.repeat_interleave(objects, 0), evidence[:, :self.features], self.prehead(evidence[:, self.features:])], 1)
        for number, block in enumerate(self.blocks):
            x = block(self.gates[number](x, instance))
            if number == 1:
                fine = x if x.shape[2:] == low.shape[2:] else F.interpolate(x, low.shape[2:], mode="bilinear", align_corners=True)
                fine = self.skip(torch.cat([low.repeat_interleave(objects, 0), fine], 1))
        x = self.aspp(self.gates[8](x, instance))
        x = torch.cat([F.interpolate(x, fine.shape[2:], mode="bicubic", align_corners=True), fine], 1)
        for gate, refine in zip(self.gates[9:], self.refine):
            x = refine(gate(x, instance))
        x = x.unflatten(0, (-1, objects))
        inside, outside = (self._score(x, linear(instance)) for linear in (self.inside, self.outside))
        if objects == 1:
            return inside
        # The background is also what every object says is not its own.
        outside = outside.masked_fill(~known[:, :, None, None], torch.finfo(outside.dtype).max)[:, 1:].amin(1, keepdim=True)
        outside = torch.where(known[:, 1:].any(1)[:, None, None, None], outside, 0)
        return torch.cat([inside[:, :1] + outside, inside[:, 1:]], 1)

    def _score(self, x: Float[Tensor, "batch object channels height width"],
               weights: Float[Tensor, "batch object weights"]) -> Float[Tensor, "batch object height width"]:
        """A 1x1 convolution whose weights and bias (the last) are each object's own."""
        return torch.einsum("bochw,boc->bohw", x, weights[..., :-1]) + weights[..., -1:, None]
