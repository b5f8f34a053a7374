"""Masks as COCO writes them: runs of pixels down the columns, as text."""

import numpy as np

from sstlib.shapes import Bool


def run_lengths(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Lengths of runs down the columns, of background first: a mask that begins with an object begins with 0."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    return [0, *lengths] if pixels[:1].any() else lengths


def encoded(mask: Bool[np.ndarray, "height width"]) -> str:
    """The text that pycocotools calls `counts`.

    From the third on, each length is written as its difference to the one two before; five bits a character, the
    lowest first, a sixth bit where more follow.
    """
    lengths, characters = run_lengths(mask), []
    for n, length in enumerate(lengths):
        value = length - lengths[n - 2] if n > 2 else length
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            characters.append(chr(48 + bits + 32 * more))
    return "".join(characters)
