"""Who reaches whom: the analogue of the paper's Fig. 1, reach against hops, keys a cell and the gap at the border
(section 3.2).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon

from sstlib.plots import style
from sstlib.plots.style import ACCENT, FAINT, HOPS, MUTED, PAPER, bare, bars, figure, panels, pictures, styled
from sstlib.shapes import Float, Int, Shaped

SLANT = (0.5, 0.2)  # how far one step in width moves right and down on a sheet seen from the side
GAP = 0.6  # between two sheets


def hop_colors(hops: int) -> list[str]:
    """Colors of never, the cell itself, 1, 2, ... hops."""
    return [PAPER, *(HOPS[min(hop, len(HOPS) - 1)] for hop in range(hops + 1))]


def _key(drawing: Figure, hops: int, loc: str) -> None:
    """What those colors mean, all in one line."""
    names = ["not reached", "the cell", *(f"hop {hop}" for hop in range(1, hops + 1))]
    drawing.legend([Patch(facecolor=color, edgecolor=FAINT) for color in hop_colors(hops)], names, loc=loc,
                   ncols=len(names), handlelength=1.0, columnspacing=1.4)


def draw_sheets(axes: Axes, arrival: Int[np.ndarray, "time height width"], hops: int, numbered: bool = True) -> None:
    """The frames of one buffer, one behind the other and seen from the side, each cell in the color of the hop that
    reaches it, cells reached later than `hops` left empty.
    """
    _, height, width = arrival.shape
    last, (right, down) = max(hops, 1), SLANT
    y, x = np.mgrid[:height + 1.0, :width + 1.0]
    x, y = x * right, y + x * down
    for frame, cells in enumerate(np.where(arrival > hops, -1, arrival)):
        left = x + frame * (x.max() + GAP)
        axes.pcolormesh(left, y, cells, cmap=ListedColormap(hop_colors(last)), vmin=-1.5, vmax=last + 0.5,
                        edgecolors=np.where(cells < 0, FAINT, "white").ravel(), linewidth=0.5, antialiased=True)
        corners = [(left[corner], y[corner]) for corner in ((0, 0), (0, -1), (-1, -1), (-1, 0))]
        axes.add_patch(Polygon(corners, fill=False, edgecolor=MUTED, linewidth=0.7))
        if numbered:
            axes.text(left.mean(), y[-1].mean() + 0.6, f"t = {frame + 1}", color=MUTED, fontsize=7.5, va="top",
                      ha="right")
    axes.set_aspect("equal")
    axes.use_sticky_edges = False  # room for the outermost lines
    axes.autoscale_view()
    bare(axes).invert_yaxis()


@styled
def hop_sheets(arrivals: Mapping[str, Int[np.ndarray, "time height width"]]) -> Figure:
    """As Fig. 1 of the paper: one row a pattern, one column a hop, and in each the cells that one cell has reached by
    then.

    Args:
        arrivals: by pattern, the hop at which each cell is first reached: 0 the cell itself, -1 never.
    """
    columns = max(int(arrival.max()) for arrival in arrivals.values())
    drawing = figure(0.3 + 1.75 * len(arrivals))
    for part, (name, arrival) in zip(drawing.subfigures(len(arrivals), squeeze=False)[:, 0], arrivals.items()):
        part.suptitle(name, x=0.01, ha="left", weight="bold", fontsize=9)
        for hop, axes in enumerate(part.subplots(1, columns, squeeze=False)[0], start=1):
            if hop > arrival.max():
                axes.remove()
                continue
            draw_sheets(axes, arrival, hop)
            reached = int(((arrival >= 0) & (arrival <= hop)).sum())
            axes.set_title(f"{hop} hop{'s' * (hop > 1)}: {reached} of {arrival.size} cells")
    _key(drawing, columns, "outside upper center")
    return drawing


@styled
def hop_frames(arrival: Int[np.ndarray, "time height width"], title: str) -> Figure:
    """Every frame of one buffer seen from the front, each cell in the color and with the number of the hop that first
    reaches it.

    The axes of frame t carry the label "t", so that a click on the picture can be traced back to a cell.
    """
    drawing, places = style.frame_panels(0.75, arrival.shape, title)
    hops = max(int(arrival.max()), 1)
    for cells, axes in zip(arrival, places, strict=True):
        seaborn.heatmap(cells, cmap=hop_colors(hops), vmin=-1.5, vmax=hops + 0.5, cbar=False, square=True,
                        linewidths=0.4, linecolor="white", xticklabels=False, yticklabels=False, ax=axes)
    _key(drawing, hops, "outside lower center")
    return drawing


@styled
def reach_curves(shares: Mapping[str, Sequence[float]]) -> Figure:
    """Share of the buffer that one cell has reached after 0, 1, 2, ... layers of each pattern."""
    drawing, [axes] = panels(2.7, width=5.6)
    table = pd.DataFrame({name: pd.Series(list(share)) for name, share in shares.items()})
    style.lines(axes, table, clip_on=False, zorder=3)
    axes.yaxis.set_major_formatter("{x:.0%}")
    style.finish(axes, xlabel="layers", ylabel="share of the buffer reached", ylim=(0, 1), xticks=table.index)
    return drawing


@styled
def key_bars(keys: Mapping[str, float], dense: float | int) -> Figure:
    """Mean number of keys a query has under each pattern, on a logarithmic axis, beside the number that dense
    attention has.
    """
    drawing, [axes] = panels(0.75 + 0.3 * (len(keys) + 1))
    values = {**keys, "Dense": dense}
    shares = [f", 1/{dense / value:,.0f} of dense" if value < dense else "" for value in values.values()]
    texts = [f"{value:,.0f}{share}" for value, share in zip(values.values(), shares)]
    bars(axes, values, texts, [ACCENT] * len(keys) + [MUTED])
    axes.set(xscale="log", xlabel="keys a query (mean over the buffer)", xlim=(1, dense * 8))
    return drawing


@styled
def border_gap(shares: Mapping[str, Float[np.ndarray, "height width"]]) -> Figure:
    """For each query cell of a frame the share of the frame that two layers reach; one panel a reading of the
    window.
    """
    drawing, row = panels(2.5, len(shares))
    for axes, (name, share) in zip(row, shares.items(), strict=True):
        image = axes.imshow(share, cmap="cividis", vmin=min(map(np.min, shares.values())), vmax=1)
        axes.set_title(f"{name}\nmean {share.mean():.1%}, worst {share.min():.1%}")
        bare(axes)
    bar = drawing.colorbar(image, ax=row, shrink=0.85, format="{x:.0%}")
    bar.set_label("share of the frame reached")
    bar.outline.set_visible(False)
    return drawing


@styled
def frame_rows(rows: Mapping[str, Shaped[np.ndarray, "time height width ..."]], titles: Sequence[str],
               cmap: str = "magma") -> Figure:
    """Frames side by side, the earliest on the left, a row for each thing that is shown of them.

    Args:
        rows: by name (time, height, width) of numbers in [0, 1], or (time, height, width, 3) of colors.
        titles: above the frames.
        cmap: the color map of numbers.
    """
    first = next(iter(rows.values()))
    each = (7.2 - 0.9) / len(titles)
    drawing = figure(0.35 + len(rows) * (each * first.shape[1] / first.shape[2] + 0.07))
    for line in pictures(drawing, rows, titles, cmap=cmap, vmin=0, vmax=1):
        line[0].yaxis.label.set(rotation=0, ha="right", va="center")
    return drawing
