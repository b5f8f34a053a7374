"""Training clips cut from real sequences: which frames, which part of them, and how their light is changed.

The recipe is CFBI's, whose training SST takes over: a reference and frames after it with random gaps, a crop in which
objects are well seen, mirroring; and beside it changes of light and objects pasted from other clips. Lengths that CFBI
gives for a 465-pixel crop are shares of the crop here.
"""

import numpy as np
from PIL import Image

from sstlib.metrics.scores import object_ids
from sstlib.shapes import UInt8
from sstlib.video import VOID, Sequence

REFERENCE_PIXELS = 200 / 465**2  # share of a reference frame that objects must cover
CROP_PIXELS = 100 / 465**2  # share of the crop of the reference that one object must cover
LARGEST_SCALE = 1.5
CFBI_SHORT, CFBI_CROP, CFBI_ENLARGED = 480, 465, 1.3  # pixels of the short side and the crop, largest enlargement
TRIES = 5

Frames = UInt8[np.ndarray, "time height width 3"]
Labels = UInt8[np.ndarray, "time height width"]


def frame_indices(rng: np.random.Generator, length: int, frames: int, max_gap: int, anywhere: bool) -> list[int]:
    """Indices of a reference frame and the frames to segment after it.

    Gaps are uniform in 1..max_gap, indices are reflected at the ends, and time runs backward half the time.

    Args:
        anywhere: the reference is any frame of the sequence, as CFBI draws it, and not the one a gap earlier.
    """
    steps = np.concatenate([[0], rng.integers(1, max_gap + 1, frames - 1)]).cumsum()
    around = max(2 * (length - 1), 1)
    walked = (int(rng.integers(length)) + steps * rng.choice([-1, 1])) % around
    indices = np.minimum(walked, around - walked)
    if anywhere:
        indices[0] = rng.integers(length)
    return [int(i) for i in indices]


def cut_clip(rng: np.random.Generator, sequence: Sequence, frames: int, height: int, width: int, max_gap: int = 3,
             anywhere: bool = False, as_cfbi: bool = False) -> tuple[Frames, Labels]:
    """A training clip of one sequence: frames drawn, cropped, scaled and mirrored alike; `as_cfbi` is whose crop."""
    labeled = labeled_frames(sequence)
    for _ in range(TRIES):
        indices = [labeled[i] for i in frame_indices(rng, len(labeled), frames, max_gap, anywhere)]
        labels = [np.asarray(sequence.label(t)) for t in indices]
        ids = [set(object_ids(label)) for label in labels]
        shown = np.isin(labels[0], [0, VOID], invert=True).mean()
        if shown >= REFERENCE_PIXELS and set().union(*ids[1:]) <= ids[0]:
            break
    box = _crop_box(rng, labels[0], height, width, as_cfbi)
    mirrored = rng.random() < 0.5
    clip = np.stack([_cropped(sequence.frame(t), box, height, width, Image.Resampling.BILINEAR) for t in indices])
    masks = np.stack([_cropped(label, box, height, width, Image.Resampling.NEAREST) for label in labels])
    return (clip[:, :, ::-1].copy(), masks[:, :, ::-1].copy()) if mirrored else (clip, masks)


def labeled_frames(sequence: Sequence) -> list[int]:
    """The frames that have labels: not all of them in YouTube-VOS. Masks in folders are not read for it."""
    masks = getattr(sequence, "masks", None)
    if masks is not None:
        return [t for t, name in enumerate(sequence.frame_names) if name in masks]
    return [t for t in range(len(sequence)) if sequence.label(t) is not None]


def _crop_box(
    rng: np.random.Generator, labels: np.ndarray, height: int, width: int, as_cfbi: bool = False
) -> tuple[float, float, float, float]:
    """Left, upper, right, lower of a crop of the wished shape in which an object of the reference is well seen.

    It is enlarged by up to a half, evenly in the logarithm; or, as CFBI's, by 480/465 and by 1 to 1.3, evenly.
    """
    rows, columns = labels.shape
    for _ in range(TRIES):
        least = max(height / rows, width / columns)
        if as_cfbi:
            scale = least * CFBI_SHORT / CFBI_CROP * rng.uniform(1, CFBI_ENLARGED)
        else:
            scale = least * np.exp(rng.uniform(0, np.log(LARGEST_SCALE)))
        size = np.array([width, height]) / scale
        left, upper = rng.uniform(0, 1, 2) * (np.array([columns, rows]) - size)
        right, lower = left + size[0], upper + size[1]
        inside = labels[int(upper):int(np.ceil(lower)), int(left):int(np.ceil(right))]
        counts = np.bincount(inside.ravel(), minlength=256)[1:VOID]
        if counts.max() >= CROP_PIXELS * inside.size:
            break
    return float(max(left, 0)), float(max(upper, 0)), float(min(right, columns)), float(min(lower, rows))


def _cropped(
    image: np.ndarray, box: tuple[float, float, float, float], height: int, width: int, how: Image.Resampling
) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), how, box=box))


def keep_objects(rng: np.random.Generator, labels: Labels, most: int, least_share: float = CROP_PIXELS) -> Labels:
    """At most `most` of the objects that show in the first frame, named 1..n; the others become background."""
    counts = np.bincount(labels[0].ravel(), minlength=256)
    counts[[0, VOID]] = 0
    objects = np.flatnonzero(counts >= max(least_share * labels[0].size, 1))
    objects = np.sort(rng.permutation(objects)[:most])
    relabel = np.zeros(256, np.uint8)
    relabel[objects] = np.arange(1, len(objects) + 1)
    relabel[VOID] = VOID
    return relabel[labels]


def paste(
    rng: np.random.Generator, below: tuple[Frames, Labels], above: tuple[Frames, Labels], labeled: bool
) -> tuple[Frames, Labels]:
    """Lays the objects of one clip over another, drifting, as a further object or an unlabeled occluder."""
    (frames, labels), (others, masks) = (below[0].copy(), below[1].copy()), above
    height, width = labels.shape[1:]
    start = rng.uniform(-0.3, 0.3, 2) * (height, width)
    drift = rng.normal(0, 0.03, 2) * (height, width)
    new = int(np.where(labels == VOID, 0, labels).max()) + 1 if labeled else 0
    for t in range(len(labels)):
        y, x = (int(round(v)) for v in start + t * drift)
        to = slice(max(y, 0), min(height + y, height)), slice(max(x, 0), min(width + x, width))
        of = slice(max(-y, 0), min(height - y, height)), slice(max(-x, 0), min(width - x, width))
        on = (masks[t][of] > 0) & (masks[t][of] != VOID)
        frames[t][to][on] = others[t][of][on]
        labels[t][to][on] = new
    return frames, labels


def relight(rng: np.random.Generator, frames: Frames) -> Frames:
    """Gain, contrast, gamma, saturation and tint drawn for the clip, with a little flicker from frame to frame."""
    tables = np.linspace(0, 1, 256)[None, :, None] ** np.exp(rng.normal(0, 0.15))
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 3) + rng.normal(0, 0.02, (len(frames), 1, 1)))
    contrast = np.exp(rng.normal(0, 0.15))
    tables = np.clip(((tables * gain - 0.5) * contrast + 0.5) * 255 + 0.5, 0, 255).astype(np.uint8)
    lit = [
        np.asarray(Image.fromarray(frame).point(table.T.ravel().tolist()))
        for table, frame in zip(tables, frames, strict=True)
    ]
    saturation = rng.choice([1.0, rng.uniform(0.0, 1.4)])
    return np.stack(lit if saturation == 1 else [_saturated(frame, np.float32(saturation)) for frame in lit])


def _saturated(frame: UInt8[np.ndarray, "height width 3"],
               saturation: np.float32) -> UInt8[np.ndarray, "height width 3"]:
    """A frame whose colors are so many times as far from gray."""
    red, green, blue = (frame[..., c].astype(np.float32) for c in range(3))
    gray = ((red + green + blue) / np.float32(3))[..., None]
    colors = np.subtract(frame, gray)
    colors *= saturation
    colors += gray
    colors += np.float32(0.5)
    return np.clip(colors, 0, 255, out=colors).astype(np.uint8)
