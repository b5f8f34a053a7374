"""Comparison figures show the numbers that they are given."""

import numpy as np
import pandas as pd
import pytest

from sstlib.plots import curves, differences


def test_training_curve_draws_every_step_and_every_probe():
    curve = pd.DataFrame({"step": range(1, 31), "loss": np.linspace(1, 0.5, 30), "probe_J": [np.nan] * 29 + [0.7]})
    left, right = curves.training_curve(curve).axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), curve["loss"])
    assert right.lines[0].get_xydata().tolist() == [[30, 0.7]]


def test_side_by_side_shows_each_method_at_each_time():
    frames = np.full((4, 6, 8, 3), 100, np.uint8)
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[:, 2:4, 2:5] = 1
    drawing = curves.side_by_side(frames, {"truth": labels, "SST": 0 * labels}, [0, 3])
    shown = [axes.images[0].get_array() for axes in drawing.axes]
    assert len(shown) == 4 and (shown[0] != frames[0]).any() and (shown[2] == frames[0]).all()


@pytest.mark.parametrize("score", ["J&F", "G"])
def test_published_bars_are_ordered(score):
    table = pd.DataFrame({
        "method": ["x", "y", "z"], score: [70.0, None, 80.0], "online_finetuning": [True, False, False],
        "synthetic_data": [False, False, False]
    })
    axes = curves.published_bars(table).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [80, 70]


def test_sequence_bars_order_by_the_first_method():
    table = pd.DataFrame({"ours": [50.0, 30.0], "theirs": [40.0, 60.0]}, index=["dog", "cow"])
    axes = curves.sequence_bars(table).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dog", "cow"]


def test_figures_of_photographs_show_themselves_as_jpeg():
    frames = np.random.default_rng(0).integers(0, 255, (2, 24, 40, 3), dtype=np.uint8)
    drawing = curves.side_by_side(frames, {"truth": np.zeros((2, 24, 40), np.uint8)}, [0, 1])
    assert drawing._repr_png_() is None and drawing._repr_jpeg_()[0].startswith(b"\xff\xd8")
    assert curves.published_bars(
        pd.DataFrame({"method": ["x"], "G": [70.0], "online_finetuning": [True],
                      "synthetic_data": [False]}))._repr_jpeg_() is None


def test_a_variant_that_is_not_run_is_said_to_be_so_and_floors_and_intervals_are_drawn():
    rows = pd.DataFrame({"variant": ["a", "b"], "mean": [50.0, np.nan], "low": [45.0, np.nan], "high": [55.0, np.nan],
                         "printed": [70.0, np.nan]})
    axes = differences.scores_above(rows, 25.0).axes[0]
    [words] = axes.texts
    assert words.get_text() == "not run yet" and words.xy == (25, "b") and axes.lines[0].get_xdata()[0] == 25
    claims = pd.DataFrame({"claim": ["a above b"], "mean": [3.0], "low": [1.0], "high": [5.0], "verdict": ["seen"]})
    axes = differences.paired_differences(claims).axes[0]
    assert 3.0 in axes.lines[1].get_xdata() and [1, 5] in [list(line.get_xdata()) for line in axes.lines]
    assert axes.texts[0].get_text() == "seen"
    costs = pd.DataFrame({"what": ["net", "floor"] * 2, "hidden for": [4, 4, 16, 16], "J&F back": [10.0, 2, 5, 1],
                          "without occlusion": [60.0, 3, 50, 2]})
    assert len(differences.occlusion_costs(costs).axes) == 2
    result = pd.DataFrame({"measure": "J&F", "seeds": [3, 5], "effect": [9.0, 4.0]})
    np.testing.assert_allclose(differences.smallest_effects(result).axes[0].lines[0].get_ydata(), [9, 4])
