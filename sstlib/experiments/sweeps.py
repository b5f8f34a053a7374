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
    """

    name: str
    changes: dict[str, object]
    labels: dict[str, str]


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
)


def variants() -> dict[str, Variant]:
    """What `VARIANTS` has, and every other method than the base run's."""
    rivals = {name: Variant(name, {"method": name}, {"rivals": one.title}) for name, one in METHODS.items()
              if name != BASE.model.method}
    return VARIANTS | {name: one for name, one in rivals.items() if name not in VARIANTS}


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
        """Names in the table by variant, in the table's order."""
        return {one.name: one.labels[self.name] for one in variants().values() if self.name in one.labels}

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
    known = variants()
    if variant not in known:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(known)}")
    changes = known[variant].changes
    config = BASE.replace(model=BASE.model.replace(**changes), training=BASE.training.replace(seed=seed))
    return Run(EXPERIMENT, variant, seed, config)


def changes_of() -> dict[str, dict[str, object]]:
    """What each variant changes of a base run's model."""
    return {name: one.changes for name, one in variants().items()}


def missing(sweep: Sweep | Iterable[Sweep]) -> list[Run]:
    """Runs without a record of their present configuration, each once."""
    sweeps = [sweep] if isinstance(sweep, Sweep) else sweep
    runs = {each.record_path: each for one in sweeps for each in one.runs()}
    return [each for each in runs.values() if not each.done]
