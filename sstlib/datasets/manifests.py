"""What benchmarks have in common whose clips are made, not copied: a manifest beside the code states what a version's
clips hold, and clips of one scene are named by the length of the occlusion.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sstlib.paths import write_whole
from sstlib.video import LazySequence


class SceneClip(LazySequence):
    """A scene at one length of the occlusion, and named so."""

    scene_name: str
    length: int

    @property
    def name(self) -> str:
        return f"{self.scene_name}-{self.length:02d}"


@functools.cache
def stated(path: Path, kind: str) -> dict[str, Any]:
    """What a manifest states, by scene or clip; nothing where there is none yet."""
    return json.loads(path.read_text())[kind] if path.is_file() else {}


def write(path: Path, version: int, kind: str, content: Mapping[str, Any]) -> None:
    """Writes a manifest of scenes or clips, for whoever makes a new version; that of a released one never changes."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
    write_whole(path, f'{{"version": {version}, "{kind}": {{\n{lines}\n}}}}\n')
