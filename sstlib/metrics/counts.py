"""Pixel counts behind J and F, exact integers: everything a frame's scores are made of, for all of its objects.

The boundary of a mask is every pixel that differs from its neighbor to the right, below, or below right (the frame's
border repeats). Two boundaries agree where one lies within a disk around a pixel of the other. Masks are held as rows
of bits, 64 pixels a word, so that a disk is a handful of shifts; the NumPy and the native path count the same integers.
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sstlib import native
from sstlib.config.arrays import byte_labels, mask_of
from sstlib.config.values import Whole
from sstlib.shapes import Bool, Int, Shaped, UInt8

TOLERANCE = 0.008
SOURCE = Path(__file__).with_suffix(".cpp")
COLUMNS = ("intersection", "union", "predicted boundary", "true boundary", "predicted matched", "true matched")


def tolerance_radius(height: int, width: int) -> int:
    """Radius in pixels within which boundaries agree: 0.008 of the diagonal, rounded up (8 at 480 x 854)."""
    return math.ceil(TOLERANCE * math.sqrt(height * height + width * width))


def boundary(mask: Bool[np.ndarray, "*any height width"]) -> Bool[np.ndarray, "*any height width"]:
    """Pixels that differ from their neighbor to the right, below or below right; the last row and column repeat."""
    edged = np.concatenate([mask, mask[..., -1:]], axis=-1)
    edged = np.concatenate([edged, edged[..., -1:, :]], axis=-2)
    return (mask ^ edged[..., :-1, 1:]) | (mask ^ edged[..., 1:, :-1]) | (mask ^ edged[..., 1:, 1:])


def present(labels: Shaped[np.ndarray, "*any"]) -> tuple[int, ...]:
    """The label values that occur, ascending, background 0 included."""
    labels, seen = byte_labels(labels), bytearray(256)
    if kernel() is None:
        return tuple(np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist())
    kernel().sst_present(labels.ctypes.data, labels.size, (ctypes.c_char * 256).from_buffer(seen))
    return tuple(value for value in range(256) if seen[value])


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """The native path, or None where it is not to be had; NumPy then counts the same, several times slower."""
    library = native.load(SOURCE)
    if library is not None:
        address, number = ctypes.c_void_p, ctypes.c_int64
        library.sst_present.argtypes = [address, number, address]
        library.sst_frame_counts.argtypes = [address, address, number, number, number, ctypes.c_char_p, number, address]
        library.sst_present.restype = library.sst_frame_counts.restype = None
    return library


def frame_counts(prediction: Shaped[np.ndarray, "*size"], truth: Shaped[np.ndarray, "*shape"],
                 objects: Sequence[int], radius: int | None = None) -> Int[np.ndarray, "objects 6"]:
    """Counts of one frame, a row an object, columns as in COLUMNS; `radius` defaults to the official tolerance.

    Raises:
        ValueError: the two label maps differ in size, or hold no labels; a radius below 0.
    """
    prediction, truth = byte_labels(prediction), byte_labels(truth)
    radius = _radius(prediction, truth, radius)
    if radius < 64 and kernel() is not None:
        counts = np.empty((len(objects), len(COLUMNS)), dtype=np.int64)
        kernel().sst_frame_counts(prediction.ctypes.data, truth.ctypes.data, *truth.shape, radius, bytes(objects),
                                  len(objects), counts.ctypes.data)
        return counts
    return numpy_counts(prediction, truth, objects, radius)


def _radius(prediction: Shaped[np.ndarray, "*size"], truth: Shaped[np.ndarray, "*shape"], radius: int | None) -> int:
    """The tolerance, once both sides are frames of one size."""
    if prediction.shape != truth.shape or truth.ndim != 2:
        sizes = " and the truth ".join(" x ".join(map(str, labels.shape)) for labels in (prediction, truth))
        raise ValueError(f"the prediction is {sizes} (height x width); write predictions at the size of the "
                         "annotations, resized by nearest neighbor")
    return tolerance_radius(*truth.shape) if radius is None else Whole().check(radius, "radius")


def numpy_counts(prediction: UInt8[np.ndarray, "height width"], truth: UInt8[np.ndarray, "height width"],
                 objects: Sequence[int], radius: int) -> Int[np.ndarray, "objects 6"]:
    """`frame_counts` in NumPy alone: the same integers, several times slower."""
    rows = [_count(prediction == value, truth == value, radius) for value in objects]
    return np.array(rows, dtype=np.int64).reshape(len(objects), len(COLUMNS))


class Agreement(NamedTuple):
    """The boundary pixels of a prediction and of the truth, each split by whether the other is within the tolerance."""

    matched: Bool[np.ndarray, "height width"]
    false: Bool[np.ndarray, "height width"]
    recalled: Bool[np.ndarray, "height width"]
    missed: Bool[np.ndarray, "height width"]


def boundary_agreement(prediction: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"],
                       radius: int | None = None) -> Agreement:
    """What F is made of, pixel by pixel: precision is the share `matched` of one, recall `recalled` of the other.

    Raises:
        ValueError: masks that differ in size, or are none; a radius below 0.
    """
    prediction, truth = mask_of(prediction), mask_of(truth)
    radius = _radius(prediction, truth, radius)
    edges = np.stack([boundary(prediction), boundary(truth)])
    near = _dilate(_pack(edges), radius)[::-1]
    near = np.unpackbits(near.copy().view(np.uint8), axis=-1, bitorder="little", count=truth.shape[1]).astype(bool)
    (matched, recalled), (false, missed) = edges & near, edges & ~near
    return Agreement(matched, false, recalled, missed)


def _count(prediction: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"],
           radius: int) -> tuple[int, ...]:
    either = prediction | truth
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if not rows.size:
        return (0,) * len(COLUMNS)
    # One pixel more on every side: above and to the left, because the boundary of an object lies partly outside of it;
    # below and to the right, because without a background pixel there the repeated border would hide the edge.
    window = (slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2))
    prediction, truth = prediction[window], truth[window]
    edges = _pack(np.stack([boundary(prediction), boundary(truth)]))
    matched = edges & _dilate(edges, radius)[::-1]
    predicted_edge, true_edge = _bits(edges)
    predicted_matched, true_matched = _bits(matched)
    return (int((prediction & truth).sum()), int(either.sum()),
            predicted_edge, true_edge, predicted_matched, true_matched)


def _pack(masks: Bool[np.ndarray, "masks height width"]) -> Shaped[np.ndarray, "masks height words"]:
    """Rows of bits, 64 pixels a word, the leftmost pixel lowest; a row is filled up with zeros."""
    packed = np.packbits(np.pad(masks, ((0, 0), (0, 0), (0, -masks.shape[-1] % 64))), axis=-1, bitorder="little")
    return packed.view("<u8")


def _bits(words: Shaped[np.ndarray, "masks height words"]) -> list[int]:
    return np.bitwise_count(words).sum(axis=(1, 2), dtype=np.int64).tolist()


def _widen(words: Shaped[np.ndarray, "masks height words"]) -> Shaped[np.ndarray, "masks height words"]:
    """Every set pixel also sets its left and right neighbor."""
    one, top = np.uint64(1), np.uint64(63)
    wider = words | words << one | words >> one
    wider[..., 1:] |= words[..., :-1] >> top
    wider[..., :-1] |= words[..., 1:] << top
    return wider


def _dilate(words: Shaped[np.ndarray, "masks height words"], radius: int) -> Shaped[np.ndarray, "masks height words"]:
    """Union of disks dx^2 + dy^2 <= radius^2 around the set pixels, from far rows (narrow) to the middle one (wide)."""
    height, reached, row, half_width = words.shape[1], np.zeros_like(words), words, 0
    for dy in range(radius, -1, -1):
        for _ in range(math.isqrt(radius * radius - dy * dy) - half_width):
            row = _widen(row)
        half_width = math.isqrt(radius * radius - dy * dy)
        if dy < height:
            reached[:, dy:] |= row[:, :height - dy]
            reached[:, :height - dy] |= row[:, dy:]
    return reached
