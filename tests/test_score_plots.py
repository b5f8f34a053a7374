"""Figures of scores: what is drawn is what the arrays say."""

import numpy as np

from sstlib.metrics import boundary_agreement, score_sequence
from sstlib.plots import png
from sstlib.plots.curves import Shown, sequences_in_outline


def test_a_sequence_is_shown_by_its_scores_and_where_its_boundaries_agree():
    truth = np.zeros((7, 23, 31), np.uint8)
    truth[:, 4:12, 5:14] = 1
    prediction = np.roll(truth, 3, axis=2)
    score = score_sequence(prediction, truth)
    masks = [(t, prediction[t] > 0, truth[t] > 0) for t in (2, 5)]
    drawing = sequences_in_outline([Shown("worst", score.similarity[0], score.accuracy[0], masks)])
    curves, second, last = drawing.axes
    np.testing.assert_array_equal(curves.lines[0].get_ydata(), score.similarity[0])
    np.testing.assert_array_equal(curves.lines[1].get_ydata(), score.accuracy[0])
    assert tuple(axes.get_title("left") for axes in drawing.axes) == ("worst", "frame 2", "frame 5")
    agreement = boundary_agreement(*masks[0][1:])
    assert agreement.matched.any() and agreement.missed.any() and agreement.false.any()
    for points, pixels in zip(second.collections, (agreement.matched, agreement.false, agreement.missed), strict=True):
        assert sorted(points.get_offsets().astype(int)[:, ::-1].tolist()) == np.argwhere(pixels).tolist()
    png(drawing)
