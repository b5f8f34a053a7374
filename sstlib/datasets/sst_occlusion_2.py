"""SST-Occlusion 2: scenes in which one object is hidden for 0, 1, 2, ... 32 frames, everything else being the same.

Version 1 had other scenes at every length, clips that grew with it, and counted the other object and the hidden
frames; its curve was one of scenes and bystanders. Here a scene is good for all lengths or none, clips have one number
of frames, and `evaluation.occlusion_windows` asks for the target alone, as loss against the control, which is length 0.
Clips are rendered when asked for and held to the content that the manifest states.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sstlib.datasets import manifests
from sstlib.datasets.sst_occlusion import fingerprint, held_to
from sstlib.paths.digests import sha256
from sstlib.shapes import Bool
from sstlib.synthetic import Clip, ClipSpec
from sstlib.synthetic.paired import FRAMES, LENGTHS, PairedScene, find_scene
from sstlib.video import Sequence

VERSION = 2
MANIFEST = Path(__file__).with_name("sst_occlusion_2.json")
SCENES = {"val": 8, "test": 24}
TARGET = 1  # label of the object that is hidden


@dataclass(frozen=True)
class PairedSequence(manifests.SceneClip):
    """One clip: a scene of the benchmark at one length of the occlusion."""

    scene: PairedScene
    scene_name: str
    length: int

    @property
    def clip(self) -> Clip:
        return _rendered(self)

    def __len__(self) -> int:
        return self.scene.spec.frames

    @property
    def amodal(self) -> Bool[np.ndarray, "time height width"]:
        """Full masks of the target, as `occlusion_windows.follow` asks for them."""
        return self.clip.full(TARGET)


def open_split(name: str, split: str, folder: Path | None) -> list[Sequence]:
    """The clips of a split, rendered when asked for.

    Raises:
        ValueError: as `scenes`.
    """
    return [sequence for row in scenes(split, folder) for sequence in row]


def scenes(split: str, folder: Path | None = None) -> Iterator[tuple[PairedSequence, ...]]:
    """The scenes of a split, each as its clips at all `LENGTHS`, the control first.

    Raises:
        ValueError: a folder is named; these clips are in none.
    """
    if folder is not None:
        raise ValueError(f"SST-Occlusion 2 is rendered and read from no folder, not {folder}; leave the folder out")
    for name, one in manifests.stated(MANIFEST, "scenes").items():
        if one["split"] == split:
            scene = PairedScene(_spec(tuple(one["seed"])), tuple(one["seed"]), one["attempt"])
            yield tuple(PairedSequence(scene, name, length) for length in LENGTHS)


def _spec(seed: tuple[int, ...]) -> ClipSpec:
    """What a scene is asked to be: as in version 1, the target a little larger, so that networks can follow it."""
    size = float(np.random.default_rng(seed).uniform(14, 19))
    return ClipSpec(frames=FRAMES, objects=2, distractors=1, likeness=0.5, speed=2.0, size=size, deformation=0.4,
                    scale_change=0.15, camera=0.4, appearance=0.2, blur=0.5, noise=0.01)


@functools.lru_cache(maxsize=2)
def _rendered(sequence: PairedSequence) -> Clip:
    return held_to(_stated(sequence), sequence.scene.clip(sequence.length), sequence.name, VERSION)


def _stated(sequence: PairedSequence) -> dict[str, Any]:
    return manifests.stated(MANIFEST, "scenes")[sequence.scene_name]["clips"][str(sequence.length)]


def content_hash(split: str) -> str:
    """The hash of a split's content as its manifest states it: what a run record names as its data."""
    parts = [_stated(sequence)["sha256"] for row in scenes(split) for sequence in row]
    return sha256(" ".join(parts))[:16]


def state(split: str, seed: tuple[int, ...]) -> dict[str, Any]:
    """Finds a scene and states what is in it, as the manifest does."""
    scene = find_scene(_spec(seed), seed)
    clips = {str(length): fingerprint(scene.clip(length)) for length in LENGTHS}
    return {"split": split, "seed": list(seed), "attempt": scene.attempt, "onset": scene.onset, "clips": clips}


def write_manifest(path: Path) -> None:
    """Finds all scenes and states their content (see `manifests.write`)."""
    manifests.write(path, VERSION, "scenes", {
        f"{split}-{number:02d}": state(split, (VERSION, at, number))
        for at, (split, count) in enumerate(SCENES.items()) for number in range(count)})
