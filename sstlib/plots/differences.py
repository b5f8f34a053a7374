"""Figures of what runs decide and of what is asked of trained networks: scores above a floor, differences, costs of
occlusions and smallest effects; what carries masks, drift, where attention goes.
"""

import pandas as pd
from matplotlib.figure import Figure

from sstlib.plots import style
from sstlib.plots.style import ACCENT, FAINT, INK, MUTED, SIGNAL, dots, facets, finish, lines, panels, styled


@styled
def scores_above(rows: pd.DataFrame, floor: float, title: str = "") -> Figure:
    """Score (percent) of each variant with its interval, none for what is not run, beside what the paper printed (other
    data) and the floor of a copied first mask.

    Args:
        rows: variant, mean, low, high and printed, NaN where there is none.
        floor: of the copied mask.
    """
    drawing, [axes] = panels(0.8 + 0.3 * len(rows))
    axes.axvline(floor, color=MUTED, linestyle=":", label="first mask copied")
    dots(axes, rows, "mean", "variant", label="measured, 95% interval")
    if rows["printed"].notna().any():
        axes.plot(rows["printed"], rows["variant"], "D", color="none", markeredgecolor=MUTED,
                  label="paper (DAVIS 2017)")
    for variant in rows["variant"][rows["mean"].isna()]:
        axes.annotate("not run yet", (floor, variant), (6, 0), textcoords="offset points", color=MUTED, va="center")
    finish(axes, "x", xlabel="J&F (%)", xlim=(0, 100), title=title)
    return drawing


@styled
def paired_differences(rows: pd.DataFrame, title: str = "") -> Figure:
    """Paired difference (points) of each claim with the interval at the level of its decision, and its verdict; the
    line is none.

    Args:
        rows: claim, mean, low, high and verdict; NaN where runs are missing.
    """
    drawing, [axes] = panels(0.9 + 0.35 * len(rows))
    axes.axvline(0, color=INK, linewidth=0.8)
    dots(axes, rows, "mean", "claim")
    for claim, verdict in zip(rows["claim"], rows["verdict"]):
        axes.annotate(verdict, (1, claim), xycoords=("axes fraction", "data"), xytext=(6, 0),
                      textcoords="offset points", va="center")
    finish(axes, "x", xlabel="difference (points)", title=title)
    return drawing


@styled
def occlusion_costs(rows: pd.DataFrame) -> Figure:
    """J&F (percent) of the target after an occlusion (filled) and in the same frames without it (hollow), by network
    and frames hidden; the floors are networks, too.

    Args:
        rows: as `experiments.evidence.passages`.
    """
    ordered = rows.sort_values("hidden for", kind="stable")
    drawing, parts = facets(0.9 + 0.34 * rows["what"].nunique(), ordered, "hidden for")
    for length, part, axes in parts:
        axes.hlines(part["what"], part["J&F back"], part["without occlusion"], color=FAINT, linewidth=3)
        axes.plot(part["without occlusion"], part["what"], "o", color="none", markeredgecolor=ACCENT,
                  label="without occlusion")
        dots(axes, part, "J&F back", "what", color=SIGNAL, label="after it")
        finish(axes, "x", xlabel="J&F of the target (%)", xlim=(-3, 100), title=f"hidden for {length} frames")
    return drawing


@styled
def smallest_effects(rows: pd.DataFrame, title: str = "") -> Figure:
    """Smallest difference (points) that as many seeds find four times out of five, by measure.

    Args:
        rows: seeds, effect and measure.
    """
    drawing, [axes] = panels(2.4)
    lines(axes, rows, "measure", x="seeds", y="effect")
    finish(axes, xlabel="seeds", ylabel="smallest effect (points)", ylim=(0, None),
           xticks=sorted(rows["seeds"].unique()), title=title)
    return drawing


@styled
def taken_away(rows: pd.DataFrame) -> Figure:
    """Difference of J (points) that taking something away makes, with its interval, by network; the line is none.

    Args:
        rows: as `experiments.knockouts.differences`.
    """
    drawing, [axes] = panels(0.9 + 0.5 * rows["taken away"].nunique())
    axes.axvline(0, color=INK, linewidth=0.8)
    dots(axes, rows, "mean", "taken away", hue="network", dodge=0.4)
    finish(axes, "x", xlabel="difference of J (points)")
    return drawing


@styled
def left_out(rows: pd.DataFrame) -> Figure:
    """What leaving out a part of the training changes (points), with its interval, a panel a measure; the line is none.

    Args:
        rows: as `experiments.ablations.table`.
    """
    drawing, parts = facets(0.9 + 0.35 * rows["without"].nunique(), rows, "measure")
    for measure, part, axes in parts:
        axes.axvline(0, color=INK, linewidth=0.8)
        dots(axes, part, "mean", "without")
        finish(axes, "x", xlabel="change (points)", title=measure)
    return drawing


@styled
def drifts(rows: pd.DataFrame) -> Figure:
    """J (percent) by part of the sequence with own and with true masks in memory, a panel a network; a bar is the
    interval of the distance from true masks.

    Args:
        rows: as `experiments.knockouts.drift`.
    """
    drawing, parts = facets(2.4, rows, "network")
    for name, part, axes in parts:
        lines(axes, part, "memory", x="part", y="J")
        own = part.dropna(subset="low")
        axes.vlines(own["part"], own["low"], own["high"], color=ACCENT, label="95%, own less true")
        finish(axes, xlabel="fifth of the sequence", ylabel="J (%)", ylim=(0, 100), title=name,
               xticks=sorted(rows["part"].unique()))
    return drawing


@styled
def looked_at(rows: pd.DataFrame) -> Figure:
    """Share of attention (percent) that goes to one place, with its interval, and of even attention (hollow), by
    moment, a panel a network.

    Args:
        rows: as `experiments.attended.looks`, of which those of the object are drawn.
    """
    drawing, parts = facets(0.9 + 0.3 * rows["moment"].nunique(), rows[rows["place"] == "the object"], "network")
    for name, part, axes in parts:
        dots(axes, part, "share", "moment", label="attention, 95% interval")
        axes.plot(part["even"], part["moment"], "D", color="none", markeredgecolor=MUTED, label="even attention")
        finish(axes, "x", xlabel="to the object (%)", title=name, xlim=(-2, None))
    return drawing


@styled
def travels(rows: pd.DataFrame) -> Figure:
    """How well what arrives from an object tells it from the rest, by distance. Left: area under the curve (percent) of
    attention, of even attention over the same connections (hollow), and of chance; right: how far attention is above
    even attention (points), with its interval.

    Args:
        rows: as `experiments.attended.distances`.
    """
    drawing, (left, right) = panels(2.6, 2)
    left.axhline(50, color=MUTED, linestyle=":")
    lines(left, rows, "network", x="frames back", y="attention")
    for (_, part), color, marker in zip(rows.groupby("network", sort=False), style.SERIES, style.MARKERS):
        left.plot(part["frames back"], part["even"], marker, color="none", markeredgecolor=color)
    finish(left, xlabel="frames back", ylabel="area under the curve (%)", ylim=(40, 102),
           xticks=sorted(rows["frames back"].unique()))
    right.axvline(0, color=INK, linewidth=0.8)
    dots(right, rows, "mean", "frames back", hue="network", dodge=0.4)
    right.plot([], [], "o", color="none", markeredgecolor=MUTED, label="even attention")
    right.plot([], [], ":", color=MUTED, label="chance")
    finish(right, "x", xlabel="above even attention (points)", ylabel="frames back")
    return drawing


@styled
def swept(rows: pd.DataFrame) -> Figure:
    """By how much J (points) is above that with the history of training, with its interval, by the number of past
    frames at test time and by network; the line is none.

    Args:
        rows: as `experiments.histories.rows`.
    """
    drawing, [axes] = panels(0.9 + 0.45 * rows["history"].nunique())
    axes.axvline(0, color=INK, linewidth=0.8)
    dots(axes, rows, "mean", "history", hue="network", dodge=0.4)
    finish(axes, "x", xlabel="J above that with the history of training (points)", ylabel="past frames at test time")
    return drawing


@styled
def cost_and_quality(rows: pd.DataFrame, floor: float) -> Figure:
    """J&F (percent) of each network with its interval, against how long its step takes, in multiples of the base's,
    with its quartiles; the line is the floor of a copied first mask. What is not run yet is left out.

    Args:
        rows: as `experiments.costs.table`.
        floor: of the copied mask.
    """
    drawing, [axes] = panels(3.0)
    axes.axhline(floor, color=MUTED, linestyle=":", label="first mask copied")
    measured = rows[rows["seeds"] > 0]
    for (_, row), color, marker in zip(measured.iterrows(), style.SERIES, style.MARKERS, strict=False):
        axes.hlines(row["mean"], row["least"], row["most"], color=color)
        axes.vlines(row["times"], row["low"], row["high"], color=color)
        axes.plot(row["times"], row["mean"], marker, color=color, label=f"{row['variant']} (n={row['seeds']})")
    axes.margins(x=0.15)
    finish(axes, "both", xlabel="time of a step, in multiples of the base's", ylabel="J&F (%)", xlim=(0, None),
           ylim=(0, 100))
    return drawing
