"""Routes through attention: how many there are, which are the strongest, and what they carry (section 7)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, Rectangle

from sstlib.plots.style import INK, MUTED, SERIES, SIGNAL, bare, key_outside, lines, logarithmic, panels, styled
from sstlib.shapes import Bool, Float, Int, UInt8

ROUTE_COLORS = tuple(color for color in SERIES if color != SIGNAL)
LEGEND = 8  # routes in a row of the legend
Cell = tuple[int, float | int, float | int]  # frame, row, column
Route = tuple[float, Sequence[Cell]]  # its weight, and its cells from the query on


@styled
def route_counts(counts: Int[np.ndarray, "time height width"], title: str) -> Figure:
    """How many routes of a given length lead from one cell to every cell, written into the cells of each frame."""
    time, height, width = counts.shape
    drawing, frames = panels(0.6 + 7.0 / time * height / width + 0.2, time)
    for frame, axes in enumerate(frames):
        bare(axes).imshow(np.log(counts[frame].clip(1)), cmap="Blues", vmin=0, vmax=1.6 * np.log(counts.max()))
        for (row, column), count in np.ndenumerate(counts[frame]):
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=INK)
        axes.set_title(f"t = {frame + 1}")
    drawing.suptitle(title, x=0.01, ha="left", fontsize=10)
    return drawing


@styled
def separation_curves(series: Mapping[str, Float[np.ndarray, "speeds clips"]], speeds: Sequence[float | int]) -> Figure:
    """How well a routed mask tells object from background, against how fast the object moves: the mean over clips, and
    two standard errors around it.
    """
    rows = pd.concat(pd.DataFrame({"routes": name, "speed": np.repeat(speeds, values.shape[1]), "rank": values.ravel()})
                     for name, values in series.items()).reset_index()
    drawing, [axes] = panels(2.8)
    lines(axes, rows, "routes", x="speed", y="rank", errorbar=("se", 2))
    axes.axhline(0.5, color=MUTED, linestyle=":", linewidth=1)
    axes.text(speeds[0], 0.505, "chance", color=MUTED, ha="left", va="bottom", fontsize=8)
    axes.set(xlabel="motion in one frame (% of the frame's height)", ylabel="object cell ranked above\nbackground cell",
             ylim=(0.45, 1))
    logarithmic(axes, speeds)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(axis="y")
    key_outside(drawing, axes)
    return drawing


@styled
def route_frames(frames: UInt8[np.ndarray, "time pixel_rows pixel_columns 3"],
                 routes: Sequence[tuple[float, Sequence[int]]], ends: Bool[np.ndarray, "time height width"],
                 title: str) -> Figure:
    """Routes from a query (orange) over a buffer's frames, dots where each stops, the cells it may end in, and the
    weight of each.

    The axes of frame t carry the label "t"; their coordinates are feature cells.

    Args:
        frames: the pictures, drawn pale.
        routes: weight of each and its cells, counted in raster order from the query on; the strongest first.
        ends: cells that routes were asked to end in, outlined.
        title: said above.
    """
    time, height, width = ends.shape
    legend = max(math.ceil(len(routes) / LEGEND), 1)
    drawing, places = panels(0.65 + 0.2 * legend + 7.0 / time * height / width, time)
    for frame, axes in enumerate(places):
        bare(axes).imshow(frames[frame] // 2 + 127, extent=(0, width, height, 0), interpolation="antialiased")
        outline(axes, ends[frame])
        axes.set(xlim=(0, width), ylim=(height, 0), title=f"t = {frame + 1}", label=str(frame))
    trails = [[tuple(map(int, np.unravel_index(number, ends.shape))) for number in numbers] for _, numbers in routes]
    query = trails[0][0] if trails else (0, 0, 0)
    draw_routes(places, [(weight, cells) for (weight, _), cells in zip(routes, trails, strict=True)])
    if routes:
        places[query[0]].add_patch(
            Rectangle(query[:0:-1], 1, 1, facecolor=SIGNAL, edgecolor="white", linewidth=0.8, zorder=5))
    handles = [Line2D([], [], color=ROUTE_COLORS[rank % len(ROUTE_COLORS)], label=f"{weight:.2g}")
               for rank, (weight, _) in enumerate(routes)]
    drawing.legend(handles=handles, loc="outside lower left", ncols=min(max(len(handles), 1), LEGEND),
                   title="weight of each route", alignment="left", title_fontsize=8.5, handlelength=1.2)
    drawing.suptitle(title, x=0.01, ha="left", fontsize=10)
    return drawing


def draw_routes(places: Sequence[Axes], routes: Sequence[Route], numbered: bool = False) -> None:
    """Lines from cell to cell, the strongest route's on top, and dots where each stops, with the number of the hop."""
    heaviest = max((weight for weight, _ in routes), default=1.0)
    for rank, (weight, cells) in [*enumerate(routes)][::-1]:
        color = ROUTE_COLORS[rank % len(ROUTE_COLORS)]
        for start, end in zip(cells[:-1], cells[1:], strict=True):
            # Several routes through the same cells bow apart, long jumps less, so that all stay near their pictures
            bow = (0.06 + 0.3 * rank / max(len(routes) - 1, 1)) / max(abs(end[0] - start[0]), 1)
            _connect(places, cells[0][0], start, end, bow, color, 1 + 1.5 * weight / heaviest)
        for hop, (frame, row, column) in enumerate(cells[1:], start=1):
            places[frame].plot(column + 0.5, row + 0.5, "o", color=color, markersize=6.5 if numbered else 3.5,
                               markeredgecolor="white", markeredgewidth=0.5)
            if numbered:
                places[frame].text(column + 0.5, row + 0.5, str(hop), color="white", fontsize=5, ha="center",
                                   va="center_baseline", zorder=2)


def _connect(places: Sequence[Axes], query: int, start: Cell, end: Cell, bow: float, color: str,
             thickness: float) -> None:
    """A line between two cells, drawn by the query's panel above all others."""
    ends = [(cell[2] + 0.5, cell[1] + 0.5) for cell in (start, end)]
    # Towards the middle, away from what is written above and below
    upper = start[1] + end[1] < places[0].get_ylim()[0]
    side = (-1 if upper else 1) * (np.sign(start[0] - end[0]) or 1)
    line = ConnectionPatch(*ends, "data", "data", axesA=places[start[0]], axesB=places[end[0]], color=color,
                           linewidth=thickness, connectionstyle=f"arc3,rad={bow * side}", alpha=0.9)
    line.set_in_layout(False)
    places[query].add_artist(line)
    places[query].set_zorder(1)


def outline(axes: Axes, cells: Bool[np.ndarray, "height width"]) -> None:
    """The border of a set of cells, drawn along the edges between inside and outside."""
    padded = np.pad(cells, 1).astype(int)
    for axis in (0, 1):
        row, column = np.nonzero(np.diff(padded, axis=axis))
        axes.plot([column - 1 + axis, column], [row - axis, row], color=INK, linewidth=1.0)
