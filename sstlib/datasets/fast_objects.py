"""Fast objects: one object crosses the frame, 5 to 10% of its width from a frame to the next, and turns at the border.

Only the motion is hard: the object is cut out of a clip that shows it whole, keeps its own changes of shape, and moves
on a straight line over the frames of another clip, whose own objects bear no label. The clips of `fast-objects` are
rendered; those of `davis-fast-objects` are composed of anyone's own copy of DAVIS 2016's validation sequences. Nothing
is blurred by the motion.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sstlib.datasets import davis
from sstlib.datasets.davis_compositions import HEIGHT, WIDTH, cut_out, lay, material, shown
from sstlib.paths.digests import sha256
from sstlib.shapes import Float, UInt8
from sstlib.synthetic import ClipSpec, render
from sstlib.video import LazySequence, Sequence

VERSION = 1
FRAMES, CLIPS = 16, 12
SLOWEST, FASTEST = 0.05, 0.10  # of the width, from frame to frame
TALLEST, WIDEST = 0.4, 0.25  # of the frame, the largest box of the object
COMPOSED = "davis-fast-objects"


class FastClip(NamedTuple):
    """A clip with its truth."""

    frames: UInt8[np.ndarray, "time height width 3"]
    labels: UInt8[np.ndarray, "time height width"]  # 1 the object
    visible_share: Float[np.ndarray, "time 1"]  # all of it


@dataclass(frozen=True)
class FastSequence(LazySequence):
    """One clip, made when a frame is accessed."""

    number: int
    folder: Path | None  # of DAVIS 2016; None of a rendered clip

    @property
    def name(self) -> str:
        return f"{'composed' if self.folder else 'generated'}-{self.number:02d}"

    @property
    def clip(self) -> FastClip:
        return _made(self)

    def __len__(self) -> int:
        return FRAMES


def open_split(name: str, split: str, folder: Path | None) -> list[Sequence]:
    """The clips of one of the two data sets, made when accessed.

    Raises:
        FileNotFoundError: DAVIS 2016, which composed clips are made of, is not there.
    """
    place = davis.located("davis2016", folder) if name == COMPOSED else None
    if place:
        material("test", place)
    return [FastSequence(number, place) for number in range(CLIPS)]


def content_hash(name: str, split: str) -> str:
    """The hash of all clips of one of the two data sets."""
    clips = (one.clip for one in open_split(name, split, None))
    return sha256(*(values.tobytes() for clip in clips for values in (clip.frames, clip.labels)))[:16]


def middles(rng: np.random.Generator, box: Float[np.ndarray, "2"]) -> Float[np.ndarray, "time 2"]:
    """The middle (x, y) of the object in every frame: equal steps, reflected at the border.

    Args:
        box: the largest width and height of the object, in pixels.
    """
    room = np.array([WIDTH, HEIGHT]) - box - 2.0
    step, angle = rng.uniform(SLOWEST, FASTEST) * WIDTH, rng.uniform(0, 2 * np.pi)
    way = rng.uniform(0, room) + step * np.arange(FRAMES)[:, None] * np.array([np.cos(angle), np.sin(angle)])
    return room - np.abs(way % (2 * room) - room) + box / 2 + 1


@functools.lru_cache(maxsize=2)
def _made(sequence: FastSequence) -> FastClip:
    rng = np.random.default_rng((VERSION, int(sequence.folder is not None), sequence.number))
    if sequence.folder is None:
        ground, (pictures, covers) = _rendered(rng, 3)[0], _rendered(rng, 1)
    else:
        ground, pictures, covers = _filmed(rng, sequence.number, sequence.folder)
    boxes = np.array([[np.ptp(np.flatnonzero((cover >= 128).any(axis))) + 1 for axis in (0, 1)] for cover in covers])
    enlarged = float(min(1.0, *(np.array([WIDEST * WIDTH, TALLEST * HEIGHT]) / boxes.max(0))))
    frames, labels = ground.copy(), np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    for t, middle in enumerate(middles(rng, np.ceil(boxes.max(0) * enlarged))):
        own = np.zeros((HEIGHT, WIDTH), bool)
        lay(frames[t], own, cut_out(pictures[t], covers[t], enlarged), middle)
        labels[t] = own
    return FastClip(frames, labels, np.ones((FRAMES, 1)))


def _rendered(rng: np.random.Generator, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a generated clip, and the cover of object 1, which is fully visible in all of them."""
    spec = ClipSpec(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=objects, distractors=0, size=18.0, speed=1.0,
                    camera=0.3, deformation=0.4)
    while True:
        clip = render(spec, int(rng.integers(2**31)))
        covers = (clip.labels == 1).astype(np.uint8) * 255
        if (clip.visible_share[:, 0] > 0.99).all():
            return clip.frames, covers


def _filmed(rng: np.random.Generator, number: int, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of one sequence; frames and object cover of another, chosen in turn by number."""
    names = sorted(material("test", folder))
    target = names[number % len(names)]
    other = str(rng.choice([name for name in names if name != target]))
    ground = shown("test", folder, other, 0)[0][:FRAMES]
    frames, covers = shown("test", folder, target, 0)
    return ground, frames[:FRAMES], covers[:FRAMES]
