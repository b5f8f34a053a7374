"""Fig. 2 with the shapes of a real configuration: what a frame passes through, and where its work and its parameters
are.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from sstlib.config import ModelConfig
from sstlib.config.networks import BACKBONES, METHODS
from sstlib.config.values import scaled
from sstlib.connectivity import Connectivity, parse
from sstlib.plots.reach import cell_corners
from sstlib.plots.style import ACCENT, FAINT, HOPS, INK, MUTED, SERIES, WIDTH, bare, figure, panels, styled
from sstlib.synthetic import ClipSpec, render

BACKBONE, ENCODER, EVIDENCE, DECODER = ACCENT, SERIES[2], SERIES[4], SERIES[3]
TOP, BOTTOM, FOOT = 1.12, 2.92, 1.46  # edges of the row of boxes, and height of what stands below all boxes, in inches
AFFINITY, MATCHING = BOTTOM + 0.42, BOTTOM + 0.92  # middles of the boxes under that row
TOY = (9, 7)  # cells of a glyph's frame
EXAMPLE = ClipSpec(frames=24, height=120, width=214, objects=1, distractors=0, size=34.0, speed=3.0, camera=0.3,
                   camouflage=0.0, likeness=0.0)


@runtime_checkable
class Row(Protocol):
    """What is drawn of a module: `benchmarks.anatomy`, which counts it, stands above the figures."""

    module: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    pairs: int


@styled
def architecture(config: ModelConfig, rows: Sequence[Row], title: str) -> Figure:
    """The network as a picture: a box for each module with its shapes, parameters and multiply-adds, and beside
    each attention layer which cells a cell attends to.

    Args:
        config: of the network.
        rows: its anatomy, two levels deep.
        title: shown above.
    """
    past = min(config.history, 3) if config.method == "sst" else 3
    clip = render(EXAMPLE, seed=11)
    frames, labels = (array[12 - 4 * past:13:4] for array in (clip.frames, clip.labels))
    named = {row.module: row for row in rows}
    lowest = MATCHING if config.method == "sst" and {"matching", "feature_matching"} & set(named) else AFFINITY
    drawing = figure(lowest + FOOT, layout="none")
    axes = bare(drawing.add_axes((0, 0, 1, 1)))
    axes.set(xlim=(0, WIDTH), ylim=(lowest + FOOT, 0), aspect="equal")
    whole = named[""]
    axes.text(0.1, 0.2, title, fontsize=11, weight="bold", va="center")
    facts = [f"{scaled(whole.parameters)} parameters", f"{scaled(whole.multiply_adds)} multiply-adds a frame"]
    axes.text(0.1, 0.44, " · ".join(facts + [f"{scaled(whole.pairs)} attention pairs"] * (whole.pairs > 0)),
              color=MUTED, va="center")
    glyphs = "In each layer: one cell of frame t (orange) and the cells that it attends to (blue), on a small buffer.\n"
    _note(axes, 0.1, lowest + FOOT - 0.2, glyphs * (config.method == "sst") +
          "In the boxes: what comes out, and parameters · multiply-adds a frame.", ha="left")
    _frames(axes, frames, labels, config)
    _backbone(axes, config, named)
    _encoder(axes, config, named)
    _decoder(axes, named, frames[-1], labels[-1])
    _evidence(axes, config, named)
    _shares(axes, named, config.method, lowest + 0.52)
    return drawing


def _corners(axes: Axes, *corners: tuple[float, float], **look: Any) -> None:
    """An area between corners."""
    axes.add_patch(Polygon(corners, **{"linewidth": 1, **look}))


def _named(axes: Axes, x: float, y: float, title: str, **options: Any) -> None:
    axes.text(x, y, title, weight="bold", ha="center", va="center", **options)


def _tint(color: str, strength: float = 0.16) -> tuple[float, ...]:
    return tuple(1 - strength * (1 - part) for part in to_rgb(color))


def _shape(row: Row) -> str:
    return " × ".join(map(str, row.output[1:] if row.output[0] == 1 else row.output))


def _cost(row: Row, between: str = " · ") -> str:
    return f"{scaled(row.parameters)}{between}{scaled(row.multiply_adds)}"


def _box(axes: Axes, left: float, top: float, right: float, bottom: float, color: str) -> None:
    axes.add_patch(FancyBboxPatch((left + 0.04, top + 0.04), right - left - 0.08, bottom - top - 0.08, linewidth=1,
                                  boxstyle="round,pad=0.04", facecolor=_tint(color), edgecolor=color))


def _arrow(axes: Axes, *points: tuple[float, float], color: str = MUTED) -> None:
    """A line along the points, with a head at the last."""
    for start, end in zip(points[:-2], points[1:-1]):
        axes.plot(*zip(start, end), color=color, linewidth=1.1, solid_capstyle="round")
    axes.annotate("", points[-1], points[-2], arrowprops={
        "arrowstyle": "-|>", "color": color, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9})


def _note(axes: Axes, x: float, y: float, text: str, **options: object) -> None:
    look = {"fontsize": 7.2, "color": MUTED, "ha": "center", "va": "center", "linespacing": 1.25}
    axes.text(x, y, text, **{**look, **options})


def _masked(frame: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The frame with its objects in the color that masks have in the figure."""
    tinted = 0.15 * frame + 0.85 * 255 * np.array(to_rgb(EVIDENCE))
    return np.where(labels[..., None] > 0, tinted, frame).astype(np.uint8)


def _picture(axes: Axes, left: float, top: float, width: float, pixels: np.ndarray) -> float:
    """A small frame; returns its lower edge."""
    bottom = top + width * pixels.shape[0] / pixels.shape[1]
    axes.imshow(pixels, extent=(left, left + width, bottom, top), interpolation="bilinear", zorder=3)
    _corners(axes, (left, top), (left + width, top), (left + width, bottom), (left, bottom), facecolor="none",
             edgecolor="white", linewidth=1.2, zorder=3)
    return bottom


def _frames(axes: Axes, frames: np.ndarray, labels: np.ndarray, config: ModelConfig) -> None:
    """The past frames with their masks, one behind the other, and the current frame."""
    past = len(frames) - 1
    for t in range(past):
        _picture(axes, 0.1 + 0.09 * t, TOP + 0.02 + 0.14 * t, 0.8, _masked(frames[t], labels[t]))
    named = "frame t − 1" if config.history == 1 else f"frames t − {config.history} … t − 1"
    _note(axes, 0.6, TOP - 0.12, named if config.method == "sst" else "earlier frames")
    below = _picture(axes, 0.28, TOP + 1.2, 0.8, frames[-1])
    _note(axes, 0.68, below + 0.1, "frame t")
    middle = (TOP + BOTTOM) / 2
    _arrow(axes, (1.1, TOP + 1.43), (1.24, TOP + 1.43), (1.24, middle), (1.38, middle))
    _arrow(axes, (0.17, TOP + 0.52), (0.17, AFFINITY), (2.95, AFFINITY), color=EVIDENCE)
    _note(axes, 1.35, AFFINITY - 0.1, "masks of the past frames", color=INK)


def _backbone(axes: Axes, config: ModelConfig, named: dict[str, Row]) -> None:
    """A trapezoid that narrows with the resolution, and what leaves it."""
    row, left, right, middle = named["backbone"], 1.4, 2.2, (TOP + BOTTOM) / 2
    _corners(axes, (left, TOP), (right, TOP + 0.3), (right, BOTTOM - 0.3), (left, BOTTOM), facecolor=_tint(BACKBONE),
             edgecolor=BACKBONE)
    name = BACKBONES[config.backbone].title
    neck = "\nDeepLabV3+" if config.output_stride == 4 else ""
    _named(axes, (left + right) / 2, middle - 0.17, "Backbone")
    _note(axes, (left + right) / 2, middle + 0.17, f"{name}{neck}\nstride {config.output_stride}\n{_cost(row)}",
          fontsize=6.8)
    embedding = named.get("backbone.smooth") or named["backbone.embed"]
    _note(axes, 2.58, middle - 0.17, _shape(embedding).replace(" × ", " ×\n", 1), va="bottom", fontsize=6.6)
    _arrow(axes, (2.0, TOP + 0.22), (2.0, TOP - 0.22), (5.86, TOP - 0.22), (5.86, TOP + 0.2))
    _note(axes, 3.9, TOP - 0.32, f"embedding of frame t, and its finer features ({_shape(row)})")


def _encoder(axes: Axes, config: ModelConfig, named: dict[str, Row]) -> None:
    """The layers with their patterns, or what a rival has in their place."""
    middle, right = (TOP + BOTTOM) / 2, 5.2
    if config.method != "sst":
        own = METHODS[config.method].mechanism
        _arrow(axes, (2.2, middle), (2.86, middle))
        _box(axes, 2.9, TOP + 0.1, right, BOTTOM - 0.1, ENCODER)
        _named(axes, (2.9 + right) / 2, TOP + 0.35, own[0].upper() + own[1:])
        parts = [row for name, row in named.items()
                 if "." not in name and name not in ("", "backbone", "decoder", "matching")]
        for place, row in enumerate(parts):
            _note(axes, (2.9 + right) / 2, TOP + 0.7 + 0.3 * place, f"{row.module.replace('_', ' ')}: "
                                                                    f"{_shape(row)}\n{_cost(row)}")
        return
    axes.add_patch(Circle((2.66, middle), 0.11, facecolor="white", edgecolor=INK, linewidth=1, zorder=3))
    axes.text(2.66, middle + 0.005, "+", ha="center", va="center", fontsize=11, zorder=4)
    _arrow(axes, (2.2, middle), (2.55, middle))
    _arrow(axes, (2.66, middle + 0.42), (2.66, middle + 0.11))
    _note(axes, 2.64, middle + 0.56, f"{config.encoding}\nencoding", fontsize=6.6)
    step = (right - 2.95) / len(config.layers)
    for number, text in enumerate(config.layers):
        left = 2.95 + number * step
        _box(axes, left + 0.03, TOP, left + step - 0.06, BOTTOM, ENCODER)
        _arrow(axes, (2.77 if number == 0 else left - 0.06, middle), (left + 0.03, middle))
        _layer(axes, left + 0.03, left + step - 0.06, parse(text), config, named[f"layers.{number}"])
        _named(axes, left + step / 2 - 0.015, TOP + 0.17, f"Layer {number + 1}")


def _layer(axes: Axes, left: float, right: float, pattern: Connectivity, config: ModelConfig, row: Row) -> None:
    """One layer: the cells that one cell of the current frame attends to, on a small buffer of as many frames, and
    the counts.
    """
    center, shown = (left + right) / 2, min(config.history + 1 + config.keep_reference, 4)
    size, query = (shown, *TOY), (shown - 1, TOY[0] // 2, TOY[1] // 2)
    keys = dataclasses.replace(pattern, **pattern.glyph).reach(query, 1, size)
    cells = cell_corners(size)
    cells = (cells - cells.min((0, 1))) * min((right - left - 0.14) / np.ptp(cells[..., 0]), 0.115)
    cells += (center - np.ptp(cells[..., 0]) / 2, TOP + 0.68 - np.ptp(cells[..., 1]) / 2)
    colors = np.where(keys, HOPS[2], "#ffffff")
    colors[query] = HOPS[0]
    axes.add_collection(PolyCollection(list(cells), facecolors=colors.ravel(), edgecolors=FAINT, linewidths=0.35,
                                       zorder=3))
    few = len(config.layers) < 3
    name = str(pattern).replace("radius=", "r = ").replace("stride=", "s = ")
    _note(axes, center, TOP + 1.4, f"{name}\n{config.heads} heads\n{scaled(row.pairs)} pairs\n"
                                   f"{_cost(row, ' · ' if few else chr(10))}", fontsize=7.2 if few else 6.8)


def _evidence(axes: Axes, config: ModelConfig, named: dict[str, Row]) -> None:
    """What is known of each object: affinity and warped masks, or what the rival remembers; and matching with the
    given frames.
    """
    layers, own = len(config.layers), config.method == "sst"
    maps = f"{'both' if layers == 2 else 'all'} layers" if layers > 1 else "one layer"
    first = (("Object affinity (Eq. 4)", f"warped {config.warped}; {maps}, {config.heads} heads") if own else
             ("Memory", "the past frames' features and masks"))
    for name, middle, (title, text) in (("", AFFINITY, first),
                                        ("matching", MATCHING, ("Reference matching", "with the given frames")),
                                        ("feature_matching", MATCHING, ("CFBI's matching", "global and local"))):
        if name and not (own and name in named):
            continue
        _box(axes, 2.98, middle - 0.2, 5.2, middle + 0.2, EVIDENCE)
        _named(axes, 4.09, middle - 0.08, title, fontsize=7.8)
        _note(axes, 4.09, middle + 0.08, text if not name else f"{text}: {_shape(named[name])}", fontsize=6.9)
        if not own:
            _arrow(axes, (4.09, middle - 0.2), (4.09, BOTTOM - 0.1), color=EVIDENCE)
            continue
        _arrow(axes, (5.18, middle), (5.86, middle), (5.86, BOTTOM - 0.15), color=EVIDENCE)
        if name:
            _arrow(axes, (2.55, AFFINITY), (2.55, middle - 0.06), (2.98, middle - 0.06), color=EVIDENCE)
            _arrow(axes, (1.8, BOTTOM - 0.15), (1.8, middle + 0.06), (2.98, middle + 0.06))
    for place in range(layers * own):
        x = 2.95 + (place + 0.5) * 2.25 / layers - 0.015
        _arrow(axes, (x, BOTTOM), (x, AFFINITY - 0.2))


def _decoder(axes: Axes, named: dict[str, Row], frame: np.ndarray, labels: np.ndarray) -> None:
    """A trapezoid that widens, and the masks that leave it."""
    row, left, right, middle = named["decoder"], 5.44, 6.3, (TOP + BOTTOM) / 2
    _corners(axes, (left, TOP + 0.3), (right, TOP), (right, BOTTOM), (left, BOTTOM - 0.3), facecolor=_tint(DECODER),
             edgecolor=DECODER)
    _arrow(axes, (5.14, middle), (5.44, middle))
    _named(axes, (left + right) / 2, middle - 0.17, "Decoder")
    _note(axes, (left + right) / 2, middle + 0.17,
          f"{'small ensembler' if row.kind == 'SmallDecoder' else 'ensembler'}\n{_shape(row)}\n{_cost(row)}",
          fontsize=6.8)
    _arrow(axes, (6.3, middle), (6.43, middle))
    lower = _picture(axes, 6.44, middle - 0.2, 0.7, _masked(frame, labels))
    _note(axes, 6.79, lower + 0.18, f"masks\n{_shape(named[''])}", fontsize=6.8)


def _shares(axes: Axes, named: dict[str, Row], method: str, top: float) -> None:
    """Which part does the work, and which holds the parameters, as two bars; what no part claims is the method's
    own.
    """
    own = METHODS[method].mechanism
    matching = ["matching", "feature_matching"] if method == "sst" else ["matching"]
    stages = {"backbone": (BACKBONE, ["backbone"]), own: (ENCODER, []), "matching": (EVIDENCE, matching),
              "decoder": (DECODER, ["decoder"])}
    for y, field in ((top, "multiply_adds"), (top + 0.32, "parameters")):
        total, x = getattr(named[""], field), 1.05
        claimed = {stage: sum(getattr(named[name], field) for name in names if name in named)
                   for stage, (_, names) in stages.items()}
        claimed[own] = total - sum(claimed.values())
        axes.text(0.1, y, field.replace("_", "-"), va="center", fontsize=8)
        for stage, value in claimed.items():
            width = (WIDTH - 1.15) * value / total
            _corners(axes, (x, y - 0.12), (x + width, y - 0.12), (x + width, y + 0.12), (x, y + 0.12),
                     facecolor=_tint(stages[stage][0], 0.55), edgecolor="white")
            text = f"{stage} {value / total:.0%}"
            if width > 0.068 * len(text):
                axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=7.6)
            x += width


@styled
def stage_bars(rows: Sequence[Mapping[str, float | int | str]]) -> Figure:
    """Milliseconds of each stage of a frame, one bar a number of threads and of objects.

    Args:
        rows: `threads`, `objects`, and seconds of `backbone`, `encoder`, `decoder`, `memory` and a segmenter's whole
            `step` each.
    """
    colors = {"backbone": BACKBONE, "encoder": ENCODER, "decoder": DECODER, "memory": EVIDENCE}
    drawing, [axes] = panels(0.9 + 0.32 * len(rows))
    names = [f"{row['objects']} object{'s' * (row['objects'] > 1)}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
             for row in rows]
    start = np.zeros(len(rows))
    for stage, color in colors.items():
        values = 1000 * np.array([row[stage] for row in rows])
        axes.barh(names, values, left=start, color=_tint(color, 0.65), label=stage, height=0.66, edgecolor="white")
        start += values
    for place, row in enumerate(rows):
        axes.annotate(f"{1 / row['step']:.1f} frames a second", (start[place], place), (5, 0),
                      textcoords="offset points", va="center", fontsize=8)
    axes.set(xlabel="milliseconds a frame", xlim=(0, 1.3 * start.max()))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    drawing.legend(loc="outside upper center", ncols=len(colors), handlelength=1.0)
    return drawing
