"""The strongest routes of a small network's attention maps, picked by cell and goal."""

from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from sstlib.explorers.panel import Explorer, slider
from sstlib.plots.routes import route_frames
from sstlib.routes import carried, strongest_routes
from sstlib.shapes import Bool, Float, UInt8


def route_explorer(frames: UInt8[np.ndarray, "time pixel_rows pixel_columns 3"],
                   maps: Sequence[Float[np.ndarray, "_ keys"]],
                   goals: Mapping[str, Bool[np.ndarray, "time height width"]], cell: tuple[int, int],
                   count: int = 5) -> Explorer:
    """Pick a cell of the last frame (click, or sliders) and see the strongest routes from it to a goal (section 7).

    Args:
        frames: the pictures of the buffer.
        maps: attention of each layer, the last one first, as `routes.attention_maps` gives it.
        goals: sets of cells in which routes may end, by name.
        cell: row and column to begin with.
        count: routes drawn.
    """
    time, height, width = next(iter(goals.values())).shape

    def draw(goal: str, row: int, column: int, count: int) -> Figure:
        query = int(np.ravel_multi_index((time - 1, row - 1, column - 1), (time, height, width)))
        ends = goals[goal]
        routes = strongest_routes(maps, query, ends.ravel(), count)
        arriving = carried(maps, ends.reshape(-1, 1).astype(float))
        title = (f"From row {row}, column {column} of the last frame: {arriving[query - time * height * width, 0]:.1%} "
                 f"of its attention over {len(maps)} hops ends in {goal}")
        return route_frames(frames, routes, ends, title)

    controls = {
        "goal": ipywidgets.Dropdown(options=[*goals], description="to", layout={"width": "200px"},
                                    style={"description_width": "30px"}),
        "row": slider("row", cell[0] + 1, 1, height), "column": slider("column", cell[1] + 1, 1, width),
        "count": slider("routes", count, 1, 10)
    }
    return Explorer(draw, controls, lambda frame, x, y: {"row": int(y) + 1, "column": int(x) + 1})
