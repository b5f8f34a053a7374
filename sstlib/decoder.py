"""From evidence about each object to its logit at every pixel: CFBI's collaborative ensembler, in the paper's width and in a small one.

Both take the same inputs. What does not depend on the object (embedding, encoder output, low-level features) is projected once a frame;
objects, the background among them, share all weights, so that permuting objects permutes the masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.backbone import ResidualBlock, enlarge
from sstlib.config import ModelConfig
from sstlib.convolution import Convolution3, convolved, fits, normalized, rectified, summed
from sstlib.group_norm import group_norm
from sstlib.shapes import Bool, Float


class InstanceGate(nn.Module):
    """CFBI's instance-level attention: channels scaled by 1 + tanh of a linear map of the object's pooled embeddings.

    The background may have its own additive code: it is the one object whose extent is everything else.
    """

    def __init__(self, instance: int, channels: int, background: bool = True):
        super().__init__()
        self.linear = nn.Linear(instance, channels)
        self.background = nn.Parameter(torch.zeros(channels)) if background else None

    def forward(self, x: Float[Tensor, "all_objects channels height width"],
                instance: Float[Tensor, "batch object instance"]) -> Float[Tensor, "all_objects channels height width"]:
        code = self.linear(instance)
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
        centred: see `backbone.enlarge`.
    """

    def __init__(self, shared: int, per_object: int, instance: int, low: int, width: int, factor: int = 2, centred: bool = False):
        super().__init__()
        self.factor, self.centred = factor, centred
        fine = max(width // 2, 8)
        self.shared = nn.Conv2d(shared, width, 1)
        self.evidence = Convolution3(per_object, width)
        self.fuse_norm = group_norm(width, relu=True)
        self.gate8, self.block8 = InstanceGate(instance, width), ResidualBlock(width, width)
        self.down = ResidualBlock(width, 2 * width, halve=True)
        self.gate16, self.block16 = InstanceGate(instance, 2 * width), ResidualBlock(2 * width, 2 * width, dilation=2)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.join = ResidualBlock(width, width)
        self.fine, self.low = nn.Conv2d(width, fine, 1, bias=False), nn.Conv2d(low, fine, 1)
        self.gate4 = InstanceGate(instance, fine)
        # Nothing stands where released weights count a ReLU of its own.
        self.sharpen = nn.Sequential(group_norm(fine, relu=True), nn.Identity(), Convolution3(fine, fine),
                                     group_norm(fine, relu=True), nn.Identity(), nn.Conv2d(fine, 1, 3, padding=1))

    def forward(self, low: Float[Tensor, "batch low fine_height fine_width"], shared: Float[Tensor, "batch shared height width"],
                evidence: Float[Tensor, "batch object evidence height width"], instance: Float[Tensor, "batch object instance"],
                known: Bool[Tensor, "batch object"]) -> Float[Tensor, "batch object fine_height fine_width"]:
        return self.decoded(low, shared, evidence, instance)[0]

    def decoded(self, low: Tensor, shared: Tensor, evidence: Tensor, instance: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the features at half the feature resolution, of every object, that they were made of."""
        batch, objects = evidence.shape[:2]
        per_object = evidence.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # a quarter faster so on a CPU
        x = _add_shared(self.evidence(per_object), self.shared(shared))
        x = self.block8(self.gate8(self.fuse_norm(x), instance))
        around = self.block16(self.gate16(self.down(x), instance))
        x = self.join(x + enlarge(self.up(around), x.shape[-2:]))
        x = _add_shared(enlarge(self.fine(x), low.shape[-2:], self.factor, self.centred), self.low(low))
        return self._sharpened(self.gate4(x, instance)).view(batch, objects, *low.shape[-2:]), around

    def _sharpened(self, x: Tensor) -> Tensor:
        before, _, convolution, after, _, last = self.sharpen
        if not fits(x, before, convolution):
            return self.sharpen(x)
        return summed(last, rectified(normalized(after, *convolved(convolution, normalized(before, x)))))


class PresenceHead(nn.Module):
    """Whether each object is in sight, and whether its mask is good, from what the decoder saw of it and what it made of that.

    Args:
        channels: of the decoder's features.
    """

    def __init__(self, channels: int, hidden: int = 64):
        super().__init__()
        self.hidden, self.out = nn.Linear(2 * channels + 2, hidden), nn.Linear(hidden, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, 3.0)  # most objects are in sight and well segmented; so nothing is held back at first

    def forward(self, around: Float[Tensor, "all_objects channels height width"],
                logits: Float[Tensor, "batch object fine_height fine_width"]) -> Float[Tensor, "batch object 2"]:
        share = logits.detach().float().softmax(1)
        shown = torch.stack([share.mean((2, 3)).sqrt(), share.amax((2, 3))], 2)
        seen = torch.cat([around.mean((2, 3)), around.amax((2, 3))], 1).unflatten(0, shown.shape[:2])
        return self.out(F.relu(self.hidden(torch.cat([seen, shown.to(seen.dtype)], 2))))


def _add_shared(x: Tensor, shared: Tensor) -> Tensor:
    """Adds what the objects of a clip share to each of them; in its place where no gradient would have to be copied for it."""
    x, shared = x.unflatten(0, (shared.shape[0], -1)), shared[:, None]
    return (x + shared if x.requires_grad else x.add_(shared)).flatten(0, 1)


def build_decoder(config: ModelConfig, shared: int, features: int, maps: int, low: int) -> nn.Module:
    """The decoder that a configuration names.

    Args:
        config: the configuration.
        shared: channels that the objects share.
        features: channels of each object's evidence that are features; they come first.
        maps: channels of its evidence that are scores and masks.
        low: channels of the stride-4 features.
    """
    instance = 4 * config.embedding
    if config.decoder == "ensembler":
        from sstlib.ensembler import Ensembler  # a room of its own, after this one

        return Ensembler(shared, features, maps, instance, low)
    return SmallDecoder(shared, features + maps, instance, low, config.decoder_width, config.output_stride // 4, config.backbone.startswith("resnet"))
