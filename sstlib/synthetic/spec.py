"""What a generated clip is asked to be, and presets that draw such wishes at random."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sstlib.config import Config


@dataclass(frozen=True)
class ClipSpec(Config):
    """The difficulty of one generated clip. Lengths are in percent of the frame's height, times in frames."""

    frames: int = 16
    height: int = 240
    width: int = 432
    objects: int = 2  # labelled objects; all are visible in frame 0
    distractors: int = 1  # unlabelled ones that look like object 1 as `likeness` says
    size: float = 20.0  # typical radius of an object
    speed: float = 2.0  # mean way of an object in one frame
    sudden: float = 0.0  # probability a frame that an object jumps or turns
    deformation: float = 0.3  # 0 rigid, 1 strong bending and swinging limbs
    scale_change: float = 0.2  # deviation of the logarithm of an object's size over the clip
    camera: float = 0.3  # 0 still, 1 strong pan, zoom and roll
    appearance: float = 0.2  # change of light over the clip: 0 none, 1 strong
    likeness: float = 0.3  # distractors and occluders against object 1: 0 drawn anew, 1 the same texture
    camouflage: float = 0.1  # objects against the background: 0 drawn anew, 1 the same texture
    blur: float = 0.5  # deviation of the Gaussian in pixels at height 240
    noise: float = 0.01  # deviation of the sensor noise; full scale is 1

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 1 <= self.objects <= 254:
            raise ValueError(f"objects is {self.objects}; expected 1..254")
        for name in ("likeness", "camouflage", "sudden"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0..1")


def _easy(rng: np.random.Generator) -> dict[str, Any]:
    return dict(distractors=0, speed=rng.uniform(0.5, 2.0), deformation=0.1, scale_change=0.1, camera=0.1, appearance=0.0,
                likeness=0.0, camouflage=0.0, blur=0.3, noise=0.005, size=rng.uniform(18, 28))


def _mixed(rng: np.random.Generator) -> dict[str, Any]:
    return dict(distractors=int(rng.integers(0, 4)), size=math.exp(rng.uniform(math.log(9), math.log(40))),
                speed=math.exp(rng.uniform(math.log(0.3), math.log(9))), sudden=rng.choice([0.0, 0.1], p=[0.7, 0.3]),
                deformation=rng.uniform(0, 1), scale_change=rng.uniform(0, 0.4), camera=rng.uniform(0, 1), appearance=rng.choice([0.0, rng.uniform(0, 1)]),
                likeness=rng.choice([0.0, rng.uniform(0, 1)]), camouflage=rng.choice([0.0, rng.uniform(0, 0.9)]),
                blur=rng.choice([0.0, rng.uniform(0, 1.5)]), noise=rng.choice([0.0, rng.uniform(0, 0.05)]))


def _hard(rng: np.random.Generator) -> dict[str, Any]:
    return _mixed(rng) | dict(distractors=int(rng.integers(2, 5)), likeness=rng.uniform(0.5, 1), camouflage=rng.uniform(0.3, 0.9),
                              speed=math.exp(rng.uniform(math.log(2), math.log(10))))


PRESETS = {"easy": _easy, "mixed": _mixed, "hard": _hard}


def random_spec(preset: str, seed: int | np.random.Generator, **fixed: Any) -> ClipSpec:
    """A wish drawn from a preset; `fixed` fields override what was drawn.

    Raises:
        ValueError: an unknown preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset of generated clips {preset!r}; known: {', '.join(PRESETS)}")
    return ClipSpec.from_dict(PRESETS[preset](np.random.default_rng(seed)) | fixed)
