"""Regions as labeling tools describe them: by corners, by an ellipse, or by a picture of a part of the frame."""

import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from sstlib.shapes import Bool

LARGEST = 1 << 28  # pixels of a frame
Size = tuple[int, int]


class Region(NamedTuple):
    """One drawn region."""

    frame: str | int
    label: str
    key: Any  # what is equal for the same object of this label; None where the file does not tell
    mask: Bool[np.ndarray, "height width"]
    void: bool = False
    picture: str = ""  # the frame's file as it is called there, with its folders
    outside: bool = False  # the object is said not to be in the frame, and the mask is empty


def pasted(part: Bool[np.ndarray, "rows columns"], left: int, top: int, size: Size) -> Bool[np.ndarray, "height width"]:
    """The mask of a frame from that of a part of it.

    Raises:
        ValueError: the part is not in the frame.
    """
    mask = np.zeros(size, bool)
    if left < 0 or top < 0 or top + part.shape[0] > size[0] or left + part.shape[1] > size[1]:
        raise ValueError(f"a mask of {part.shape[1]}x{part.shape[0]} pixels at {left},{top} is not in its image")
    mask[top:top + part.shape[0], left:left + part.shape[1]] = part
    return mask


def polygon_mask(points: list[tuple[float, ...]], size: Size) -> Bool[np.ndarray, "height width"]:
    """The pixels of a polygon, its outline included.

    Raises:
        ValueError: fewer than three corners, or one that is far outside.
    """
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ValueError(f"a polygon of {len(points)} points; expected three or more, each x and y")
    require_near([value for point in points for value in point], size)
    image = Image.new("1", size[::-1])
    ImageDraw.Draw(image).polygon(points, fill=1, outline=1)
    return np.array(image)


def ellipse_mask(x: float, y: float, across: float, down: float, size: Size, turned: float = 0.0) -> np.ndarray:
    """The pixels of an ellipse with these half axes, turned clockwise as seen by so many radians."""
    rows, columns = np.ogrid[:size[0], :size[1]]
    rows, columns, (sine, cosine) = rows - y, columns - x, (math.sin(turned), math.cos(turned))
    along, athwart = columns * cosine + rows * sine, rows * cosine - columns * sine
    return (along / max(across, 1e-6))**2 + (athwart / max(down, 1e-6))**2 <= 1 + 1e-9


def require_near(values: list[float], size: Size) -> None:
    """Raises a ValueError for corners far outside: tools let them stick out a little, and what lies far away is damage.
    """
    reach = 2 * max(size) + 100
    if any(abs(value) > reach for value in values):
        raise ValueError(f"a corner is far outside of its image of {size[1]}x{size[0]} pixels")


def coordinates(values: Any) -> list[float]:
    """Numbers of a file, itself a list of them.

    Raises:
        ValueError: it is none, or one is not finite.
    """
    if not isinstance(values, list | tuple) or any(type(value) not in (int, float) or not math.isfinite(value)
                                                   for value in values):
        raise ValueError("coordinates are no list of numbers")
    return [float(value) for value in values]


def named(value: Any) -> str:
    """A name without blanks around it; raises a ValueError for what is none."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a name is {value!r}")
    return value.strip()


def one_size(sizes: list[Any]) -> Size:
    """The one size of all images.

    Raises:
        ValueError: none, several, or one that no frame has.
    """
    if len(set(sizes)) != 1:
        raise ValueError("it has no images" if not sizes else "its images have several sizes; a clip has one")
    if any(type(side) is not int or side < 1 for side in sizes[0]) or sizes[0][0] * sizes[0][1] > LARGEST:
        raise ValueError(f"its images are {sizes[0][1]}x{sizes[0][0]}; expected whole numbers of pixels")
    return sizes[0]
