"""Explorers for JupyterLab: controls around a figure of `sstlib.plots`, and a click on the figure itself.

An explorer redraws one pure drawing function whenever a control moves, and carries a static picture of itself, so that
papermill copies and HTML pages show something. Clicks need anywidget in the browser; the sliders work without it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from matplotlib.figure import Figure

from sstlib.connectivity import Connectivity
from sstlib.plots import png
from sstlib.plots.flows import route_frames
from sstlib.plots.reach import hop_frames
from sstlib.routes import arrival, carried, strongest_routes
from sstlib.shapes import Bool, Float, UInt8

try:
    import anywidget
except ImportError:  # the sliders still work
    anywidget = None

PICKER = """
function render({ model, el }) {
  const image = document.createElement("img");
  image.className = "sst-picker";
  image.draggable = false;
  image.style.cssText = "max-width:100%;cursor:crosshair;touch-action:none;user-select:none";
  let address = null;
  function show() {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    image.src = address;
  }
  function place(event) {
    const box = image.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
  let stroke = null;
  image.addEventListener("pointerdown", (event) => {
    image.setPointerCapture(event.pointerId);
    stroke = [place(event)];
  });
  image.addEventListener("pointermove", (event) => { if (stroke) stroke.push(place(event)); });
  image.addEventListener("pointerup", () => {
    if (!stroke) return;
    model.set("stroke", stroke);
    model.save_changes();
    stroke = null;
  });
  model.on("change:picture", show);
  show();
  el.appendChild(image);
  return () => { model.off("change:picture", show); if (address) URL.revokeObjectURL(address); };
}
export default { render };
"""


if anywidget is None:
    PixelPicker = None
else:
    class PixelPicker(anywidget.AnyWidget):
        """A PNG that reports where it was clicked or scribbled on.

        `stroke` is the last one, a list of points (across, down) in shares of the picture's size; a click is a single
        point.
        """

        _esm = PICKER
        picture = traitlets.Bytes().tag(sync=True)
        stroke = traitlets.List().tag(sync=True)


def place_on(drawing: Figure, across: float, down: float) -> tuple[str, float, float] | None:
    """The axes' label and the data coordinates (x, y) under a point given in shares of the picture, or None beside
    all axes.
    """
    point = drawing.transFigure.transform((across, 1 - down))
    for axes in drawing.axes:
        if axes.get_label() and axes.bbox.contains(*point):
            x, y = axes.transData.inverted().transform(point)
            return axes.get_label(), float(x), float(y)
    return None


class Explorer:
    """Controls, a figure, and clicks on the figure that move the controls.

    Args:
        draw: keyword arguments named like the controls -> Figure.
        controls: ipywidgets by the name of the argument they give.
        click: (axes label, x, y) in data coordinates -> the controls' new values.
    """

    def __init__(self, draw: Callable[..., Figure], controls: Mapping[str, Any],
                 click: Callable[[str, float, float], Mapping[str, Any]] | None = None) -> None:
        self.draw, self.controls, self.click = draw, dict(controls), click
        self.moving = False
        self.figure = draw(**self.values)
        picture = png(self.figure)
        self.screen = PixelPicker(picture=picture) if PixelPicker else ipywidgets.Image(value=picture, format="png")
        for control in self.controls.values():
            control.observe(self._moved, names="value")
        if click and PixelPicker:
            self.screen.observe(self._clicked, names="stroke")
        self.view = ipywidgets.VBox(
            [ipywidgets.HBox([*self.controls.values()], layout={"flex_flow": "row wrap"}), self.screen])

    @property
    def values(self) -> dict[str, Any]:
        """The value of each control."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **values: Any) -> None:
        """Moves several controls and redraws once.

        Raises:
            ValueError: a control that the explorer does not have.
        """
        unknown = [name for name in values if name not in self.controls]
        if unknown:
            raise ValueError(f"no control {unknown[0]!r}; this explorer has {', '.join(self.controls)}")
        self.moving = True
        for name, value in values.items():
            self.controls[name].value = value
        self.moving = False
        self._moved()

    def _moved(self, change: Any = None) -> None:
        if self.moving:
            return
        self.figure = self.draw(**self.values)
        setattr(self.screen, "picture" if PixelPicker else "value", png(self.figure))

    def _clicked(self, change: Any) -> None:
        place = place_on(self.figure, *change["new"][-1]) if change["new"] else None
        if place is not None:
            self.set(**self.click(*place))

    def __repr__(self) -> str:
        return f"Explorer({', '.join(f'{name}={value}' for name, value in self.values.items())})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        widget = self.view._repr_mimebundle_()
        data = widget[0] if isinstance(widget, tuple) else widget
        return {**data, "image/png": png(self.figure), "text/plain": repr(self)}


def slider(label: str, value: int, least: int, most: int) -> ipywidgets.IntSlider:
    """A narrow slider over whole numbers, fit to stand in a row."""
    return ipywidgets.IntSlider(value, least, most, description=label, continuous_update=False,
                                layout={"width": "220px"}, style={"description_width": "60px"})


def reach_explorer(stacks: Mapping[str, Sequence[Connectivity]], size: tuple[int, int, int], cell: tuple[int, int, int],
                   hops: int = 1) -> Explorer:
    """Pick a stack of layers, a cell (click, or sliders) and a number of hops, and see which cells are reached (Fig.
    1).

    People count frames, rows and columns from 1; `cell` counts from 0 as everywhere in the code.

    Args:
        stacks: layers by the name to pick them by; a stack is repeated when more hops than layers are asked for.
        size: (time, height, width) of the buffer.
    """
    def draw(stack: str, hops: int, time: int, row: int, column: int) -> Figure:
        layers = [stacks[stack][hop % len(stacks[stack])] for hop in range(hops)]
        found = arrival(layers, (time - 1, row - 1, column - 1), size)
        pairs = sum(layer.pairs(size) for layer in layers)
        reached = int((found >= 0).sum())
        title = f"{stack}: {reached} of {found.size} cells in {hops} hop{'s' * (hops > 1)}, at {pairs:,} pairs"
        return hop_frames(found, title)

    controls = {"stack": ipywidgets.Dropdown(options=[*stacks], description="pattern", layout={"width": "340px"},
                                             style={"description_width": "60px"}),
                "hops": slider("hops", hops, 1, 4), "time": slider("frame t", cell[0] + 1, 1, size[0]),
                "row": slider("row", cell[1] + 1, 1, size[1]), "column": slider("column", cell[2] + 1, 1, size[2])}
    return Explorer(draw, controls,
                    lambda frame, x, y: {"time": int(frame) + 1, "row": int(y) + 1, "column": int(x) + 1})


def route_explorer(frames: UInt8[np.ndarray, "time pixel_rows pixel_columns 3"], maps: Sequence[Float[np.ndarray,
                                                                                                      "_ keys"]],
                   goals: Mapping[str, Bool[np.ndarray,
                                            "time height width"]], cell: tuple[int, int], count: int = 5) -> Explorer:
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
        found = strongest_routes(maps, query, ends.ravel(), count)
        arriving = carried(maps, ends.reshape(-1, 1).astype(float))
        title = (f"From row {row}, column {column} of the last frame: {arriving[query - time * height * width, 0]:.1%} "
                 "of its attention "
                 f"over {len(maps)} hops ends in {goal}")
        return route_frames(frames, found, ends, title)

    controls = {
        "goal": ipywidgets.Dropdown(options=[*goals], description="to", layout={"width": "200px"},
                                    style={"description_width": "30px"}), "row": slider("row", cell[0] + 1, 1, height),
        "column": slider("column", cell[1] + 1, 1, width), "count": slider("routes", count, 1, 10)
    }
    return Explorer(draw, controls, lambda frame, x, y: {"row": int(y) + 1, "column": int(x) + 1})
