"""Tables made from run records alone, each with the published numbers in columns of their own."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sstlib import paths, weights
from sstlib.evaluation import passages
from sstlib.experiments import records, validation
from sstlib.experiments.sweeps import EXPERIMENT, SWEEPS
from sstlib.metrics import METRICS

OFFICIAL = ("J&F", "J", "F")


def scores(runs: Iterable[records.RunRecord] = ()) -> tuple[str, ...]:
    """Columns of a table of scores: those of the official evaluator, and further metrics that some record has."""
    known = {name for run in runs for name in run.metrics}
    return *OFFICIAL, *(name for name in METRICS if name in known and name not in OFFICIAL)


def _score(record: records.RunRecord, name: str) -> float:
    """A score in percent; NaN where a record is older than the metric."""
    return 100 * record.score(name) if name in record.metrics or name in OFFICIAL else np.nan


def published(table: str) -> pd.DataFrame:
    """A table as its authors printed it, in percent (data/published.json); `attrs` hold title, source and note.

    Raises:
        ValueError: no such table; lists those that there are.
    """
    tables = _published()
    if table not in tables:
        raise ValueError(f"no published table {table!r}; there are {', '.join(tables)}")
    entry = tables[table]
    frame = pd.DataFrame(entry["rows"])
    frame.attrs = {key: entry[key] for key in ("title", "source", "note") if key in entry}
    return frame


def _published() -> dict[str, Any]:
    return json.loads(paths.PUBLISHED.read_text())["tables"]


def measured(sweep: str) -> pd.DataFrame:
    """One row a variant of the sweep: mean and standard deviation over seeds in percent, number of runs, cost.

    A variant without records has a row of its own with 0 runs, so that a gap is seen.
    """
    by_variant, labels = records.by_variant(EXPERIMENT), SWEEPS[sweep].labels
    columns = scores(run for variant in labels for run in by_variant.get(variant, []))
    rows = [_row(label, by_variant.get(variant, []), columns) for variant, label in labels.items()]
    return pd.DataFrame(rows)


def _row(label: str, runs: list[records.RunRecord], columns: Sequence[str]) -> dict[str, object]:
    row: dict[str, object] = {"variant": label, "runs": len(runs)}
    for score in columns:
        values = np.array([_score(run, score) for run in runs])
        row[score] = values.mean() if len(values) else np.nan
        row[f"{score} sd"] = values.std(ddof=1) if len(values) > 1 else np.nan
    row["parameters (M)"] = runs[0].cost["parameters"] / 1e6 if runs else np.nan
    return row


def davis2016() -> pd.DataFrame:
    """Real frames: measured rows on the 20 DAVIS-2016 validation sequences, then published ones (see `on_dataset`)."""
    return on_dataset("davis2016")


def on_dataset(name: str) -> pd.DataFrame:
    """A row a method that was scored on a data set, then published ones if there are any, never mixed in a column; the
    95% interval of J&F is over sequences.
    """
    scored = records.read_all(name)
    first, *others = scores(scored)
    rows = [{"method": record.variant, "95%": _between(record), "training": record.metrics.get("trained_on", ""),
             **{score: _score(record, score) for score in (first, *others)}} for record in scored]
    if name in _published():
        rows += [{"method": row["method"], "training": row["training"], "published J&F": row["J&F"]}
                 for row in published(name).to_dict("records")]
    return pd.DataFrame(rows, columns=["method", "training", first, "95%", *others, "published J&F"])


def _between(record: records.RunRecord) -> str | float:
    """The interval of a record's J&F; NaN where it has none, of fewer than two sequences."""
    _, low, high = validation.interval(record)
    return np.nan if np.isnan(low) else f"{low:.1f} to {high:.1f}"


def networks() -> pd.DataFrame:
    """What each released network learned from, its size, and what it scored: J&F on DAVIS 2016, J on objects that move
    by 5 to 10% of the width a frame, J in the first frames in which a hidden object is seen again, and the area that is
    claimed of it meanwhile (mean over scenes, and median), in percent; without those that have no record on DAVIS 2016.
    """
    rows = []
    for name in weights.released():
        if not (followed := validation.record_of(name, "davis2016")):
            continue
        row = {"weights": name, "learned from": followed.metrics["trained_on"].replace("+", ", "),
               "MB": weights.find(name).stat().st_size / 1e6, "J&F": _score(followed, "J&F")}
        for title, benchmark in (("generated", "fast-objects"), ("composed", "davis-fast-objects")):
            moving = validation.record_of(name, benchmark)
            row[f"fast, {title}"] = _score(moving, "J") if moving else np.nan
        if hidden := validation.record_of(name, "davis-occlusion"):
            known = hidden.metrics["occlusion"]["passages"]
            table = passages.tables(known)["predictions"]
            for at, length in enumerate(known["lengths"]):
                row[f"back, {length}"] = 100 * np.nanmean(table["returning"][:, at])
                claimed = 100 * table["claimed"][:, at]
                row[f"claimed, {length}"] = f"{np.nanmean(claimed):.0f} ({np.nanmedian(claimed):.0f})"
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(frame: pd.DataFrame) -> str:
    """The table as Markdown, numbers with one decimal, missing ones as a dash."""
    def cell(value: object) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return "–"
        if isinstance(value, bool | np.bool_):
            return "yes" if value else "no"
        return f"{value:.1f}" if isinstance(value, float) else str(value)

    lines = [list(frame.columns), ["---"] * len(frame.columns),
             *([cell(v) for v in row] for row in frame.itertuples(index=False))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
