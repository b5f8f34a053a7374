"""SST-Occlusion: a fixed benchmark of generated clips in which one object is hidden for a known time.

Each clip lies on one axis, where all else is as in `BASE`: length (frames of full occlusion), likeness (of the occluder
and a distractor to the object), objects, speed. Clips are rendered when asked for; each is held to the content that the
version's manifest states, so that nobody measures on something else unknowingly.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sstlib.datasets import davis, manifests
from sstlib.paths.digests import sha256
from sstlib.synthetic import Clip, ClipSpec, render
from sstlib.video import LazySequence, Sequence

TITLE = "SST-Occlusion"
VERSION = 1
MANIFEST = Path(__file__).with_name("sst_occlusion.json")
BASE = dict(occlusion=8, likeness=0.5, objects=2, speed=2.0)
AXES: dict[str, tuple[str, tuple[float, ...]]] = {
    "length": ("occlusion", (0, 1, 2, 4, 8, 16, 32)),
    "likeness": ("likeness", (0.0, 0.25, 0.5, 0.75, 1.0)),
    "objects": ("objects", (1, 2, 4, 6)),
    "speed": ("speed", (0.5, 1.0, 2.0, 4.0)),
}
CLIPS = {"train": (3, 2), "val": (2, 1), "test": (6, 4), "mini": (1, 0)}  # a value: of the length axis, of the others
MINI = dict(height=120, width=216)  # mini is for a quick look at the length axis, not part of the benchmark
AROUND = 22  # frames before and after the occlusion together


@dataclass(frozen=True)
class OcclusionSequence(LazySequence):
    """One clip of the benchmark: where it lies on which axis, and its full truth as `clip`."""

    name: str
    axis: str
    value: float
    spec: ClipSpec
    seed: tuple[int, ...]

    @property
    def clip(self) -> Clip:
        return _rendered(self)

    def __len__(self) -> int:
        return self.spec.frames


def open_split(name: str, split: str, folder: Path | None) -> list[Sequence]:
    """The clips of a split, rendered when accessed; or read from a folder that `write` made."""
    if folder is not None:
        return davis.open_split("davis2017", split, folder)
    return list(clips(split))


def clips(split: str) -> Iterator[OcclusionSequence]:
    """The clips of a split by axis, value and number; their seeds are part of the version."""
    for axis, (field, values) in AXES.items():
        for at, value in enumerate(values):
            for number in range(CLIPS[split][axis != "length"]):
                wish: dict[str, Any] = BASE | {field: value}
                seed = (VERSION, list(CLIPS).index(split), list(AXES).index(axis), at, number)
                rng = np.random.default_rng(seed)
                spec = ClipSpec(frames=int(wish["occlusion"]) + AROUND, distractors=1, size=float(rng.uniform(12, 16)),
                                deformation=0.4, scale_change=0.15, camera=0.4, appearance=0.2, blur=0.5, noise=0.01,
                                **wish, **(MINI if split == "mini" else {}))
                yield OcclusionSequence(
                    f"{split}-{axis}-{value:g}-{number}".replace(".", "p"), axis, float(value), spec, seed
                )


@functools.lru_cache(maxsize=2)
def _rendered(sequence: OcclusionSequence) -> Clip:
    clip = render(sequence.spec, sequence.seed)
    expected = manifests.stated(MANIFEST, "clips").get(f"{sequence.seed}")
    return clip if expected is None else held_to(expected, clip, sequence.name, VERSION)


def fingerprint(clip: Clip) -> dict[str, Any]:
    """Identifies a clip: a hash of all its bytes, and means over blocks, which are nearly equal on other processors."""
    content = sha256(clip.frames.tobytes(), clip.labels.tobytes(), np.packbits(clip.amodal).tobytes())
    some = np.linspace(0, len(clip.frames) - 1, 3).astype(int)
    height, width = clip.labels.shape[1:]
    half = (slice(0, height // 2), slice(height // 2, None)), (slice(0, width // 2), slice(width // 2, None))
    means = [
        float(values[t][y, x].mean())
        for values in (clip.frames, 255 * (clip.labels > 0))
        for t in some
        for y in half[0]
        for x in half[1]
    ]
    return {"sha256": content[:32], "thumbnail": [round(mean) for mean in means]}


def held_to(expected: dict[str, Any], clip: Clip, name: str, version: int) -> Clip:
    """Returns the clip if it is that of a version's manifest; processors round differently, so bytes alone may differ.

    Raises:
        ValueError: it is not.
    """
    own = fingerprint(clip)
    apart = np.abs(np.subtract(expected["thumbnail"], own["thumbnail"])).max()
    if expected["sha256"] != own["sha256"] and apart > 2:
        raise ValueError(f"clip {name} is not that of SST-Occlusion version {version}: the generator has changed; "
                         "scores on it cannot be compared. Use the release that the version belongs to")
    return clip


def content_hash(split: str) -> str:
    """The hash of a split's content as its manifest states it: what a run record names as its data."""
    parts = [manifests.stated(MANIFEST, "clips")[f"{sequence.seed}"]["sha256"] for sequence in clips(split)]
    return sha256(" ".join(parts))[:16]


def write_manifest(path: Path) -> None:
    """States the content of every clip (see `manifests.write`)."""
    everything = [sequence for split in CLIPS for sequence in clips(split)]
    manifests.write(path, VERSION, "clips",
                    {str(one.seed): fingerprint(render(one.spec, one.seed)) for one in everything})


def write(folder: Path, sequence: OcclusionSequence) -> None:
    """Writes one clip in DAVIS layout, each object's full masks in a folder (see `manifests.write_clip`)."""
    full = {str(n): sequence.clip.full(n) for n in range(1, sequence.spec.objects + 1)}
    manifests.write_clip(folder, sequence, full)


def write_index(folder: Path, split: str) -> None:
    """Writes the list of a split and what is known of each of its clips."""
    manifests.write_index(folder, split, TITLE, VERSION, content_hash(split), {
        sequence.name: {"axis": sequence.axis, "value": sequence.value, "seed": list(sequence.seed),
                        "spec": sequence.spec.to_dict()} for sequence in clips(split)})
