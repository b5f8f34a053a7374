"""From evidence about each object to its logit at every pixel: CFBI's collaborative ensembler, in the paper's width and
in a small one.

Both take the same inputs. What does not depend on the object (embedding, encoder output, low-level features) is
projected once a frame; objects, the background among them, share all weights, so that permuting objects permutes the
masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.config import ModelConfig
from sstlib.config.networks import DECODERS
from sstlib.model import fast
from sstlib.model.layers import GroupNorm, ResidualBlock, group_norm, upsample
from sstlib.model.resnet import ASPP, Bottleneck
from sstlib.shapes import Bool, Float

PREHEAD, WIDTH, REFINED = 64, 256, 64  # channels of the ensembler: of maps, of its blocks, of what its skip brings


class InstanceGate(nn.Module):
    """CFBI's instance-level attention: channels scaled by 1 + tanh of a linear map of the object's pooled embeddings.

    The background may have its own additive code: it is the one object whose extent is everything else. Without pooled
    embeddings (`instance` 0) that code is all there is.
    """

    def __init__(self, instance: int, channels: int, background: bool = True):
        super().__init__()
        self.linear = nn.Linear(instance, channels) if instance else None
        self.background = nn.Parameter(torch.zeros(channels)) if background else None

    def forward(self, x: Float[Tensor, "all_objects channels height width"],
                instance: Float[Tensor, "batch object instance"]) -> Float[Tensor, "all_objects channels height width"]:
        code = instance.new_zeros(*instance.shape[:2], x.shape[1]) if self.linear is None else self.linear(instance)
        if self.background is not None:
            first = (torch.arange(instance.shape[1], device=code.device) == 0).to(code.dtype)[:, None]
            code = code + first * self.background
        return x * (1 + torch.tanh(code)).flatten(0, 1)[:, :, None, None]


class SmallDecoder(nn.Module):
    """The ensembler for laptops: fuse at the feature stride, look around at half of it, sharpen at stride 4.

    Args:
        shared: channels of the features that all objects have in common.
        per_object: channels of the evidence of each object.
        instance: channels of the pooled embeddings that gate.
        low: channels of the stride-4 features.
        width: channels of the decoder itself.
        factor: of the feature stride over 4.
        centered: see `layers.upsample`.
    """

    def __init__(self, shared: int, per_object: int, instance: int, low: int, width: int, factor: int = 2,
                 centered: bool = False):
        super().__init__()
        self.factor, self.centered = factor, centered
        fine = max(width // 2, 8)
        self.shared = nn.Conv2d(shared, width, 1)
        self.evidence = fast.Convolution3(per_object, width)
        self.fuse_norm = group_norm(width)
        self.gate8, self.block8 = InstanceGate(instance, width), ResidualBlock(width, width)
        self.down = ResidualBlock(width, 2 * width, halve=True)
        self.gate16, self.block16 = InstanceGate(instance, 2 * width), ResidualBlock(2 * width, 2 * width, dilation=2)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.join = ResidualBlock(width, width)
        self.fine, self.low = nn.Conv2d(width, fine, 1, bias=False), nn.Conv2d(low, fine, 1)
        self.gate4 = InstanceGate(instance, fine)
        self.sharpen = nn.Sequential(group_norm(fine), nn.ReLU(), fast.Convolution3(fine, fine),
                                     group_norm(fine), nn.ReLU(), nn.Conv2d(fine, 1, 3, padding=1))

    def forward(self, low: Float[Tensor, "batch low fine_height fine_width"],
                shared: Float[Tensor, "batch shared height width"],
                evidence: Float[Tensor, "batch object evidence height width"],
                instance: Float[Tensor, "batch object instance"],
                known: Bool[Tensor, "batch object"]) -> Float[Tensor, "batch object fine_height fine_width"]:
        return self.decoded(low, shared, evidence, instance)[0]

    def decoded(self, low: Float[Tensor, "batch low fine_height fine_width"],
                shared: Float[Tensor, "batch shared height width"],
                evidence: Float[Tensor, "batch object evidence height width"],
                instance: Float[Tensor, "batch object instance"]) -> tuple[Tensor, Tensor]:
        """Logits, and the features at half the feature resolution, of every object, that they were made of."""
        batch, objects = evidence.shape[:2]
        # A quarter faster so on a CPU
        per_object = evidence.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = _add_shared(self.evidence(per_object), self.shared(shared))
        x = self.block8(self.gate8(F.relu(self.fuse_norm(x)), instance))
        around = self.block16(self.gate16(self.down(x), instance))
        x = self.join(x + upsample(self.up(around), x.shape[-2:]))
        x = _add_shared(upsample(self.fine(x), low.shape[-2:], self.factor, self.centered), self.low(low))
        return fast.sharpened(self.sharpen, self.gate4(x, instance)).view(batch, objects, *low.shape[-2:]), around


class PresenceHead(nn.Module):
    """Whether each object is in sight, and whether its mask is good, from what the decoder saw of it and what it made
    of that.

    Args:
        channels: of the decoder's features.
        compared: further numbers of each object, which speak for themselves: few and added at the end, so that little
            data teaches what they are worth.
    """

    def __init__(self, channels: int, compared: int = 0, hidden: int = 64):
        super().__init__()
        self.hidden, self.out = nn.Linear(2 * channels + 2, hidden), nn.Linear(hidden, 2)
        self.compared = nn.Linear(compared, 2) if compared else None
        if compared:  # so that weights without them can be gone on with
            nn.init.zeros_(self.compared.weight)
            nn.init.zeros_(self.compared.bias)
        nn.init.zeros_(self.out.weight)
        # Most objects are in sight and well segmented; so nothing is held back at first
        nn.init.constant_(self.out.bias, 3.0)

    def forward(self, around: Float[Tensor, "all_objects channels height width"],
                share: Float[Tensor, "batch object fine_height fine_width"],
                compared: Float[Tensor, "batch object compared"] | None = None) -> Float[Tensor, "batch object 2"]:
        shown = torch.stack([share.mean((2, 3)).sqrt(), share.amax((2, 3))], 2)
        seen = torch.cat([around.mean((2, 3)), around.amax((2, 3))], 1).unflatten(0, shown.shape[:2])
        logits = self.out(F.relu(self.hidden(torch.cat([seen, shown.to(seen.dtype)], 2))))
        return logits if compared is None or self.compared is None else logits + self.compared(compared.to(seen.dtype))


def _add_shared(x: Tensor, shared: Tensor) -> Tensor:
    """Adds what a clip's objects share to each of them, in place where no gradient needs a copy."""
    x, shared = x.unflatten(0, (shared.shape[0], -1)), shared[:, None]
    return (x + shared if x.requires_grad else x.add_(shared)).flatten(0, 1)


class ContextGate(nn.Module):
    """Gated channel transformation (Yang et al., 2020): channels by their relative energy; starts as the identity."""

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

    def forward(self, x: Float[Tensor, "batch channels height width"]
                ) -> Float[Tensor, "batch outputs out_height out_width"]:
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
        self.refine = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, WIDTH // 2, 3, padding=1, bias=False), GroupNorm(32, WIDTH // 2),
                          nn.ReLU()) for channels in (refined, WIDTH // 2))
        self.inside, self.outside = (nn.Linear(instance, WIDTH // 2 + 1) for _ in range(2))

    def forward(self, low: Float[Tensor, "batch low fine_height fine_width"],
                shared: Float[Tensor, "batch shared height width"],
                evidence: Float[Tensor, "batch object evidence height width"],
                instance: Float[Tensor, "batch object instance"],
                known: Bool[Tensor, "batch object"]) -> Float[Tensor, "batch object fine_height fine_width"]:
        objects = evidence.shape[1]
        evidence = evidence.flatten(0, 1)
        x = torch.cat([shared.repeat_interleave(objects, 0), evidence[:, :self.features],
                       self.prehead(evidence[:, self.features:])], 1)
        for number, block in enumerate(self.blocks):
            x = block(self.gates[number](x, instance))
            if number == 1:
                fine = x if x.shape[2:] == low.shape[2:] else F.interpolate(x, low.shape[2:], mode="bilinear",
                                                                            align_corners=True)
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
        outside = outside.masked_fill(~known[:, :, None, None],
                                      torch.finfo(outside.dtype).max)[:, 1:].amin(1, keepdim=True)
        outside = torch.where(known[:, 1:].any(1)[:, None, None, None], outside, 0)
        return torch.cat([inside[:, :1] + outside, inside[:, 1:]], 1)

    def _score(self, x: Float[Tensor, "batch object channels height width"],
               weights: Float[Tensor, "batch object weights"]) -> Float[Tensor, "batch object height width"]:
        """A 1x1 convolution whose weights and bias (the last) are each object's own."""
        return torch.einsum("bochw,boc->bohw", x, weights[..., :-1]) + weights[..., -1:, None]


def build_decoder(config: ModelConfig, shared: int, features: int, maps: int, low: int) -> nn.Module:
    """The decoder that a configuration names.

    Args:
        config: the configuration.
        shared: channels that the objects share.
        features: channels of each object's evidence that are features; they come first.
        maps: channels of its evidence that are scores and masks.
        low: channels of the stride-4 features.
    """
    instance = 0 if config.strict else 4 * config.embedding
    return DECODERS[config.decoder].build(config, shared, features, maps, instance, low)
