"""Who reaches whom: the analogue of the paper's Fig. 1, reach against hops, keys a cell and the gap at the border
(section 3.2).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

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


def cell_corners(size: tuple[int, int, int]) -> Float[np.ndarray, "cells 4 2"]:
    """Corners of every cell, in raster order, of frames that stand one behind the other and are seen from the side."""
    time, height, width = size
    frame, row, column = (axis.reshape(-1, 1) for axis in np.indices(size))
    right, down = SLANT
    across = np.array([0.0, 1.0, 1.0, 0.0]) + column
    below = np.array([0.0, 0.0, 1.0, 1.0]) + row
    return np.stack([frame * (width * right + GAP) + across * right, below + across * down], axis=-1)


def draw_sheets(axes: Axes, arrival: Int[np.ndarray, "time height width"], hops: int, numbered: bool = True) -> None:
    """The frames of one buffer, each cell in the color of the hop that reaches it, cells reached later than `hops`
    left empty.
    """
    _, height, width = arrival.shape
    shown = np.where(arrival > hops, -1, arrival).ravel()
    colors = hop_colors(max(hops, 1))
    axes.add_collection(PolyCollection(list(cell_corners(arrival.shape)), facecolors=[colors[hop + 1] for hop in shown],
                                       edgecolors=[FAINT if hop < 0 else "white" for hop in shown], linewidths=0.5))
    right, down = width * SLANT[0], width * SLANT[1]
    starts = [frame * (right + GAP) for frame in range(len(arrival))]
    sheets = [[(x, 0), (x + right, down), (x + right, height + down), (x, height)] for x in starts]
    axes.add_collection(PolyCollection(sheets, facecolors="none", edgecolors=MUTED, linewidths=0.7))
    for frame, x in enumerate(starts if numbered else ()):
        axes.text(x + 0.5 * right, height + 0.5 * down + 0.6, f"t = {frame + 1}", color=MUTED, fontsize=7.5, va="top",
                  ha="right")
    axes.set_aspect("equal")
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
    drawing = figure(0.3 + 1.75 * len(arrivals), layout="none")
    top = 1 - 0.75 / drawing.get_figheight()
    grid = drawing.add_gridspec(len(arrivals), columns, left=0.01, right=0.99, top=top, bottom=0.01, wspace=0.06,
                                hspace=0.42)
    for row, (name, arrival) in enumerate(arrivals.items()):
        for hop in range(1, int(arrival.max()) + 1):
            axes = drawing.add_subplot(grid[row, hop - 1])
            draw_sheets(axes, arrival, hop)
            reached = int(((arrival >= 0) & (arrival <= hop)).sum())
            axes.set_title(f"{hop} hop{'s' * (hop > 1)}: {reached} of {arrival.size} cells")
        corner = grid[row, 0].get_position(drawing)
        drawing.text(corner.x0, corner.y1 + 0.25 / drawing.get_figheight(), name, weight="bold", va="bottom")
    _key(drawing, columns, "upper center")
    return drawing


@styled
def hop_frames(arrival: Int[np.ndarray, "time height width"], title: str) -> Figure:
    """Every frame of one buffer seen from the front, each cell in the color and with the number of the hop that first
    reaches it.

    The axes of frame t carry the label "t", so that a click on the picture can be traced back to a cell.
    """
    time, height, width = arrival.shape
    columns = min(time, 4)
    rows = -(-time // columns)
    drawing = figure(0.75 + rows * (0.3 + height / width * 7 / columns), layout="constrained")
    hops = max(int(arrival.max()), 1)
    grid = [bare(axes) for axes in drawing.subplots(rows, columns, squeeze=False).flat]
    for frame, axes in enumerate(grid[:time]):
        seaborn.heatmap(arrival[frame], cmap=hop_colors(hops), vmin=-1.5, vmax=hops + 0.5, cbar=False, square=True,
                        linewidths=0.4, linecolor="white", xticklabels=False, yticklabels=False, ax=axes)
        axes.set(title=f"t = {frame + 1}", label=str(frame))
    _key(drawing, hops, "outside lower center")
    drawing.suptitle(title, x=0.01, ha="left", fontsize=10)
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
    texts = [f"{value:,.0f}" + (f"   1/{dense / value:,.0f}" if value < dense else "") for value in values.values()]
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
