"""What a decoder reads, one part of it set to its neutral value: which of them carries the mask.

Neutral is what cannot tell one object from another: of each object's evidence its mean over the objects, background
included, and of what all objects share its mean over the frame. Weights, memory and all other inputs stay as they are.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sstlib.config.fields import require
from sstlib.inference import sharing_weights
from sstlib.model import Propagator
from sstlib.model.matching import FeatureMatching
from sstlib.shapes import Float, Shaped

AFFINITY, WARPED, ENCODER = "affinity", "warped masks", "encoder output"
MATCHING, PREVIOUS, POOLED = "dense matching", "previous mask", "pooled embeddings"
OWN = {"recurrent": "recurrent state", "stm": "memory read", "cfbi": "latest embedding"}  # of each rival, its channels


def parts(network: Propagator) -> dict[str, list[int]]:
    """Channels of an object's evidence at the decoder by what they are; empty for the two parts that have none there,
    the encoder output and the pooled embeddings.

    Raises:
        ValueError: the network has other channels than its configuration explains.
    """
    channels: dict[str, list[int]] = {}
    end = 0
    for name, count in _evidence(network):
        channels.setdefault(name, []).extend(range(end, end + count))
        end += count
    if network.config.method == "sst":
        channels[ENCODER] = []
    if not network.config.strict:
        channels[POOLED] = []
    return channels


def _evidence(network: Propagator) -> Iterator[tuple[str, int]]:
    """Names and numbers of channels in the order in which the decoder gets them."""
    config, matched = network.config, getattr(network, "feature_matching", None) is not None
    if config.method == "sst":
        features = config.warped == "features" and not config.strict
        for _ in config.layers:
            yield WARPED, 2 * config.width * features
        yield "latest embedding", 2 * config.embedding * matched
        for _ in config.layers:
            yield AFFINITY, 2 * config.heads
            yield WARPED, 2 * config.heads * (not features and not config.strict)
    else:
        yield OWN[config.method], 2 * config.embedding if matched else config.width
    yield MATCHING, FeatureMatching.maps * matched
    yield PREVIOUS, 2 * network.masked
    yield MATCHING, 0 if network.matching is None else network.matching.maps * (1 + (config.landmarks > 0))


Low = Float[Tensor, "batch low fine_height fine_width"]
Shared = Float[Tensor, "batch shared height width"]
Evidence = Float[Tensor, "batch object evidence height width"]
Instance = Float[Tensor, "batch object instance"]


class Neutral(nn.Module):
    """A decoder that is given one part neutral."""

    def __init__(self, decoder: nn.Module, part: str, channels: list[int], own: int) -> None:
        super().__init__()
        self.decoder, self.part, self.channels, self.own = decoder, part, channels, own

    def forward(self, low: Low, shared: Shared, evidence: Evidence, instance: Instance,
                *rest: Shaped[Tensor, "..."]) -> Tensor:
        return self.decoder(low, *self._given(shared, evidence, instance), *rest)

    def decoded(self, low: Low, shared: Shared, evidence: Evidence, instance: Instance) -> tuple[Tensor, Tensor]:
        """As the decoder's own, for networks with a presence head."""
        return self.decoder.decoded(low, *self._given(shared, evidence, instance))

    def _given(self, shared: Shared, evidence: Evidence, instance: Instance) -> tuple[Tensor, Tensor, Tensor]:
        if self.part == ENCODER:
            encoded = shared[:, self.own:]
            shared = torch.cat([shared[:, :self.own], encoded.mean((2, 3), keepdim=True).expand_as(encoded)], 1)
        elif self.part == POOLED:
            instance = instance.mean(1, keepdim=True).expand_as(instance)
        else:
            evidence = evidence.clone()
            evidence[:, :, self.channels] = evidence[:, :, self.channels].mean(1, keepdim=True)
        return shared, evidence, instance


def without(network: Propagator, part: str) -> Propagator:
    """A network of the same parameters whose decoder gets one of `parts` neutral.

    Raises:
        ValueError: it reads no such part.
    """
    known = parts(network)
    require(part, "the part", tuple(name for name in known if known[name] or name in (ENCODER, POOLED)))
    twin = sharing_weights(network)
    twin.decoder = Neutral(twin.decoder, part, known[part], network.config.embedding)
    return twin
