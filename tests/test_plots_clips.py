"""Figures of clips: what they show is what the truth says."""

import numpy as np
import pytest

from sstlib.plots import clips
from sstlib.synthetic import random_spec, render


@pytest.fixture(scope="module")
def clip():
    return render(random_spec("occlusion", 0, frames=17, height=48, width=80, occlusion=3), 0)


def test_the_outline_is_inside_and_one_pixel_wide():
    mask = np.zeros((7, 9), bool)
    mask[1:6, 2:8] = True
    edge = clips.outline(mask)
    assert edge.sum() == 2 * (5 + 6) - 4 and not (edge & ~mask).any()
    assert clips.outline(np.ones((3, 5), bool)).sum() == 12


def test_what_is_hidden_is_outlined_in_white_and_what_is_seen_is_tinted(clip):
    t = int(np.argmin(clip.visible_share[:, 0]))
    shown = clips.with_outlines(clip.frames[t], clip.full(1)[t], clip.labels[t] == 1)
    edge = clips.outline(clip.full(1)[t])
    assert (shown[edge & (clip.labels[t] != 1)] == 255).all()
    away = ~clip.full(1)[t]
    np.testing.assert_array_equal(shown[away], clip.frames[t][away])


def test_the_hidden_object_figure_shows_before_during_and_after(clip):
    share = clip.visible_share[:, 0]
    drawing = clips.hidden_object(clip)
    pictures, curve = drawing.subfigs[0].axes, drawing.subfigs[1].axes[0]
    assert 3 <= len(pictures) <= 5 and any(": 0%" in axes.get_title("left") + axes.get_title() for axes in pictures)
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), share)


def test_the_gallery_has_a_row_an_axis_and_a_column_a_value():
    rows = {axis: clips.examples(axis, height=36, width=60) for axis in ("likeness", "speed")}
    drawing = clips.axes_gallery(rows)
    assert len(drawing.axes) == 8
    assert [axes.get_ylabel() for axes in drawing.axes[::4]] == ["likeness\nof occluder", "speed"]
