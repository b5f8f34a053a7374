"""Explorers for JupyterLab: controls around a figure of `sstlib.plots`, and a click on the figure itself.

An explorer redraws one pure drawing function whenever a control moves, and carries a static picture of itself, so that
papermill copies and HTML pages show something. Clicks need anywidget in the browser; the sliders work without it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets
import traitlets
from matplotlib.figure import Figure

from sstlib.plots import png

try:
    import anywidget
except ImportError:  # the sliders still work
    anywidget = None

if anywidget is None:
    PixelPicker = None
else:
    class PixelPicker(anywidget.AnyWidget):
        """A PNG that reports where it was clicked or scribbled on.

        `stroke` is the last one, a list of points (across, down) in shares of the picture's size; a click is a single
        point.
        """

        _esm = Path(__file__).with_name("explore.js").read_text()
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
        click: (axes label, x, y) in data coordinates -> the controls' new values; none where nothing is meant.
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
        if place is not None and (values := self.click(*place)):
            self.set(**values)

    def __repr__(self) -> str:
        return f"Explorer({', '.join(f'{name}={value}' for name, value in self.values.items())})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        widget = self.view._repr_mimebundle_()
        data = widget[0] if isinstance(widget, tuple) else widget
        picture = {"image/png": png(self.figure), "text/plain": repr(self)}
        return {**data, **picture}, {"image/png": {"alt": self.figure.description}}


def slider(label: str, value: int, least: int, most: int) -> ipywidgets.IntSlider:
    """A narrow slider over whole numbers, fit to stand in a row."""
    return ipywidgets.IntSlider(value, least, most, description=label, continuous_update=False,
                                layout={"width": "220px"}, style={"description_width": "60px"})
