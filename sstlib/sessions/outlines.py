"""Masks as polygons: the outlines of a mask along its pixels' edges, simplified, and joined to a single one."""

from collections import defaultdict

import numpy as np

from sstlib.shapes import Bool, Float, Shaped

TOLERANCE = 0.75  # largest distance in pixels of a simplified outline: enough to turn the steps of a slope into a line
SMALL = 12  # corners up to which an outline stays as it is


def outlines(mask: Bool[np.ndarray, "height width"]) -> list[Shaped[np.ndarray, "corner 2"]]:
    """Closed outlines of a mask along the edges of its pixels, as corners (x, y) without repetition of the first.

    Outlines of objects go clockwise as seen on the screen, those of holes counterclockwise; pixels that touch only at a
    corner are separate. Filled, they give the mask exactly.
    """
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for start, end in _edges(mask):
        leaving[start].append(end)
    rings = []
    while leaving:
        first = next(corner for corner, ends in leaving.items() if len(ends) == 1)  # the uppermost is always one
        ring, corner = [first], leaving.pop(first)[0]
        while corner != first:
            ends = leaving[corner]
            following = ends[0] if len(ends) == 1 else next(end for end in ends if _turns_right(ring[-1], corner, end))
            ends.remove(following)
            if not ends:
                del leaving[corner]
            ring.append(corner)
            corner = following
        rings.append(np.array(ring))
    return rings


def _edges(mask: Bool[np.ndarray, "height width"]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Straight edges from corner to corner, with the object on their right."""
    padded = np.pad(mask, 1)
    below, beside = padded[1:, 1:-1].astype(np.int8) - padded[:-1, 1:-1], padded[1:-1, 1:].astype(np.int8) - padded[
        1:-1, :-1]
    edges = []
    for sign in (1, -1):  # an object begins, or ends, beneath the line
        for y, left, right in _stretches(below == sign):
            edges.append(((left, y), (right, y)) if sign > 0 else ((right, y), (left, y)))
        for x, top, bottom in _stretches((beside == sign).T):
            edges.append(((x, bottom), (x, top)) if sign > 0 else ((x, top), (x, bottom)))
    return edges


def _stretches(on: Bool[np.ndarray, "line place"]) -> list[list[int]]:
    """Runs of True, line by line: line, first place, place after the last."""
    change = np.diff(np.pad(on, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, first = np.nonzero(change == 1)
    return np.stack([lines, first, np.nonzero(change == -1)[1]], 1).tolist()


def _turns_right(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether the way from a over b to c turns right, on a screen whose y goes down."""
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]) > 0


def simplified(ring: Shaped[np.ndarray, "corner 2"], tolerance: float = TOLERANCE) -> Shaped[np.ndarray, "remaining 2"]:
    """A closed outline with fewer corners; no omitted corner is farther from it than the tolerance."""
    if len(ring) <= SMALL:
        return ring
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(1)))
    closed = np.concatenate([ring, ring[:1]])
    corners = np.zeros(len(closed), bool)
    corners[[0, far, len(ring)]] = True
    parts = [(0, far), (far, len(ring))]
    while parts:
        start, end = parts.pop()
        apart = _distances(closed[start + 1:end], closed[start], closed[end])
        if len(apart) and apart.max() > tolerance:
            middle = start + 1 + int(apart.argmax())
            corners[middle] = True
            parts += [(start, middle), (middle, end)]
    return closed[:-1][corners[:-1]]


def _distances(points: Shaped[np.ndarray, "point 2"], start: np.ndarray,
               end: np.ndarray) -> Float[np.ndarray, "point"]:
    """Distances of points from a line segment."""
    along = (end - start).astype(float)
    share = np.clip((points - start) @ along / max(along @ along, 1e-12), 0, 1)
    return np.linalg.norm(points - start - share[:, None] * along, axis=1)


def polygon(mask: Bool[np.ndarray, "height width"]) -> Shaped[np.ndarray, "corner 2"]:
    """One polygon for a whole mask: parts and holes are joined by lines back and forth, which enclose nothing."""
    rings = sorted((simplified(ring) for ring in outlines(mask)), key=len, reverse=True)
    if not rings:
        return np.zeros((0, 2), int)
    joined = rings[0]
    for ring in rings[1:]:
        distances = ((joined[:, None] - ring[None]) ** 2).sum(-1)
        near, far = np.unravel_index(int(distances.argmin()), distances.shape)
        joined = np.concatenate([joined[:near + 1], ring[far:], ring[:far + 1], joined[near:]])
    return joined
