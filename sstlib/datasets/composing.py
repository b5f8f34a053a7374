"""Clips composed of photographs with masks: a background that the camera pans over, objects that move, grow, turn and
bend, look-alikes, and occluders that hide an object completely for some frames, after which it is seen again.
"""

import numpy as np
import torch
from PIL import Image

from sstlib.datasets.cutouts import Frames, Labels, Layer, Path, draw_path, lay, warped
from sstlib.datasets.photographs import Photograph, Photographs
from sstlib.shapes import Float
from sstlib.video import VOID
from sstlib.video.masks import smallest_part

SLOWEST, FASTEST = 0.003, 0.1  # of the width, a frame
SMALLEST, LARGEST = 0.12, 0.95  # of the height: the length of an object, its root of width times height
BROADEST = 0.7  # of the frame, both ways: what is larger would be hidden by something that fills it
TWIN = 0.3  # probability of a look-alike

Composed = tuple[Frames, Labels]


def compose(rng: np.random.Generator, photographs: Photographs, frames: int, height: int, width: int,
            objects: int, hidden: float) -> Composed:
    """A clip made only of photographs, with at most `objects` labeled objects; with probability `hidden` one of them is
    completely hidden for some frames.
    """
    size = (height, width)
    behind = photographs[int(rng.integers(len(photographs)))]
    clip, labels = _background(rng, behind, frames, size)
    if rng.random() < 0.5 and labels.any():  # what is in the photograph is an object; or part of the background
        labels[labels > objects] = 0
    else:
        labels[:] = 0
    add_objects(rng, photographs, clip, labels, objects, behind, hidden)
    return _bytes(clip), labels


def overlaid(rng: np.random.Generator, photographs: Photographs, below: Composed, objects: int,
             hidden: float) -> Composed:
    """A clip with cut-outs of photographs laid over it as in `compose`, which may hide its own objects."""
    clip = torch.from_numpy(below[0].copy()).permute(0, 3, 1, 2).float()
    labels = below[1].copy()
    add_objects(rng, photographs, clip, labels, objects, None, hidden)
    return _bytes(clip), labels


def add_objects(rng: np.random.Generator, photographs: Photographs, clip: Float[torch.Tensor, "time 3 height width"],
                labels: Labels, objects: int,
                behind: Photograph | None, hidden: float) -> None:
    """Adds a random number of objects, perhaps a look-alike of one and perhaps an occluder, in place."""
    frames, size = len(labels), labels.shape[1:]
    first = int(labels.max(initial=0, where=labels != VOID))
    wanted = int(rng.integers(0 if first else 1, max(objects - first, 1) + 1)) if objects > first else 0
    layers = [_object(rng, photographs, frames, size) for _ in range(wanted)]
    for number, layer in enumerate(layers, first + 1):
        lay(clip, labels, layer, number, float(np.exp(rng.normal(0, 0.15))))
    if rng.random() < TWIN and (layers or behind is not None):
        twin = _twin(rng, layers, behind, frames, size)
        if twin is not None:
            lay(clip, labels, twin, 0, float(np.exp(rng.normal(0, 0.15))))
    if rng.random() < hidden and frames > 2:
        _hide(rng, photographs, clip, labels)


def _background(rng: np.random.Generator, photograph: Photograph, frames: int,
                size: tuple[int, int]) -> tuple[torch.Tensor, Labels]:
    """A photograph under a camera that pans, zooms and rolls, mirrored where it ends."""
    height, width = size
    rows, columns = photograph.labels.shape
    fit = max(height / rows, width / columns) * np.exp(rng.uniform(0.05, 0.5))
    half = (columns * fit / 2, rows * fit / 2)
    speed = width * np.exp(rng.uniform(np.log(0.001), np.log(0.04)))
    path = draw_path(rng, frames, size, speed, np.array([width, height]) * rng.uniform(0.4, 0.6, 2), calm=0.5)
    mask = np.ones((rows, columns), bool)
    clip = warped(Layer(photograph.pixels, mask, half, path), size, "reflection")[0]
    labels = np.zeros((frames, *size), np.uint8)
    for number, identity in enumerate(photograph.objects(), 1):
        own = photograph.labels == identity
        # Where the photograph is mirrored its objects are too: they are the same objects there.
        covered = warped(Layer(photograph.pixels, own, half, path), size, "reflection")[1]
        labels[covered.numpy() > 0.5] = number
    if rng.random() < 0.5:
        clip, labels = clip.flip(3), labels[:, :, ::-1].copy()
    return clip, labels


def _object(rng: np.random.Generator, photographs: Photographs, frames: int, size: tuple[int, int]) -> Layer:
    """A cut-out that starts in the frame."""
    pixels, mask = _cut(rng, photographs)
    height, width = size
    length = height * np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST)))
    start = np.array([width, height]) * rng.uniform(0.15, 0.85, 2)
    speed = width * np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST)))
    return Layer(pixels, mask, _half(mask, length), draw_path(rng, frames, size, speed, start))


def _cut(rng: np.random.Generator, photographs: Photographs) -> tuple[np.ndarray, np.ndarray]:
    """An object of some photograph, mirrored half the time."""
    while True:
        photograph = photographs[int(rng.integers(len(photographs)))]
        if cutouts := photograph.objects():
            pixels, mask = photograph.cut(cutouts[int(rng.integers(len(cutouts)))])
            return (pixels[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (pixels, mask)


def _half(mask: np.ndarray, length: float) -> tuple[float, float]:
    """Half width and height of a cut-out whose root of width times height is `length`."""
    rows, columns = mask.shape
    scale = length / np.sqrt(rows * columns) / 2
    return max(columns * scale, 1.0), max(rows * scale, 1.0)


def _twin(rng: np.random.Generator, layers: list[Layer], behind: Photograph | None, frames: int,
          size: tuple[int, int]) -> Layer | None:
    """The same picture as one of the objects, elsewhere, on a path of its own."""
    if layers:
        model = layers[int(rng.integers(len(layers)))]
        pixels, mask, half = model.pixels, model.mask, model.half
    elif cutouts := behind.objects():
        pixels, mask = behind.cut(cutouts[int(rng.integers(len(cutouts)))])
        half = _half(mask, size[0] * rng.uniform(0.2, 0.7))
    else:
        return None
    half = tuple(x * np.exp(rng.normal(0, 0.2)) for x in half)
    start = np.array(size[::-1]) * rng.uniform(0, 1, 2)
    speed = size[1] * np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST)))
    return Layer(pixels, mask, half, draw_path(rng, frames, size, speed, start))


def _hide(rng: np.random.Generator, photographs: Photographs, clip: torch.Tensor, labels: Labels) -> None:
    """Something crosses in front of an object and hides it completely for some frames; at the latest in the last frame
    it is seen again, if it is still there.
    """
    frames, height, width = labels.shape
    shown = [o for o in np.unique(labels[0]) if o not in (0, VOID)]
    if not shown:
        return
    target = labels == shown[int(rng.integers(len(shown)))]
    onset = int(rng.integers(1, frames - 1))
    until = int(rng.integers(onset + 1, frames))  # the first frame in which it is to be seen again
    last, places = None, []
    for t in range(frames):
        last = smallest_part(target[t]) or last
        places.append([(along.start, along.stop) for along in last[::-1]])
    center, extent = np.mean(places, 2), np.ptp(places, 2)[onset:until].max(0)
    if (extent > np.multiply(BROADEST, (width, height))).all():
        return
    pixels, mask, half = _occluder(rng, photographs, extent, (height, width))
    heading = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(heading), np.sin(heading)]) * (extent + 2 * np.array(half)) * rng.uniform(0.35, 0.9)
    early, late = np.maximum(onset - np.arange(frames), 0), np.maximum(np.arange(frames) - until + 1, 0)
    path = Path(center + (late - early)[:, None] * away, np.ones(frames), np.zeros(frames), np.ones(frames),
                np.zeros((frames, 2)), 0.0)
    lay(clip, labels, Layer(pixels, mask, half, path), 0, float(np.exp(rng.normal(0, 0.15))))


def _occluder(rng: np.random.Generator, photographs: Photographs, extent: np.ndarray,
              size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """A picture that hides a box of `extent`: an object's cut-out grown until it does, or a piece of a photograph,
    round or a bar.
    """
    if rng.random() < 0.5:
        pixels, mask = _cut(rng, photographs)
        rows, columns = mask.shape
        # The largest box around the middle that the object fills, found by shrinking the whole.
        share = next(
            (s for s in np.linspace(0.95, 0.2, 16) if mask[_middle(rows, s), _middle(columns, s)].mean() > 0.97), None)
        if share is not None:
            scale = float((extent / share / (columns, rows)).max()) * rng.uniform(1.02, 1.2) / 2
            return pixels, mask, (columns * scale, rows * scale)
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = size
    half = extent / 2 * rng.uniform(1.05, 1.4)
    if rng.random() < 0.4:
        half[1] = height  # a post or a wall
        mask = np.ones((64, 64), bool)
    else:
        y, x = np.mgrid[-1:1:64j, -1:1:64j]
        mask = np.abs(x) ** 4 + np.abs(y) ** 4 <= 1
        half = half * 2 ** 0.25
    rows, columns = photograph.labels.shape
    share = rng.uniform(0.3, 1)
    top, left = int(rng.uniform(0, 1 - share) * rows), int(rng.uniform(0, 1 - share) * columns)
    part = photograph.pixels[top:top + max(2, int(share * rows)), left:left + max(2, int(share * columns))]
    shape = part.shape[1::-1]
    return part, np.asarray(Image.fromarray(mask).resize(shape)), (float(half[0]), float(half[1]))


def _middle(length: int, share: float) -> slice:
    margin = int(length * (1 - share) / 2)
    return slice(margin, max(length - margin, margin + 1))


def _bytes(clip: torch.Tensor) -> Frames:
    return clip.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
