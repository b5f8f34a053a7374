"""Masks from prompts against the truth: a box, clicks and a rough outline, each placed by a rule that knows the true
mask, as a careful user would place it.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from sstlib.datasets import open_dataset
from sstlib.datasets.photographs import open_photographs
from sstlib.metrics import region_similarity
from sstlib.paths.digests import sha256
from sstlib.sessions.outlines import outlines, simplified
from sstlib.sessions.product import box
from sstlib.shapes import Bool, UInt8
from sstlib.video import VOID, prompts

PHOTOGRAPHS, SEED = 50, 21  # how many are drawn, and with which seed
WITHIN = 0.5  # least depth of clicks, as a share of an object's deepest pixel's: nobody clicks on an edge
ROUGH = 0.01  # of the longer side: the largest distance of a drawn outline from the true one
Mask = Bool[np.ndarray, "height width"]


class Pictured(NamedTuple):
    """A picture, the true mask of the prompted object, and the pixels that do not count."""

    data: str
    name: str
    frame: UInt8[np.ndarray, "height width 3"]
    truth: Mask
    void: Mask


def pictures() -> Iterator[Pictured]:
    """A random choice of photographs, each with its largest object, and the first frames of DAVIS 2016's validation
    sequences.

    Raises:
        FileNotFoundError: one of the two data sets is not there.
    """
    photographs, sequences = open_photographs(), open_dataset("davis2016", "val")
    for number in np.random.default_rng(SEED).permutation(len(photographs))[:PHOTOGRAPHS].tolist():
        photograph = photographs[number]
        counts = np.bincount(photograph.labels.ravel(), minlength=256)
        counts[[0, VOID]] = 0
        yield Pictured("photographs", photograph.name, photograph.pixels, photograph.labels == counts.argmax(),
                       photograph.labels == VOID)
    for sequence in sequences:
        labels = sequence.label(0)
        yield Pictured("davis2016 val", sequence.name, sequence.frame(0), labels == 1, labels == VOID)


def clicked(truth: Mask, count: int) -> list[tuple[int, int]]:
    """Clicks on the largest part of an object, each (x, y): its deepest pixel, then repeatedly the pixel away from the
    edge that is farthest from all clicks so far.
    """
    depth = prompts.distance(np.pad(~_largest_part(truth), 1, constant_values=True))[1:-1, 1:-1]
    inner, points = depth >= WITHIN * depth.max(), [_place(depth)]
    while len(points) < count:
        on = np.zeros(truth.shape, bool)
        on[tuple(np.array(points).T[::-1])] = True
        points.append(_place(np.where(inner, prompts.distance(on), -1)))
    return points


def outlined(truth: Mask) -> list[tuple[int, int]]:
    """The outline of the largest part of an object as a user would draw it, with few corners (x, y) and no holes."""
    around = max(outlines(_largest_part(truth)), key=lambda ring: np.ptp(ring, axis=0).prod())
    return [(int(x), int(y)) for x, y in simplified(around, ROUGH * max(truth.shape))]


PROMPTS: dict[str, Callable[[Pictured], Mask]] = {
    "box": lambda one: prompts.mask_from_box(one.frame, box(one.truth)),
    "one point": lambda one: prompts.mask_from_points(one.frame, clicked(one.truth, 1)),
    "three points": lambda one: prompts.mask_from_points(one.frame, clicked(one.truth, 3)),
    "polygon": lambda one: prompts.mask_from_polygon(one.truth.shape, outlined(one.truth)),
}


def measure(given: Iterable[Pictured]) -> list[dict[str, Any]]:
    """A row a picture: J of the mask from each prompt, 0 if it is refused, and the refused prompts with their errors.
    """
    rows = []
    for one in tqdm(list(given), unit="picture", ascii=True, mininterval=5):
        scores, refused = {}, {}
        for kind, mask_of in PROMPTS.items():
            try:
                scores[kind] = region_similarity(mask_of(one) & ~one.void, one.truth)
            except ValueError as error:
                scores[kind], refused[kind] = 0.0, str(error)
        rows.append({"data": one.data, "name": one.name, "picture": sha256(one.frame.tobytes())[:16],
                     "truth": sha256(one.truth.tobytes())[:16], "share": float(one.truth.mean()), "J": scores,
                     "refused": refused})
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """A line a data set and prompt: median J, lower quartile, number of refused prompts."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == data]
        for kind in PROMPTS:
            values = [row["J"][kind] for row in own]
            low, middle, _ = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
            refused = sum(kind in row["refused"] for row in own)
            lines.append(f"{data:14} {kind:12} median J {middle:.2f}, a quarter below {low:.2f}, "
                         f"{refused} of {len(own)} refused")
    return "\n".join(lines)


def _largest_part(mask: Mask) -> Mask:
    parts = prompts.parts(mask)
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    return parts == counts.argmax()


def _place(values: np.ndarray) -> tuple[int, int]:
    """The place (x, y) of the largest value."""
    y, x = divmod(int(values.argmax()), values.shape[1])
    return x, y
