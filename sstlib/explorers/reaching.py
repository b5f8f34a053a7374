"""Which cells a stack of layers reaches from one cell (Fig. 1), with everything about the stack a control."""

from collections.abc import Callable, Mapping, Sequence

import ipywidgets
from matplotlib.figure import Figure

from sstlib.connectivity import Cell, Connectivity, Dense, Grid, Local, Strided
from sstlib.explorers.panel import Explorer, slider
from sstlib.plots.connectivity import hop_frames
from sstlib.routes import arrival

Stack = Callable[[int, int, bool], Sequence[Connectivity]]
# Layers by (radius, stride, causal); a stack is repeated when more hops than layers are picked
STACKS: dict[str, Stack] = {
    "Grid": lambda radius, stride, causal: [Grid(causal=causal)],
    "Local": lambda radius, stride, causal: [Local(radius, causal=causal)],
    "Strided": lambda radius, stride, causal: [Strided(stride, causal=causal)],
    "Local, then strided":
        lambda radius, stride, causal: [Local(radius, causal=causal), Strided(stride, causal=causal)],
    "Dense": lambda radius, stride, causal: [Dense(causal=causal)],
}
LARGEST = {"frames": 8, "height": 16, "width": 24}


def reach_explorer(size: tuple[int, int, int], cell: Cell, hops: int = 1, radius: int = 2, stride: int = 3,
                   stacks: Mapping[str, Stack] = STACKS) -> Explorer:
    """Pick a stack of layers, a cell (click, or sliders) and a number of hops, and see which cells are reached (Fig.
    1). Radius, stride, causality and the size of the buffer are controls, too.

    People count frames, rows and columns from 1; `cell` counts from 0 as everywhere in the code.

    Args:
        size: (time, height, width) of the buffer to begin with.
        cell: to begin with.
        hops, radius, stride: likewise.
        stacks: layers by the name to pick them by, given (radius, stride, causal).
    """
    def draw(stack: str, hops: int, radius: int, stride: int, causal: bool, frames: int, height: int, width: int,
             time: int, row: int, column: int) -> Figure:
        buffer = (frames, height, width)
        layers = stacks[stack](radius, stride, causal)
        layers = [layers[hop % len(layers)] for hop in range(hops)]
        place = tuple(min(number, length) - 1 for number, length in zip((time, row, column), buffer))
        reached_at = arrival(layers, place, buffer)
        pairs = sum(layer.pairs(buffer) for layer in layers)
        reached = int((reached_at >= 0).sum())
        names = " → ".join(dict.fromkeys(layer.name for layer in layers))
        title = f"{names}: {reached} of {reached_at.size} cells in {hops} hop{'s' * (hops > 1)}, at {pairs:,} pairs"
        return hop_frames(reached_at, title)

    lengths = dict(zip(LARGEST, size))
    controls = {"stack": ipywidgets.Dropdown(options=[*stacks], description="pattern", layout={"width": "340px"},
                                             style={"description_width": "60px"}),
                "hops": slider("hops", hops, 1, 4), "radius": slider("radius", radius, 0, 8),
                "stride": slider("stride", stride, 1, 8), "causal": ipywidgets.Checkbox(False, description="causal"),
                **{name: slider(name, lengths[name], 1, max(most, lengths[name])) for name, most in LARGEST.items()},
                "time": slider("frame t", cell[0] + 1, 1, size[0]), "row": slider("row", cell[1] + 1, 1, size[1]),
                "column": slider("column", cell[2] + 1, 1, size[2])}
    for length, place in zip(LARGEST, ("time", "row", "column")):
        ipywidgets.dlink((controls[length], "value"), (controls[place], "max"))
    return Explorer(draw, controls,
                    lambda frame, x, y: {"time": int(frame) + 1, "row": int(y) + 1, "column": int(x) + 1})
