"""Fig. 2 with the shapes of a real configuration: what a frame passes through, and where its work and its parameters
are.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon
from matplotlib.path import Path

from sstlib.config import ModelConfig
from sstlib.config.networks import BACKBONES, DECODERS, METHODS
from sstlib.config.values import scaled
from sstlib.connectivity import parse
from sstlib.plots.connectivity import draw_sheets
from sstlib.plots.style import ACCENT, INK, MUTED, SERIES, WIDTH, bare, figure, panels, styled
from sstlib.synthetic import ClipSpec, render

BACKBONE, ENCODER, EVIDENCE, DECODER = ACCENT, SERIES[2], SERIES[4], SERIES[3]
STAGES = {"backbone": BACKBONE, "encoder": ENCODER, "decoder": DECODER, "memory": EVIDENCE}
# In inches: edges and middle of the row of boxes, middles of the boxes under it, and height of what stands below all
TOP, MIDDLE, BOTTOM, FOOT = 1.12, 2.02, 2.92, 1.46
AFFINITY, MATCHING = BOTTOM + 0.42, BOTTOM + 0.92
LEFT, RIGHT = 2.98, 5.2  # edges of what stands between backbone and decoder
TOY = (9, 7)  # cells of a glyph's frame
EXAMPLE = ClipSpec(frames=24, height=120, width=214, objects=1, distractors=0, size=34.0, speed=3.0, camera=0.3,
                   camouflage=0.0, likeness=0.0)
Named = dict[str, Any]  # by a module's name its row of `benchmarks.anatomy`, which stands above the figures


@styled
def architecture(config: ModelConfig, rows: Sequence[Any], title: str) -> Figure:
    """The network as a picture: a box for each module with its shapes, parameters and multiply-adds, and beside
    each attention layer which cells a cell attends to.

    Args:
        config: of the network.
        rows: its modules, two levels deep, as `benchmarks.anatomy.anatomy` counts them.
        title: shown above.
    """
    own, named = config.method == "sst", {row.module: row for row in rows}
    lowest = MATCHING if own and {"matching", "feature_matching"} & set(named) else AFFINITY
    drawing = figure(lowest + FOOT, layout="none")
    axes = bare(drawing.add_axes((0, 0, 1, 1)))
    axes.set(xlim=(0, WIDTH), ylim=(lowest + FOOT, 0), aspect="equal")
    whole = named[""]
    axes.text(0.1, 0.2, title, fontsize=11, weight="bold", va="center")
    facts = [f"{scaled(whole.parameters)} parameters", f"{scaled(whole.multiply_adds)} multiply-adds a frame"]
    axes.text(0.1, 0.44, " · ".join(facts + [f"{scaled(whole.pairs)} attention pairs"] * (whole.pairs > 0)),
              color=MUTED, va="center")
    glyphs = "In each layer: one cell of frame t (orange) and the cells that it attends to (blue), on a small buffer.\n"
    _note(axes, 0.1, lowest + FOOT - 0.37, glyphs * own +
          "In the boxes: what comes out, and parameters · multiply-adds a frame.", ha="left")
    _ends(axes, config, named)
    _pictures(axes, config, named)
    (_layers if own else _rival)(axes, config, named)
    if own:
        _evidence(axes, config, named)
    _shares(axes, named, config.method, lowest)
    return drawing


def _shape(row: Any) -> str:
    return " × ".join(map(str, row.output[1:] if row.output[0] == 1 else row.output))


def _cost(row: Any, between: str = " · ") -> str:
    return f"{scaled(row.parameters)}{between}{scaled(row.multiply_adds)}"


def _note(axes: Axes, x: float, y: float, text: str, **options: object) -> None:
    """What is said, from its upper edge down."""
    look = {"fontsize": 6.8, "color": MUTED, "ha": "center", "va": "top", "linespacing": 1.25}
    axes.text(x, y, text, **{**look, **options})


def _part(axes: Axes, color: str, corners: Sequence[tuple[float, float]], name: str, y: float, text: str = "") -> None:
    """An area of the network with its name, and under it what is said of it."""
    axes.add_patch(Polygon(corners, linewidth=1, joinstyle="round", facecolor=(color, 0.16), edgecolor=color))
    x = float(np.mean([x for x, _ in corners]))
    axes.text(x, y, name, weight="bold", fontsize=8.5, ha="center", va="bottom")
    _note(axes, x, y + 0.03, text)


def _box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _arrow(axes: Axes, *points: tuple[float, float], color: str = MUTED) -> None:
    """A line along the points, with a head at the last."""
    axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle="-|>", mutation_scale=9, linewidth=1.1, color=color))


def _ends(axes: Axes, config: ModelConfig, named: Named) -> None:
    """The backbone, which narrows with the resolution, the decoder, which widens, and what goes past all between."""
    row, decoder = named["backbone"], named["decoder"]
    neck = "\nDeepLabV3+" if config.output_stride == 4 else ""
    _part(axes, BACKBONE, [(1.4, TOP), (2.2, TOP + 0.3), (2.2, BOTTOM - 0.3), (1.4, BOTTOM)], "Backbone", MIDDLE - 0.1,
          f"{BACKBONES[config.backbone].title}{neck}\nstride {config.output_stride}\n{_cost(row)}")
    _part(axes, DECODER, [(5.44, TOP + 0.3), (6.3, TOP), (6.3, BOTTOM), (5.44, BOTTOM - 0.3)], "Decoder", MIDDLE - 0.1,
          f"{DECODERS[config.decoder].title}\n{_shape(decoder)}\n{_cost(decoder)}")
    cells = " × ".join(str(-(-side // config.output_stride)) for side in named[""].output[-2:])
    _note(axes, 2.58, MIDDLE - 0.17, f"{config.embedding} ×\n{cells}", va="bottom")
    _arrow(axes, (2.0, TOP + 0.22), (2.0, TOP - 0.22), (5.86, TOP - 0.22), (5.86, TOP + 0.16))
    _note(axes, 3.9, TOP - 0.38, f"embedding of frame t, and its finer features ({_shape(row)})")


def _pictures(axes: Axes, config: ModelConfig, named: Named) -> None:
    """The past frames with their masks, one behind the other, the current frame, and the mask that leaves."""
    past = min(config.history, 3) if config.method == "sst" else 3
    clip = render(EXAMPLE, seed=11)
    frames, labels = (array[12 - 4 * past:13:4] for array in (clip.frames, clip.labels))
    masked = np.where(labels[..., None] > 0, 0.15 * frames + 0.85 * 255 * np.array(to_rgb(EVIDENCE)), frames)
    places = [(0.1 + 0.09 * t, TOP + 0.02 + 0.14 * t, masked[t]) for t in range(past)]
    for left, top, picture in [*places, (0.28, TOP + 1.2, frames[-1]), (6.46, MIDDLE - 0.2, masked[-1])]:
        framed = np.pad(picture.astype(np.uint8), ((4, 4), (4, 4), (0, 0)), constant_values=255)
        axes.imshow(framed, extent=(left, left + 0.72, top + 0.41, top), interpolation="bilinear", zorder=3)
    many = "frame t − 1" if config.history == 1 else f"frames t − {config.history} … t − 1"
    _note(axes, 0.6, TOP - 0.2, many if config.method == "sst" else "earlier frames")
    _note(axes, 0.64, TOP + 1.64, "frame t")
    _note(axes, 6.82, MIDDLE + 0.24, f"masks\n{_shape(named[''])}")
    _arrow(axes, (1.02, TOP + 1.4), (1.2, TOP + 1.4), (1.2, MIDDLE), (1.4, MIDDLE))
    _arrow(axes, (RIGHT - 0.04, MIDDLE), (5.44, MIDDLE))
    _arrow(axes, (6.3, MIDDLE), (6.46, MIDDLE))
    _arrow(axes, (0.17, TOP + 0.43), (0.17, AFFINITY), (LEFT, AFFINITY), color=EVIDENCE)
    _note(axes, 1.05, AFFINITY - 0.15, "masks of the past frames", color=INK)


def _rival(axes: Axes, config: ModelConfig, named: Named) -> None:
    """What a rival has in the encoder's place, and what it remembers."""
    own = METHODS[config.method].mechanism
    parts = [row for name, row in named.items()
             if "." not in name and name not in ("", "backbone", "decoder", "matching")]
    _part(axes, ENCODER, _box(2.95, TOP + 0.1, RIGHT - 0.04, BOTTOM - 0.1), own[0].upper() + own[1:], TOP + 0.42,
          "\n".join(f"{row.module.replace('_', ' ')}: {_shape(row)}\n{_cost(row)}" for row in parts))
    _arrow(axes, (2.2, MIDDLE), (2.95, MIDDLE))
    _part(axes, EVIDENCE, _box(LEFT, AFFINITY - 0.2, RIGHT - 0.04, AFFINITY + 0.2), "Memory", AFFINITY,
          "the past frames' features and masks")
    _arrow(axes, (4.09, AFFINITY - 0.2), (4.09, BOTTOM - 0.1), color=EVIDENCE)


def _layers(axes: Axes, config: ModelConfig, named: Named) -> None:
    """The attention layers: of each the cells that one cell of the current frame attends to, on a small buffer of as
    many frames, and the counts.
    """
    axes.text(2.66, MIDDLE, "+", ha="center", va="center", fontsize=11,
              bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white", "edgecolor": INK})
    _arrow(axes, (2.2, MIDDLE), (2.55, MIDDLE))
    _arrow(axes, (2.66, MIDDLE + 0.42), (2.66, MIDDLE + 0.12))
    _note(axes, 2.62, MIDDLE + 0.44, f"{config.encoding}\nencoding")
    shown, step = min(config.history + 1 + config.keep_reference, 4), (RIGHT - 2.95) / len(config.layers)
    query, down = (shown - 1, TOY[0] // 2, TOY[1] // 2), axes.get_ylim()[0]
    for number, text in enumerate(config.layers):
        pattern, row, left = parse(text), named[f"layers.{number}"], 2.98 + number * step
        name = str(pattern).replace("radius=", "r = ").replace("stride=", "s = ")
        _part(axes, ENCODER, _box(left, TOP, left + step - 0.09, BOTTOM), f"Layer {number + 1}", TOP + 0.25)
        _note(axes, left + step / 2 - 0.045, TOP + 1.12, f"{name}\n{config.heads} heads\n{scaled(row.pairs)} pairs\n"
                                                        f"{_cost(row, ' · ' if len(config.layers) < 3 else chr(10))}")
        _arrow(axes, (left - 0.09 if number else 2.78, MIDDLE), (left, MIDDLE))
        _arrow(axes, (left + step / 2 - 0.045, BOTTOM), (left + step / 2 - 0.045, AFFINITY - 0.2))
        keys = dataclasses.replace(pattern, **pattern.glyph).reach(query, 1, (shown, *TOY))
        arrival = np.where(keys, 1, -1)
        arrival[query] = 0
        place = ((left + 0.05) / WIDTH, 1 - (TOP + 1.02) / down, (step - 0.19) / WIDTH, 0.7 / down)
        draw_sheets(axes.figure.add_axes(place, facecolor="none"), arrival, 1, numbered=False)


def _evidence(axes: Axes, config: ModelConfig, named: Named) -> None:
    """What is known of each object: affinity and warped masks, and matching with the given frames."""
    layers = len(config.layers)
    maps = f"{'both' if layers == 2 else 'all'} layers" if layers > 1 else "one layer"
    boxes = [(AFFINITY, "Object affinity (Eq. 4)", f"warped {config.warped}; {maps}, {config.heads} heads")]
    for name, title, text in (("matching", "Reference matching", "with the given frames"),
                              ("feature_matching", "CFBI's matching", "global and local")):
        if name in named:
            boxes.append((MATCHING, title, f"{text}: {_shape(named[name])}"))
            _arrow(axes, (2.55, AFFINITY), (2.55, MATCHING - 0.06), (LEFT, MATCHING - 0.06), color=EVIDENCE)
            _arrow(axes, (1.8, BOTTOM - 0.15), (1.8, MATCHING + 0.06), (LEFT, MATCHING + 0.06))
    for middle, title, text in boxes:
        _part(axes, EVIDENCE, _box(LEFT, middle - 0.2, RIGHT - 0.04, middle + 0.2), title, middle, text)
        _arrow(axes, (RIGHT - 0.04, middle), (5.86, middle), (5.86, BOTTOM - 0.15), color=EVIDENCE)


def _shares(axes: Axes, named: Named, method: str, lowest: float) -> None:
    """Which part does the work, and which holds the parameters, as two bars; what no part claims is the method's
    own.
    """
    counts = pd.DataFrame({name: (row.multiply_adds, row.parameters) for name, row in named.items()},
                          ["multiply-adds", "parameters"])
    shares = counts.reindex(columns=["backbone", "matching", "decoder"], fill_value=0)
    if method == "sst":
        shares["matching"] += counts.get("feature_matching", 0)
    shares = shares.div(counts[""], axis=0)
    shares.insert(1, METHODS[method].mechanism, 1 - shares.sum(axis=1))
    down = lowest + FOOT
    below = bare(axes.figure.add_axes((1.0 / WIDTH, 0.42 / down, 1 - 1.1 / WIDTH, 0.64 / down)))
    _stacked(below, shares, [BACKBONE, ENCODER, EVIDENCE, DECODER], 0.55)
    for bars in below.containers:
        texts = [(f"{bars.get_label()} {share:.0%}", share) for share in bars.datavalues]
        below.bar_label(bars, [text if share > 0.0113 * len(text) else "" for text, share in texts],
                        label_type="center", fontsize=7.6)
    below.set(xlim=(0, 1), yticks=[0, 1], yticklabels=shares.index)


def _stacked(axes: Axes, rows: pd.DataFrame, colors: Sequence[str], strength: float) -> None:
    """Lying bars, a row each from above, of a part a column."""
    ends = rows.cumsum(axis=1)  # DataFrame.plot would have a notebook show figures by pyplot from then on
    for (name, values), color in zip(rows.items(), colors, strict=True):
        axes.barh(rows.index, values, left=ends[name] - values, color=(color, strength), label=name, height=0.7,
                  edgecolor="white")
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


@styled
def stage_bars(rows: Sequence[Mapping[str, float | int | str]]) -> Figure:
    """Milliseconds of each stage of a frame, one bar a number of threads and of objects.

    Args:
        rows: `threads`, `objects`, and seconds of `backbone`, `encoder`, `decoder`, `memory` and a segmenter's whole
            `step` each.
    """
    drawing, [axes] = panels(0.9 + 0.32 * len(rows))
    names = [f"{row['objects']} object{'s' * (row['objects'] > 1)}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
             for row in rows]
    times = 1000 * pd.DataFrame(rows, names)[[*STAGES]]
    _stacked(axes, times, [*STAGES.values()], 0.65)
    axes.bar_label(axes.containers[-1], [f"{1 / row['step']:.1f} frames a second" for row in rows], padding=5,
                   fontsize=8)
    axes.set(xlabel="milliseconds a frame", xlim=(0, 1.3 * times.sum(axis=1).max()))
    drawing.legend(loc="outside upper center", ncols=len(STAGES), handlelength=1.0)
    return drawing
