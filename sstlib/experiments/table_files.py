"""Every table as files: CSV for programs, Markdown for readers."""

from pathlib import Path

import pandas as pd

from sstlib import paths
from sstlib.datasets import DATASETS
from sstlib.experiments import ablations, attended, evidence, gains, histories, knockouts, plans, records, tables
from sstlib.experiments.sweeps import SWEEPS
from sstlib.paths import write_whole

PRINTED = ("1a", "1b", "2", "6")  # published tables without a row of this project


def of_datasets() -> list[str]:
    """Names of the data sets of real frames that have a table: a row a method."""
    return [name for name, one in DATASETS.items() if one.benchmark and one.content is None]


def write_tables(folder: Path | None = None) -> list[Path]:
    """Writes every table as CSV (full precision) and Markdown (rounded), and returns the files."""
    plan, rivals = plans.read(), plans.read(plans.RIVALS)
    claimed = {family.name: (one, family) for one in (plan, rivals) for family in one.families}
    # A sweep without claims belongs to the evidence plan
    frames = {sweep: evidence.table(claimed.get(sweep, (plan,))[0], sweep) for sweep in SWEEPS}
    frames |= {f"claims-{name}": evidence.decisions(one, family) for name, (one, family) in claimed.items()}
    frames |= {name: tables.on_dataset(name) for name in of_datasets()}
    if len(pilots := plan.records()["base"]) > 1:
        frames["power"] = evidence.power(pilots)
    frames |= {name: frame for name, frame in {
        "releases": evidence.releases("sst-occlusion-2"),
        "releases-davis-occlusion": evidence.releases("davis-occlusion"), "networks": tables.networks(),
        "gains-occlusion": gains.gained("sst-small-occlusion", "sst-small"), "ablations": ablations.table(),
        knockouts.EXPERIMENT: knockouts.differences(records.by_variant(knockouts.EXPERIMENT)),
        attended.HIDDEN: attended.looks(), attended.ROUTES: attended.distances(),
        histories.EXPERIMENT: histories.swept()}.items() if len(frame)}  # a table without a row is not written
    frames |= {f"published-{table}": tables.published(table) for table in PRINTED}
    return [path for name, frame in frames.items() for path in write(name, frame, folder)]


def write(name: str, frame: pd.DataFrame, folder: Path | None = None) -> list[Path]:
    """Writes one table as CSV and Markdown, and returns the files."""
    # Ten digits: the last bits of a mean differ between processors, and tables should not
    texts = {".csv": frame.to_csv(index=False, float_format="%.10g"), ".md": tables.markdown(readable(frame))}
    return [write_whole((folder or paths.TABLES) / f"{name}{ending}", text) for ending, text in texts.items()]


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The table for readers: a value with its interval in one column, and no underscores in titles."""
    titled = frame.rename(columns=lambda name: name.replace("_", " "))
    if "low" not in titled:
        return titled
    at = titled.columns.get_loc("low") - 1
    name, sign = titled.columns[at], "+" * (titled.columns[at] == "mean")
    ends = titled[[name, "low", "high"]].round(1) + 0.0  # which leaves no -0.0
    texts = ["–" if pd.isna(low) else f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"
             for value, low, high in ends.itertuples(index=False)]
    titled = titled.drop(columns=[name, "low", "high"])
    titled.insert(at, f"{'difference' if sign else name} (95%)", texts)
    return titled
