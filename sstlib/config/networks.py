"""What a network is made of by name: methods, which carry masks from frame to frame, backbones, which see a frame,
positional encodings and decoders.

A rival is one entry of `METHODS`, a backbone one of `BACKBONES`, an encoding one of `ENCODINGS`, a decoder one of
`DECODERS`; configurations, named models, sweeps, tables and figures ask these. The classes are imported when a network
is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sstlib.config.entries import Registry, lazily


@dataclass(frozen=True)
class Method:
    """How masks travel from earlier frames to the current one.

    Attributes:
        name: in configurations.
        title: in tables and figures.
        mechanism: what its own part of the network is, for pictures of it.
        build: the network of a configuration, a `model.Propagator`.
        color, marker: of its line in figures; empty for the next that are free.
    """

    name: str
    title: str
    mechanism: str
    build: Callable[[Any], Any]
    color: str = ""
    marker: str = ""


@dataclass(frozen=True)
class Backbone:
    """What makes features of a frame.

    Attributes:
        name: in configurations.
        title: in pictures of the network.
        build: the module of a configuration; its `channels` are those of the `model.layers.Levels` that it gives.
        strides: output strides that it can have.
        centered: whether its cells sit on every s-th pixel, as ResNet's padding puts them, and not on blocks of pixels.
    """

    name: str
    title: str
    build: Callable[[Any], Any]
    strides: tuple[int, ...] = (8,)
    centered: bool = False


@dataclass(frozen=True)
class Encoding:
    """What tells where a cell lies (Eq. 2, Table 3).

    Attributes:
        name: in configurations.
        code: codes (position, channels) of real positions on one axis, of (positions, channels, base); None: a table
            that is learned.
    """

    name: str
    code: Callable[[Any, int, float], Any] | None


@dataclass(frozen=True)
class Decoder:
    """What makes masks of evidence about each object.

    Attributes:
        name: in configurations.
        title: in pictures of the network.
        build: the module of a configuration, of (config, shared, features, maps, instance, low) as in
            `model.decoder.build_decoder`.
        pooled: whether it needs pooled embeddings, which strict profiles do not have.
        presence: whether it has `decoded`, what a presence head reads.
    """

    name: str
    title: str
    build: Callable[..., Any]
    pooled: bool = False
    presence: bool = False


METHODS: Registry[Method] = Registry(
    "method",
    Method("sst", "SST", "encoder", lazily("sstlib.model.sst:SST"), "#0072b2", "o"),
    Method("recurrent", "Recurrent", "convolutional GRU", lazily("sstlib.model.baselines:Recurrent"), "#d55e00", "s"),
    Method("stm", "STM", "space-time memory", lazily("sstlib.model.baselines:STM"), "#009e73", "^"),
    Method("cfbi", "CFBI", "feature matching", lazily("sstlib.model.baselines:CFBI"), "#cc79a7", "D"),
)

_small, _semantic, _lite = (lazily(f"sstlib.model.backbone:{kind}Backbone") for kind in ("Small", "Semantic", "Lite"))
_resnet = lazily("sstlib.model.resnet:ResNetFeatures")


def _resnet_of(depth: int) -> Backbone:
    return Backbone(f"resnet{depth}", f"ResNet-{depth}",
                    lambda c: _resnet(c.backbone, c.output_stride, c.embedding, c.backbone_norm), (4, 8, 16), True)


BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    Backbone("small", "small ResNet", lambda c: _small(c.backbone_width, c.embedding)),
    *map(_resnet_of, (18, 34, 50, 101)),
    *(Backbone(f"lite{n}", f"EfficientNet\nLite{n}", lambda c: _lite(c.embedding, c.backbone)) for n in (0, 2)),
    # EfficientNet-Lite on the frame at half size, beside the small one
    *(Backbone(f"small+lite{n}", f"small + Lite{n}", lambda c, trunk=f"lite{n}": _semantic(
        c.backbone_width, c.embedding, trunk)) for n in (0, 2)),
)

ENCODINGS: Registry[Encoding] = Registry(
    "encoding",
    Encoding("sinusoidal", lazily("sstlib.model.encoding:sinusoid")),
    Encoding("none", lambda positions, channels, base: positions.new_zeros(len(positions), channels)),
    Encoding("learned", None),
)

_small_decoder, _ensembler = (lazily(f"sstlib.model.decoder:{kind}") for kind in ("SmallDecoder", "Ensembler"))

DECODERS: Registry[Decoder] = Registry(
    "decoder",
    Decoder("small", "small ensembler", lambda c, shared, features, maps, instance, low: _small_decoder(
        shared, features + maps, instance, low, c.decoder_width, c.output_stride // 4, BACKBONES[c.backbone].centered),
        presence=True),
    Decoder("ensembler", "ensembler", lambda c, *channels: _ensembler(*channels), pooled=True),  # CFBI's
)
