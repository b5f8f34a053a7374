"""Where a trained SST attends while an object is hidden and when it returns, and how far its attention carries a mask.

Both use true masks and none of the network's own: attention does not depend on masks.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib.config.fields import require
from sstlib.connectivity import Connectivity
from sstlib.datasets import sst_occlusion_2
from sstlib.experiments import knockouts, records
from sstlib.model import Memory, Propagator
from sstlib.routes import attention_maps, carried, separation
from sstlib.shapes import Bool, Float
from sstlib.statistics.uncertainty import UNKNOWN

HIDDEN, ROUTES = "attention-hidden", "mask-routes"
LENGTH, BEFORE, AFTER = 8, 3, 8  # frames hidden, and measured before and after
LONGEST, SCENES = 320, 8  # pixels
HIDDEN_DATA = (f"sst-occlusion-2 val, {SCENES} scenes hidden for {LENGTH} frames, from {BEFORE} frames before to "
               f"{AFTER} after, longest side {LONGEST}")
PLACES = ("the object", "what hides it", "elsewhere", "the frame itself")
MOMENTS = {  # by whether the object is visible, and whether a frame in memory shows it
    "in sight, before": lambda row, before: before and row["visible"] > 0,
    "hidden, in memory": lambda row, before: row["visible"] == 0 and row["object in memory"],
    "hidden, out of memory": lambda row, before: row["visible"] == 0 and not row["object in memory"],
    "back, out of memory": lambda row, before: not before and row["visible"] > 0 and not row["object in memory"],
    "back, in memory again": lambda row, before: not before and row["visible"] > 0 and row["object in memory"]}
FIRST, ROUTES_LONGEST = 2, 256
ROUTES_DATA = (f"{knockouts.HELD_OUT_DATA}; a buffer of every third frame, the oldest number "
               f"{knockouts.APART * FIRST}, longest side {ROUTES_LONGEST}")


def _require_attention(network: Propagator) -> None:
    require(network.config.method, "the method, whose attention is looked at,", ("sst", ))


def hidden(network: Propagator) -> dict[str, Any]:
    """For each scene, a row a frame and layer: the shares of attention from the object's cells to the object's true
    cells in earlier frames, to what hides it there, elsewhere, and to the frame itself; and the same for even
    attention over all connected cells.

    Raises:
        ValueError: not an SST.
    """
    _require_attention(network)
    scenes = list(sst_occlusion_2.scenes("val"))[:SCENES]
    made = {row[0].scene_name: _clip(next(one for one in row if one.length == LENGTH)) for row in scenes}
    return {"scenes": {name: shares(network, *content) for name, content in made.items()}}


def _clip(sequence: sst_occlusion_2.PairedSequence
          ) -> tuple[Float[Tensor, "time 3 height width"], Bool[np.ndarray, "time height width"],
                     Bool[np.ndarray, "time height width"]]:
    """Frames at the working size; the object's visible and full masks at that of the clip."""
    clip = sequence.clip
    gone = np.flatnonzero(clip.visible_share[:, 0] == 0)
    times = slice(gone[0] - BEFORE - 3, gone[-1] + AFTER + 1)
    frames = knockouts.shrunk(clip.frames[times].copy(), LONGEST)
    return frames, clip.labels[times] == sst_occlusion_2.TARGET, sequence.amodal[times]


@torch.inference_mode()
def shares(network: Propagator, frames: Float[Tensor, "time 3 height width"],
           visible: Bool[np.ndarray, "time rows columns"],
           full: Bool[np.ndarray, "time rows columns"]) -> list[dict[str, Any]]:
    """A row a frame and layer, beginning with the first frame that has a full history."""
    sight, masks = (_resized(one, tuple(frames.shape[2:])) for one in (visible, full))
    covered = np.clip(masks - sight, 0, 1)
    truth = torch.from_numpy(np.stack([1 - sight, sight], 1)).float()
    seen: list[tuple[Any, Tensor, Tensor]] = []
    hooks = [layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, *given[:2])))
             for layer in network.layers]
    rows, memory = [], None
    try:
        for t in range(len(frames)):
            features = network.extract(frames[t:t + 1])
            if memory is not None and t >= network.config.history:
                seen.clear()
                network.encode(features, memory)
                rows += _rows(network, memory, seen, t, sight, covered, masks)
            memory = network.remember(memory, features, truth[t:t + 1])
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def _resized(masks: Bool[np.ndarray, "time rows columns"], size: tuple[int, int]
             ) -> Float[np.ndarray, "time height width"]:
    return F.interpolate(torch.from_numpy(masks)[:, None].float(), size, mode="area")[:, 0].numpy()


def _rows(network: Propagator, memory: Memory, seen: list[tuple[Any, Tensor, Tensor]], t: int,
          sight: np.ndarray, covered: np.ndarray, masks: np.ndarray) -> Iterator[dict[str, Any]]:
    stride, times = network.config.output_stride, [one.time for one in network.buffer(memory)]
    gone = not sight[t].any()
    for number, (layer, cells, key) in enumerate(seen):
        height, width = key.shape[3:5]
        at = _cells((masks if gone else sight)[t], stride, (height, width)) >= 0.5
        if not at.any():
            return
        past = [np.stack([_cells(kind[time], stride, (height, width)) >= 0.5 for time in times])
                for kind in (sight, covered)]
        places = np.zeros((len(times) + 1, height, width), int) + PLACES.index("elsewhere")
        places[:-1][past[1]] = PLACES.index("what hides it")
        places[:-1][past[0]] = PLACES.index("the object")
        places[-1] = PLACES.index("the frame itself")
        connected = _connected(layer.connectivity, (len(times) + 1, height, width))[at.ravel()]
        query = layer.heads(layer.query(cells[:, -1:]))[0].flatten(1, 3)[:, at.ravel()]
        scale = query.shape[-1]**-0.5 if network.config.scaled else 1.0
        logits = query.double() @ key[0].flatten(1, 3).double().mT * scale
        weights = logits.masked_fill(~torch.from_numpy(connected), -torch.inf).softmax(-1).mean((0, 1)).numpy()
        even = (connected / connected.sum(1, keepdims=True)).mean(0)
        yield {"frame": t, "layer": number, "visible": float(sight[t].sum() / max(masks[t].sum(), 1)),
               "attention": np.bincount(places.ravel(), weights, len(PLACES)).tolist(),
               "even": np.bincount(places.ravel(), even, len(PLACES)).tolist(),
               "object in memory": bool(past[0].any())}


def _cells(mask: Float[np.ndarray, "rows columns"], stride: int, size: tuple[int, int]
           ) -> Float[np.ndarray, "height width"]:
    pooled = F.avg_pool2d(torch.from_numpy(mask)[None, None], stride, ceil_mode=True)[0, 0].numpy()
    return pooled[:size[0], :size[1]]


@functools.lru_cache(maxsize=4)
def _connected(connectivity: Connectivity, size: tuple[int, int, int]) -> Bool[np.ndarray, "queries keys"]:
    return connectivity.mask(*size)[-size[1] * size[2]:].numpy()


def traveled(network: Propagator) -> dict[str, Any]:
    """For each sequence and distance in frames: how well what arrives along all routes from the object's cells of an
    earlier frame separates its cells in the current one from the others (area under the ROC curve; 0.5 is chance), and
    the same for even attention along the same connections.

    Raises:
        ValueError: not an SST.
        FileNotFoundError: DAVIS is not there.
    """
    _require_attention(network)
    buffer, rows = slice(FIRST, FIRST + network.config.history + 1), {}
    for sequence in knockouts.held_out():
        frames, masks = knockouts.clip(sequence, ROUTES_LONGEST)
        rows[sequence.name] = areas(network, frames[buffer], masks[buffer])
    return {"sequences": rows}


def areas(network: Propagator, frames: Float[Tensor, "time 3 height width"],
          masks: Bool[np.ndarray, "time height width"]) -> dict[str, dict[str, float]]:
    """Areas under the ROC curve in one buffer, by distance."""
    truth = torch.from_numpy(np.stack([~masks, masks], 1)).float()
    maps = attention_maps(network, frames, truth)
    stride = network.config.output_stride
    height, width = -(-frames.shape[2] // stride), -(-frames.shape[3] // stride)
    object_cells = np.stack([_cells(one.astype(np.float32), stride, (height, width)) >= 0.5 for one in masks])
    even = [_even(layer.connectivity, (len(frames), height, width), len(one), network.config.causal)
            for layer, one in zip(reversed(network.layers), maps, strict=True)]
    result = {}
    for distance in range(1, len(frames)):
        source = np.zeros((len(frames), height, width, 2))
        source[-1 - distance, ..., 0], source[-1 - distance, ..., 1] = object_cells[-1 - distance], 1
        result[str(distance)] = {
            name: separation(_share(carried(kind, source.reshape(-1, 2))[-height * width:]),
                             object_cells[-1].ravel()) for name, kind in (("attention", maps), ("even", even))}
    return result


def _even(connectivity: Connectivity, size: tuple[int, int, int], queries: int, causal: bool
          ) -> Float[np.ndarray, "queries keys"]:
    """Even attention, the same over all cells that a query is connected to."""
    connected = connectivity.mask(*size).numpy()[-queries:]
    frame = np.repeat(np.arange(size[0]), size[1] * size[2])
    if causal:
        connected = connected & (frame <= frame[-queries:, None])
    return connected / connected.sum(1, keepdims=True)


def _share(arriving: Float[np.ndarray, "cells 2"]) -> Float[np.ndarray, "cells"]:
    """The object's share of what arrives from the frame."""
    return np.divide(arriving[:, 0], arriving[:, 1], out=np.zeros(len(arriving)), where=arriving[:, 1] > 0)


def looks() -> pd.DataFrame:
    """A row a network, moment and place: share of attention (percent, last layer) with its 95% interval over scenes,
    and that of even attention.
    """
    rows = []
    for name, runs in records.by_variant(HIDDEN).items():
        for moment, chosen in MOMENTS.items():
            means = [[_mean(scene, chosen, kind) for scene in run.metrics["scenes"].values()]
                     for run in runs for kind in ("attention", "even")]
            values = np.array(means).reshape(len(runs), 2, -1, len(PLACES))
            for number, place in enumerate(PLACES):
                attention, even = (100 * values[:, kind, :, number] for kind in (0, 1))
                usable = ~np.isnan(attention).any(0)
                estimate = knockouts.spread(attention[:, usable]) if usable.sum() > 1 else UNKNOWN
                rows.append({"network": name, "moment": moment, "place": place, "share": estimate.mean,
                             "low": estimate.low, "high": estimate.high,
                             "even": float(even[:, usable].mean()) if usable.any() else np.nan,
                             "scenes": int(usable.sum())})
    return pd.DataFrame(rows)


def _mean(rows: list[dict[str, Any]], chosen: Any, kind: str) -> list[float]:
    last = max(row["layer"] for row in rows)
    gone = min(row["frame"] for row in rows if row["visible"] == 0)
    values = [row[kind] for row in rows if row["layer"] == last and chosen(row, row["frame"] < gone)]
    return np.mean(values, axis=0).tolist() if values else [np.nan] * len(PLACES)


def distances() -> pd.DataFrame:
    """A row a network and distance: the area under the ROC curve (percent) of attention and of even attention, and
    their difference with its 95% interval over sequences (and seeds).
    """
    rows = []
    for name, runs in records.by_variant(ROUTES).items():
        for distance in next(iter(runs[0].metrics["sequences"].values())):
            values = {kind: 100 * np.array([[one[distance][kind] for one in run.metrics["sequences"].values()]
                                            for run in runs]) for kind in ("attention", "even")}
            difference = knockouts.spread(values["attention"] - values["even"])
            rows.append({"network": name, "frames back": int(distance), "attention": values["attention"].mean(),
                         "even": values["even"].mean(), **difference.columns})
    return pd.DataFrame(rows)


def spoken(row: pd.Series) -> str:
    """A share of `looks` with its interval, and that of even attention, as text."""
    return f"{row['share']:z.1f}% ({row['low']:z.1f} to {row['high']:z.1f}; even {row['even']:z.1f})"
