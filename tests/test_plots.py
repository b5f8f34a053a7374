"""Figures: style without side effects, size on disk, and that what is drawn is what the arrays say."""

import importlib
import inspect
import io
import itertools
import pkgutil

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sstlib import paths, plots
from sstlib.plots import connectivity, routes, scaling, style


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
    assert drawing.axes[0].lines[0].get_color() == style.ACCENT


def test_png_is_deterministic_and_shows_itself():
    first, second = plots.png(_line([1, 4, 2])), plots.png(_line([1, 4, 2]))
    assert first == second == _line([1, 4, 2])._repr_png_()[0]
    picture = Image.open(io.BytesIO(first))
    assert picture.size == (round(style.WIDTH * style.DPI), 2 * style.DPI)
    assert (np.asarray(picture.convert("RGB")) != 255).any()


def test_png_keeps_rare_colors():
    rng = np.random.default_rng(0)
    drawing = plots.figure(2.0, layout="none")
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.imshow(rng.random((60, 200, 3)), aspect="auto")
    axes.plot([0, 40], [30, 30], color=style.SIGNAL, linewidth=3)
    picture = np.asarray(Image.open(io.BytesIO(plots.png(drawing))).convert("RGB"))
    assert (picture == (0xD5, 0x5E, 0x00)).all(-1).sum() > 100


def test_save_replaces_whole_files_only(tmp_path):
    path = plots.save(_line([1, 2]), "line", tmp_path)
    first = path.read_bytes()
    assert plots.save(_line([2, 1]), "line", tmp_path).read_bytes() != first
    assert [p.name for p in tmp_path.iterdir()] == ["line.png"]


def test_a_figure_is_written_where_reproduction_says_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr(style.paths, "FIGURES", tmp_path)
    monkeypatch.delenv("SST_FIGURES", raising=False)
    assert plots.save(_line([1, 2]), "line") is None and not list(tmp_path.iterdir())
    monkeypatch.setenv("SST_FIGURES", str(tmp_path))
    assert plots.save(_line([1, 2]), "line") == tmp_path / "line.png"


def test_a_figure_says_what_it_shows():
    drawing = connectivity.reach_curves({"Grid": [0.0, 0.5, 1.0], "Local": [0.0, 0.1, 0.2]})
    assert drawing.description.startswith("Share of the buffer that one cell has reached after 0, 1, 2")
    assert "Axes: layers" in drawing.description and "Grid; Local" in drawing.description
    data, metadata = drawing._repr_png_()
    assert metadata == {"alt": drawing.description}
    assert Image.open(io.BytesIO(data)).text["Description"] == drawing.description


@pytest.mark.parametrize("name", ["a/b", "a.png", "../a"])
def test_save_refuses_folders_and_endings(tmp_path, name):
    with pytest.raises(ValueError, match="without folder and ending"):
        plots.save(_line([1]), name, tmp_path)


def shades(axes):
    """How many cells have each color."""
    colors, counts = np.unique(np.concatenate([sheet.get_facecolor()[:, :3] for sheet in axes.collections]), axis=0,
                               return_counts=True)
    return {matplotlib.colors.to_hex(color): int(count) for color, count in zip(colors, counts)}


def test_hop_sheets_color_each_cell_once_reached():
    arrival = np.full((2, 3, 5), -1)
    arrival[0, 1, 2], arrival[0, 1, :2], arrival[1] = 0, 1, 2
    drawing = connectivity.hop_sheets({"A": arrival})
    drawing.canvas.draw()
    first, second = drawing.axes
    assert first.get_title(loc="left") == "1 hop: 3 of 30 cells"
    assert shades(first) == {style.SIGNAL: 1, style.HOPS[1]: 2, style.PAPER: 27}
    assert shades(second) == {style.SIGNAL: 1, style.HOPS[1]: 2, style.HOPS[2]: 15, style.PAPER: 12}


def test_sheets_do_not_overlap():
    axes = plots.figure(2.0).subplots()
    connectivity.draw_sheets(axes, np.zeros((3, 4, 5), int), 1)
    x = np.array([sheet.get_coordinates()[..., 0] for sheet in axes.collections])
    assert x.shape == (3, 5, 6) and (x[1:].min(axis=(1, 2)) > x[:-1].max(axis=(1, 2))).all()


def test_hop_frames_label_their_axes_with_the_frame():
    arrival = np.arange(30).reshape(5, 2, 3) % 4 - 1
    drawing = connectivity.hop_frames(arrival, "title")
    shown = {axes.get_label(): axes.collections[0].get_array() for axes in drawing.axes if axes.collections}
    assert sorted(shown) == list("01234")
    for frame, cells in shown.items():
        np.testing.assert_array_equal(cells, arrival[int(frame)])


def test_key_bars_and_gap_state_their_numbers():
    bars = connectivity.key_bars({"Grid": np.float64(18), "Local(radius=2)": 100.0}, dense=1800)
    assert [bar.get_width() for bar in bars.axes[0].patches] == [18, 100, 1800]
    assert "18, 1/100 of dense" in [text.get_text() for text in bars.axes[0].texts]
    gap = connectivity.border_gap({"a": np.array([[1.0, 0.5]]), "b": np.ones((1, 2))})
    assert gap.axes[0].get_title(loc="left") == "a\nmean 75.0%, worst 50.0%"


@pytest.mark.parametrize("frames", [np.zeros((3, 4, 6)), np.zeros((3, 4, 6, 3))])
def test_frame_rows_show_every_frame(frames):
    drawing = connectivity.frame_rows({"in": frames, "out": frames + 1}, ["a", "b", "c"])
    images = [axes.images[0].get_array() for axes in drawing.axes]
    assert len(images) == 6
    np.testing.assert_array_equal(images[5], frames[2] + 1)


def test_route_frames_join_the_cells_of_each_route():
    size = (2, 4, 5)
    ends = np.zeros(size, bool)
    ends[0, 1, 2] = True
    cells = [(1, 3, 0), (1, 3, 2), (0, 1, 2)]
    numbers = [int(np.ravel_multi_index(cell, size)) for cell in cells]
    frames = np.zeros((2, 16, 20, 3), np.uint8)
    drawing = routes.route_frames(frames, [(0.5, numbers), (0.25, numbers[:1] * 2 + numbers[2:])], ends, "title")
    first, second = drawing.axes
    assert (first.get_label(), second.get_label()) == ("0", "1")
    joined = {(*patch.xy1, *patch.xy2) for patch in second.patches if hasattr(patch, "xy1")}
    assert {(0.5, 3.5, 2.5, 3.5), (2.5, 3.5, 2.5, 1.5), (0.5, 3.5, 2.5, 1.5)} <= joined
    assert len(first.lines) == 4 + 2  # four sides of the one end cell, and a dot for each route
    assert [text.get_text() for text in drawing.legends[0].texts] == ["0.5", "0.25"]
    assert routes.route_frames(frames, [], ends, "nothing leads there").axes


def test_routes_through_the_same_cells_are_drawn_apart():
    size = (3, 4, 5)
    numbers = [int(np.ravel_multi_index(cell, size)) for cell in ((2, 3, 0), (1, 2, 2), (0, 1, 2))]
    drawing = routes.route_frames(np.zeros((3, 32, 40, 3), np.uint8),
                                  [(0.5, numbers), (0.02, numbers), (0.01, numbers)], np.zeros(size, bool),
                                  "three times the same")
    drawing.canvas.draw()
    lines = [patch for patch in drawing.axes[2].patches if hasattr(patch, "xy1")]
    for hop in {line.xy1 for line in lines}:
        middles = [line.get_transform().transform(line.get_path().vertices)[1] for line in lines if line.xy1 == hop]
        apart = [np.linalg.norm(one - other) / 2 for one, other in itertools.combinations(middles, 2)]  # of a curve
        assert len(apart) == 3 and min(apart) > 3, "pixels"
        assert min(line.get_linewidth() for line in lines) >= 1, "however little weight it has"


def test_route_counts_are_written_into_their_cells():
    counts = np.arange(1, 25).reshape(2, 3, 4)
    drawing = routes.route_counts(counts, "title")
    assert [int(text.get_text()) for axes in drawing.axes for text in axes.texts] == list(range(1, 25))


def test_separation_curves_draw_every_series():
    grid = np.array([[0.95, 0.85, np.nan], [0.7, 0.6, 0.8]])
    drawing = routes.separation_curves({"grid": grid, "local": np.ones((2, 3))}, [1, 4])
    lines, bands = drawing.axes[0].lines, drawing.axes[0].collections
    np.testing.assert_allclose([line.get_ydata() for line in lines[:2]], [[0.9, 0.7], [1.0, 1.0]])
    top = bands[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(0.9 + 2 * np.std([0.95, 0.85], ddof=1) / 2**0.5), "two standard errors"


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_exponent_is_the_slope_of_the_logarithms(power):
    sizes = np.array([3, 7, 20])
    assert scaling.exponent(sizes, 5 * sizes**power) == pytest.approx(power)


def test_growth_writes_each_exponent():
    table = pd.DataFrame({"Dense": [4, 16, 64], "Local": [2, 4, 8]}, index=[2, 4, 8])
    drawing = scaling.growth({"frames": table, "height": table}, "pairs")
    for axes, name in zip(drawing.axes, ["frames", "height"]):
        assert axes.get_xlabel() == name
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Dense: 2.00", "Local: 1.00"]


def test_memory_curves_show_what_was_measured():
    drawing = scaling.memory_curves([1, 2], {"dense": [1e9, 4e9], "streamed": [1e6, 2e6]}, {2: 3e6}, limit=2.0**31)
    assert [text.get_text() for text in drawing.legends[0].texts] == ["dense", "streamed", "streamed, measured"]
    assert drawing.axes[0].texts[0].get_text() == "2 GiB"
    [line] = [line for line in scaling.memory_curves([1, 2], {"dense": [1e9, 4e9]}).axes[0].lines
              if len(line.get_xdata())]
    assert line.get_ydata().tolist() == [1e9, 4e9]


def test_cost_dots_have_a_marker_a_size_and_a_line_at_the_aim():
    columns = pd.MultiIndex.from_product([["backward", "last frame"], ["S1", "S2"]])
    table = pd.DataFrame([[3.0, 3.5, 1.1, np.nan], [2.0, 2.5, 1.0, 1.2]],
                         pd.MultiIndex.from_tuples([("grid", "native"), ("grid", "torch")]), columns)
    backward, last = scaling.cost_dots(table, {"backward": {"native": 4.0}}).axes
    rows, _ = [[line for line in axes.lines if line.get_marker() in style.MARKERS] for axes in (backward, last)]
    assert [line.get_xdata().tolist() for line in rows[:2]] == [[3.0, 2.0], [3.5, 2.5]]
    assert [4.0, 4.0] in [list(line.get_xdata()) for line in backward.lines]
    assert [4.0, 4.0] not in [list(line.get_xdata()) for line in last.lines]
    assert [text.get_text() for text in backward.get_yticklabels()] == ["grid, native", "grid, torch"]


def test_speedups_leave_out_what_was_not_measured():
    ratios = pd.DataFrame({"S1": [12.0, np.nan], "S2": [75.0, 7.5]},
                          index=pd.MultiIndex.from_tuples([("grid", "torch"), ("local", "torch")]))
    [axes] = scaling.speedups(ratios).axes
    assert sorted(text.get_text() for text in axes.texts if text.get_text()) == ["12x", "7.5x", "75x"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["grid, torch", "local, torch"]
    shades = axes.collections[0].get_array().filled(np.nan)
    np.testing.assert_allclose(shades, np.log10(ratios))


def test_limit_bars_state_the_distance():
    drawing = scaling.limit_bars({"Grid": 3.0, "Local": 1.5}, 1.5, "the peak")
    assert [text.get_text() for text in drawing.axes[0].texts] == ["3 ns, 2.0 times the limit",
                                                                   "1.5 ns, 1.0 times the limit"]
    assert scaling.limit_bars({"Grid": 3.0}, 6.0, "the peak").axes[0].get_xlim()[1] > 6, "the limit is in sight"


def test_descriptions_of_committed_figures_are_what_the_code_writes():
    """A docstring that changes leaves figures that `make reproduce` would change, though no pixel differs."""
    drawing = []
    for name in (f"sstlib.plots.{module.name}" for module in pkgutil.iter_modules(plots.__path__)):
        drawing += [function for function in vars(importlib.import_module(name)).values()
                    if hasattr(function, "__wrapped__") and function.__module__ == name]
    openings = {style.described(plots.figure(1.0), inspect.getdoc(function) or "") for function in drawing}
    figures = sorted(paths.FIGURES.glob("*.png"))
    assert len(openings) > 20 and len(figures) > 20
    for path in figures:
        with Image.open(path) as picture:
            description = picture.info.get("Description", "")
        assert description.startswith(tuple(openings)), f"{path.name}, run `sst reproduce`: {description[:100]}"


@pytest.mark.parametrize("number", [1, 5, 30])
def test_the_weights_of_many_routes_stay_within_their_figure(number):
    strongest = [(1 / (rank + 1), [230, 100 + rank, 25]) for rank in range(number)]
    drawing = routes.route_frames(np.zeros((4, 60, 100, 3), np.uint8), strongest, np.zeros((4, 6, 10), bool), "routes")
    drawing.draw_without_rendering()
    [legend] = drawing.legends
    assert len(legend.texts) == number
    assert drawing.bbox.contains(*legend.get_window_extent().min) and drawing.bbox.contains(
        *legend.get_window_extent().max)
