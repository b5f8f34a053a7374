"""Names of drawn objects, and which of them were erased from a frame, in a file beside the masks."""

from pathlib import Path
from typing import NamedTuple

from sstlib.config.values import parse_json
from sstlib.video import VOID

OBJECTS = "objects.json"  # beside the masks


class Noted(NamedTuple):
    """The content of that file: the clip that was drawn on, names by id, and erased ids by the name of their frame.
    """

    clip: str | None = None
    names: dict[int, str] = {}
    absent: dict[str, frozenset[int]] = {}


def noted(folder: Path) -> Noted:
    """Reads the file in a folder of masks; empty if there is none.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / OBJECTS
    if not path.is_file():
        return Noted()
    try:
        known = parse_json(path.read_bytes(), str(path))
        sound = (all(isinstance(name, str) and n.isdecimal() and 0 < int(n) < VOID for n, name in
                     known["names"].items())
                 and all(isinstance(n, int) for ids in known["absent"].values() for n in ids))
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise ValueError(f"{path}: damaged; remove it, and masks are read as of objects without names")
    return Noted(known.get("clip"), {int(n): name for n, name in known["names"].items()},
                 {frame: frozenset(ids) for frame, ids in known["absent"].items()})
