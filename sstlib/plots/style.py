"""Every figure of the project: arrays in, a matplotlib Figure out, in one restrained style and without pyplot's global
state.

A drawing function is marked `@styled`, makes its figure with `figure(...)` and returns it. In a notebook the returned
figure shows itself, and says in words what it shows (`description`); `save(figure, "name")` also puts it into
results/figures where `sst reproduce` runs the notebook. Colors are Okabe and Ito's, which stay apart for color-blind
eyes.
"""

import functools
import inspect
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageColor
from PIL.PngImagePlugin import PngInfo

from sstlib import paths
from sstlib.config.networks import METHODS
from sstlib.paths import write_whole
from sstlib.shapes import Shaped

INK = "#1f2933"  # text and axes
MUTED = "#6b7785"  # second-rank text, reference lines
FAINT = "#d8dde3"  # grid lines, outlines
PAPER = "#f5f6f8"  # cells that take no part
ACCENT = "#0072b2"  # the one thing a figure is about
SIGNAL = "#d55e00"  # the query, the error, what to look at first
SERIES = (ACCENT, SIGNAL, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)  # lines and bars, in this order
HOPS = (SIGNAL, "#08488e", "#3f8fd0", "#a8d1f0", "#dcecf8")  # the cell itself, then reached in 1, 2, 3, 4 hops
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # a second channel beside color
WIDTH = 7.2  # inches across the page
DPI = 110

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "figure.titlesize": 11,
    "legend.fontsize": 8.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "axes.titlelocation": "left",
    "text.color": INK, "axes.labelcolor": INK, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED, "grid.color": FAINT,
    "axes.linewidth": 0.8, "grid.linewidth": 0.6, "lines.linewidth": 1.6, "lines.markersize": 5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "axes.axisbelow": True,
    "legend.frameon": False, "figure.facecolor": "white", "figure.dpi": DPI, "savefig.dpi": DPI,
    "axes.prop_cycle": matplotlib.cycler(color=SERIES), "image.interpolation": "nearest", "svg.hashsalt": "sstlib",
}


class Drawing(Figure):
    """A Figure that shows itself in a notebook as a small picture, whether or not pyplot was imported."""

    photographs = False  # textures of video frames: a JPEG is a quarter of the PNG
    description = ""  # for a reader who does not see it

    def _repr_png_(self) -> tuple[bytes, dict[str, str]] | None:
        return None if self.photographs else (png(self), {"alt": self.description})

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, str]] | None:
        return (jpeg(self), {"alt": self.description}) if self.photographs else None


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Runs a drawing function under the project's style and leaves matplotlib's global settings as they were; the
    figure's description is the function's first sentences and what is written in the figure.
    """

    @functools.wraps(draw)
    def drawn(*arguments: Any, **options: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            made = draw(*arguments, **options)
        made.description = described(made, inspect.getdoc(draw) or "")
        return made

    return drawn


def described(drawing: Figure, document: str) -> str:
    """What a figure shows: a drawing function's docstring up to its first empty line, then titles, axes (of pictures
    the names of their rows) and series.
    """
    parts = drawing.axes
    legends = filter(None, [*(part.get_legend() for part in parts), *drawing.legends])
    written = {"Titles": [drawing.get_suptitle(), *(part.get_title("left") or part.get_title() for part in parts)],
               "Rows": [], "Axes": [], "Series": [text.get_text() for legend in legends for text in legend.get_texts()]}
    for part in parts:
        written["Rows" if part.images else "Axes"] += part.get_xlabel(), part.get_ylabel()
    sentences = document.split("\n\n")[:1]
    for name, words in written.items():
        words = dict.fromkeys(" ".join(word.split()) for word in words if word.strip())
        sentences += [f"{name}: {'; '.join(words)}."] if words else []
    return re.sub(r"[`$]", "", " ".join(" ".join(sentences).split()))


def figure(height: float, width: float = WIDTH, photographs: bool = False, **options: Any) -> Drawing:
    """An empty figure in inches, of `photographs` where video frames fill it; `options` go to Figure
    (layout="constrained" unless given).
    """
    made = Drawing(figsize=(width, height), **{"layout": "constrained", **options})
    made.photographs = photographs
    FigureCanvasAgg(made)
    return made


def panels(height: float, columns: int = 1, sharey: bool = False, **options: Any) -> tuple[Drawing, list[Axes]]:
    """A figure (see `figure`) and its axes, side by side."""
    drawing = figure(height, **options)
    return drawing, list(drawing.subplots(1, columns, sharey=sharey, squeeze=False)[0])


def looks(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Color and marker of each line: those of the method that its label begins with, else the next in order."""
    own = [next(((one.color, one.marker) for one in METHODS.values() if f"{label} (".startswith(f"{one.title} (")),
                ("", "")) for label in labels]
    return [(color or SERIES[n % len(SERIES)], marker or MARKERS[n % len(MARKERS)])
            for n, (color, marker) in enumerate(own)]


def lines(axes: Axes, data: pd.DataFrame, hue: str | None = None, **options: Any) -> None:
    """A line a column against the index, or one a `hue` of the rows, in the style's colors and markers; `options` are
    seaborn's.
    """
    count = data[hue].nunique() if hue else data.shape[1]
    seaborn.lineplot(data, hue=hue, style=hue, markers=list(MARKERS[:count]), dashes=False, ax=axes,
                     **{"errorbar": None, **options})


# Of rows that `spread` makes, seaborn draws the mean and the interval that were estimated before, and no others
AS_ESTIMATED: dict[str, Any] = {"estimator": "median", "errorbar": ("pi", 100)}


def spread(rows: pd.DataFrame, mean: str = "mean") -> pd.DataFrame:
    """Each row thrice, with its mean, `low` and `high` in the column of means: see `AS_ESTIMATED`."""
    return pd.concat([rows.assign(**{mean: rows[column].astype(float)}) for column in (mean, "low", "high")],
                     ignore_index=True)


def dots(axes: Axes, rows: pd.DataFrame, x: str, y: str, hue: str | None = None, **options: Any) -> None:
    """A dot a row, at one height for each `y`, with its interval where rows have `low` and `high`."""
    look = {"markers": list(MARKERS)} if hue else {"color": ACCENT}
    if hue is None or rows[hue].nunique() < 2:
        options.pop("dodge", None)  # seaborn divides by one less than there are
    seaborn.pointplot(spread(rows, x) if "low" in rows else rows, x=x, y=y, hue=hue, orient="y", linestyle="none",
                      markersize=5, markeredgewidth=1, err_kws={"linewidth": 1.6}, ax=axes,
                      **{**look, **AS_ESTIMATED, **options})
    axes.set_ylim(rows[y].nunique() - 0.5, -0.5)  # rows without a value, too


def bars(axes: Axes, values: Mapping[str, float], texts: Sequence[str], colors: Any = ACCENT,
         height: float | int = 0.62, **options: Any) -> None:
    """A lying bar a value, from above, each with a text at its end; `options` are the texts'."""
    drawn = axes.barh(list(values), list(values.values()), color=colors, height=height)
    axes.bar_label(drawn, texts, **{"padding": 4, **options})
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def frame_panels(height: float, shape: tuple[int, ...], title: str) -> tuple[Drawing, list[Axes]]:
    """A figure and bare axes for each frame of a buffer (time, height, width), which carry its number as their label;
    `height` is what stands beside the frames in inches.
    """
    columns = min(shape[0], 4)
    rows = -(-shape[0] // columns)
    drawing = figure(height + rows * (0.3 + 7 / columns * shape[1] / shape[2]))
    drawing.suptitle(title, x=0.01, ha="left", fontsize=10)
    places = [bare(axes) for axes in drawing.subplots(rows, columns, squeeze=False).flat][:shape[0]]
    for frame, axes in enumerate(places):
        axes.set(title=f"t = {frame + 1}", label=str(frame))
    return drawing, places


def facets(height: float, rows: pd.DataFrame, by: str) -> tuple[Drawing, list[tuple[Any, pd.DataFrame, Axes]]]:
    """A figure and, for each value of a column, that value, its rows and axes beside the others."""
    drawing, row = panels(height, rows[by].nunique(), sharey=True)
    return drawing, [(name, part, axes) for axes, (name, part) in zip(row, rows.groupby(by, sort=False), strict=True)]


def logarithmic(axes: Axes, ticks: Sequence[Any] | pd.Index) -> None:
    """Spreads the horizontal axis by factors, with these ticks alone."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def finish(axes: Axes, grid: str = "y", **options: Any) -> None:
    """Words and limits of axes, lines along their grid, and what the series are named, on the right of the last."""
    axes.set(**{"ylabel": "", **options})
    if grid:
        axes.grid(axis=grid)
    if not axes.get_subplotspec().is_last_col():
        if axes.get_legend():
            axes.get_legend().remove()
    elif axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def key_outside(drawing: Figure, axes: Axes, loc: str = "outside right center", **options: Any) -> None:
    """What the series of the axes are named, beside the figure in place of their own legend."""
    drawing.legends.clear()
    drawing.legend(*axes.get_legend_handles_labels(), loc=loc, **options)
    axes.get_legend().remove()


def bare(axes: Axes) -> Axes:
    """Takes ticks and spines off axes that hold a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def pictures(drawing: FigureBase, rows: Mapping[str, Iterable[Shaped[np.ndarray, "height width ..."]]],
             titles: Sequence[str], fontsize: float | int = 8.5, **options: Any) -> np.ndarray:
    """Rows of pictures in bare axes, which are returned: titles above the first row, on the left of each its name;
    `options` are imshow's.
    """
    grid = drawing.subplots(len(rows), len(titles), squeeze=False)
    for number, (name, images) in enumerate(rows.items()):
        for axes, image, title in zip(map(bare, grid[number]), images, titles):
            axes.imshow(image, **options)
            axes.set_title("" if number else title, fontsize=fontsize)
        grid[number, 0].set_ylabel(name)
    return grid


def png(drawing: Figure) -> bytes:
    """The figure as a small PNG, the same bytes each time: in 256 colors, the style's own among them."""
    full = rendered(drawing)
    # Rare colors, those of thin lines over a photograph, would be lost in a palette made from the picture alone.
    own = sorted({ImageColor.getrgb(color) for color in ("white", INK, MUTED, FAINT, PAPER, *SERIES, *HOPS)})
    few = full.quantize(256 - len(own), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    pixels, indices = np.asarray(full), np.array(few)
    colors = few.getpalette()
    for color in own:
        indices[(pixels == color).all(-1)] = len(colors) // 3
        colors += color
    picture = Image.fromarray(indices)
    picture.putpalette(colors)
    small, words = io.BytesIO(), PngInfo()
    if description := getattr(drawing, "description", ""):
        words.add_itxt("Description", description)
    picture.save(small, format="PNG", optimize=True, pnginfo=words)
    return small.getvalue()


def jpeg(drawing: Figure, quality: int = 72) -> bytes:
    """The figure as a JPEG, for pictures of video frames."""
    small = io.BytesIO()
    rendered(drawing).save(small, format="JPEG", quality=quality, optimize=True)
    return small.getvalue()


def rendered(drawing: Figure) -> Image.Image:
    """The figure as a picture; what is changed in it later is drawn in the same layout."""
    with matplotlib.rc_context(STYLE):
        # Would move things a little at every drawing
        if isinstance(drawing.get_layout_engine(), ConstrainedLayoutEngine):
            drawing.draw_without_rendering()
            drawing.set_layout_engine("none")
        drawing.canvas.draw()
    return Image.fromarray(np.asarray(drawing.canvas.buffer_rgba())).convert("RGB")


def save(drawing: Any, name: str, folder: Path | None = None) -> Path | None:
    """Writes NAME.png, an `Animation` as NAME.avif, whole or not at all, with the description inside; returns its path.

    Without a folder it goes where the environment variable SST_FIGURES says, which `sst reproduce` sets for its
    notebooks; where nothing says so, as in a notebook that someone opens and runs, nothing is written: None.

    Raises:
        ValueError: the name holds a folder or an ending.
    """
    if Path(name).name != name or Path(name).suffix:
        raise ValueError(f"a figure is named without folder and ending, like 'reach'; given {name!r}")
    if folder is None and not os.environ.get("SST_FIGURES"):
        return None
    moves = hasattr(drawing, "avif")
    path = (folder or paths.FIGURES) / f"{name}.{'avif' if moves else 'png'}"
    return write_whole(path, drawing.avif if moves else png(drawing))
