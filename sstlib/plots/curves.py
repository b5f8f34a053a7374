"""Figures of training and of comparisons: curves, reliability, scores, masks side by side and in outline."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sstlib.metrics import boundary_agreement
from sstlib.plots import style
from sstlib.plots.style import ACCENT, FAINT, INK, MUTED, SIGNAL, WIDTH, bars, dots, figure, finish, panels, styled
from sstlib.shapes import Bool, UInt8
from sstlib.video import overlay

Mask = Bool[np.ndarray, "height width"]


@styled
def training_curve(curve: pd.DataFrame, name: str = "") -> Figure:
    """Loss by step (faint: each step, strong: running median) and J on held-out clips of one training run.

    Args:
        curve: of the run's record.
        name: of the run, where several stand together.
    """
    drawing, (left, right) = panels(2.6, 2)
    left.plot(curve["step"], curve["loss"], color=FAINT, linewidth=0.8)
    smooth = curve["loss"].rolling(max(5, len(curve) // 20), center=True, min_periods=1).median()
    left.plot(curve["step"], smooth, color=ACCENT)
    left.set(xlabel="step", title=f"{name}: training loss".removeprefix(": "), ylim=(0, None))
    probe = curve.dropna(subset=["probe_J"])
    right.plot(probe["step"], probe["probe_J"], color=ACCENT, marker="o")
    right.set(xlabel="step", title="J on held-out clips", ylim=(0, 1), xlim=(0, None))
    return drawing


@styled
def reliability_curves(sources: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Observed shares against predicted probabilities, with intervals over clips; on the dotted line both are equal.

    Args:
        sources: by data, scores of `doubt` and `presence` with their `reliability` (`statistics.calibration`).
    """
    drawing, row = panels(2.9, 2, sharey=True)
    for axes, kind, title in zip(row, ("doubt", "presence"), ("doubt: J below 0.5", "presence: in sight")):
        axes.plot([0, 1], [0, 1], ":", color=MUTED)
        bins = pd.DataFrame([{"data": name, **one, **one["observed"]} for name, scores in sources.items()
                             for one in scores[kind]["reliability"]["bins"]])
        style.lines(axes, style.spread(bins), "data", x="foretold", y="mean", err_style="bars",
                    err_kws={"linewidth": 0.8}, **style.AS_ESTIMATED)
        finish(axes, "both", xlabel="predicted probability", ylabel="observed share", title=title,
               xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    return drawing


@styled
def side_by_side(frames: UInt8[np.ndarray, "time height width 3"],
                 rows: Mapping[str, UInt8[np.ndarray, "time height width"]], times: Sequence[int],
                 notes: Mapping[str, Sequence[str]] | None = None) -> Figure:
    """Frames of a clip from left to right, and in each row the masks of one source over them, tinted and outlined in
    white (Fig. 3-5).

    Args:
        frames: the clip.
        rows: labels by the name of what they are from.
        times: which frames are shown.
        notes: a line under each picture, by the same names and frame.
    """
    height, width = frames.shape[1:3]
    cell = (WIDTH - 0.3) / len(times)
    drawing = figure(len(rows) * (cell * height / width + (0.22 if notes else 0.03)) + 0.2, photographs=True)
    masked = {name: [overlay(frames[t], labels[t], white=True) for t in times] for name, labels in rows.items()}
    grid = style.pictures(drawing, masked, [f"frame {t}" for t in times], fontsize=8)
    for line, name in zip(grid, rows):
        for axes, note in zip(line, [notes[name][t] for t in times] if notes and name in notes else ()):
            axes.set_xlabel(note, fontsize=7.5)
    return drawing


@styled
def published_bars(table: pd.DataFrame) -> Figure:
    """Printed overall scores (percent) as bars, best first; methods without finetuning and synthetic data in the
    accent color.
    """
    score = "J&F" if "J&F" in table else "G"
    rows = table.dropna(subset=[score]).sort_values(score, ascending=False)
    plain = ~(rows["online_finetuning"] | rows["synthetic_data"]).astype(bool)
    drawing, [axes] = panels(0.7 + 0.22 * len(rows))
    bars(axes, dict(zip(rows["method"], rows[score])), [f"{value:.1f}" for value in rows[score]],
         np.where(plain, ACCENT, FAINT), fontsize=8)
    axes.set(xlabel=f"{score} (%), as published", xlim=(0, 100),
             title=f"{table.attrs.get('title', '')} (blue: no finetuning, no synthetic pretraining)")
    return drawing


@styled
def sequence_bars(table: pd.DataFrame, title: str = "DAVIS 2016 validation, by sequence") -> Figure:
    """Score (percent) of each sequence (rows) for each method (columns) as dots on a line, by the first column's
    order.

    Args:
        table: as `experiments.findings.sequences_on`; what its columns are named by is the score.
        title: shown above.
    """
    score = table.columns.name or "J&F"
    rows = table.sort_values(table.columns[0], ascending=False)
    means = rows.rename(columns={name: f"{name}, mean {rows[name].mean():.1f}" for name in rows})
    drawing, [axes] = panels(0.8 + 0.2 * len(rows))
    colors, markers = map(list, zip(*style.looks(rows.columns)))
    axes.hlines(rows.index, rows.min(axis=1), rows.max(axis=1), color=FAINT, linewidth=2)
    long = means.melt(var_name="method", value_name=score, ignore_index=False).rename_axis("sequence").reset_index()
    dots(axes, long, score, "sequence", "method", palette=colors, markers=markers)
    finish(axes, "x", xlabel=f"{score} (%)", xlim=(0, 100), title=title)
    return drawing


@styled
def step_stages(stages: Mapping[str, float]) -> Figure:
    """Seconds of a training step by stage, the costliest first, as bars that say their share."""
    drawing, [axes] = panels(0.5 + 0.24 * len(stages))
    rows = dict(sorted(stages.items(), key=lambda row: -row[1]))
    bars(axes, rows, [f"{seconds / sum(stages.values()):.0%}" for seconds in rows.values()], fontsize=8)
    axes.set(xlabel="seconds a step")
    axes.margins(x=0.1)
    return drawing


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
    style.bare(axes).imshow(np.where(truth, 0.86, 0.97), cmap="gray", vmin=0, vmax=1)
    agreement = boundary_agreement(prediction, truth)
    for pixels, color, label in ((agreement.matched, style.SERIES[2], "predicted, right"),
                                 (agreement.false, SIGNAL, "predicted, wrong"),
                                 (agreement.missed, ACCENT, "true, missed")):
        y, x = np.nonzero(pixels)
        axes.scatter(x, y, s=2, color=color, linewidths=0, marker="s", label=label)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
