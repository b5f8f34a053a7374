"""Explorers without a browser: moving controls redraws, a click on the picture finds its cell, the static picture is
there.
"""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from sstlib import explorers
from sstlib.explorers import panel
from sstlib.plots import png

SIZE = (5, 3, 7)


@pytest.fixture
def explorer():
    return explorers.reach_explorer(SIZE, (1, 2, 3), hops=2)


def share(figure, label, x, y):
    """Where data coordinates of the axes with this label lie on the picture, in shares of its size."""
    axes = next(axes for axes in figure.axes if axes.get_label() == label)
    across, up = figure.transFigure.inverted().transform(axes.transData.transform((x, y)))
    return [across, 1 - up]


def test_title_counts_what_is_reached(explorer):
    # two hops of a grid: the whole frame (3 x 7), and a row and a column (3 + 7 - 1) in each of the 4 others
    assert explorer.figure.get_suptitle() == "Grid: 57 of 105 cells in 2 hops, at 2,730 pairs"


def test_a_moved_control_redraws(explorer):
    before = explorer.screen.picture
    explorer.controls["hops"].value = 3
    assert "105 of 105 cells in 3 hops" in explorer.figure.get_suptitle()
    assert explorer.screen.picture == png(explorer.figure) != before


def test_radius_stride_causality_and_size_are_controls(explorer):
    explorer.set(stack="Local, then strided", radius=1, stride=3, hops=1)
    # a window of 3 x 3 around row 3 of 3: 2 rows, 3 columns, in 5 frames
    assert explorer.figure.get_suptitle().startswith("Local(radius=1): 30 of 105 cells in 1 hop")
    explorer.set(hops=2)
    assert "Local(radius=1) → Strided(stride=3)" in explorer.figure.get_suptitle()
    explorer.set(stack="Local", hops=1, causal=True)
    # content moves forward: from frame 2 of 5 to frames 2, 3, 4 and 5
    assert explorer.figure.get_suptitle().startswith("Local(radius=1, causal=True): 24 of 105 cells")
    explorer.set(stack="Dense", causal=False, frames=2, height=2, width=4)
    assert "16 of 16 cells" in explorer.figure.get_suptitle() and explorer.values["row"] == 2


@pytest.mark.parametrize("cell", [(0, 0, 0), (3, 2, 6), (4, 1, 3)])
def test_a_click_finds_its_cell(explorer, cell):
    png(explorer.figure)  # the layout is settled when the figure is drawn
    explorer.screen.stroke = [share(explorer.figure, str(cell[0]), cell[2] + 0.9, cell[1] + 0.1)]
    assert tuple(explorer.values[axis] - 1 for axis in ("time", "row", "column")) == cell
    assert explorer.figure.axes[cell[0]].collections[0].get_array()[cell[1], cell[2]] == 0


def test_a_click_beside_the_frames_changes_nothing(explorer):
    before = explorer.values
    explorer.screen.stroke = [[0.999, 0.999]]
    assert explorer.values == before


def test_set_redraws_once_and_refuses_unknown_controls(explorer, monkeypatch):
    drawn = []
    draw = explorer.draw
    monkeypatch.setattr(explorer, "draw", lambda **values: drawn.append(values) or draw(**values))
    explorer.set(row=1, column=1, hops=1)
    assert drawn == [explorer.values]
    with pytest.raises(ValueError, match="no control 'rows'.*stack, hops"):
        explorer.set(rows=1)


def test_shows_a_static_picture_beside_the_widget(explorer):
    bundle, metadata = explorer._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == explorer.figure.description
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] .startswith("Explorer(stack=Grid, hops=2, radius=2, stride=3, causal=False, frames=5")
    data = bundle["image/png"]
    picture = Image.open(io.BytesIO(base64.b64decode(data) if isinstance(data, str) else data))
    assert np.asarray(picture.convert("RGB")).std() > 10


def test_works_without_anywidget(monkeypatch):
    monkeypatch.setattr(panel, "PixelPicker", None)
    explorer = explorers.reach_explorer(SIZE, (1, 2, 3))
    explorer.controls["stack"].value = "Local, then strided"
    assert explorer.screen.value == png(explorer.figure)


def test_route_explorer_draws_the_strongest_routes_from_the_cell():
    rng = np.random.default_rng(0)
    first = rng.random((24, 24))
    last = rng.random((12, 24))
    maps = [last / last.sum(1, keepdims=True), first / first.sum(1, keepdims=True)]
    goal = np.zeros((2, 3, 4), bool)
    goal[0, 1] = True
    explorer = explorers.route_explorer(np.zeros((2, 24, 32, 3), np.uint8), maps,
                                        {"row 2": goal, "all": ~np.zeros_like(goal)}, (0, 1), count=2)
    ending = (maps[0] @ maps[1] @ goal.ravel())[1]
    assert f"row 1, column 2 of the last frame: {ending:.1%}" in explorer.figure.get_suptitle()
    png(explorer.figure)
    explorer.screen.stroke = [share(explorer.figure, "1", 3.5, 2.5)]
    assert (explorer.values["row"], explorer.values["column"]) == (3, 4)
    explorer.controls["goal"].value = "all"
    assert "100.0% of its attention over 2 hops ends in all" in explorer.figure.get_suptitle()
