"""The variants that are compared (Tables 3, 4, 5 and the rivals of Fig. 3-5): each is a change of one base run.

A variant is added here, as one entry of VARIANTS and one of the sweep that it belongs to; tables, figures and tests
follow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sstlib.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
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

VARIANTS: dict[str, dict[str, object]] = {
    "base": {},
    "encoding-none": {"encoding": "none"},
    "history-1": {"history": 1},
    "history-2": {"history": 2},
    "grid-1": {"layers": ("grid",)},
    "grid-2": {"layers": ("grid",) * 2},
    "grid-3": {"layers": ("grid",) * 3},
    "strided-2": {"layers": (STRIDED,) * 2},
    "localstrided-2": {"layers": (LOCAL, STRIDED)},
    "dense-2": {"layers": ("dense",) * 2},
    "recurrent": {"method": "recurrent"},
    "stm": {"method": "stm"},
    "cfbi": {"method": "cfbi"},
}


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
        return self.record_path.exists() and self._recorded() == self.config

    @property
    def note(self) -> str:
        """Which code made the record that is there, where it is not the code of now."""
        return made_by(records.read(self.record_path).provenance) if self.record_path.exists() else ""

    def _recorded(self) -> RunConfig:
        return RunConfig.from_dict(records.read(self.record_path).config, f"{self.record_path}: config.")


@dataclass(frozen=True)
class Sweep:
    """A question and the variants that answer it; `labels` are their names in the table, by variant."""

    title: str
    labels: dict[str, str]

    def runs(self) -> list[Run]:
        return [run(variant, seed) for variant in self.labels for seed in SEEDS]


SWEEPS: dict[str, Sweep] = {
    "encoding": Sweep("Positional encodings (Table 3)", {"encoding-none": "none", "base": "sinusoidal"}),
    "history": Sweep("Temporal history (Table 4)", {"history-1": "1", "history-2": "2", "base": "3"}),
    "pattern": Sweep(
        "Sparse attention variants (Table 5)", {
            "grid-1": "Grid, 1 layer", "grid-2": "Grid, 2 layers", "grid-3": "Grid, 3 layers",
            "base": "Local, 2 layers", "strided-2": "Strided, 2 layers", "localstrided-2": "LocalStrided, 2 layers",
            "dense-2": "Dense, 2 layers"
        }),
    "rivals": Sweep("SST and its rivals on one backbone, decoder and schedule",
                    {"base": "SST (Local)", "recurrent": "Recurrent", "stm": "STM", "cfbi": "CFBI"}),
}


def run(variant: str, seed: int) -> Run:
    """One run of the short experiment.

    Raises:
        ValueError: an unknown variant; lists the known ones.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = BASE.replace(model=BASE.model.replace(**VARIANTS[variant]), training=BASE.training.replace(seed=seed))
    return Run(EXPERIMENT, variant, seed, config)


def missing(sweep: Sweep | Iterable[Sweep]) -> list[Run]:
    """Runs without a record of their present configuration, each once."""
    sweeps = [sweep] if isinstance(sweep, Sweep) else sweep
    runs = {each.record_path: each for one in sweeps for each in one.runs()}
    return [each for each in runs.values() if not each.done]
