"""What benchmarks have in common whose clips are made, not copied: a manifest beside the code states what a version's
clips hold, clips of one scene are named by the length of the occlusion, and all are written in DAVIS layout.
"""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sstlib.paths import write_whole
from sstlib.shapes import Bool
from sstlib.video import LazySequence, mask_image

RESOLUTION = "480p"  # official DAVIS tools look in no other folder; the frames are smaller


class SceneClip(LazySequence):
    """A scene at one length of the occlusion, and named by it."""

    scene_name: str
    length: int

    @property
    def name(self) -> str:
        return f"{self.scene_name}-{self.length:02d}"


@functools.cache
def stated(path: Path, kind: str) -> dict[str, Any]:
    """The content of a manifest by scene or clip; empty if there is no manifest yet."""
    return json.loads(path.read_text())[kind] if path.is_file() else {}


def write(path: Path, version: int, kind: str, content: Mapping[str, Any]) -> None:
    """Writes the manifest of a new version; that of a released version never changes."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
    write_whole(path, f'{{"version": {version}, "{kind}": {{\n{lines}\n}}}}\n')


def write_clip(folder: Path, sequence: LazySequence, full: Mapping[str, Bool[np.ndarray, "time height width"]]) -> None:
    """Writes one clip in DAVIS layout, full masks beside it in Amodal/; each part whole or not at all.

    Args:
        folder: of all clips.
        sequence: the clip.
        full: masks of objects as if nothing hid them, by their folder in Amodal/CLIP; "" is that itself.
    """
    clip = sequence.clip
    parts = {f"JPEGImages/{RESOLUTION}": ("jpg", {"": map(Image.fromarray, clip.frames)}),
             f"Annotations/{RESOLUTION}": ("png", {"": map(mask_image, clip.labels)}),
             "Amodal": ("png", {inner: map(Image.fromarray, masks) for inner, masks in full.items()})}
    folder.mkdir(parents=True, exist_ok=True)
    for part, (kind, folders) in parts.items():
        place = folder / part / sequence.name
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{sequence.name}.") as scratch:
            whole = Path(scratch) / "whole"
            for inner, pictures in folders.items():
                (whole / inner).mkdir(parents=True, exist_ok=True)
                for name, picture in zip(sequence.frame_names, pictures, strict=True):
                    picture.save(whole / inner / f"{name}.{kind}", quality=95)  # of JPEG; PNG has none
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            os.replace(whole, place)


def write_index(folder: Path, split: str, title: str, version: int, content: str, clips: Mapping[str, Any]) -> None:
    """Writes the list of a split as DAVIS has it, and a JSON of what is known of each of its clips.

    Args:
        content: the hash of the split's content.
        clips: what is known, by name.
    """
    write_whole(folder / "ImageSets" / "2017" / f"{split}.txt", "".join(f"{name}\n" for name in clips))
    write_whole(folder / f"{split}.json", json.dumps({"benchmark": title, "version": version, "split": split,
                                                      "content": content, "clips": clips}, indent=1))
