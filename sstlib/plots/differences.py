"""Figures of what runs decide: scores above a floor, paired differences, costs of occlusions, and smallest effects."""

import pandas as pd
import seaborn
from matplotlib.figure import Figure

from sstlib.plots.style import ACCENT, FAINT, INK, MARKERS, MUTED, SERIES, SIGNAL, figure, styled


@styled
def scores_above(rows: pd.DataFrame, floor: float, title: str = "") -> Figure:
    """Score (percent) of each variant with its interval, none for what is not run, beside what the paper printed (other
    data) and the floor of a copied first mask.

    Args:
        rows: variant, mean, low, high and printed, NaN where there is none.
        floor: of the copied mask.
    """
    drawing = figure(0.8 + 0.3 * len(rows))
    axes = drawing.subplots()
    axes.axvline(floor, color=MUTED, linestyle=":", label="first mask copied")
    seaborn.scatterplot(rows, x="mean", y="variant", color=ACCENT, s=45, label="measured, 95% interval", ax=axes)
    axes.hlines(rows["variant"], rows["low"], rows["high"], color=ACCENT)
    if rows["printed"].notna().any():
        axes.plot(rows["printed"], rows["variant"], "D", color="none", markeredgecolor=MUTED,
                  label="paper (DAVIS 2017)")
    for place, (_, row) in enumerate(rows.iterrows()):
        if pd.isna(row["mean"]):
            axes.text(1, place, "not run yet", color=MUTED, va="center")
    axes.set(xlabel="J&F (%)", ylabel="", xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6), title=title)
    axes.grid(axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


@styled
def paired_differences(rows: pd.DataFrame, title: str = "") -> Figure:
    """Paired difference (points) of each claim with the interval at the level of its decision, and its verdict; the
    line is none.

    Args:
        rows: claim, mean, low, high and verdict; NaN where runs are missing.
    """
    drawing = figure(0.9 + 0.35 * len(rows))
    axes = drawing.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    seaborn.scatterplot(rows, x="mean", y="claim", color=ACCENT, s=45, ax=axes)
    axes.hlines(rows["claim"], rows["low"], rows["high"], color=ACCENT)
    for place, (_, row) in enumerate(rows.iterrows()):
        axes.annotate(row["verdict"], (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
                      textcoords="offset points", va="center")
    axes.set(xlabel="difference (points)", ylabel="", ylim=(len(rows) - 0.4, -0.6), title=title)
    axes.grid(axis="x")
    return drawing


@styled
def occlusion_costs(rows: pd.DataFrame, title: str = "") -> Figure:
    """J&F (percent) of the target after an occlusion (filled) and in the same frames without it (hollow), by network
    and frames hidden; the floors are networks, too.

    Args:
        rows: as `experiments.evidence.passages`.
    """
    lengths = sorted(rows["hidden for"].unique())
    names = list(dict.fromkeys(rows["what"]))
    drawing = figure(0.9 + 0.34 * len(names))
    panels = drawing.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    for axes, length in zip(panels, lengths, strict=True):
        part = rows[rows["hidden for"] == length]
        axes.hlines(part["what"], part["J&F back"], part["without occlusion"], color=FAINT, linewidth=3)
        axes.plot(part["without occlusion"], part["what"], "o", color="none", markeredgecolor=ACCENT,
                  label="without occlusion")
        seaborn.scatterplot(part, x="J&F back", y="what", color=SIGNAL, s=45, label="after it", ax=axes,
                            legend=axes is panels[-1])
        axes.set(xlabel="J&F of the target (%)", ylabel="", xlim=(-3, 100), ylim=(len(names) - 0.4, -0.6),
                 title=f"{title}hidden for {length} frames")
        axes.grid(axis="x")
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


@styled
def smallest_effects(rows: pd.DataFrame, title: str = "") -> Figure:
    """Smallest difference (points) that as many seeds find four times out of five, by measure.

    Args:
        rows: seeds, effect and measure.
    """
    drawing = figure(2.4)
    axes = drawing.subplots()
    count = rows["measure"].nunique()
    seaborn.lineplot(rows, x="seeds", y="effect", hue="measure", style="measure", markers=list(MARKERS[:count]),
                     dashes=False, palette=list(SERIES[:count]), ax=axes)
    axes.set(xlabel="seeds", ylabel="smallest effect (points)", ylim=(0, None), xticks=sorted(rows["seeds"].unique()),
             title=title)
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing
