"""What `sst segment` writes: its options for it, what stands in their way, and the sinks that write."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sstlib.cli import _arguments
from sstlib.paths import refuse_inputs
from sstlib.values import require_place
from sstlib.video import Sequence, is_picture, written_here

LISTED = 6  # files that are named one by one
OVERLAY = "overlay.mp4"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the outputs."""
    parser.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="folder for FRAME.png, written as they come")
    parser.add_argument("--overwrite", action="store_true",
                        help="replace what an earlier run left in the folder, and remove its other masks")
    parser.add_argument("--overlay", action="store_true",
                        help="also write overlay.mp4, the video tinted with its masks, with its sound")
    parser.add_argument("--sheet", type=_arguments.new_file, metavar="FILE.png",
                        help="also write a contact sheet: two dozen such frames side by side")


def checked(arguments: argparse.Namespace, sequence: Sequence, inputs: Iterable[Path | str]) -> list[Path]:
    """What an earlier run left in the folder and this one will not replace, to be removed.

    Raises:
        ValueError: an output is an input; or something is left there, and it is not to be overwritten.
    """
    inputs = [*inputs, *getattr(sequence, "paths", ())]
    out = require_place(arguments.out, folder=True)
    outputs = {f"--out, frame {name}": out / f"{name}.png" for name in sequence.frame_names}
    outputs |= {"--overlay": out / OVERLAY if arguments.overlay else None, "--sheet": arguments.sheet}
    refuse_inputs(outputs | {"--out": out}, inputs)
    left = sorted(path for path in out.iterdir() if is_picture(path) or path.name == OVERLAY) if out.is_dir() else []
    if left and not arguments.overwrite:
        named = ", ".join(path.name for path in left[:LISTED]) + (", ..." if len(left) > LISTED else "")
        raise ValueError(f"{out} holds {len(left)} files already, perhaps of an earlier run ({named}); give another "
                         "folder, or --overwrite "
                         "to replace masks of these names and to remove other masks and overlays that were written by "
                         "this command")
    sources = {Path(path).resolve() for path in inputs}
    stale = [path for path in left if path not in outputs.values() and path.resolve() not in sources]
    foreign = [path.name for path in stale if path.name != OVERLAY and not written_here(path)]
    if foreign:
        print(f"note: not written by this command, and left in {out}: "
              f"{', '.join(foreign[:LISTED])}{', ...' if len(foreign) > LISTED else ''}")
    return [path for path in stale if path.name not in foreign]


def sinks(arguments: argparse.Namespace, clip: Any, stale: list[Path]) -> list[Any]:
    """All that takes the masks of a clip; the folder of masks comes first, so that others can read them there."""
    from sstlib.sessions import MaskFolder, Overlay, Sheet

    chosen: list[Any] = [MaskFolder(clip, arguments.out, stale)]
    if arguments.overlay:
        chosen.append(Overlay(clip, arguments.out))
    if arguments.sheet:
        chosen.append(Sheet(clip, arguments.out, arguments.sheet))
    return chosen
