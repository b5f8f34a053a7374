"""`sst segment` with boxes, clicks and polygons: the masks of one frame that they give, and a preview of these masks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sstlib.cli import _arguments
from sstlib.config.values import Number
from sstlib.metrics.scores import object_ids
from sstlib.shapes import UInt8

NUMBERS = {"box": "[NAME=]X,Y,WIDTH,HEIGHT", "points": "[NAME=]X,Y", "polygon": "[NAME=]X,Y"}
MOST = 254  # objects


class Prompt(argparse.Action):
    """Keeps prompts of all kinds in the order of the command line."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        kind = self.dest.removeprefix("prompt_")
        try:
            prompt = (kind, *read(kind, [values] if isinstance(values, str) else values))
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        namespace.prompts = [*(getattr(namespace, "prompts", None) or []), prompt]


def configure(group: Any) -> None:
    """Options of the prompts."""
    group.set_defaults(prompts=[])
    group.add_argument("--box", action=Prompt, dest="prompt_box", metavar=NUMBERS["box"],
                       help="in place of --mask: the object that fills this box, left, top, width and height in "
                            "pixels, is cut out; once for each object. Names go into summaries and exports. For "
                            "example: --box dog=40,60,200,150 --box 300,80,90,120")
    group.add_argument("--points", action=Prompt, dest="prompt_points", nargs="+", metavar="[NAME=]X,Y",
                       help="likewise the object that is at these points, but not at those with a ! before them. For "
                            "example: --points dog=120,90 150,130 '!30,40'")
    group.add_argument("--polygon", action=Prompt, dest="prompt_polygon", nargs="+", metavar="[NAME=]X,Y",
                       help="likewise what this closed line goes around. Several of one name are one object; of "
                            "objects that overlap, the later one lies on top")
    group.add_argument("--preview", type=_arguments.new_file, metavar="FILE.png",
                       help="first show in a picture what masks or prompts were taken for; without --out, that is all")


def read(kind: str, texts: Sequence[str]) -> tuple[str | None, list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Name, included points (or a box) and excluded points of a prompt, from its text.

    Raises:
        ValueError: a text that cannot be read.
    """
    name, wanted, excluded = None, [], []
    for n, text in enumerate(texts):
        if n == 0 and "=" in text:
            name, _, text = text.partition("=")
            if not name.strip() or any(ord(letter) < 32 for letter in name):
                raise ValueError(f"{texts[0]!r} has no name before the =")
            if name.startswith("!"):
                raise ValueError(f"{texts[0]!r}: the ! of a point that is excluded goes before it, as in NAME=X,Y !X,Y")
        group = excluded if text.startswith("!") else wanted
        if text.startswith("!") and kind != "points":
            raise ValueError(f"{text!r}: only --points takes points that are excluded")
        try:
            numbers = tuple(Number(-1e6, 1e6).check(float(part), "a coordinate") for part in
                            text.removeprefix("!").split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != (4 if kind == "box" else 2):
            raise ValueError(f"{text!r} is not {NUMBERS[kind].removeprefix('[NAME=]')}, numbers of pixels with commas "
                             "and no blanks between them")
        group.append(numbers)
    return name, wanted, excluded


def labels_of(frame: UInt8[np.ndarray, "height width 3"],
              entries: Sequence[tuple]) -> tuple[UInt8[np.ndarray, "height width"], dict[int, str]]:
    """Labels of a frame, uint8 (height, width), and the names of the objects.

    Raises:
        ValueError: a prompt that gives no mask; names its object.
    """
    from sstlib.video import prompts

    labels, ids = np.zeros(frame.shape[:2], np.uint8), _numbered([name for _, name, *_ in entries])
    for (kind, name, wanted, excluded), identity in zip(entries, ids):
        try:
            if kind == "box":
                mask = prompts.mask_from_box(frame, wanted[0])
            elif kind == "points":
                mask = prompts.mask_from_points(frame, wanted, excluded)
            else:
                mask = prompts.mask_from_polygon(frame.shape[:2], wanted)
        except ValueError as error:
            raise ValueError(f"--{kind}, object {name or identity}: {error}") from None
        labels[mask] = identity
    hidden = [name or identity for (_, name, *_), identity in zip(entries, ids) if not (labels == identity).any()]
    if hidden:
        raise ValueError(f"object {hidden[0]} lies beneath the others altogether; the later of two lies on top")
    return labels, {i: name for (_, name, *_), i in zip(entries, ids) if name is not None and name != str(i)}


def _numbered(names: list[str | None]) -> list[int]:
    """An id for each prompt: names that are numbers are ids, equal names are one object, others get the next free id.
    """
    ids, known = [], {int(name) for name in names if name and name.isascii() and name.isdecimal()}
    if any(not 1 <= identity <= MOST for identity in known):
        raise ValueError(f"objects are numbered 1..{MOST}, not {max(known)}")
    by_name: dict[str, int] = {str(identity): identity for identity in known}
    for name in names:
        key = str(int(name)) if name and name.isascii() and name.isdecimal() else name
        if key is None or key not in by_name:
            identity = next(n for n in range(1, MOST + 2) if n not in known)
            if identity > MOST:
                raise ValueError(f"more than {MOST} objects")
            known.add(identity)
            if key is not None:
                by_name[key] = identity
        ids.append(identity if key is None else by_name[key])
    return ids


def write_preview(path: Path, frame: UInt8[np.ndarray, "height width 3"], labels: UInt8[np.ndarray, "height width"],
                  names: dict[int, str]) -> None:
    """Writes a frame tinted with its objects, each with its name, or its number, in its middle."""
    from PIL import Image, ImageDraw

    from sstlib.video import overlay, write_picture

    picture = Image.fromarray(overlay(frame, labels))
    draw, size = ImageDraw.Draw(picture), max(10, max(frame.shape[:2]) // 40)
    for identity in object_ids(labels):
        rows, columns = np.nonzero(labels == identity)
        draw.text((float(columns.mean()), float(rows.mean())), names.get(identity, str(identity)), (255, 255, 255),
                  font_size=size, anchor="mm", stroke_width=max(1, size // 8), stroke_fill=(0, 0, 0))
    write_picture(path, picture)
