"""Routes through attention: how many there are, which are the strongest, and what they carry (section 7); and where one
query looks, as heat over the frames of its buffer.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, Rectangle
from PIL import Image

from sstlib.plots import style
from sstlib.plots.style import INK, MUTED, SERIES, SIGNAL, bare, finish, frame_panels, lines, panels, styled
from sstlib.routes.lookups import Lookup
from sstlib.shapes import Bool, Float, Int, UInt8

ROUTE_COLORS = tuple(color for color in SERIES if color != SIGNAL)
LEGEND = 8  # routes in a row of the legend
PICTURE, GRAYS = 96, 12  # pixels of a picture's longer side, and its shades: six rows of photographs are large
GAP = 0.8  # cells between two frames of a row
Cell = tuple[int, float | int, float | int]  # frame, row, column
Route = tuple[float, Sequence[Cell]]  # its weight, and its cells from the query on


@styled
def route_counts(counts: Int[np.ndarray, "time height width"], title: str) -> Figure:
    """How many routes of a given length lead from one cell to every cell, written into the cells of each frame."""
    drawing, places = frame_panels(0.5, counts.shape, title)
    for numbers, axes in zip(counts, places, strict=True):
        seaborn.heatmap(np.log(numbers.clip(1)), cmap="Blues", vmin=0, vmax=1.6 * np.log(counts.max()), cbar=False,
                        square=True, annot=numbers, fmt="d", annot_kws={"size": 8, "color": INK}, xticklabels=False,
                        yticklabels=False, ax=axes)
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
    axes.axhline(0.5, color=MUTED, linestyle=":", label="chance")
    style.logarithmic(axes, speeds)
    axes.yaxis.set_major_formatter("{x:.0%}")
    finish(axes, xlabel="motion in one frame (% of the frame's height)",
           ylabel="object cell ranked above\nbackground cell", ylim=(0.45, 1))
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
    height, width = ends.shape[1:]
    drawing, places = frame_panels(0.35 + 0.2 * max(math.ceil(len(routes) / LEGEND), 1), ends.shape, title)
    for frame, goal, axes in zip(frames, ends, places, strict=True):
        axes.imshow(frame // 2 + 127, extent=(0, width, height, 0), interpolation="antialiased")
        outline(axes, goal)
        axes.set(xlim=(0, width), ylim=(height, 0))
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


def frame_under(x: float, width: int) -> tuple[int, float] | None:
    """Which frame of a row lies at a place counted in cells, and where in it; None between two frames."""
    slot, inside = divmod(x, width + GAP)
    return (int(slot), inside) if inside < width else None


@styled
def lookup_rows(frames: UInt8[np.ndarray, "time pixel_rows pixel_columns 3"], times: Sequence[int],
                lookups: Mapping[str, Lookup], query: tuple[int, int], objects: Sequence[str],
                routes: Sequence[Route], goal: Bool[np.ndarray, "height width"],
                extent: tuple[float, float, float, float], title: str, routed: str) -> Figure:
    """One row a pattern: the weights of one query over the buffer's frames as heat, each row to its own largest weight,
    and the object affinities that come of them (Eq. 4). The last row has the routes, a numbered dot a hop.

    Args:
        frames, times: the pictures of the buffer, the query's last, and their numbers in the clip.
        lookups, query: by the row's name, which its axes carry; row and column. Axes count cells (`frame_under`).
        objects: names of the objects, the background first.
        routes: weight and cells (frame of the clip, row, column) from the query on; the strongest first.
        goal, extent: where routes were to end in the oldest frame, outlined; a picture's sides in cells, as imshow's.
        title, routed: said above, and beside the last row.
    """
    height, width = goal.shape
    length = len(times) * (width + GAP) - GAP
    drawing = style.figure(0.95 + (len(lookups) + 1) * ((style.WIDTH - 2.4) * height / max(length, 2 * width) + 0.08))
    drawing.suptitle(title, x=0.01, ha="left", fontsize=9)
    drawing.supxlabel(_explained(lookups, routes), x=0.01, ha="left", fontsize=7.5, color=MUTED)
    grid = drawing.subplots(len(lookups) + 1, 2, width_ratios=[12, 1])
    for line, (name, (axes, beside)) in enumerate(zip([*lookups, routed], grid)):
        bare(axes).set(label=name, xlim=(0, length), ylim=(height, 0))
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7.5)
        _pictures(axes, frames, extent, width, () if line else times)
        if name in lookups:
            _heat(axes, lookups[name].weights)
            _affinities(beside, lookups[name].affinity, objects, line == 0)
        axes.add_patch(Rectangle((query[1] + length - width, query[0]), 1, 1, fill=False, color=SIGNAL, zorder=5))
    beside.remove()
    outline(axes, goal)
    slots = {time: slot for slot, time in enumerate(times)}
    draw_routes([axes] * len(times), [(weight, [(slots[time], row, slots[time] * (width + GAP) + column)
                                                for time, row, column in cells]) for weight, cells in routes], True)
    return drawing


def _explained(lookups: Mapping[str, Lookup], routes: Sequence[Route]) -> str:
    """What the colors and outlines mean, with the numbers behind them."""
    weights = "  ".join(f"{weight:.2g}" for weight, _ in routes)
    heat = "  ".join(f"{lookup.weights.max():.2g}" for lookup in lookups.values())
    ended = ("Outlined: where routes end. Numbered dots: their stops, from the query on. Weights, thickest first: "
             f"{weights}." if routes else "No route ends there.")
    return f"Orange frame: the query. Darkest red: the row's largest weight ({heat}).\n{ended}"


def _pictures(axes: Axes, frames: UInt8[np.ndarray, "time pixel_rows pixel_columns 3"],
              extent: tuple[float, float, float, float], width: int, times: Sequence[int]) -> None:
    """The frames side by side in a few pale grays, numbered from 1 where `times` are given."""
    for slot, frame in enumerate(frames):
        left, picture = slot * (width + GAP), Image.fromarray(frame).convert("L")
        picture.thumbnail((PICTURE, PICTURE))
        pale = 0.55 + 0.45 * np.round(np.asarray(picture) / 255 * GRAYS) / GRAYS
        axes.imshow(pale, cmap="gray", vmin=0, vmax=1, extent=(left + extent[0], left + extent[1], *extent[2:]),
                    interpolation="nearest", aspect="auto")
    for slot, time in enumerate(times):
        asks = " (the query's)" if slot == len(times) - 1 else ""
        axes.text(slot * (width + GAP), -0.4, f"frame {time + 1}{asks}", fontsize=8, va="bottom")


def _heat(axes: Axes, weights: Float[np.ndarray, "time height width"]) -> None:
    """Weights over the pictures: nothing where cells are not connected, opaque at the largest."""
    time, height, width = weights.shape
    share = weights / weights.max()
    for slot in range(time):
        left = slot * (width + GAP)
        axes.imshow(0.25 + 0.75 * np.sqrt(share[slot]), cmap="YlOrRd", vmin=0, vmax=1,
                    alpha=np.where(weights[slot] > 0, 0.3 + 0.7 * share[slot] ** 0.35, 0), interpolation="nearest",
                    extent=(left, left + width, height, 0), aspect="auto")


def _affinities(axes: Axes, affinity: Float[np.ndarray, "object"], objects: Sequence[str], first: bool) -> None:
    axes.spines[:].set_visible(False)
    if first:
        axes.set_title("affinity\n(Eq. 4)", fontsize=8, loc="left")
    if not len(affinity):
        axes.set(xticks=[], yticks=[])
        axes.text(0, 0.5, "no frame\nbefore", fontsize=7.5, color=MUTED, va="center", transform=axes.transAxes)
        return
    style.bars(axes, dict(zip(objects, affinity)), [f"{value:.2f}" for value in affinity],
         np.where(affinity == affinity.max(), style.ACCENT, MUTED), height=0.7, padding=2, fontsize=7, color=INK)
    axes.set(xlim=(0, max(1e-9, affinity.max())), xticks=[])
    axes.tick_params(axis="y", labelsize=7, pad=1)
