"""Figures of what is asked of trained networks: what carries masks, drift, where attention goes."""

import pandas as pd
from matplotlib.figure import Figure

from sstlib.plots.style import INK, MARKERS, MUTED, SERIES, dots, facets, finish, lines, logarithmic, panels, styled


@styled
def taken_away(rows: pd.DataFrame, title: str = "") -> Figure:
    """Difference of J (points) that taking something away makes, with its interval, by network; the line is none.

    Args:
        rows: as `experiments.knockouts.differences`.
    """
    drawing, [axes] = panels(0.9 + 0.5 * rows["taken away"].nunique())
    axes.axvline(0, color=INK, linewidth=0.8)
    dots(axes, rows, "mean", "taken away", hue="network", dodge=0.4)
    finish(axes, "x", xlabel="difference of J (points)", title=title)
    return drawing


@styled
def drifts(rows: pd.DataFrame) -> Figure:
    """J (percent) by part of the sequence with own and with true masks in memory, a panel a network.

    Args:
        rows: as `experiments.knockouts.drift`.
    """
    drawing, parts = facets(2.4, rows, "network")
    for name, part, axes in parts:
        lines(axes, part, "memory", x="part", y="J")
        finish(axes, xlabel="part of the sequence", ylabel="J (%)", ylim=(0, 100), title=name)
    return drawing


@styled
def looked_at(rows: pd.DataFrame, place: str = "the object") -> Figure:
    """Share of attention (percent) that goes to one place, with its interval, and of even attention (hollow), by
    moment, a panel a network.

    Args:
        rows: as `experiments.attended.looks`.
        place: which one.
    """
    drawing, parts = facets(0.9 + 0.3 * rows["moment"].nunique(), rows[rows["place"] == place], "network")
    for name, part, axes in parts:
        dots(axes, part, "share", "moment", label="attention, 95% interval")
        axes.plot(part["even"], part["moment"], "D", color="none", markeredgecolor=MUTED, label="even attention")
        finish(axes, "x", xlabel=f"to {place} (%)", title=name, xlim=(-2, None))
    return drawing


@styled
def travels(rows: pd.DataFrame) -> Figure:
    """How well what arrives from an object tells it from the rest (area under the curve, percent), by distance, of
    attention and of even attention over the same connections (hollow); the line is chance.

    Args:
        rows: as `experiments.attended.distances`.
    """
    drawing, [axes] = panels(2.6)
    axes.axhline(50, color=MUTED, linestyle=":", label="chance")
    lines(axes, rows, "network", x="frames back", y="attention")
    for (_, part), color, marker in zip(rows.groupby("network", sort=False), SERIES, MARKERS):
        axes.plot(part["frames back"], part["even"], marker, color="none", markeredgecolor=color)
    finish(axes, xlabel="frames back", ylabel="area under the curve (%)", ylim=(40, 102),
           xticks=sorted(rows["frames back"].unique()))
    return drawing


@styled
def swept(rows: pd.DataFrame) -> Figure:
    """J (percent) by the number of past frames at test time, of each network; a ring is the history of training.

    Args:
        rows: as `experiments.histories.rows`.
    """
    drawing, [axes] = panels(2.6)
    lines(axes, rows, "network", x="history", y="J")
    trained = rows[rows["history"] == rows["trained with"]]
    axes.plot(trained["history"], trained["J"], "o", markersize=12, color="none", markeredgecolor=INK,
              label="as trained")
    logarithmic(axes, sorted(rows["history"].unique()))
    finish(axes, xlabel="past frames at test time", ylabel="J (%)")
    return drawing
