"""What a run is made of: model, training and data, as frozen dataclasses that refuse unknown keys."""

import dataclasses
import difflib
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

C = TypeVar("C", bound="Config")


class Config:
    """Reading and writing shared by all configurations."""

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Builds the configuration from plain values (JSON); nested configurations are dictionaries.

        Raises:
            ValueError: a key that the configuration does not have, with the nearest one that it has.
        """
        fields = {f.name: f for f in dataclasses.fields(cls)}
        unknown = [key for key in values if key not in fields]
        if unknown:
            near = difflib.get_close_matches(unknown[0], fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            raise ValueError(f"{cls.__name__} has no key {unknown[0]!r}; {hint}")
        types = typing.get_type_hints(cls)
        return cls(**{key: _plain_to_field(types[key], value) for key, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values: dictionaries, lists, strings and numbers, ready for JSON."""
        return {f.name: _field_to_plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def replace(self: C, **changes: Any) -> C:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def _plain_to_field(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Config) and isinstance(value, dict):
        return kind.from_dict(value)
    return tuple(value) if isinstance(value, list) else value


def _field_to_plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def require(given: Any, name: str, allowed: tuple[Any, ...]) -> None:
    """Raises a ValueError that names the field, what was given and what is allowed."""
    if given not in allowed:
        raise ValueError(f"{name} is {given!r}; expected one of {', '.join(map(repr, allowed))}")


@dataclass(frozen=True)
class ModelConfig(Config):
    """A network for video object segmentation: SST (section 3) or one of the rivals on the same backbone and decoder."""

    method: str = "sst"  # sst, recurrent, stm or cfbi: how masks travel from earlier frames to the current one
    layers: tuple[str, ...] = ("local(radius=7)", "local(radius=7)")  # connectivity of each encoder layer (Table 5)
    history: int = 3  # tau, the preceding frames that the current one attends to (section 3.1, Table 4)
    keep_reference: bool = False  # the given frame stays in the buffer; False is the paper's strict history
    encoding: str = "sinusoidal"  # positional encoding over time, height, width (Eq. 2, Table 3): none, sinusoidal, learned
    encoding_base: float = 10_000.0  # longest over shortest wavelength of the sinusoids; see encoding.sinusoid
    encoding_axes: str = "concat"  # each axis has its own channels (concat), or full-width codes are added (sum)
    encoding_time: str = "clip"  # time is counted from the reference frame (clip), back from the current one (buffer), or left out (none)
    affinity: str = "distance"  # what Eq. 4's maximum is taken of: distance (the authors' setting), weight, cosine, dot
    heads: int = 8
    width: int = 64  # C, channels of the encoder; width / heads a head
    feedforward: int = 4  # hidden width of the position-wise network, in multiples of width
    scaled: bool = False  # divide scores by sqrt(channels a head); the paper found that this hurts (section 3.2)
    causal: bool = False  # keys of later frames are masked, so that past keys and values can be cached
    norm: str = "layer"  # layer or frn (FilterResponseNorm, the authors' setting)
    profile: str = "paper"  # paper, or cfbi+sst: with CFBI's global and multi-local matching beside the attention
    warped: str = "masks"  # what attention carries over from each object's past cells: their masks, or their features (the authors' setting)
    matching: str = "none"  # none, or reference: dense matching with the reference frames at half the feature resolution
    backbone: str = "small"  # small, resnet18, resnet34, resnet50, resnet101
    backbone_width: int = 32  # channels of the small backbone's first stage; the later ones have 1.5, 3 and 6 times as many
    embedding: int = 96  # channels of a frame's embedding, the features of Eq. 1
    backbone_norm: str = "frozen"  # of a ResNet: frozen (BatchNorm with published statistics), frn or group (to train from nothing)
    output_stride: int = 8  # image pixels a feature cell; 4 puts DeepLabV3+'s neck on a ResNet (the paper)
    decoder: str = "small"  # small, or ensembler: CFBI's in the paper's width
    decoder_width: int = 64

    def __post_init__(self) -> None:
        require(self.method, "method", ("sst", "recurrent", "stm", "cfbi"))
        require(self.encoding, "encoding", ("none", "sinusoidal", "learned"))
        require(self.encoding_axes, "encoding_axes", ("concat", "sum"))
        require(self.encoding_time, "encoding_time", ("clip", "buffer", "none"))
        require(self.warped, "warped", ("masks", "features"))
        require(self.matching, "matching", ("none", "reference"))
        require(self.affinity, "affinity", ("weight", "distance", "cosine", "dot"))
        require(self.norm, "norm", ("layer", "frn"))
        require(self.profile, "profile", ("paper", "cfbi+sst"))
        require(self.backbone, "backbone", ("small", "resnet18", "resnet34", "resnet50", "resnet101"))
        require(self.backbone_norm, "backbone_norm", ("frozen", "frn", "group"))
        require(self.output_stride, "output_stride", (8,) if self.backbone == "small" else (4, 8, 16))
        require(self.decoder, "decoder", ("small", "ensembler"))
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads; make it a multiple")
        if self.history < 1:
            raise ValueError(f"history is {self.history}; at least 1 earlier frame must be labelled")
        if self.causal and self.encoding_time == "buffer":
            raise ValueError("causal keeps the keys of earlier frames, so their encoding cannot change with every new frame; "
                             "use encoding_time='clip' or 'none'")


def _named_models() -> dict[str, ModelConfig]:
    """Model configurations by name. Rivals keep SST's backbone and decoder, so that only the way masks travel differs."""
    tiny = ModelConfig(layers=("local(radius=2)", "local(radius=2)"), history=2, heads=2, width=16, feedforward=2, backbone_width=8,
                       embedding=16, decoder_width=16)
    # Causal, so that a step computes one frame only; wavelengths of at most a training crop and no time code, so that longer and
    # larger videos than those of training bring nothing new; dense matching finds an object again after it was lost.
    small = ModelConfig(layers=("local(radius=7)", "local(radius=7)"), history=3, causal=True, encoding_base=4.0, encoding_time="none",
                        matching="reference")
    # Window 11, the odd number nearest to the square root of the 117 cells across a 465-pixel crop at stride 4 (Table 5's rule).
    paper = ModelConfig(layers=("local(radius=5)", "local(radius=5)"), history=3, norm="frn", warped="features", backbone="resnet101",
                        output_stride=4, embedding=100, decoder="ensembler")
    models = {"sst-tiny": tiny, "sst-small": small, "sst-r101-paper": paper, "sst-r101-cfbi": paper.replace(profile="cfbi+sst")}
    # The other rows of Tables 3 to 5, with one kernel size for all (Table 5), and a long history.
    local, strided = "local(radius=5)", "strided(stride=11)"
    models |= {f"sst-r101-encoding-{kind}": paper.replace(encoding=kind) for kind in ("none", "learned")}
    models |= {f"sst-r101-history-{tau}": paper.replace(history=tau) for tau in (1, 2, 16)}
    models |= {f"sst-r101-grid-{depth}": paper.replace(layers=("grid",) * depth) for depth in (1, 2, 3)}
    models |= {"sst-r101-strided": paper.replace(layers=(strided, strided)), "sst-r101-localstrided": paper.replace(layers=(local, strided))}
    for method in ("recurrent", "stm", "cfbi"):
        models |= {f"{method}-tiny": tiny.replace(method=method), f"{method}-small": small.replace(method=method, matching="none"),
                   f"{method}-r101": paper.replace(method=method)}
    return models


MODELS = _named_models()


def named_model(name: str) -> ModelConfig:
    """The model configuration of that name.

    Raises:
        ValueError: there is none, with the names that exist.
    """
    require(name, "model", tuple(MODELS))
    return MODELS[name]


@dataclass(frozen=True)
class DataConfig(Config):
    """Clips to learn from: generated ones, rendered on the fly, and real ones mixed in."""

    height: int = 96  # pixels of a training crop
    width: int = 160
    frames: int = 4  # frames a training clip: the reference and those to segment
    objects: int = 3  # at most so many objects a clip
    difficulty: str = "mixed"  # preset of the generated clips, or several with equal chance: mixed+hard
    real: str = ""  # a data set to mix in, as `sst data` lists them; empty for none
    real_ratio: float = 0.0  # share of real clips in a batch
    max_gap: int = 3  # frames between two of a real clip, drawn uniformly from 1 to this (CFBI)
    reference: str = "near"  # of a real clip: near, a gap before the others, or anywhere in the sequence (CFBI)
    held_out: tuple[str, ...] = ()  # training sequences of `real` that are not drawn, but kept for choosing a model

    def __post_init__(self) -> None:
        require(self.reference, "reference", ("near", "anywhere"))
        if not 0 <= self.real_ratio <= 1 or (self.real_ratio and not self.real):
            raise ValueError(f"real_ratio is {self.real_ratio} and real is {self.real!r}; expected 0..1, and a data set to take clips from")


@dataclass(frozen=True)
class TrainingConfig(Config):
    """How a network learns; the defaults are the modern recipe, `cfbi` in the experiments is the paper's."""

    steps: int = 1000
    batch: int = 4  # clips a step, over all processes
    accumulate: int = 1  # backward passes a step, so that a small machine keeps the batch
    optimizer: str = "adamw"  # adamw or sgd (Nesterov, momentum 0.9, CFBI)
    learning_rate: float = 1e-3
    schedule: str = "cosine"  # cosine, or poly with power 0.9 (CFBI)
    warmup: int = 50  # steps of linear increase
    weight_decay: float = 0.01
    clip_norm: float = 5.0  # largest gradient norm
    ema: float = 0.999  # decay of the averaged weights that are evaluated; 0 for none
    precision: str = "float32"  # float32 or bfloat16 (autocast)
    jaccard: float = 0.5  # weight of the soft-Jaccard term; the rest is cross-entropy
    hardest: float = 0.15  # share of pixels that bootstrapped cross-entropy keeps after the first half; 1 keeps all
    own_masks_from: float = 0.5  # share of the steps after which previous masks are the network's own (sequential training)
    checkpoint_every: int = 200  # steps
    # What to start from instead of random weights: a released name or a file of the same model; or backbone:SOURCE, published weights
    # (ImageNet, DeepLab) of a ResNet, SOURCE a file or a URL, a URL with #SHA256 behind it (see resnet.load_pretrained).
    start: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.optimizer, "optimizer", ("adamw", "sgd"))
        require(self.schedule, "schedule", ("cosine", "poly"))
        require(self.precision, "precision", ("float32", "bfloat16"))
        if self.steps < 1 or self.batch < 1 or self.batch % self.accumulate:
            raise ValueError(f"steps {self.steps}, batch {self.batch} and accumulate {self.accumulate}: "
                             "all at least 1, and batch a multiple of accumulate")


@dataclass(frozen=True)
class RunConfig(Config):
    """One run: what is trained, how and on what."""

    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)
