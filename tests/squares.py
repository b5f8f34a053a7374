"""Labels of made frames."""

import numpy as np


def square(shape, identity=1, column=5, size=(12, 12)):
    """One object's labels, on eight rows of background."""
    labels = np.zeros(shape, np.uint8)
    labels[8:8 + size[0], column:column + size[1]] = identity
    return labels
