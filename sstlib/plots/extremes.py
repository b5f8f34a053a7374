"""Figures of scores: the best, the median and the worst sequence of a result, as boundaries and as J and F over
time.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sstlib.metrics import boundary_agreement
from sstlib.plots.style import ACCENT, INK, SERIES, SIGNAL, WIDTH, bare, figure, styled
from sstlib.shapes import Bool

Mask = Bool[np.ndarray, "height width"]


class Shown(NamedTuple):
    """One sequence of `sequences_in_outline`: its title, J and F of its scored frames, and (frame, predicted, true
    mask) to draw.
    """

    title: str
    similarity: Sequence[float]
    accuracy: Sequence[float]
    masks: Sequence[tuple[int, Mask, Mask]]


@styled
def sequences_in_outline(rows: Sequence[Shown]) -> Figure:
    """A row a sequence: J and F over its frames, and boundaries at some of them, without the photographs, which may
    not be copied.
    """
    columns = 1 + max(len(row.masks) for row in rows)
    height, width = rows[0].masks[0][1].shape
    drawing = figure(0.45 + len(rows) * (0.25 + 1.15 * WIDTH / columns * height / width))
    grid = drawing.subplots(len(rows), columns, squeeze=False, width_ratios=[1.3] + [1] * (columns - 1))
    for (curves, *places), row in zip(grid, rows):
        scores = pd.DataFrame({"J": row.similarity, "F": row.accuracy}, range(1, 1 + len(row.similarity)))
        seaborn.lineplot(scores, palette=[INK, SIGNAL], legend=row is rows[0], ax=curves)
        curves.set_title(row.title, fontsize=8)
        curves.set(ylim=(0, 1.05), xlim=(0, len(scores) + 1))
        for axes, (t, prediction, truth) in zip(places, row.masks):
            _boundaries(axes, prediction, truth)
            axes.set_title(f"frame {t}", fontsize=8)
    grid[-1][0].set(xlabel="frame")
    grid[0][0].legend(loc="lower left", ncols=2, fontsize=7)
    drawing.legend(*grid[0][1].get_legend_handles_labels(), loc="outside lower right", ncols=3, markerscale=3,
                   fontsize=8)
    return drawing


def _boundaries(axes: Axes, prediction: Mask, truth: Mask) -> None:
    """The boundaries that F compares, over the area of the true mask: predicted and right, predicted and wrong,
    missed.
    """
    height, width = truth.shape
    bare(axes).imshow(np.where(truth, 0.86, 0.97), cmap="gray", vmin=0, vmax=1)
    agreement = boundary_agreement(prediction, truth)
    for pixels, color, label in ((agreement.matched, SERIES[2], "predicted, right"),
                                 (agreement.false, SIGNAL, "predicted, wrong"),
                                 (agreement.missed, ACCENT, "true, missed")):
        y, x = np.nonzero(pixels)
        axes.scatter(x, y, s=2, color=color, linewidths=0, marker="s", label=label)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
