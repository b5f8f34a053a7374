"""What one query of a trained network looks up: its attention over the buffer (Eq. 6), the object affinity that comes
of it (Eq. 4), and the strongest routes from it over several layers (section 7).

One query at a time, by the definition and in float64: the queries and keys are those that the network's layers were
given, the pattern theirs or any other. A map of all queries is never made, so frames may be large.
"""

import dataclasses
import functools
import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sstlib.attention.reference import affinities
from sstlib.connectivity import Cell, Connectivity, products
from sstlib.shapes import Float, Int


class Lookup(NamedTuple):
    """What a query looks up."""

    weights: Float[np.ndarray, "time height width"]  # softmax over the connected cells, 0 elsewhere; they sum to 1
    affinity: Float[np.ndarray, "object"]  # to each object, the background first (Eq. 4); empty without masks


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What one layer attends with while a frame is segmented: the queries of the last frames of its buffer, and keys
    and values of all.
    """

    query: Float[Tensor, "head queried height width dim"]
    key: Float[Tensor, "head time height width dim"]
    value: Float[Tensor, "head time height width dim"]
    memberships: Float[Tensor, "object time height width"] | None  # of earlier frames; None where there are none
    labels: Tensor | None  # (time, height, width), by which affinity is taken; -1 where nobody is
    connectivity: Connectivity
    scale: float
    kind: str  # of the affinity: weight, distance, cosine or dot
    times: tuple[int, ...]  # numbers of the buffer's frames in the clip

    @property
    def size(self) -> tuple[int, int, int]:
        """(time, height, width) of the buffer."""
        return tuple(self.key.shape[1:4])


@torch.no_grad()
def layer_inputs(network: nn.Module, features: object, memory: object) -> list[Inputs]:
    """What each layer of an SST attends with, the first layer first, while it segments a frame.

    Args:
        network: an SST.
        features: of the frame (`network.extract`), of a batch of one.
        memory: what is remembered of earlier frames; None at the first.
    """
    calls = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: calls.append((layer, *given))) for layer in network.layers
    ]
    try:
        network.encode(dataclasses.replace(features, encoded=None), memory)
    finally:
        for hook in hooks:
            hook.remove()
    frames = [remembered.time for remembered in network.buffer(memory)]
    times = (*frames, memory.time if memory is not None else 0)
    return [_inputs(network.config, times, *call) for call in calls]


def _inputs(config: object, times: tuple[int, ...], layer: nn.Module, cells: Tensor, key: Tensor, value: Tensor,
            memberships: Tensor | None, labels: Tensor | None) -> Inputs:
    query = layer.heads(layer.query(cells))
    scale = query.shape[-1] ** -0.5 if config.scaled else 1.0
    first = [None if tensor is None else tensor[0] for tensor in (memberships, labels)]
    return Inputs(query[0], key[0], value[0], *first, layer.connectivity, scale, config.affinity, times)


@torch.no_grad()
def attention_of(inputs: Inputs, query: Cell, head: int | None = None,
                 connectivity: Connectivity | None = None) -> Lookup:
    """What one query looks up in one layer.

    Args:
        inputs: of the layer.
        query: cell (t, y, x) of the buffer, counted from 0; t among the frames that ask.
        head: which one, counted from 0; None: the mean over all heads.
        connectivity: another pattern than the layer's, on the same queries and keys.

    Raises:
        ValueError: a cell outside the buffer or of a frame that does not ask, a head that is not there.
    """
    q, k, scores, connected = _scores(inputs, query, head, connectivity)
    weights = scores.softmax(-1).mean(0).reshape(inputs.size).numpy()
    if inputs.labels is None:
        return Lookup(weights, np.zeros(0))
    bias = torch.zeros(len(q), 1, 1, dtype=q.dtype)
    every = affinities(inputs.kind, q, k, q @ k.mT * inputs.scale, scores.logsumexp(-1)[:, None], bias)[:, 0]
    connected[query[0]:] = False  # earlier frames alone: what is not in them counts as 0
    objects = torch.arange(len(inputs.memberships))[:, None]
    owned = (inputs.labels.flatten() == objects) & connected.flatten()
    best = (every[:, None] * owned).masked_fill(~owned, 0).amax(-1)
    return Lookup(weights, best.mean(0).numpy())


@torch.no_grad()
def weights_of(inputs: Inputs, query: Cell, head: int | None = None,
               connectivity: Connectivity | None = None) -> Float[np.ndarray, "time height width"]:
    """The weights of `attention_of` alone."""
    return _scores(inputs, query, head, connectivity)[2].softmax(-1).mean(0).reshape(inputs.size).numpy()


def _scores(inputs: Inputs, query: Cell, head: int | None,
            connectivity: Connectivity | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The query (head, 1, dim), the keys (head, key, dim), their scores (head, key), -inf where not connected, and
    which are.
    """
    heads, queried = inputs.query.shape[:2]
    if head is not None and not 0 <= head < heads:
        raise ValueError(f"head {head} of a layer with heads 0 to {heads - 1}")
    first = inputs.size[0] - queried
    if not all(least <= place < most for place, least, most in zip(query, (first, 0, 0), inputs.size)):
        raise ValueError(f"cell {tuple(query)} asks nothing in this layer; frames {first} to {inputs.size[0] - 1} of "
                         f"the buffer do, with {inputs.size[1]} x {inputs.size[2]} cells")
    connected = np.zeros(inputs.size, dtype=bool)
    for product in products(connectivity or inputs.connectivity, inputs.size):
        along_time, along_y, along_x = (relation[place] for relation, place in zip(product, query))
        connected |= along_time[:, None, None] & along_y[:, None] & along_x
    connected, chosen = torch.from_numpy(connected), slice(None) if head is None else slice(head, head + 1)
    q = inputs.query[chosen, query[0] - first, query[1], query[2], None].double()
    k = inputs.key[chosen].flatten(1, 3).double()
    scores = (q @ k.mT)[:, 0] * inputs.scale
    return q, k, scores.masked_fill(~connected.flatten(), -torch.inf), connected


def strongest(row: Callable[[int, Cell], tuple[Float[np.ndarray, "_"], Int[np.ndarray, "_ 3"]]], start: Cell,
              hops: int, count: int) -> list[tuple[float, tuple[Cell, ...]]]:
    """The `count` routes of greatest weight, exactly, as (weight, cells from the query on): a route never grows heavier
    as it goes on, so the heaviest unfinished one is always the next to follow.

    Args:
        row: weights, 0 and above, of the query that a cell is after so many hops, and the cells that they are of; at
            the last hop of those alone in which a route may end.
        start: the query.
        hops: layers.
        count: at most so many.
    """
    routes, order, waiting = [], 0, [(-1.0, 0, (start,))]
    read = functools.cache(row)
    best: list[float] = []  # of the routes met so far, the lightest first: what is lighter still is not followed
    while waiting and len(routes) < count:
        weight, _, cells = heapq.heappop(waiting)
        if len(cells) > hops:
            routes.append((-weight, cells))
            continue
        shares, places = read(len(cells) - 1, cells[-1])
        worth = -weight * shares > (best[0] if len(best) == count else 0)
        for share, place in zip(shares[worth].tolist(), places[worth].tolist()):
            order += 1
            heapq.heappush(waiting, (weight * share, order, (*cells, tuple(place))))
            if len(cells) == hops:
                (heapq.heappushpop if len(best) == count else heapq.heappush)(best, -weight * share)
    return routes
