"""What the tables say, computed, and sentences for the notebooks made from it."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from sstlib.experiments import records, tables
from sstlib.metrics import METRICS
from sstlib.statistics.uncertainty import paired_comparison


def implied_contour(names: Iterable[str]) -> pd.DataFrame:
    """Mean F that a printed G implies: G is the mean of J and F over seen and unseen classes, so F = 2 G - J.

    The gap F - J is a fingerprint of a row: close for methods of one kind, so an odd one hints at a misprint.
    """
    frames = [tables.published(name).assign(table=tables.published(name).attrs["title"]) for name in names]
    rows = pd.concat(frames).dropna(subset=["J_seen", "J_unseen"])
    mean = (rows["J_seen"] + rows["J_unseen"]) / 2
    implied = 2 * rows["G"] - mean
    return pd.DataFrame({
        "table": rows["table"], "method": rows["method"], "G": rows["G"], "J seen": rows["J_seen"],
        "J unseen": rows["J_unseen"], "implied mean F": implied, "F - J": implied - mean
    }).reset_index(drop=True)


def davis2016_sequences() -> pd.DataFrame:
    """J&F in percent a sequence of DAVIS-2016 validation (rows), a column a measured method."""
    return sequences_on("davis2016")


def sequences_on(dataset: str, score: str = "J&F") -> pd.DataFrame:
    """A score in percent, by which the columns are named, a sequence of a data set (rows), a column a method that was
    scored on it, unless its record is older than the metric.

    Raises:
        ValueError: there is no such metric, or no record has it yet.
    """
    if score != "J&F":
        METRICS.find(score)
    columns = {record.variant: {name: 100 * values.get(score, np.nan)
                                for name, values in record.metrics["sequences"].items()}
               for record in records.read_all(dataset)}
    table = pd.DataFrame(columns).dropna(axis="columns", how="all").rename_axis(columns=score)
    if columns and table.empty:
        raise ValueError(f"no record on {dataset} has {score} yet; score the masks again: sst evaluate --row")
    return table


def standing(real: pd.DataFrame) -> str:
    """Where the measured rows stand on real frames, as Markdown sentences."""
    rows = real.dropna(subset=["J&F"]).sort_values("J&F", ascending=False)
    if rows.empty:
        return "No row was measured on real frames yet: name a DAVIS folder in `SST_DAVIS` and run `make reproduce`."
    scored = rows["method"].isin(rivals_masks())
    lines = [f"- **{row.method}** ({row.training}{'; its published masks, scored here' * masks}): "
             f"J&F {row['J&F']:.1f}, J {row.J:.1f}, F {row.F:.1f}."
             for (_, row), masks in zip(rows.iterrows(), scored, strict=True)]
    for _, best in rows[~scored].head(1).iterrows():
        others = [(f"{row.method}'s masks, {row['J&F']:.1f} (95% over sequences: {_ahead(row.method, best.method)})",
                   row["J&F"]) for _, row in rows[scored].iterrows()]
        others += [(f"{row.method}'s published score ({row.training}), {row['published J&F']:.1f}",
                    row["published J&F"]) for _, row in real.dropna(subset=["published J&F"]).iterrows()]
        lines.append(f"- The best of this project's networks is {best.method}, {best['J&F']:.1f}: " + ", ".join(
            f"{_side(score - best['J&F'], ' points')} {rival}" for rival, score in others) + ".")
    return "\n".join(lines)


def _ahead(rival: str, method: str) -> str:
    """The paired interval of how far a rival's masks are ahead on DAVIS-2016 validation."""
    scores = davis2016_sequences()
    values = [{name: [score] for name, score in scores[one].items()} for one in (method, rival)]
    difference = paired_comparison(*values).difference
    return f"{_side(difference.high)} to {_side(difference.low)}"


def _side(points: float, unit: str = "") -> str:
    """Where a network stands that a rival is so far ahead of."""
    return f"{abs(points):.1f}{unit} {'below' if points > 0 else 'above'}"


def rivals_masks() -> set[str]:
    """Methods on DAVIS-2016 validation of which published masks were scored here, and no network was run."""
    return {record.variant for record in records.read_all("davis2016") if "weights" not in record.config}
