"""Run records: one JSON a trained or evaluated run, from which every table and figure is made."""

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from sstlib import paths
from sstlib.config.fields import require
from sstlib.config.values import Fields, Number, Text, Whole, read_json
from sstlib.paths import atomic_write, write_whole

CURVE_ROWS = 300
KINDS = {"experiment": Text(), "variant": Text(), "seed": Whole()}  # the others are objects


@dataclass(frozen=True)
class RunRecord:
    """What was run, what it scored, what it cost and where it comes from."""

    experiment: str
    variant: str
    seed: int
    config: dict[str, Any]
    metrics: dict[str, Any]  # J, F, J&F in 0..1, with per-sequence values
    cost: dict[str, Any]  # seconds, peak megabytes, pairs a frame
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return record_path(self.experiment, self.variant, self.seed)

    def score(self, name: str) -> float:
        """A metric of the whole run, in 0..1.

        Raises:
            ValueError: the record has none; names the record.
        """
        return Number(0, 1).check(self.metrics.get(name), f"{self.path}: metrics.{name}")

    def write(self) -> Path:
        """Writes the record to its path: a reader finds a whole record or none."""
        return write_whole(self.path, json.dumps(_rounded(asdict(self)), indent=1) + "\n")


def record_path(experiment: str, variant: str, seed: int) -> Path:
    """Where the record of a run lives: results/runs/EXPERIMENT/VARIANT-seedN.json."""
    return paths.RUNS / experiment / f"{variant}-seed{seed}.json"


def read(path: Path) -> RunRecord:
    """Reads one record.

    Raises:
        ValueError: the file is no run record.
    """
    try:
        content = read_json(path)
        known = {f.name: f for f in fields(RunRecord)}
        for name in content:
            require(name, "a key", tuple(known))
        for name, one in known.items():
            if name not in content and one.default_factory is MISSING:
                raise ValueError(f"the key {name!r} is missing")
            KINDS.get(name, Fields()).check(content.get(name, {}), name)
    except ValueError as error:
        raise ValueError(f"{path} is not a run record ({error}); delete it and run the sweep again") from error
    return RunRecord(**content)


def find(experiment: str, variant: str, seed: int = 0) -> RunRecord | None:
    """The record of a run, or None where there is none."""
    path = record_path(experiment, variant, seed)
    return read(path) if path.exists() else None


def read_all(experiment: str) -> list[RunRecord]:
    """All records of an experiment, by variant and seed."""
    return [read(path) for path in sorted((paths.RUNS / experiment).glob("*-seed*.json"))]


def by_variant(experiment: str) -> dict[str, list[RunRecord]]:
    """All records of an experiment, the seeds of a variant together."""
    grouped: dict[str, list[RunRecord]] = {}
    for record in read_all(experiment):
        grouped.setdefault(record.variant, []).append(record)
    return grouped


def write_curve(curve: pd.DataFrame, record: Path) -> Path:
    """The curve of a run beside its record, as NAME-curve.csv: at most CURVE_ROWS rows, means over equal windows of
    steps, every probe kept.
    """
    window = -(-len(curve) // CURVE_ROWS)
    groups = curve.groupby((curve["step"] - 1) // window)
    rows = groups.agg(
        {"step": "last", "loss": "mean", "gradient_norm": "mean", "learning_rate": "last", "seconds": "last"})
    if "probe_J" in curve:
        rows["probe_J"] = groups["probe_J"].last()
    path = record.with_name(f"{record.name.removesuffix('.json')}-curve.csv")
    with atomic_write(path, "w") as file:
        rows.round(6).to_csv(file, index=False)
    return path


def _rounded(value: Any) -> Any:
    """Seven significant digits: far below the noise of a run, and records that a person can read."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
