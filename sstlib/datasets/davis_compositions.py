"""Composes the clips of DAVIS-Occlusion: an object over the frames of another sequence, and a third over both."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sstlib.config import Config
from sstlib.datasets import davis
from sstlib.shapes import Bool, Float, UInt8
from sstlib.video import Sequence
from sstlib.video.masks import smallest_part

LENGTHS = (0, 1, 2, 4, 8, 16, 32)  # frames in which the target is hidden in full; 0 is the control
FRAMES = 54
HEIGHT, WIDTH = 270, 480
RAMP = 3  # frames from touching the target to hiding it, and back
TARGET, BYSTANDER = 1, 2
HELD_OUT = ("bus", "elephant", "kite-walk", "motorbike", "soccerball", "train")  # training's, for validation


class Placed(NamedTuple):
    """A picture that is laid over others, and how much each of its pixels covers."""

    pixels: UInt8[np.ndarray, "rows columns 3"]
    cover: UInt8[np.ndarray, "rows columns"]  # 0..255; the cut-out's own are those of at least 128


class Composed(NamedTuple):
    """One clip with its truth."""

    frames: UInt8[np.ndarray, "time height width 3"]
    labels: UInt8[np.ndarray, "time height width"]
    amodal: Bool[np.ndarray, "time height width"]  # full masks of the target


@dataclass(frozen=True)
class Scene(Config):
    """Everything that defines a scene; lengths in pixels of the composed frame, times in frames."""

    ground: str = ""  # the sequence that all happens in, by name; its object is the bystander
    ground_start: int = 0  # its first frame in the clip
    target: str = ""
    target_start: int = 0
    reduced: float = 1.0  # the target's frames, by this factor
    right: int = 0  # by how much they are moved from the middle
    down: int = 0
    occluder: str = ""
    occluder_frame: int = 0
    enlarged: float = 1.0  # the occluder's cut-out
    angle: float = 0.0  # from where it comes, in degrees
    apart: int = 0  # between the occluder's middle and the target's where it touches it
    onset: int = 0  # the first frame in which the target is hidden


@functools.cache
def material(split: str, folder: Path) -> dict[str, Sequence]:
    """The DAVIS sequences that a split is composed of, by name."""
    sequences = davis.open_split("davis2016", "val" if split == "test" else "train", folder)
    return {one.name: one for one in sequences if split == "test" or (one.name in HELD_OUT) == (split == "val")}


@functools.cache
def covers(split: str, folder: Path, name: str) -> UInt8[np.ndarray, "time height width"]:
    """How much of each pixel a sequence's object covers (0..255), in the frames that clips use, at the clip's size."""
    sequence = material(split, folder)[name]
    return np.stack([_small((np.asarray(sequence.label(t)) == 1).astype(np.uint8) * 255)
                     for t in frames_used(split, sequence)])


def walked(frames: int, start: int) -> list[int]:
    """The frames of a sequence in a clip: from `start` on, and backward from the end."""
    around = 2 * (frames - 1)
    return [min(w, around - w) for w in ((start + t) % around for t in range(FRAMES))]


@functools.lru_cache(maxsize=4)
def shown(split: str, folder: Path, name: str, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and object masks of a sequence at the clip's size from `start` on."""
    sequence, masks = material(split, folder)[name], covers(split, folder, name)
    numbers, order = frames_used(split, sequence), walked(len(masks), start)
    small = {t: _small(sequence.frame(numbers[t])) for t in set(order)}
    return np.stack([small[t] for t in order]), masks[order]


def frames_used(split: str, sequence: Sequence) -> list[int]:
    """The frames of a sequence that clips use; of training sequences every second one, as smaller copies hold no
    others.
    """
    return [t for t, text in enumerate(sequence.frame_names) if split == "test" or int(text) % 2 == 0]


def _small(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def cut_out(frame: UInt8[np.ndarray, "height width *channels"], cover: UInt8[np.ndarray, "height width"],
            enlarged: float) -> Placed:
    """The smallest part of a frame that holds its object, enlarged."""
    part = smallest_part(cover >= 128)
    size = tuple(max(2, round(length * enlarged)) for length in cover[part].shape[::-1])
    return Placed(*(np.asarray(Image.fromarray(x[part]).resize(size, Image.Resampling.BICUBIC))
                    for x in (frame, cover)))


def lay(frame: UInt8[np.ndarray, "height width 3"] | None, own: Bool[np.ndarray, "height width"], placed: Placed,
        middle: Float[np.ndarray, "2"]) -> None:
    """Blends a cut-out into a frame, if given, around `middle` (x, y), and marks its pixels in `own`, both in place.
    """
    rows, columns = placed.cover.shape
    left, upper = (int(v) for v in np.round(middle - np.array([columns, rows]) / 2))
    to = slice(max(upper, 0), min(upper + rows, HEIGHT)), slice(max(left, 0), min(left + columns, WIDTH))
    if to[0].start >= to[0].stop or to[1].start >= to[1].stop:
        return
    of = slice(to[0].start - upper, to[0].stop - upper), slice(to[1].start - left, to[1].stop - left)
    own[to] |= placed.cover[of] >= 128
    if frame is not None:
        cover = placed.cover[of].astype(np.int32)[..., None]
        frame[to] = (placed.pixels[of] * cover + frame[to] * (255 - cover) + 127) // 255


def middles(cover: UInt8[np.ndarray, "time height width"]) -> np.ndarray:
    """The middle (x, y) of the object's box in every frame, averaged over five frames."""
    parts = [smallest_part(mask) for mask in cover >= 128]
    boxes = np.array([[(along.start + along.stop - 1) / 2 for along in (columns, rows)] for rows, columns in parts])
    padded = np.pad(boxes, ((2, 2), (0, 0)), mode="edge")
    return np.stack([padded[t:t + len(cover)] for t in range(5)]).mean(0)


def offsets(apart: int, onset: int, length: int) -> np.ndarray:
    """Distance of the occluder's middle from the target's in every frame: it approaches by a third of `apart` a frame,
    stays over it, and leaves likewise.
    """
    time = np.arange(FRAMES)
    away = np.maximum(np.maximum(onset - time, time - (onset + length - 1)), 0) * (apart / RAMP)
    return away if length else np.maximum(away, apart)


def compose(scene: Scene, length: int, split: str, folder: Path) -> Composed:
    """The scene with its target hidden for `length` frames."""
    frames, labels, amodal = (x.copy() for x in beneath(scene, split, folder))
    occluder = cut_out(*picture_of(scene.occluder, scene.occluder_frame, split, folder), scene.enlarged)
    for t, own in enumerate(occluded(scene, length, amodal, occluder, frames)):
        labels[t][own] = 0
    return Composed(frames, labels, amodal)


def occluded(scene: Scene, length: int, amodal: Bool[np.ndarray, "time height width"], occluder: Placed,
             frames: UInt8[np.ndarray, "time height width 3"] | None = None) -> Iterator[Bool[np.ndarray, "_ _"]]:
    """The occluder's mask in every frame; if `frames` are given it is laid over them, in place."""
    heading = np.array([np.cos(np.radians(scene.angle)), np.sin(np.radians(scene.angle))])
    path = middles(amodal.astype(np.uint8) * 255) + offsets(scene.apart, scene.onset, length)[:, None] * heading
    for t in range(FRAMES):
        own = np.zeros((HEIGHT, WIDTH), bool)
        lay(None if frames is None else frames[t], own, occluder, path[t])
        yield own


@functools.lru_cache(maxsize=2)
def beneath(scene: Scene, split: str, folder: Path) -> Composed:
    """Target and bystander, without the occluder."""
    frames, cover = shown(split, folder, scene.ground, scene.ground_start)
    frames = frames.copy()
    target = placed_target(scene, split, folder, frames)
    return Composed(frames, np.where(target, TARGET, np.where(cover >= 128, BYSTANDER, 0)).astype(np.uint8), target)


def placed_target(scene: Scene, split: str, folder: Path,
                  frames: UInt8[np.ndarray, "time height width 3"] | None = None
                  ) -> Bool[np.ndarray, "time height width"]:
    """Full masks of the target at its place; if `frames` are given it is laid over them, in place."""
    masks = covers(split, folder, scene.target)
    masks = masks[walked(len(masks), scene.target_start)]
    others = masks if frames is None else shown(split, folder, scene.target, scene.target_start)[0]
    target = np.zeros(masks.shape, bool)
    size = round(WIDTH * scene.reduced), round(HEIGHT * scene.reduced)
    for t in range(FRAMES):
        small = (np.asarray(Image.fromarray(x[t]).resize(size, Image.Resampling.BOX)) for x in (others, masks))
        lay(None if frames is None else frames[t], target[t], Placed(*small),
            np.array([WIDTH / 2 + scene.right, HEIGHT / 2 + scene.down]))
    return target


def picture_of(name: str, number: int, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """A frame of a sequence and its object's cover, at the clip's size."""
    sequence = material(split, folder)[name]
    return _small(sequence.frame(frames_used(split, sequence)[number])), covers(split, folder, name)[number]
