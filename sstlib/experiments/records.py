"""Run records: one JSON a trained or evaluated run, from which every table and figure is made."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sstlib import paths
from sstlib.files import written_aside


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

    def write(self, path: Path | None = None) -> Path:
        """Writes the record aside and renames it: a reader finds a whole record or none."""
        path = path or self.path
        with written_aside(path, "w") as file:
            file.write(json.dumps(_rounded(asdict(self)), indent=1) + "\n")
        return path


def record_path(experiment: str, variant: str, seed: int) -> Path:
    """Where the record of a run lives: results/runs/EXPERIMENT/VARIANT-seedN.json."""
    return paths.RUNS / experiment / f"{variant}-seed{seed}.json"


def read(path: Path) -> RunRecord:
    """Reads one record.

    Raises:
        ValueError: the file is no run record.
    """
    try:
        return RunRecord(**json.loads(path.read_text()))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is not a run record ({error}); delete it and run the sweep again") from error


def read_all(experiment: str) -> list[RunRecord]:
    """All records of an experiment, by variant and seed."""
    return [read(path) for path in sorted((paths.RUNS / experiment).glob("*-seed*.json"))]


def _rounded(value: Any) -> Any:
    """Seven significant digits: far below the noise of a run, and records that a person can read."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
