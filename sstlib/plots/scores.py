"""Figures of scores: bars a sequence, J and F over time with occlusions shaded, agreement of boundaries on a frame."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from sstlib.metrics import SequenceScore, boundary_agreement
from sstlib.plots import ACCENT, SERIES, SIGNAL, bare, figure, styled
from sstlib.shapes import Bool, Float, UInt8

MATCHED, FALSE, MISSED = SERIES[2], SIGNAL, ACCENT


@styled
def sequence_bars(results: Mapping[str, Mapping[str, float]], measure: str = "J&F") -> Figure:
    """A group of bars a sequence, one a result ({result: {sequence: score in 0..1}}), hardest first; dashed: means."""
    first = next(iter(results.values()))
    names = sorted({name for scores in results.values() for name in scores},
                   key=lambda name: (first.get(name, 0.0), name))
    drawing = figure(0.7 + (0.1 + 0.12 * len(results)) * len(names))
    axes = drawing.subplots()
    places, height = np.arange(len(names)), 0.8 / len(results)
    for number, ((result, scores), color) in enumerate(zip(results.items(), SERIES)):
        offset = (number - (len(results) - 1) / 2) * height
        percent = [100 * scores.get(name, np.nan) for name in names]
        axes.barh(places + offset, percent, height, color=color, label=result)
        axes.axvline(100 * float(np.mean(list(scores.values()))), color=color, linestyle="--", linewidth=1)
    axes.set_yticks(places, names)
    axes.set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.6), xlabel=f"{measure} (%)")
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


@styled
def over_time(score: SequenceScore, visible_share: Float[np.ndarray, "frames objects"] | None = None) -> Figure:
    """J and F of each object over a sequence, shaded the darker the less of the object can be seen.

    `visible_share` has a row a frame of the sequence, those that are not scored (the first, the last) among them.
    """
    drawing = figure(0.5 + 1.35 * len(score.objects))
    rows = drawing.subplots(len(score.objects), 1, sharex=True, squeeze=False)[:, 0]
    frames = np.arange(1, 1 + len(score.frames))
    for number, (axes, value) in enumerate(zip(rows, score.objects)):
        if visible_share is not None:
            hidden = 1 - np.nan_to_num(visible_share[:, number])
            shades = [(0.5, 0.5, 0.5, 0.45 * float(share)) for share in hidden]
            axes.bar(np.arange(len(hidden)), 1.05, width=1, color=shades, linewidth=0)
        axes.plot(frames, score.similarity[number], color=ACCENT, label="J")
        axes.plot(frames, score.accuracy[number], color=SIGNAL, linestyle="--", label="F")
        axes.set(ylim=(0, 1.05), title=f"object {value}")
        axes.grid(axis="y")
    rows[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
    label = "frame" if visible_share is None else "frame, gray where hidden"
    rows[-1].set(xlabel=label, xlim=(-0.5, len(frames) + 1.5))
    return drawing


@styled
def boundary_agreement_on(frame: UInt8[np.ndarray, "height width 3"], prediction: Bool[np.ndarray, "height width"],
                          truth: Bool[np.ndarray, "height width"], radius: int | None = None) -> Figure:
    """The boundaries that F compares, on a pale frame: predicted and right, predicted and wrong, missed."""
    height, width = truth.shape
    drawing = figure(0.35 + 6.0 * height / width)
    axes = bare(drawing.subplots())
    axes.imshow(frame.mean(axis=2) * 0.5 + 127, cmap="gray", vmin=0, vmax=255)  # colors are for the boundaries
    agreement = boundary_agreement(prediction, truth, radius)
    size = max(1.0, 400 / width) ** 2
    for pixels, color, label in ((agreement.matched, MATCHED, "predicted, right"),
                                 (agreement.false, FALSE, "predicted, wrong"),
                                 (agreement.missed, MISSED, "true, missed")):
        y, x = np.nonzero(pixels)
        axes.scatter(x, y, s=size, color=color, linewidths=0, marker="s", label=f"{label} ({len(x)})")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=3, markerscale=4 / size ** 0.5)
    return drawing
