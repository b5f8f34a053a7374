"""What arrays of labels and masks may hold: what counts them reads bytes, and would take other numbers for something
else without a word.
"""

from typing import Any

import numpy as np


def byte_labels(array: Any) -> np.ndarray:
    """Labels as bytes in a row: 0 the background, 1..254 objects, 255 void; other whole numbers in that range likewise.

    Raises:
        ValueError: numbers that are not whole, or out of this range, or under a mask.
    """
    labels = unmasked(array)
    if labels.dtype != np.uint8 and labels.size:
        whole = labels.dtype.kind in "biu"
        if not whole or labels.min() < 0 or labels.max() > 255:
            held = f"from {labels.min()} to {labels.max()}" if whole else "not whole numbers"
            raise ValueError(f"labels are {labels.dtype}, {held}; give whole numbers, 0 for the background, 1..254 for "
                             "objects and 255 for void")
    return np.ascontiguousarray(labels, np.uint8)


def mask_of(array: Any) -> np.ndarray:
    """A mask as true and false, of which 1 and 0 may be the numbers.

    Raises:
        ValueError: other numbers, such as ids, levels up to 255 or probabilities, or some under a mask.
    """
    mask = unmasked(array)
    if mask.dtype != bool and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"a mask is true or false, and this one has {mask.dtype} from {mask.min()} to {mask.max()}; "
                         "compare it, as by labels == 1 or probability > 0.5")
    return mask.astype(bool, copy=False)


def unmasked(array: Any) -> np.ndarray:
    """As an array.

    Raises:
        ValueError: elements are masked, whose numbers mean nothing, and would count.
    """
    if isinstance(array, np.ma.MaskedArray) and (hidden := int(np.ma.getmaskarray(array).sum())):
        raise ValueError(f"{hidden} of the {array.size} elements are masked; say what these are, as by "
                         "array.filled(0), or in labels array.filled(255) for void")
    return np.asarray(array)
