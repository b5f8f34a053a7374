"""Made frames: their labels, and their files."""

from pathlib import Path

import numpy as np
from PIL import Image


def square(shape, identity=1, column=5, size=(12, 12)):
    """One object's labels, on eight rows of background."""
    labels = np.zeros(shape, np.uint8)
    labels[8:8 + size[0], column:column + size[1]] = identity
    return labels


def write_frames(folder, frames):
    """A folder of 00000.png, 00001.png and so on."""
    Path(folder).mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(Path(folder) / f"{t:05d}.png")
