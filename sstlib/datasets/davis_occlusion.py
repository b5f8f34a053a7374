"""DAVIS-Occlusion: an object of one DAVIS 2016 sequence is hidden by another's for 0, 1, 2, ... 32 frames.

A scene is a sequence whose own object is the bystander, a target that moves as in its own sequence, made small enough
to be hidden, and an occluder cut out of a third. The occluder comes, stays over the target for so many frames, and goes
as it came; in the clip of length 0, the control, it only comes near. Clips of one scene differ in nothing else, all
have `FRAMES` frames, and their truth is exact. Nothing of DAVIS is in here: clips are composed from anyone's own copy,
and held to the content that the manifest states. Test scenes are made of DAVIS's validation sequences.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sstlib.datasets import davis, manifests
from sstlib.datasets.davis_compositions import BYSTANDER, FRAMES, LENGTHS, TARGET, Composed, Scene, compose, material
from sstlib.datasets.davis_occlusion_scenes import find_scenes
from sstlib.paths.digests import sha256
from sstlib.shapes import Bool
from sstlib.video import Sequence

TITLE = "DAVIS-Occlusion"
VERSION = 1
MANIFEST = Path(__file__).with_name("davis_occlusion.json")
SCENES = {"train": 12, "val": 8, "test": 24}


class Fingerprint(NamedTuple):
    """Identifies a clip: a hash of its bytes, and a few means, which other JPEG decoders reproduce approximately."""

    sha256: str
    thumbnail: tuple[float, ...]


@dataclass(frozen=True)
class DavisOcclusionSequence(manifests.SceneClip):
    """One clip: a scene at one length of the occlusion. Reads as any sequence; `amodal`: the target's full masks."""

    scene: Scene
    scene_name: str
    length: int
    split: str
    folder: Path  # of DAVIS 2016
    stated: Fingerprint

    @property
    def clip(self) -> Composed:
        return _held(self)

    def __len__(self) -> int:
        return FRAMES

    @property
    def amodal(self) -> Bool[np.ndarray, "time height width"]:
        return self.clip.amodal


def open_split(name: str, split: str, folder: Path | None) -> list[Sequence]:
    """The clips of a split, composed when accessed, from the DAVIS 2016 in `folder` or at its usual place."""
    return clips(split, folder)


def clips(split: str, folder: Path | None = None) -> list[Sequence]:
    """The clips of a split, scene by scene."""
    return [sequence for row in scenes(split, folder) for sequence in row]


def scenes(split: str, folder: Path | None = None) -> Iterator[tuple[DavisOcclusionSequence, ...]]:
    """The scenes of a split, each as its clips at all `LENGTHS`, the control first.

    Raises:
        FileNotFoundError: DAVIS 2016 is not there.
    """
    folder = davis.located("davis2016", folder)
    material(split, folder)
    for name, stated in manifests.stated(MANIFEST, "scenes").items():
        if stated["split"] == split:
            scene = Scene.from_dict(stated["scene"])
            known = {length: stated["clips"][str(length)] for length in LENGTHS}
            yield tuple(DavisOcclusionSequence(scene, name, length, split, folder, Fingerprint(
                one["sha256"], tuple(one["thumbnail"]))) for length, one in known.items())


def fingerprint(clip: Composed) -> Fingerprint:
    content = sha256(clip.frames.tobytes(), clip.labels.tobytes(), np.packbits(clip.amodal).tobytes())
    some = np.linspace(0, FRAMES - 1, 4).astype(int)
    kinds = clip.frames, 255 * (clip.labels == TARGET), 255 * (clip.labels == BYSTANDER)
    means = [float(values[t].mean()) for values in kinds for t in some]
    return Fingerprint(content[:32], tuple(round(mean, 1) for mean in means))


@functools.lru_cache(maxsize=2)
def _held(sequence: DavisOcclusionSequence) -> Composed:
    clip = compose(sequence.scene, sequence.length, sequence.split, sequence.folder)
    stated, actual = sequence.stated, fingerprint(clip)
    if stated.sha256 != actual.sha256 and np.abs(np.subtract(stated.thumbnail, actual.thumbnail)).max() > 2:
        raise ValueError(
            f"clip {sequence.name} is not that of {TITLE} version {VERSION}: the DAVIS 2016 in "
            f"{sequence.folder} has other frames or masks than the original, or the composition has changed; scores on "
            "it cannot be compared")
    return clip


def content_hash(split: str) -> str:
    """The hash of a split's content as its manifest states it: what a run record names as its data."""
    scenes = [stated["clips"] for stated in manifests.stated(MANIFEST, "scenes").values() if stated["split"] == split]
    return sha256(" ".join(clips[str(length)]["sha256"] for clips in scenes for length in LENGTHS))[:16]


def write(folder: Path, sequence: DavisOcclusionSequence) -> None:
    """Writes one clip in DAVIS layout, with the target's full masks (see `manifests.write_clip`)."""
    manifests.write_clip(folder, sequence, {"": sequence.amodal})


def write_index(folder: Path, split: str) -> None:
    """Writes the list of a split, and what each of its clips is made of."""
    manifests.write_index(folder, split, TITLE, VERSION, content_hash(split), {
        sequence.name: {"length": sequence.length, "scene": sequence.scene.to_dict()} for sequence in clips(split)})


def state(scene: Scene, split: str, folder: Path) -> dict[str, Any]:
    """A scene with its content, as the manifest states it."""
    clips = {str(length): fingerprint(compose(scene, length, split, folder))._asdict() for length in LENGTHS}
    return {"split": split, "scene": scene.to_dict(), "clips": clips}


def write_manifest(path: Path) -> None:
    """Finds all scenes and states them with their content (see `manifests.write`)."""
    folder = davis.located("davis2016", None)
    manifests.write(path, VERSION, "scenes", {
        f"{split}-{number:02d}": state(scene, split, folder) for at, (split, count) in enumerate(SCENES.items())
        for number, scene in enumerate(find_scenes(split, folder, count, (VERSION, at)))})
