"""Along which routes information travels through sparse attention: Eq. 7 to 10 in exact arithmetic, and the routes of a
trained model.

A route is a walk of one cell a layer, from a query to the cell whose value it reads; its weight is the product of the
attention it passes. Cells are counted in raster order over (time, height, width). Everything here is dense and in
float64: for small buffers; `lookups` asks what one query of a network at work looks up, however large its frames.

>>> features = np.random.default_rng(0).normal(size=(2, 3, 4, 8))
>>> sorted(axis_routes(features, (1, 0, 0), (0, 2, 3)))  # weights of the ways through the grid, by their order of axes
['txy', 'tyx', 'xty', 'xyt', 'ytx', 'yxt']
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from torch import nn

from sstlib.connectivity import Connectivity, arrive, parse
from sstlib.shapes import Bool, Float, Int, Shaped

Cell = tuple[int, int, int]


def arrival(layers: Sequence[Connectivity | str], cell: Cell,
            size: tuple[int, int, int]) -> Int[np.ndarray, "time height width"]:
    """The layer after which a cell's content has arrived at each cell (Fig. 1): 0 at the cell itself, -1 never."""
    reached = np.stack([arrive(layers[:count], cell, size) for count in range(len(layers) + 1)])
    return np.where(reached[-1], reached.argmax(axis=0), -1)


def similarities(features: Float[np.ndarray, "time height width channels"], connectivity: Connectivity | str
                 ) -> Float[np.ndarray, "cells cells"]:
    """A of Eq. 8: the dot product of the features of connected cells, 0 elsewhere, with no softmax."""
    connectivity = parse(connectivity) if isinstance(connectivity, str) else connectivity
    flat = features.reshape(-1, features.shape[-1])
    return np.where(connectivity.mask(*features.shape[:3]).numpy(), flat @ flat.T, 0.0)


def routed(features: Float[np.ndarray, "time height width channels"],
           values: Float[np.ndarray, "time height width any"], connectivity: Connectivity | str,
           hops: int) -> Float[np.ndarray, "time height width any"]:
    """Eq. 10: `hops` layers of Eq. 8 with Q = K = T throughout, so that only the values are passed on; A^hops V."""
    weights, passed = similarities(features, connectivity), values.reshape(-1, values.shape[-1])
    for _ in range(hops):
        passed = weights @ passed
    return passed.reshape(values.shape)


def reattended(features: Float[np.ndarray, "time height width channels"], connectivity: Connectivity | str, hops: int
               ) -> Float[np.ndarray, "time height width channels"]:
    """Eq. 8 applied again and again to its own output as query, key and value, the other reading of GridAttn^3."""
    for _ in range(hops):
        features = routed(features, features, connectivity, 1)
    return features


def equation_7(features: Float[np.ndarray, "time height width channels"]
               ) -> Float[np.ndarray, "time height width channels"]:
    """The sum displayed in Eq. 7 and 10 for every cell: routes that go along x first, then along y, then along t."""
    along_x = np.einsum("tyxc,tyic->tyxi", features, features)
    along_y = np.einsum("tyic,tjic->tyij", features, features)
    along_t = np.einsum("tjic,kjic->tjik", features, features)
    return np.einsum("tyxi,tyij,tjik,kjic->tyxc", along_x, along_y, along_t, features, optimize=True)


def axis_routes(features: Float[np.ndarray, "time height width channels"], start: Cell, end: Cell) -> dict[str, float]:
    """Weights of the 3! routes that change one coordinate a hop, by the order of the axes, e.g. "xyt" (section 7)."""
    weights = {}
    for order in permutations((2, 1, 0)):
        cell, weight = start, 1.0
        for axis in order:
            following = tuple(end[i] if i == axis else cell[i] for i in range(3))
            cell, weight = following, weight * float(features[cell] @ features[following])
        weights["".join("tyx"[axis] for axis in order)] = weight
    return weights


def strongest_routes(maps: Sequence[Float[np.ndarray, "_ keys"]], start: int, ends: Bool[np.ndarray, "keys"],
                     count: int = 5) -> list[tuple[float, tuple[int, ...]]]:
    """The `count` routes of greatest weight from a query to any of the end cells, exactly, as (weight, cells from the
    query on).

    Args:
        maps: non-negative attention of each hop, the query's layer first. A map with fewer queries than keys has the
            last cells' alone.
        start: the query cell.
        ends: where a route may end.
    """
    # (routes, cell) and (routes, cell, steps): best routes to each cell
    weight, trail = np.ones((1, 1)), np.full((1, 1, 1), start)
    for hop, hop_map in enumerate(maps):
        rows = np.array([start]) if hop == 0 else np.arange(hop_map.shape[1])
        keys, last = np.arange(hop_map.shape[1]), hop == len(maps) - 1
        taken = hop_map[rows - (hop_map.shape[1] - hop_map.shape[0])]
        # Every best route to a cell, times every step from it
        onward = (weight[:, :, None] * taken).reshape(-1, len(keys))
        if last:
            onward = np.where(ends, onward, -1.0).reshape(-1, 1)
        best = np.argsort(-onward, axis=0, kind="stable")[:count] if len(onward) <= count else _largest(onward, count)
        came, to = (best // len(keys), best % len(keys)) if last else (best, np.broadcast_to(keys, best.shape))
        steps = trail.reshape(-1, trail.shape[-1])[came]
        weight, trail = np.take_along_axis(onward, best, axis=0), np.concatenate([steps, to[..., None]], axis=-1)
    routes = zip(weight[:, 0].tolist(), trail[:, 0].tolist(), strict=True)
    return [(value, tuple(cells)) for value, cells in routes if value > 0]


def cell_means(pixels: Shaped[np.ndarray, "time rows columns *channels"],
               stride: int) -> Float[np.ndarray, "time height width *channels"]:
    """The mean of every stride x stride block of pixels, rows and columns beyond the last whole block left out."""
    time, rows, columns, *channels = pixels.shape
    height, width = rows // stride, columns // stride
    whole = pixels[:, : height * stride, : width * stride].reshape(time, height, stride, width, stride, *channels)
    return whole.mean(axis=(2, 4), dtype=np.float64)


def middle_cell(share: Float[np.ndarray, "height width"]) -> tuple[int, int]:
    """Of the cells that an object covers about as well as any, the one nearest to their mean place."""
    cells = np.argwhere(share >= 0.9 * share.max())
    row, column = cells[np.abs(cells - cells.mean(axis=0)).sum(axis=1).argmin()]
    return int(row), int(column)


def color_features(colors: Float[np.ndarray, "time height width 3"], spread: float, anchors: int = 64
                   ) -> Float[np.ndarray, "time height width anchors"]:
    """Features of unit length and without negative entries whose dot product is near 1 for like colors and near 0 for
    others.

    Each channel is a Gaussian of width `spread` around the color of one of `anchors` cells, taken evenly over the clip.
    """
    flat = colors.reshape(-1, 3)
    centers = flat[np.linspace(0, len(flat) - 1, anchors).astype(int)]
    bumps = np.exp(-np.square(flat[:, None] - centers).sum(-1) / (2 * spread**2)) + 1e-12
    return (bumps / np.linalg.norm(bumps, axis=1, keepdims=True)).reshape(*colors.shape[:3], anchors)


def routed_share(arriving: Float[np.ndarray, "*size values"]) -> Float[np.ndarray, "*size rest"]:
    """What arrives at each cell of all values but the last, as a share of the last, which counts every source; 0
    where nothing arrives.
    """
    total = arriving[..., -1:]
    return np.divide(arriving[..., :-1], total, out=np.zeros_like(arriving[..., :-1]), where=total > 0)


def separation(score: Float[np.ndarray, "*size"], inside: Bool[np.ndarray, "*size"]) -> float:
    """The probability that a cell inside scores above a cell outside (area under the ROC curve); NaN where either is
    missing.
    """
    high, low = score[inside], score[~inside]
    if not high.size or not low.size:
        return float("nan")
    return float((high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean())


def _largest(values: Float[np.ndarray, "rows columns"], count: int) -> Int[np.ndarray, "count columns"]:
    """Rows of the `count` largest values of each column, largest first, the earlier of two equal ones first."""
    rough = np.sort(np.argpartition(-values, count - 1, axis=0)[:count], axis=0)
    order = np.argsort(-np.take_along_axis(values, rough, axis=0), axis=0, kind="stable")
    return np.take_along_axis(rough, order, axis=0)


def carried(maps: Sequence[Float[np.ndarray, "_ keys"]],
            values: Float[np.ndarray, "keys any"]) -> Float[np.ndarray, "queries any"]:
    """What arrives at the queries of the first map along all routes: the product of the maps, applied to the values."""
    for hop_map in reversed(maps):
        values = hop_map @ values
    return values


@torch.no_grad()
def attention_maps(network: nn.Module, frames: Float[torch.Tensor, "time 3 height width"],
                   memberships: Float[torch.Tensor, "time object height width"]) -> list[Float[np.ndarray, "_ keys"]]:
    """Softmax attention of each layer of an SST, mean over its heads, the last layer first, as it segments the last of
    the frames.

    Args:
        network: an SST whose history holds all earlier frames.
        frames: RGB in [0, 1].
        memberships: of every earlier frame (those of the last one are not looked at).

    Raises:
        ValueError: more frames than the history and the current one.
    """
    if len(frames) - 1 > network.config.history:
        raise ValueError(f"{len(frames)} frames for a history of {network.config.history}; give at most "
                         f"{network.config.history + 1}, "
                         "so that the maps cover them all")
    seen, memory = [], None
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, *given[:2])))
        for layer in network.layers
    ]
    # A causal network encodes each frame in its turn, any other the whole buffer with the current one
    for frame, membership in zip(frames[:-1], memberships[:-1], strict=True):
        memory = network.remember(memory, network.extract(frame[None]), membership[None])
    network.segment(network.extract(frames[-1:]), memory)
    for hook in hooks:
        hook.remove()
    rows = {layer: [_mean_map(network, *call) for call in seen if call[0] is layer] for layer in network.layers}
    cells = max(row.shape[1] for layers in rows.values() for row in layers)
    return [
        np.concatenate([np.pad(row, ((0, 0), (0, cells - row.shape[1]))) for row in rows[layer]])
        for layer in reversed(network.layers)
    ]


def _mean_map(network: nn.Module, layer: nn.Module, cells: torch.Tensor,
              key: torch.Tensor) -> Float[np.ndarray, "queries keys"]:
    query = layer.heads(layer.query(cells))
    size, scale = key.shape[2:5], query.shape[-1] ** -0.5 if network.config.scaled else 1.0
    query, key = (tensor[0].flatten(1, 3).double() for tensor in (query, key))
    connected = layer.connectivity.mask(*size)[-query.shape[1]:]
    mean = sum(
        (q @ k.mT * scale).masked_fill(~connected, -torch.inf).softmax(-1) for q, k in zip(query, key)) / len(query)
    return mean.numpy()
