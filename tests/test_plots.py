"""Figures: style without side effects, size on disk, and that what is drawn is what the arrays say."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from sstlib import plots


@plots.styled
def _line(values):
    drawing = plots.figure(2.0)
    drawing.subplots().plot(values)
    return drawing


def test_style_leaves_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    drawing = _line([1, 2, 3])
    plots.png(drawing)
    assert dict(matplotlib.rcParams) == before
    assert drawing.axes[0].lines[0].get_color() == plots.ACCENT


def test_png_is_deterministic_and_shows_itself():
    first, second = plots.png(_line([1, 4, 2])), plots.png(_line([1, 4, 2]))
    assert first == second == _line([1, 4, 2])._repr_png_()
    picture = Image.open(io.BytesIO(first))
    assert picture.size == (round(plots.WIDTH * plots.DPI), 2 * plots.DPI)
    assert (np.asarray(picture.convert("RGB")) != 255).any()


def test_save_replaces_whole_files_only(tmp_path):
    path = plots.save(_line([1, 2]), "line", tmp_path)
    first = path.read_bytes()
    assert plots.save(_line([2, 1]), "line", tmp_path).read_bytes() != first
    assert [p.name for p in tmp_path.iterdir()] == ["line.png"]


@pytest.mark.parametrize("name", ["a/b", "a.png", "../a"])
def test_save_refuses_folders_and_endings(tmp_path, name):
    with pytest.raises(ValueError, match="without folder and ending"):
        plots.save(_line([1]), name, tmp_path)
