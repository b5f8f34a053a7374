"""Clips made of one frame with masks: the camera moves over it, and its objects move before what lies behind them.

A network that was trained on many videos learns so what one video looks like, from the frame that is given (lucid data
dreaming, Khoreva et al. 2017).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sstlib.datasets.cutouts import Frames, Labels, Layer, draw_path, lay, warped
from sstlib.paths import atomic_write
from sstlib.shapes import Float, Shaped, UInt8
from sstlib.video import VOID, write_mask

APART = 0.7  # probability that objects move by themselves; else all moves as one
LARGEST = 0.5  # logarithm of the largest enlargement
CAMERA, OBJECT = (0.002, 0.03), (0.003, 0.06)  # speeds, of the width a frame
SHIFT, LIGHT = 0.05, 0.1  # deviation of where an object starts, of the width and height, and of its brightness
RING, RADIUS = 7, 5  # pixels by which holes behind objects are larger than these, and from which they are filled


def objects(labels: Shaped[np.ndarray, "height width"]) -> list[int]:
    """The ids of labels that are of objects."""
    return [int(o) for o in np.unique(labels) if o not in (0, VOID)]


def moving_clip(rng: np.random.Generator, frame: UInt8[np.ndarray, "rows columns 3"],
                labels: UInt8[np.ndarray, "rows columns"], frames: int, height: int,
                width: int) -> tuple[Frames, Labels]:
    """A clip of `frames` frames of the wished size, and its labels; the objects keep their ids.

    Raises:
        ValueError: a frame without an object.
        ModuleNotFoundError: there is no OpenCV (the extra `prompts`).
    """
    present = objects(labels)
    if not present:
        raise ValueError("the frame has no object; a clip is made of a frame with the mask of one")
    fit, center = _view(rng, labels, height, width)
    apart = rng.random() < APART
    path = draw_path(rng, frames, (height, width), _speed(rng, width, CAMERA), center, calm=0.5)
    half = labels.shape[1] * fit / 2, labels.shape[0] * fit / 2
    behind = _without_objects(frame, labels) if apart else frame
    clip = warped(Layer(behind, np.ones(labels.shape, bool), half, path), (height, width), "reflection")[0].clone()
    moved = np.zeros((frames, height, width), np.uint8)
    for identity in present if apart else [*present, VOID]:
        own = labels == identity
        if apart:
            layer = _cut_out(rng, frame, own, fit, center, frames, (height, width))
            lay(clip, moved, layer, identity, float(np.exp(rng.normal(0, LIGHT))))
        elif own.any():
            moved[warped(Layer(frame, own, half, path), (height, width))[1].numpy() > 0.5] = identity
    pixels = clip.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()
    return (pixels[:, :, ::-1].copy(), moved[:, :, ::-1].copy()) if rng.random() < 0.5 else (pixels, moved)


def write(folder: Path, name: str, frames: Mapping[str, tuple[np.ndarray, np.ndarray]], longest: int) -> None:
    """Writes frames with their masks as a folder to train on (`folder.open_folder`): a sequence each, so that of each a
    clip is made.

    Args:
        folder: where JPEGImages and Annotations go.
        name: of the video.
        frames: RGB, uint8 (height, width, 3), and ids, uint8 (height, width), by the names of the frames.
        longest: pixels of the longer side that they are shrunk to, where they are larger.
    """
    for frame_name, (frame, labels) in frames.items():
        size = tuple(max(1, round(side * min(1, longest / max(labels.shape)))) for side in labels.shape[::-1])
        place = Path(f"{name}-{frame_name}") / f"{frame_name}.png"
        picture = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        with atomic_write(folder / "JPEGImages" / place) as file:
            picture.save(file, format="PNG")
        mask = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        write_mask(folder / "Annotations" / place, mask)


def _view(rng: np.random.Generator, labels: np.ndarray, height: int,
          width: int) -> tuple[float, Float[np.ndarray, "2"]]:
    """How much the frame is enlarged, and where its middle lies (x, y): so that an object is seen, where it fits."""
    rows, columns = labels.shape
    fit = max(height / rows, width / columns) * np.exp(rng.uniform(0, LARGEST))
    y, x = np.nonzero((labels > 0) & (labels != VOID))
    from_middle = np.array([x.mean() - columns / 2, y.mean() - rows / 2]) * fit
    slack = np.maximum(np.array([columns * fit - width, rows * fit - height]) / 2, 0)
    shift = rng.uniform(-0.3, 0.3, 2) * (width, height) - from_middle
    return fit, np.array([width / 2, height / 2]) + np.clip(shift, -slack, slack)


def _speed(rng: np.random.Generator, width: int, bounds: tuple[float, float]) -> float:
    return width * float(np.exp(rng.uniform(*np.log(bounds))))


def _cut_out(rng: np.random.Generator, frame: np.ndarray, own: np.ndarray, fit: float, center: np.ndarray, frames: int,
             size: tuple[int, int]) -> Layer:
    """An object on a path of its own, which starts near where it is."""
    rows, columns = (np.flatnonzero(own.any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    middle = np.array([columns[0] + columns[-1] + 1 - own.shape[1], rows[0] + rows[-1] + 1 - own.shape[0]]) / 2
    start = center + middle * fit + rng.normal(0, SHIFT, 2) * size[::-1]
    half = own[box].shape[1] * fit / 2, own[box].shape[0] * fit / 2
    return Layer(frame[box], own[box], half, draw_path(rng, frames, size, _speed(rng, size[1], OBJECT), start))


def _without_objects(frame: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The frame with its objects painted over from around them."""
    import cv2

    hole = cv2.dilate((labels > 0).astype(np.uint8), np.ones((RING, RING), np.uint8))
    return cv2.inpaint(frame, hole, RADIUS, cv2.INPAINT_TELEA)
