"""Where one query looks: heat over the frames of its buffer for several patterns, object affinities, and routes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from sstlib.plots.flows import Route, draw_routes, outline
from sstlib.plots.style import ACCENT, INK, MUTED, SIGNAL, WIDTH, bare, bars, figure, styled
from sstlib.routes.lookups import Lookup
from sstlib.shapes import Bool, Float, UInt8

LEFT, RIGHT, TOP, FOOT, BETWEEN = 1.0, 1.32, 0.5, 0.45, 0.08  # inches: names, affinities, title, legend, rows
PICTURE, GRAYS = 96, 12  # pixels of a picture's longer side, and its shades: six rows of photographs are large
GAP = 0.8  # cells between two frames of a row


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
    cell = (WIDTH - LEFT - RIGHT) / max(len(times) * (width + GAP), 2 * width)
    total = TOP + FOOT + (len(lookups) + 1) * (cell * height + BETWEEN)
    drawing = figure(total, layout="none")
    drawing.suptitle(title, x=0.01, y=1 - 0.05 / total, ha="left", va="top", fontsize=9)
    length = len(times) * (width + GAP) - GAP
    shares = [cell * length, RIGHT - 0.96]
    grid = drawing.subplots(len(lookups) + 1, 2, width_ratios=shares, gridspec_kw={
        "left": LEFT / WIDTH, "right": (LEFT + cell * length + 0.66 + RIGHT - 0.96) / WIDTH, "top": 1 - TOP / total,
        "bottom": (FOOT + BETWEEN) / total, "wspace": 2 * 0.66 / sum(shares), "hspace": BETWEEN / (cell * height)})
    for line, (name, (axes, beside)) in enumerate(zip([*lookups, routed], grid)):
        bare(axes).set(label=name, xlim=(0, length), ylim=(height, 0))
        axes.text(-0.01, 0.5, name, ha="right", va="center", transform=axes.transAxes, fontsize=7.5)
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
    drawing.text(LEFT / WIDTH, 0.22 / total, _explained(lookups, routes), fontsize=7.5, color=MUTED, va="center")
    return drawing


def _explained(lookups: Mapping[str, Lookup], routes: Sequence[Route]) -> str:
    """What the colors and outlines mean, with the numbers behind them."""
    weights = "  ".join(f"{weight:.2g}" for weight, _ in routes)
    heat = "  ".join(f"{lookup.weights.max():.2g}" for lookup in lookups.values())
    ended = f"Outlined: where routes end; their weights: {weights}." if routes else "No route ends there."
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
    bars(axes, dict(zip(objects, affinity)), [f"{value:.2f}" for value in affinity],
         np.where(affinity == affinity.max(), ACCENT, MUTED), height=0.7, padding=2, fontsize=7, color=INK)
    axes.set(xlim=(0, max(1e-9, affinity.max())), xticks=[])
    axes.tick_params(axis="y", labelsize=7, pad=1)
