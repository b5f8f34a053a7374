"""Masks of objects from what is quickly drawn: a box, clicks, scribbles, a polygon.

OpenCV's GrabCut (Rother, Kolmogorov and Blake, 2004) separates the colors of an object from those around it, from what
is known to be inside and outside; small holes that it leaves are filled (`SMALL_HOLE`). Coordinates are pixels, (x, y)
from the upper left corner. Equal input gives equal masks.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sstlib.config.values import Number
from sstlib.shapes import Bool, Float, Shaped, UInt8

Point = tuple[float | int, float | int]
Box = tuple[float | int, float | int, float | int, float | int]
ROUNDS = 5  # of GrabCut
LONGEST = 480  # pixels of the longer side of what GrabCut sees: seconds for a full photograph otherwise
MARGIN = 0.5  # of a box's sides: what is farther away says nothing about the object
CLICK, AROUND = 0.02, 0.15  # of the longer side: radius that a click is sure of, and within which the object is likely
SPREAD, NEAREST = 0.5, 0.03  # of how far clicks are apart, within which the object is likely; at least, as above
# What GrabCut leaves at least of a box, and of where an object is likely. Where less is left, it begins again, and the
# middle of the box, this part of its sides, or more around a click is taken for the object's (by 103 photographs)
LEAST_OF_BOX, CORE = 0.15, 0.5
LEAST_OF_LIKELY, SURE = 0.03, 0.35
SMALL_HOLE = 0.02  # of an object's area: holes up to so large are filled, such as eyes that are darker than a face
FEWEST = 5  # pixels on each side of the outline, of which GrabCut learns five colors
BACKGROUND, OBJECT, MAYBE_BACKGROUND, MAYBE_OBJECT = range(4)  # what GrabCut is told of a pixel
EXTRA = "masks from boxes, clicks and scribbles need OpenCV: pip install 'sstlib[prompts]' (or opencv-python-headless)"


def mask_from_box(frame: Shaped[np.ndarray, "..."], box: Box) -> Bool[np.ndarray, "height width"]:
    """The object that fills a box.

    Args:
        frame: RGB, uint8 (height, width, 3).
        box: left, top, width and height in pixels; some of the frame must be outside.

    Raises:
        ValueError: a box that is not in the frame, or leaves nothing of it.
        ModuleNotFoundError: OpenCV is not installed.
    """
    height, width = _checked(frame)
    left, top, across, down = (Number(-1e6, 1e6).check(value, "a number of the box") for value in box)
    box_text = f"the box {left:g},{top:g},{across:g},{down:g} (left, top, width, height)"
    if across <= 0 or down <= 0 or left < 0 or top < 0 or left + across > width or top + down > height:
        raise ValueError(f"{box_text} is not in the frame, which is {width}x{height} pixels")
    inside = np.zeros((height, width), bool)
    inside[round(top):round(top + down), round(left):round(left + across)] = True
    if inside.sum() < FEWEST or inside.all():
        fault = "is the whole frame" if inside.all() else "holds too little"
        raise ValueError(f"{box_text} {fault}; GrabCut needs pixels on both sides of the outline: draw a polygon")
    rows, columns = (slice(max(0, round(start - MARGIN * length) - 8), round(start + (1 + MARGIN) * length) + 8)
                     for start, length in ((top, down), (left, across)))
    known, mask = np.where(inside, np.uint8(MAYBE_OBJECT), np.uint8(BACKGROUND)), np.zeros((height, width), bool)
    mask[rows, columns] = _cut(frame[rows, columns], known[rows, columns])
    if (mask & inside).sum() < LEAST_OF_BOX * inside.sum():  # colors do not tell it from its surroundings
        y, x = np.ogrid[:height, :width]
        known[np.hypot((x + 0.5 - left) / across - 0.5, (y + 0.5 - top) / down - 0.5) <= CORE / 2] = OBJECT
        mask[rows, columns] = _cut(frame[rows, columns], known[rows, columns])
    return _filled(mask & inside, ~inside)


def mask_from_points(frame: Shaped[np.ndarray, "..."], foreground: Sequence[Point],
                     background: Sequence[Point] = ()) -> Bool[np.ndarray, "height width"]:
    """The object that was clicked on; what hangs together with none of the clicks is left out.

    How far several clicks are apart tells how large the object is: a small one is not looked for as far away as one
    that was clicked on once. (Disks of one radius around three clicks on a small object hold more background than one
    disk, and its colors were taken for the object's.)

    Args:
        frame: RGB, uint8 (height, width, 3).
        foreground: one or more clicks on the object, each (x, y).
        background: clicks beside it.

    Raises:
        ValueError: no click on the object, one outside of the frame, or one that is said to be both.
        ModuleNotFoundError: OpenCV is not installed.
    """
    height, width = _checked(frame)
    if not len(foreground):
        raise ValueError("no point on the object; give one or more, each X,Y")
    clicks = np.zeros((height, width), np.uint8)
    radius = CLICK * max(height, width) / 2
    for value, points in ((255, background), (1, foreground)):
        for point in points:
            x, y = _inside(point, width, height)
            if value == 1 and clicks[y, x] == 255 and tuple(point) in {tuple(other) for other in background}:
                raise ValueError(f"the point {point[0]:g},{point[1]:g} is said to be on the object and beside it")
            clicks[_disk(clicks.shape, x, y, radius)] = value
    for point in background:  # the click itself, whatever was clicked on beside it
        x, y = _inside(point, width, height)
        clicks[y, x] = 255
    apart = max((math.dist(one, other) for one in foreground for other in foreground), default=0)
    likely = AROUND * max(height, width)
    if apart:
        likely = min(likely, max(NEAREST * max(height, width), SPREAD * apart))
    return _labels(frame, clicks, 255, likely) == 1


def mask_from_polygon(size: tuple[int, int], points: Sequence[Point]) -> Bool[np.ndarray, "height width"]:
    """What a closed line goes around, the line itself included.

    Args:
        size: height and width of the frame.
        points: three or more corners, each (x, y).

    Raises:
        ValueError: fewer corners, one outside of the frame, or all on a line.
    """
    height, width = size
    if len(points) < 3:
        raise ValueError(f"a polygon of {len(points)} point{'s' * (len(points) != 1)}; it has three corners or more")
    corners = [tuple(Number(-1e6, 1e6).check(value, "a coordinate") for value in point) for point in points]
    for x, y in corners:
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(f"the corner {x:g},{y:g} is not in the frame, which is {width}x{height} pixels")
    (x, y), rest = corners[0], [(b[0] - corners[0][0], b[1] - corners[0][1]) for b in corners[1:]]
    if all(ax * by == ay * bx for (ax, ay) in rest for (bx, by) in rest):
        raise ValueError(f"the corners of the polygon at {x:g},{y:g} lie on a line, which goes around nothing")
    image = Image.new("1", (width, height))
    ImageDraw.Draw(image).polygon(corners, fill=1, outline=1)
    return np.array(image)


def mask_from_scribbles(frame: Shaped[np.ndarray, "..."], labels: Shaped[np.ndarray, "..."],
                        background: int = 255) -> UInt8[np.ndarray, "height width"]:
    """Labels of all objects that were drawn on, from strokes or dots on each of them.

    Args:
        frame: RGB, uint8 (height, width, 3).
        labels: uint8 (height, width), 0 where nothing was drawn, an object's id where it was drawn on, `background`
            where the background was; without strokes of the background, it is taken to lie along the frame's border.
        background: the value of strokes on the background.

    Returns:
        0 for the background and the ids of the objects.

    Raises:
        ValueError: labels of another size, or no object among them.
        ModuleNotFoundError: OpenCV is not installed.
    """
    _checked(frame)
    return _labels(frame, labels, background, AROUND * max(frame.shape[:2]))


def _labels(frame: np.ndarray, labels: np.ndarray, background: int, likely: float) -> np.ndarray:
    """Labels from strokes; within so many pixels of them an object is likely."""
    size = frame.shape[:2]
    if labels.shape != size:
        raise ValueError(f"scribbles are {labels.shape[1]}x{labels.shape[0]} pixels, the frame is {size[1]}x{size[0]}")
    ids = [int(value) for value in np.unique(labels) if value not in (0, background)]
    if not ids:
        raise ValueError("nothing was drawn on an object; draw on each that is to be followed")
    result, nearest = np.zeros(size, np.uint8), np.full(size, np.inf, np.float32)
    for identity in ids:
        own = labels == identity
        mask = _grown(frame, own, (labels != 0) & ~own, likely)
        away = distance(own)
        claimed = mask & (away < nearest)
        result[claimed], nearest[claimed] = identity, away[claimed]
    drawn = labels != 0
    result[drawn] = np.where(labels[drawn] == background, 0, labels[drawn])
    return result


def _grown(frame: np.ndarray, own: np.ndarray, others: np.ndarray, likely: float) -> np.ndarray:
    """The parts of an object that hang together with what was drawn on it."""
    known, away = np.full(own.shape, MAYBE_BACKGROUND, np.uint8), distance(own)
    known[away <= likely] = MAYBE_OBJECT
    known[[0, -1]], known[:, [0, -1]] = BACKGROUND, BACKGROUND
    known[others] = BACKGROUND
    known[own] = OBJECT
    mask = _joined(_cut(frame, known) & ~others | own, own)
    if mask.sum() < LEAST_OF_LIKELY * (away <= likely).sum():  # colors do not tell it from its surroundings
        known[(away <= SURE * likely) & ~others] = OBJECT
        mask = _joined(_cut(frame, known) & ~others | own, own)
    return _filled(mask, others)


def _joined(mask: np.ndarray, own: np.ndarray) -> np.ndarray:
    numbers = parts(mask)
    return np.isin(numbers, np.unique(numbers[own]))


def _filled(mask: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A mask with those of its holes that are small against it and hold nothing that is known to be beside it."""
    numbers = _opencv().connectedComponents((~mask).astype(np.uint8), connectivity=4)[1]
    filled = np.bincount(numbers.ravel()) <= SMALL_HOLE * mask.sum()
    for outside in (numbers[[0, -1]], numbers[:, [0, -1]], numbers[others]):
        filled[outside] = False
    return mask | filled[numbers]


def parts(mask: Bool[np.ndarray, "height width"]) -> Shaped[np.ndarray, "height width"]:
    """A number for each part of a mask that hangs together, also at corners, from 1 on; 0 where the mask is not."""
    return _opencv().connectedComponents(mask.astype(np.uint8))[1]


def _cut(frame: np.ndarray, known: np.ndarray) -> np.ndarray:
    """GrabCut, on a picture no larger than it needs to be."""
    cv2 = _opencv()
    scale = min(1.0, LONGEST / max(frame.shape[:2]))
    small = tuple(max(1, round(side * scale)) for side in frame.shape[1::-1])
    pixels = cv2.resize(np.ascontiguousarray(frame[..., ::-1]), small, interpolation=cv2.INTER_AREA)
    trimap = cv2.resize(known.astype(np.uint8), small, interpolation=cv2.INTER_NEAREST)
    for side in ((BACKGROUND, MAYBE_BACKGROUND), (OBJECT, MAYBE_OBJECT)):
        if np.isin(trimap, side).sum() < FEWEST:
            raise ValueError("too few pixels on one side of the outline for GrabCut; draw a polygon")
    cv2.setRNGSeed(0)
    cv2.grabCut(pixels, trimap, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    soft = np.isin(trimap, (OBJECT, MAYBE_OBJECT)).astype(np.float32)
    return cv2.resize(soft, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR) >= 0.5


def distance(drawn: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Pixels from each pixel to the nearest one that was drawn, float32."""
    cv2 = _opencv()
    return cv2.distanceTransform((~drawn).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _disk(size: tuple[int, int], x: int, y: int, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:size[0], :size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= max(1.0, radius) ** 2


def _inside(point: Point, width: int, height: int) -> tuple[int, int]:
    """The pixel that a point is in.

    Raises:
        ValueError: none.
    """
    x, y = (Number(-1e6, 1e6).check(value, "a coordinate") for value in point)
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"the point {x:g},{y:g} is not in the frame, which is {width}x{height} pixels")
    return int(x), int(y)


def _checked(frame: Shaped[np.ndarray, "..."]) -> tuple[int, int]:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(f"the frame is {frame.dtype} of shape {frame.shape}; give RGB as uint8 of shape (height, "
                         "width, 3)")
    return frame.shape[:2]


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ModuleNotFoundError(EXTRA, name=error.name) from None
    return cv2
