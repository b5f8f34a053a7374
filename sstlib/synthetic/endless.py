"""A video without an end, drawn a frame at a time: a textured disk that wanders over a moving texture and now and
then leaves the frame.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from sstlib.shapes import UInt8
from sstlib.synthetic.textures import draw_textures, textures

SIDE = 512  # pixels of the tiling textures


def endless_video(
        height: int, width: int,
        seed: int = 0) -> Iterator[tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"]]]:
    """Frames with their true labels, 1 the disk, which is whole in the first frame; the two textures are all that is
    held.
    """
    rng = np.random.default_rng(seed)
    ground, skin = (textures([draw_textures(rng, 4, SIDE)])[:2].permute(0, 2, 3, 1) * 255).byte().numpy()
    rows, columns = np.arange(height)[:, None], np.arange(width)
    for t in itertools.count():
        frame = ground[(rows + t // 2) % SIDE, (columns + t) % SIDE]
        y, x = height * (0.5 + 0.3 * np.sin(t / 47)), width * (0.5 + 0.75 * np.sin(t / 61))
        inside = (rows - y) ** 2 + (columns - x) ** 2 < (0.2 * height) ** 2
        shown = skin[(rows - round(y)) % SIDE, (columns - round(x)) % SIDE]
        yield np.where(inside[..., None], shown, frame), inside.astype(np.uint8)
