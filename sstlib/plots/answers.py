"""Figures of what is asked of trained networks: what carries masks, drift, where attention goes."""

import pandas as pd
import seaborn
from matplotlib.figure import Figure

from sstlib.plots.style import ACCENT, INK, MARKERS, MUTED, SERIES, figure, styled


@styled
def taken_away(rows: pd.DataFrame, title: str = "") -> Figure:
    """Difference of J (points) that taking something away makes, with its interval, by network; the line is none.

    Args:
        rows: as `experiments.knockouts.differences`.
    """
    names, things = list(dict.fromkeys(rows["network"])), list(dict.fromkeys(rows["taken away"]))
    drawing = figure(0.9 + 0.5 * len(things))
    axes = drawing.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    for number, name in enumerate(names):
        part = rows[rows["network"] == name]
        place = [things.index(thing) + 0.6 * (number + 0.5) / len(names) - 0.3 for thing in part["taken away"]]
        color = SERIES[number % len(SERIES)]
        axes.plot(part["mean"], place, MARKERS[number % len(MARKERS)], color=color, label=name, linestyle="none")
        axes.hlines(place, part["low"], part["high"], color=color)
    axes.set(xlabel="difference of J (points)", yticks=range(len(things)), yticklabels=things,
             ylim=(len(things) - 0.4, -0.6), title=title)
    axes.grid(axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


@styled
def drifts(rows: pd.DataFrame) -> Figure:
    """J (percent) by part of the sequence with own and with true masks in memory, a panel a network.

    Args:
        rows: as `experiments.knockouts.drift`.
    """
    names = list(dict.fromkeys(rows["network"]))
    drawing = figure(2.4)
    panels = drawing.subplots(1, len(names), sharey=True, squeeze=False)[0]
    memories = list(dict.fromkeys(rows["memory"]))
    for axes, name in zip(panels, names, strict=True):
        seaborn.lineplot(rows[rows["network"] == name], x="part", y="J", hue="memory", style="memory",
                         markers=list(MARKERS[:len(memories)]), dashes=False, palette=list(SERIES[:len(memories)]),
                         ax=axes, legend=axes is panels[-1])
        axes.set(xlabel="part of the sequence", ylabel="J (%)", ylim=(0, 100), title=name)
        axes.grid(axis="y")
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


@styled
def looked_at(rows: pd.DataFrame, place: str = "the object") -> Figure:
    """Share of attention (percent) that goes to one place, with its interval, and of even attention (hollow), by
    moment, a panel a network.

    Args:
        rows: as `experiments.attended.looks`.
        place: which one.
    """
    names, moments = list(dict.fromkeys(rows["network"])), list(dict.fromkeys(rows["moment"]))
    drawing = figure(0.9 + 0.3 * len(moments))
    panels = drawing.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        part = rows[(rows["network"] == name) & (rows["place"] == place)]
        axes.hlines(part["moment"], part["low"], part["high"], color=ACCENT)
        axes.plot(part["share"], part["moment"], "o", color=ACCENT, label="attention, 95% interval")
        axes.plot(part["even"], part["moment"], "D", color="none", markeredgecolor=MUTED, label="even attention")
        axes.set(xlabel=f"to {place} (%)", title=name, xlim=(-2, None), ylim=(len(moments) - 0.4, -0.6))
        axes.grid(axis="x")
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


@styled
def travels(rows: pd.DataFrame) -> Figure:
    """How well what arrives from an object tells it from the rest (area under the curve, percent), by distance, of
    attention and of even attention over the same connections (hollow); the line is chance.

    Args:
        rows: as `experiments.attended.distances`.
    """
    drawing = figure(2.6)
    axes = drawing.subplots()
    axes.axhline(50, color=MUTED, linestyle=":", label="chance")
    for number, (name, part) in enumerate(rows.groupby("network", sort=False)):
        color = SERIES[number % len(SERIES)]
        axes.plot(part["frames back"], part["attention"], MARKERS[number % len(MARKERS)] + "-", color=color, label=name)
        axes.plot(part["frames back"], part["even"], MARKERS[number % len(MARKERS)], color="none",
                  markeredgecolor=color)
    axes.set(xlabel="frames back", ylabel="area under the curve (%)", ylim=(40, 102),
             xticks=sorted(rows["frames back"].unique()))
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


@styled
def swept(rows: pd.DataFrame) -> Figure:
    """J (percent) by the number of past frames at test time, of each network; a ring is the history of training.

    Args:
        rows: as `experiments.histories.rows`.
    """
    drawing = figure(2.6)
    axes = drawing.subplots()
    names = list(dict.fromkeys(rows["network"]))
    seaborn.lineplot(rows, x="history", y="J", hue="network", style="network", markers=list(MARKERS[:len(names)]),
                     dashes=False, palette=list(SERIES[:len(names)]), ax=axes)
    trained = rows[rows["history"] == rows["trained with"]]
    axes.plot(trained["history"], trained["J"], "o", markersize=12, color="none", markeredgecolor=INK,
              label="as trained")
    histories = sorted(rows["history"].unique())
    axes.set_xscale("log", base=2)
    axes.set(xlabel="past frames at test time", ylabel="J (%)", xticks=histories, xticklabels=histories)
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing
