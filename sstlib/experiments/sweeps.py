"""The variants that are compared (Tables 3, 4, 5 and the rivals of Fig. 3-5): each is a change of one base run.

A variant is added here, as one entry of VARIANTS that names the sweeps it belongs to; runs, tables, figures and tests
follow.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sstlib.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from sstlib.config.entries import Registry
from sstlib.config.fields import naming
from sstlib.config.networks import METHODS
from sstlib.experiments import records
from sstlib.provenance import made_by

EXPERIMENT = "short"  # short runs on generated clips, the same for every variant
SEEDS = (0, 1, 2)

BASE = RunConfig(
    # time is counted back from the current frame: clips of five frames cannot teach absolute numbers up to thirty
    model=ModelConfig(width=32, heads=4, layers=("local(radius=4)", "local(radius=4)"), history=3,
                      encoding_time="buffer", backbone_width=16, embedding=48, decoder_width=32),
    training=TrainingConfig(steps=250, batch=4, learning_rate=2e-3, warmup=25, checkpoint_every=125, ema=0.99),
    data=DataConfig(height=64, width=112, frames=5, objects=2, difficulty="easy"),
)
LOCAL, STRIDED = "local(radius=4)", "strided(stride=4)"


@dataclass(frozen=True)
class Variant:
    """A change of the base run.

    Attributes:
        name: in commands, and of its records.
        changes: fields of the base run's model.
        labels: its name in the table of each sweep that it belongs to, by sweep.
        short: whether the short experiment has it, too, and not other bases alone.
    """

    name: str
    changes: dict[str, object]
    labels: dict[str, str]
    short: bool = True

    def of(self, model: ModelConfig, **fitted: object) -> ModelConfig:
        """A base run's model with the changes, some of which may have been fitted to it.

        Raises:
            ValueError: a field that a model does not have, or a value that it does not take; names the variant.
        """
        return ModelConfig.from_dict(model.to_dict() | self.changes | fitted, f"variant {self.name}: ")


VARIANTS: Registry[Variant] = Registry(
    "variant",
    Variant("encoding-none", {"encoding": "none"}, {"encoding": "none"}),
    Variant("history-1", {"history": 1}, {"history": "1"}),
    Variant("history-2", {"history": 2}, {"history": "2"}),
    Variant("grid-1", {"layers": ("grid", )}, {"pattern": "Grid, 1 layer"}),
    Variant("grid-2", {"layers": ("grid", ) * 2}, {"pattern": "Grid, 2 layers"}),
    Variant("grid-3", {"layers": ("grid", ) * 3}, {"pattern": "Grid, 3 layers"}),
    Variant("base", {}, {
        "encoding": "sinusoidal", "history": "3", "pattern": "Local, 2 layers", "rivals": "SST (Local)"
    }),
    Variant("strided-2", {"layers": (STRIDED, ) * 2}, {"pattern": "Strided, 2 layers"}),
    Variant("localstrided-2", {"layers": (LOCAL, STRIDED)}, {"pattern": "LocalStrided, 2 layers"}),
    Variant("dense-2", {"layers": ("dense", ) * 2}, {"pattern": "Dense, 2 layers"}),
    Variant("encoding-learned", {"encoding": "learned"}, {"encoding": "learned"}, short=False),
    Variant("encoding-buffer", {"encoding_time": "buffer"}, {"encoding": "sinusoidal, time from now on"}, short=False),
    Variant("history-8", {"history": 8}, {"history": "8"}, short=False),
)


def variants() -> dict[str, Variant]:
    """What `VARIANTS` has, and every other method than the base run's.

    Raises:
        ValueError: a variant of a sweep that there is not, two that have one name in a table, or one whose name is not
            that of a file.
    """
    rivals = {name: Variant(name, {"method": name}, {"rivals": one.title}) for name, one in METHODS.items()
              if name != BASE.model.method}
    known = VARIANTS | {name: one for name, one in rivals.items() if name not in VARIANTS}
    rows: dict[tuple[str, str], str] = {}
    for name, sweep, label in ((one.name, *pair) for one in known.values() for pair in one.labels.items()):
        if Path(name).name != name:
            raise ValueError(f"variant {name!r} names the files of its records; give it a name without a slash")
        with naming(f"variant {name}"):
            SWEEPS.find(sweep)
        if (other := rows.setdefault((sweep, label), name)) != name:
            raise ValueError(f"variants {other} and {name} are both {label!r} in the table of {sweep}; give one "
                             "of them another label")
    return known


@dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    experiment: str
    variant: str
    seed: int
    config: RunConfig

    @property
    def record_path(self) -> Path:
        return records.record_path(self.experiment, self.variant, self.seed)

    @property
    def done(self) -> bool:
        """Whether a record of exactly this configuration is there, whichever code made it (see `note`)."""
        record = records.find(self.experiment, self.variant, self.seed)
        return record is not None and RunConfig.from_dict(record.config, f"{record.path}: config.") == self.config

    @property
    def note(self) -> str:
        """Which code made the record that is there, where it is not the code of now."""
        record = records.find(self.experiment, self.variant, self.seed)
        return made_by(record.provenance) if record else ""


@dataclass(frozen=True)
class Sweep:
    """A question, which the variants answer that have a label in it.

    Attributes:
        name: in commands, and of its table.
        title: of its table and figures.
        published: the paper's table of the same variants, if it has one.
        printed: the label of the variant that a row of that table is about.
    """

    name: str
    title: str
    published: str = ""
    printed: Callable[[dict[str, Any]], str] | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Names in the table of the short experiment by variant, in the table's order."""
        return self.labels_of(short=True)

    def labels_of(self, short: bool) -> dict[str, str]:
        """Names in the table by variant: of the short experiment, or of another base."""
        return {one.name: one.labels[self.name] for one in variants().values()
                if self.name in one.labels and (one.short or not short)}

    def runs(self) -> list[Run]:
        return [run(variant, seed) for variant in self.labels for seed in SEEDS]


def _layers(row: dict[str, Any]) -> str:
    number = int(row["layers"])
    return f"{row['pattern']}, {number} layer" + "s" * (number > 1)


SWEEPS: Registry[Sweep] = Registry(
    "sweep",
    Sweep("encoding", "Positional encodings (Table 3)", "3", lambda row: row["encoding"]),
    Sweep("history", "Temporal history (Table 4)", "4", lambda row: str(int(row["history"]))),
    Sweep("pattern", "Sparse attention variants (Table 5)", "5", _layers),
    Sweep("rivals", "SST and its rivals on one backbone, decoder and schedule"),
)


def run(variant: str, seed: int) -> Run:
    """One run of the short experiment.

    Raises:
        ValueError: an unknown variant; lists the known ones.
    """
    model = named({name: one for name, one in variants().items() if one.short}, variant).of(BASE.model)
    return Run(EXPERIMENT, variant, seed, BASE.replace(model=model, training=BASE.training.replace(seed=seed)))


def named(known: dict[str, Variant], name: str) -> Variant:
    """One of some variants.

    Raises:
        ValueError: it is none of them; lists them.
    """
    if name not in known:
        raise ValueError(f"unknown variant {name!r}; known: {', '.join(known)}")
    return known[name]


def missing(sweep: Sweep | Iterable[Sweep]) -> list[Run]:
    """Runs without a record of their present configuration, each once."""
    sweeps = [sweep] if isinstance(sweep, Sweep) else sweep
    runs = {each.record_path: each for one in sweeps for each in one.runs()}
    return [each for each in runs.values() if not each.done]
