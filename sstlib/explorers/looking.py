"""What a trained network attends to on a clip, for every frame, layer, head and cell, and what other patterns would
attend to with the same queries and keys.
"""

import functools
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from sstlib import video
from sstlib.connectivity import Cell, Connectivity, Dense, Grid, Local, Strided
from sstlib.explorers.panel import Explorer, slider
from sstlib.inference import Segmenter
from sstlib.model import Propagator
from sstlib.plots.routes import frame_under, lookup_rows
from sstlib.routes import lookups
from sstlib.shapes import Int, UInt8

PATTERNS = (Grid(), Local(2), Strided(7), Dense())
OWN = "(the layer's own)"


class Watched:
    """A clip segmented by an SST from the mask of its first frame, with the inputs of every layer's attention.

    Args:
        network: a trained SST.
        sequence: the clip; its first frame has a mask.
        frames: how many of its frames, from the first on; None for all.
        progress: whether to show a progress bar.
        **options: of `Segmenter`.

    Raises:
        ValueError: a network without attention, a clip without a mask of its first frame or with no frame after it.
    """

    def __init__(self, network: Propagator, sequence: video.Sequence, frames: int | None = None,
                 progress: bool = False, **options: object) -> None:
        if network.config.method != "sst":
            raise ValueError(f"a network of the method {network.config.method!r} has no layers of attention to look "
                             "into; give an SST")
        if sequence.label(0) is None:
            raise ValueError(f"{sequence.name} has no mask of its first frame; give one, as `sst segment` needs it")
        if len(sequence) < 2:
            raise ValueError(f"{sequence.name} has one frame, and attention leads from later frames to earlier ones; "
                             "give at least two")
        segmenter = Segmenter(network, **options)
        self.network, self.name = segmenter.network, sequence.name
        self.seen, pictures, labels = [], [], []
        extract, taken = self.network.extract, []
        self.network.extract = lambda frame: taken.append(extract(frame)) or taken[-1]
        numbers = range(min(frames or len(sequence), len(sequence)))
        for t in tqdm(numbers, desc=sequence.name, unit="frame", ascii=True, disable=not progress):
            memory = segmenter.memories[0]
            labels.append(segmenter.step(sequence.frame(t), sequence.label(t) if t == 0 else None).labels)
            pictures.append(_at_size(sequence.frame(t), segmenter.working_size))
            features = taken.pop()
            features.encoded, features.low = None, features.low[:, :0]  # not needed here
            self.seen.append((features, memory))
        del self.network.extract
        self.frames: UInt8[np.ndarray, "time rows columns 3"] = np.stack(pictures)
        self.labels, self.ids = np.stack(labels), segmenter.ids
        self.inputs = functools.lru_cache(maxsize=8)(self.inputs)

    def inputs(self, frame: int) -> list[lookups.Inputs]:
        """The inputs of each layer's attention for a frame, from the first layer on."""
        return lookups.layer_inputs(self.network, *self.seen[frame])

    def look(self, frame: int, layer: int, head: int | None, cell: tuple[int, int],
             connectivity: Connectivity | None = None) -> lookups.Lookup:
        """The attention of a cell (row, column) of a frame in a layer, counted from 0 (see `lookups.attention_of`)."""
        inputs = self.inputs(frame)[layer]
        return lookups.attention_of(inputs, (inputs.size[0] - 1, *cell), head, connectivity)

    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of a frame in units of cells, so that each cell lies over its part of the
        picture.
        """
        stride, (rows, columns) = self.network.config.output_stride, self.frames.shape[1:3]
        if self.network.centered:  # cells sit on every stride-th pixel
            return 0.5 - 0.5 / stride, (columns - 0.5) / stride + 0.5, (rows - 0.5) / stride + 0.5, 0.5 - 0.5 / stride
        return 0.0, columns / stride, rows / stride, 0.0

    def routes(self, frame: int, cell: tuple[int, int], head: int | None, goal: int, count: int,
               connectivity: Connectivity | None = None) -> list[tuple[float, tuple[Cell, ...]]]:
        """The strongest routes from a cell through all layers to an object in the oldest frame of its buffer, as
        (weight, cells (frame of the clip, row, column) from the query on).

        Without `causal` all frames of the buffer attend anew; with it each attended when it was the current one.
        """
        current, last = self.inputs(frame), len(self.network.layers) - 1
        oldest = current[0].times[0]

        def row(hop: int, stop: Cell) -> tuple[np.ndarray, np.ndarray]:
            inputs = (self.inputs(stop[0]) if self.network.config.causal else current)[last - hop]
            times = np.array(inputs.times)
            weights = lookups.weights_of(inputs, (inputs.times.index(stop[0]), *stop[1:]), head, connectivity)
            allowed = (times == oldest)[:, None, None] & owned if hop == last else (times >= oldest)[:, None, None]
            slot, y, x = np.nonzero(np.broadcast_to(allowed, weights.shape) & (weights > 0))
            return weights[slot, y, x], np.stack([times[slot], y, x], -1)

        owned = self.owners(frame)[0] == goal
        return lookups.strongest(row, (frame, *cell), len(current), count)

    def owners(self, frame: int) -> Int[np.ndarray, "time height width"]:
        """The label of each cell of the buffer's earlier frames: 0 the background, 1 the first object and so on; -1 in
        the frame itself, which has none yet.
        """
        inputs = self.inputs(frame)[0]
        return np.full(inputs.size, -1) if inputs.labels is None else inputs.labels.numpy()


def _at_size(frame: UInt8[np.ndarray, "height width 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "rows columns 3"]:
    return np.asarray(Image.fromarray(frame).resize(size[::-1])) if frame.shape[:2] != size else frame


def attention_explorer(watched: Watched, frame: int, cell: tuple[int, int], layer: int = 0,
                       patterns: Sequence[Connectivity] = PATTERNS, count: int = 3) -> Explorer:
    """Pick a frame, a cell (click, or sliders), a layer and a head, and see where the network looks; beneath it, where
    other patterns would look with the same queries and keys; the object affinity that comes of each; and the strongest
    routes through all layers to an object in the oldest frame.

    A click on a cell makes it the query. People count from 1, `frame`, `cell` and `layer` from 0.

    Args:
        watched: the clip.
        frame, cell, layer: to begin with.
        patterns: to compare the layer's own with.
        count: at most so many routes are drawn.
    """
    layers, width = watched.network.layers, watched.inputs(0)[0].size[2]
    names = {"background": 0} | {f"object {number}": index for index, number in enumerate(watched.ids) if number}
    others = {pattern.name: pattern for pattern in patterns}

    def draw(layer: int, head: int, goal: str, along: str, time: int, row: int, column: int) -> Figure:
        chosen, place = (None if head == 0 else head - 1), (row - 1, column - 1)
        look = functools.partial(watched.look, time - 1, layer - 1, chosen, place)
        own = layers[layer - 1].connectivity
        rows = {f"{own.name}\n{OWN}": look()} | {name: look(other) for name, other in others.items() if other != own}
        routes = watched.routes(time - 1, place, chosen, names[goal], count, others.get(along))
        heads = "mean of all heads" if chosen is None else f"head {head}"
        title = f"{watched.name}: frame {time}, row {row}, column {column}; layer {layer} of {len(layers)}, {heads}"
        times = watched.inputs(time - 1)[layer - 1].times
        return lookup_rows(watched.frames[list(times)], times, rows, place, [*names], routes,
                           watched.owners(time - 1)[0] == names[goal], watched.extent(), title,
                           f"routes of {len(layers)} hops" + ("" if along == OWN else f"\n{along}"))

    def clicked(label: str, x: float, y: float) -> dict[str, int]:
        if (under := frame_under(x, width)) is None:
            return {}
        shown = watched.inputs(explorer.values["time"] - 1)[0].times
        return {"time": shown[under[0]] + 1, "row": int(y) + 1, "column": int(under[1]) + 1}

    explorer = Explorer(draw, _controls(watched, frame, cell, layer, [*names], [*others]), clicked)
    return explorer


def _controls(watched: Watched, frame: int, cell: tuple[int, int], layer: int, goals: list[str],
              others: list[str]) -> dict[str, Any]:
    height, width = watched.inputs(0)[0].size[1:]
    return {
        "layer": slider("layer", layer + 1, 1, len(watched.network.layers)),
        "head": _dropdown("head", _heads(watched.network.config.heads), 0),
        "goal": _dropdown("routes to", goals, goals[1]),
        "along": _dropdown("along", [OWN, *others], OWN),
        "time": slider("frame", frame + 1, 1, len(watched.frames)),
        "row": slider("row", cell[0] + 1, 1, height),
        "column": slider("column", cell[1] + 1, 1, width),
    }


def _heads(count: int) -> list[tuple[str, int]]:
    return [("all", 0), *((str(head), head) for head in range(1, count + 1))]


def _dropdown(label: str, options: Sequence[Any], value: Any) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=options, value=value, description=label, layout={"width": "230px"},
                               style={"description_width": "70px"})
