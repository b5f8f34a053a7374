"""What a generated clip is asked to be, and presets that draw such wishes at random."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sstlib.config.fields import Config

RAMP = 3  # frames from touching the target to the full share, and back
BEFORE = 4  # frames at least before the first touch and after the last
AROUND_OCCLUSION = 2 * (RAMP + BEFORE)  # frames that a planned occlusion needs beside those in which it is full


@dataclass(frozen=True)
class ClipSpec(Config):
    """The difficulty of one generated clip. Lengths are in percent of the frame's height, times in frames.

    Raises:
        ValueError: a field out of its range.
    """

    frames: int = 24
    height: int = 240
    width: int = 432
    objects: int = 2  # labeled objects
    distractors: int = 1  # unlabeled ones that look like object 1 as `likeness` says
    occlusion: int | None = None  # frames for which an occluder hides object 1, 0 for never; None leaves it to chance
    hidden: float = 1.0  # share of object 1 that a planned occlusion hides; 1 is all of it
    likeness: float = 0.3  # distractors and occluder against object 1: 0 drawn anew, 1 the same texture
    kinship: float = 0.0  # the other objects against object 1, likewise
    camouflage: float = 0.1  # object 1 against the background, likewise
    size: float = 18.0  # typical radius of an object
    speed: float = 2.0  # mean way of an object in one frame
    pace: float = 1.0  # how fast all slow changes go: of size, pose, light, camera
    sudden: float = 0.0  # probability a frame that an object jumps or turns
    deformation: float = 0.3  # 0 rigid, 1 strong bending and swinging limbs
    scale_change: float = 0.2  # deviation of the logarithm of an object's size over the clip
    camera: float = 0.3  # 0 still, 1 strong pan, zoom and roll
    appearance: float = 0.2  # change of light over the clip: 0 none, 1 strong
    exposure: float = 0.0  # share of the time between frames in which the shutter is open: blur of what moves
    blur: float = 0.5  # deviation of the Gaussian in pixels at height 240
    noise: float = 0.01  # deviation of the sensor noise; full scale is 1

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 1 <= self.objects <= 254:
            raise ValueError(f"objects is {self.objects}; expected 1..254")
        for name in ("likeness", "kinship", "camouflage", "sudden", "exposure"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0..1")
        if not 0 < self.hidden <= 1:
            raise ValueError(f"hidden is {self.hidden}; expected above 0, at most 1; occlusion=0 is a clip without")
        if self.occlusion is not None and not 0 <= self.occlusion <= self.frames - AROUND_OCCLUSION:
            raise ValueError(
                f"occlusion is {self.occlusion} in {self.frames} frames; expected 0..frames - {AROUND_OCCLUSION}, "
                "so that the object is seen before and after"
            )


def _easy(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        distractors=0,
        likeness=0.0,
        camouflage=0.0,
        size=rng.uniform(16, 26),
        speed=rng.uniform(0.5, 2.0),
        deformation=0.15,
        scale_change=0.1,
        camera=0.1,
        appearance=0.0,
        blur=0.3,
        noise=0.005,
    )


def _mixed(rng: np.random.Generator) -> dict[str, Any]:
    """Sizes, speeds and overlap from frame to frame about as the training clips of DAVIS 2016 have them."""
    def now_and_then(chance: float, low: float, high: float) -> float:
        drawn = rng.uniform(low, high)
        return float(drawn if rng.random() < chance else 0.0)

    return dict(
        distractors=int(rng.integers(0, 4)),
        likeness=now_and_then(0.5, 0.2, 1.0),
        kinship=now_and_then(0.3, 0.3, 1.0),
        camouflage=now_and_then(0.4, 0.2, 0.8),
        size=math.exp(rng.uniform(math.log(13), math.log(75))),
        speed=math.exp(rng.uniform(math.log(0.5), math.log(12))),
        sudden=now_and_then(0.25, 0.05, 0.15),
        pace=math.exp(rng.uniform(math.log(0.5), math.log(4))),
        deformation=rng.uniform(0, 1),
        scale_change=rng.uniform(0, 0.4),
        camera=rng.uniform(0, 1),
        appearance=now_and_then(0.5, 0.0, 1.0),
        exposure=now_and_then(0.4, 0.2, 1.0),
        blur=now_and_then(0.7, 0.2, 1.4),
        noise=now_and_then(0.7, 0.002, 0.04),
    )


def _hard(rng: np.random.Generator) -> dict[str, Any]:
    return _mixed(rng) | dict(
        distractors=int(rng.integers(2, 5)),
        likeness=rng.uniform(0.5, 1),
        camouflage=rng.uniform(0.2, 0.8),
        speed=math.exp(rng.uniform(math.log(2), math.log(10))),
    )


def _small(rng: np.random.Generator) -> dict[str, Any]:
    """As `mixed`, but targets a few cells wide at stride 8, which are lost first."""
    return _mixed(rng) | dict(
        size=math.exp(rng.uniform(math.log(9), math.log(22))),
        speed=math.exp(rng.uniform(math.log(0.5), math.log(6))),
    )


def _occlusion(rng: np.random.Generator) -> dict[str, Any]:
    return _easy(rng) | dict(
        occlusion=int(rng.integers(0, 11)),
        distractors=1,
        likeness=rng.uniform(0, 1),
        size=rng.uniform(12, 17),
        speed=rng.uniform(0.5, 4),
        frames=AROUND_OCCLUSION + 10,
    )


PRESETS = {"easy": _easy, "mixed": _mixed, "hard": _hard, "small": _small, "occlusion": _occlusion}


def random_spec(preset: str, seed: int | np.random.Generator, **fixed: Any) -> ClipSpec:
    """A wish drawn from a preset, or from one of several with equal chance ("mixed+hard"); `fixed` fields override what
    was drawn.

    Raises:
        ValueError: an unknown preset.
    """
    names, rng = preset.split("+"), np.random.default_rng(seed)
    if unknown := [name for name in names if name not in PRESETS]:
        raise ValueError(f"unknown preset of generated clips {unknown[0]!r}; known: {', '.join(PRESETS)}, and several "
                         "joined by +")
    chosen = names[int(rng.integers(len(names)))] if len(names) > 1 else preset
    return ClipSpec.from_dict(PRESETS[chosen](rng) | fixed)


WHOLE = 0.98  # share of the target that is seen where it counts as whole
BACK = 8  # whole frames after the occlusion that are followed
