"""How cost grows with frames, height and width: exponents, time, memory, and the distance to what the machine can do
(section 3.2).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from sstlib.plots.style import INK, MUTED, SIGNAL, bars, dots, facets, key_outside, lines, logarithmic, panels, styled

Numbers = Sequence[float | int] | np.ndarray | pd.Series | pd.Index


def exponent(sizes: Numbers, costs: Numbers) -> float:
    """The power p of costs ~ sizes^p: slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float)), 1)[0])


@styled
def growth(tables: Mapping[str, pd.DataFrame], cost: str) -> Figure:
    """One panel an axis of the buffer: cost of every pattern while that axis grows and the others stay; legend: fitted
    exponents.

    Args:
        tables: by the name of the growing axis, costs with one column a pattern and the axis' length as index.
        cost: what is drawn, with its unit.
    """
    drawing, row = panels(3.7, len(tables), sharey=True)
    for axes, (name, table) in zip(row, tables.items(), strict=True):
        lines(axes, table.set_axis([f"{one}: {exponent(table.index, table[one]):.2f}" for one in table], axis=1))
        axes.set(yscale="log", xlabel=name, ylabel=cost)
        logarithmic(axes, table.index)
        axes.grid(axis="y")
        axes.legend(title="exponent", title_fontsize=8.5, loc="upper left", bbox_to_anchor=(-0.02, -0.2),
                    borderaxespad=0, alignment="left")
        axes.label_outer()
    return drawing


@styled
def memory_curves(frames: Sequence[int], curves: Mapping[str, Numbers], measured: Mapping[int, float] | None = None,
                  limit: float | None = None) -> Figure:
    """Memory in bytes against the frames in the buffer; dots where it was measured; a line at what a machine has."""
    drawing, [axes] = panels(3.0)
    lines(axes, pd.DataFrame(curves, index=frames))
    if measured:
        axes.plot(list(measured), list(measured.values()), "D", color=INK, markersize=6, label="streamed, measured",
                  zorder=4)
    if limit:
        axes.axhline(limit, color=MUTED, linestyle=":", linewidth=1)
        axes.text(frames[0], limit * 1.15, f"{limit / 2**30:.0f} GiB", color=MUTED, fontsize=8, va="bottom")
    axes.set(yscale="log", xlabel="frames in the buffer", ylabel="memory")
    axes.set_yticks([2.0**power for power in (20, 25, 30, 35, 40)], ["1 MiB", "32 MiB", "1 GiB", "32 GiB", "1 TiB"])
    logarithmic(axes, frames)
    axes.grid(axis="y")
    key_outside(drawing, axes)
    return drawing


@styled
def speedups(ratios: pd.DataFrame) -> Figure:
    """How many times faster than dense attention: a column a size, a row a pattern and implementation, darker where
    faster; empty where it was not measured.
    """
    drawing, [axes] = panels(0.7 + 0.26 * len(ratios))
    texts = ratios.map(lambda value: "" if np.isnan(value) else f"{value:.3g}x")
    seaborn.heatmap(np.log10(ratios.astype(float)), annot=texts, fmt="", cmap="Blues", cbar=False, vmin=-0.3,
                    linewidths=1, yticklabels=[", ".join(name) for name in ratios.index], ax=axes)
    axes.set(xlabel="", ylabel="", title="times faster than dense attention")
    axes.tick_params(length=0)
    return drawing


@styled
def cost_dots(costs: pd.DataFrame, aims: Mapping[str, Mapping[str, float]]) -> Figure:
    """What else a call costs: a panel each, rows of (pattern, implementation), a marker each size, and a line at each
    implementation's aim.

    `costs` has (cost, size) as columns; `aims` gives the aim of a cost for an implementation, where there is one.
    """
    rows = costs.set_axis([", ".join(name) for name in costs.index]).melt(
        var_name=["cost", "size"], ignore_index=False).rename_axis("row").reset_index()
    drawing, parts = facets(1.1 + 0.26 * len(costs), rows, "cost")
    for name, part, axes in parts:
        dots(axes, part, "value", "row", "size", alpha=0.85)
        for place, (_, implementation) in enumerate(costs.index):
            if aim := aims.get(name, {}).get(implementation):
                axes.plot([aim, aim], [place - 0.42, place + 0.42], color=INK, linewidth=1.4, solid_capstyle="butt")
        axes.set(title=name.replace(" / ", "\n/ "), xlabel="", ylabel="", xlim=(0, 1.05 * axes.get_xlim()[1]))
        axes.grid(axis="both")
        key_outside(drawing, axes, "outside lower center", ncols=rows["size"].nunique())
    return drawing


@styled
def limit_bars(nanoseconds: Mapping[str, float], limit: float, bound: str) -> Figure:
    """Nanoseconds that one connected pair takes with each pattern and kernel, beside a limit of the machine.

    Args:
        nanoseconds: by pattern and kernel.
        limit: nanoseconds of the machine's limit.
        bound: what that limit is of.
    """
    drawing, [axes] = panels(1.0 + 0.28 * len(nanoseconds))
    line = axes.axvline(limit, color=SIGNAL, linewidth=1.4)
    bars(axes, nanoseconds, [f"{value:.3g} ns, {value / limit:.1f} times the limit" for value in nanoseconds.values()],
         bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    axes.set(xlabel="nanoseconds a connected pair", xlim=(0, max(1.5 * max(nanoseconds.values()), 1.1 * limit)))
    drawing.legend([line], [f"limit: {bound}, {limit:.2g} ns"], loc="outside upper left")
    return drawing
