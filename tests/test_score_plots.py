"""Figures of scores: what is drawn is what the arrays say."""

import numpy as np
import pytest

from sstlib.metrics import boundary_agreement, score_sequence
from sstlib.plots import png
from sstlib.plots.scores import FALSE, MATCHED, MISSED, boundary_agreement_on, over_time, sequence_bars


@pytest.fixture
def pair():
    truth = np.zeros((7, 23, 31), np.uint8)
    truth[:, 4:12, 5:14] = 1
    truth[:, 14:20, 18:27] = 2
    prediction = truth.copy()
    prediction[:, :, 20:] = 0
    return prediction, truth


def test_bars_are_sorted_by_the_first_result_and_means_are_marked():
    drawing = sequence_bars({"one": {"a": 0.9, "b": 0.2, "c": 0.5}, "other": {"a": 0.4, "b": 0.6}})
    axes = drawing.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [20, 50, 90, 60, np.nan, 40])
    np.testing.assert_allclose([line.get_xdata()[0] for line in axes.lines], [160 / 3, 50])
    png(drawing)


def test_curves_hold_the_scores_and_shade_what_is_hidden(pair):
    score = score_sequence(*pair)
    visible = np.ones((7, 2))
    visible[3:5, 1] = 0.25, np.nan
    drawing = over_time(score, visible)
    assert len(drawing.axes) == 2
    for axes, similarity, accuracy in zip(drawing.axes, score.similarity, score.accuracy):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), similarity)
        np.testing.assert_array_equal(axes.lines[1].get_ydata(), accuracy)
    shades = [bar.get_facecolor()[-1] for bar in drawing.axes[1].patches]
    np.testing.assert_allclose(shades, np.array([0, 0, 0, 0.75, 1, 0, 0]) * 0.45)
    png(drawing)
    assert not over_time(score).axes[0].patches


def test_boundaries_are_drawn_where_they_agree_and_where_not(pair):
    prediction, truth = (labels[2] > 0 for labels in pair)
    drawing = boundary_agreement_on(np.full((*truth.shape, 3), 90, np.uint8), prediction, truth)
    agreement = boundary_agreement(prediction, truth)
    parts = {MATCHED: agreement.matched, FALSE: agreement.false, MISSED: agreement.missed}
    assert agreement.missed.any() and agreement.false.any()
    for points, pixels in zip(drawing.axes[0].collections, parts.values()):
        drawn = points.get_offsets().astype(int)[:, ::-1].tolist()
        assert sorted(drawn) == np.argwhere(pixels).tolist()
    png(drawing)
