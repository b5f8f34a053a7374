"""Every table as a file: CSV for programs, Markdown for people."""

from pathlib import Path

from sstlib import paths
from sstlib.datasets import DATASETS
from sstlib.experiments import attended, evidence, histories, knockouts, plans, records, tables
from sstlib.experiments.sweeps import SWEEPS
from sstlib.paths import atomic_write

PRINTED = ("1a", "1b", "2", "6")  # published tables of which nothing here is a row


def write_tables(folder: Path = paths.TABLES) -> list[Path]:
    """Writes every table as CSV (full precision) and Markdown (rounded), and returns the files."""
    plan = plans.read()
    frames = {sweep: evidence.table(plan, sweep) for sweep in SWEEPS}
    frames |= {f"claims-{family.name}": evidence.decisions(plan, family) for family in plan.families}
    frames |= {
        name: tables.on_dataset(name) for name, one in DATASETS.items() if one.benchmark and one.content is None
    }
    if len(scored := evidence.releases()):
        frames["releases"] = scored
    if len(pilots := plan.records()["base"]) > 1:
        frames["power"] = evidence.power(pilots)
    frames |= {name: frame for name, frame in (
        (knockouts.EXPERIMENT, knockouts.differences(records.by_variant(knockouts.EXPERIMENT))),
        (attended.HIDDEN, attended.looks()), (attended.ROUTES, attended.distances()),
        (histories.EXPERIMENT, histories.swept())) if len(frame)}
    frames |= {f"published-{table}": tables.published(table) for table in PRINTED}
    written = []
    for name, frame in frames.items():
        written += [
            _write(folder / f"{name}.csv", frame.to_csv(index=False)),
            _write(folder / f"{name}.md", tables.markdown(frame))
        ]
    return written


def _write(path: Path, text: str) -> Path:
    with atomic_write(path, "w") as file:
        file.write(text)
    return path
