"""The outputs of `sst segment`: options, checks for files in the way, and the sinks that write them."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from sstlib.cli import _arguments
from sstlib.config.values import require_place
from sstlib.paths import refuse_inputs, resolved
from sstlib.video import Sequence, is_picture, is_signed

LISTED = 6  # files that are listed one by one
EXPORTS = {  # of `exports.FORMATS`, each in a line
    "overlay": "overlay.mp4, the video tinted with its masks, with its times and its sound",
    "green": "green.mp4, the objects before a green screen, likewise",
    "cutout": "cutout/FRAME.png, the objects alone with alpha, edges soft",
    "webm": "cutout.webm, likewise as a video: VP9 with alpha, which browsers show",
    "prores": "cutout.mov, likewise: ProRes 4444 with alpha, for editors",
    "objects": "objects/ID/FRAME.png, white on black, a folder an object",
    "soft": "soft/ID/FRAME.png, each object's probability in 16 bits, 65535 for 1",
    "npz": "npz/FRAME.npz, ids and float32 probabilities, the background's with them",
    "coco": "coco.json, run-length masks, boxes, areas, classes and track ids for pycocotools",
    "yolo": "yolo/, data.yaml, images and a polygon an object; outlines leave the mask's by at most a pixel",
    "mots": "mots.txt, frame (from 0), 1000 class + id, class, height, width, run-length mask",
    "boxes": "boxes.csv, box and area in pixels of each object in each frame",
}
CODECS = ("h264", "hevc", "vp9")
SINGLE = ("sheet", "confidence", "preview")  # options that name one file each


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the outputs."""
    group = parser.add_argument_group("outputs", "what is written, beside a palette PNG of ids for each frame")
    group.add_argument("--out", type=_arguments.folder_or_stream, metavar="DIR",
                       help="folder for FRAME.png, written as they come")
    group.add_argument("--overwrite", action="store_true",
                       help="replace masks and exports of the names that are written, and remove others that this "
                            "command left in the folder")
    group.add_argument("--export", type=exports, action="extend", default=[], metavar="NAME[,NAME...]",
                       help="also write into the folder, when all masks are there, what is listed below, such as "
                            "--export coco,boxes, or --export webm --export overlay --codec hevc --crf 24")
    group.add_argument("--overlay", action="append_const", const="overlay", dest="export",
                       help="the same as --export overlay")
    group.add_argument("--codec", choices=CODECS, default="h264",
                       help="of overlay and green: h264 (the default) and hevc in .mp4, vp9 in .webm")
    group.add_argument("--crf", type=_arguments.whole(0, 63), metavar="N",
                       help="quality of overlay and green, 0 the best: up to 51 (h264, default 18; hevc, default 20) "
                            "or 63 (vp9, default 24)")
    group.add_argument("--sheet", type=_arguments.new_file, metavar="FILE.png",
                       help="also write a contact sheet, PNG or JPEG: two dozen frames side by side, objects outlined "
                            "and named")
    group.add_argument("--confidence", type=_arguments.new_file, metavar="FILE.csv",
                       help="also write a row for each object and frame: probability that it is in sight, doubt (that "
                            "its mask is wrong), confidence, area in pixels")


def listed() -> str:
    """The values of --export, a line each."""
    return "\n".join(["exports (an object's class is its name without a number at its end):"]
                     + [f"  {name:8} {about}" for name, about in EXPORTS.items()])


def exports(text: str) -> list[str]:
    """The type of --export: names with commas between them."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in EXPORTS]:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; expected some of {', '.join(EXPORTS)}")
    return names


def checked(arguments: argparse.Namespace, sequence: Sequence, inputs: Iterable[Path | str | None]) -> list[Path]:
    """Files of an earlier run in the folder that this run will not replace and must remove.

    Raises:
        ValueError: an output is an input; or there are files that must not be overwritten; or a quality that the codec
            does not have.
    """
    from sstlib.movies import checked_codec
    from sstlib.sessions.exports import FORMATS, origin

    checked_codec(arguments.codec, arguments.crf)
    inputs = [*inputs, *getattr(origin(sequence)[0], "paths", ())]
    single = _single(arguments, inputs)
    if arguments.out is None:
        return []
    out = require_place(arguments.out, folder=True)
    places = {name: out / FORMATS[name].where(arguments.codec) for name in dict.fromkeys(arguments.export)}
    outputs = {f"--out, frame {name}": require_place(out / f"{name}.png") for name in sequence.frame_names}
    outputs |= {f"--export {name}": path for name, path in places.items()} | single
    refuse_inputs(outputs | {"--out": out}, inputs)
    _refuse_links(path for path in outputs.values() if path is not None and path.parent == out)
    sources = {resolved(path) for path in inputs if path}
    for name, path in places.items():
        FORMATS[name].check(path)
        if within := [source for source in sources if source.is_relative_to(resolved(path))]:
            raise ValueError(f"--export {name} would replace {path}, in which {within[0].name} is read; rename it")
    known = {out / kind.where(codec): kind for kind in FORMATS.values() for codec in CODECS}
    left = sorted(path for path in out.iterdir() if is_picture(path) or path in known) if out.is_dir() else []
    if left and not arguments.overwrite:
        named = ", ".join(path.name for path in left[:LISTED]) + (", ..." if len(left) > LISTED else "")
        raise ValueError(f"{out} holds {len(left)} files already, perhaps of an earlier run ({named}); give another "
                         "folder, or --overwrite to replace masks and exports of these names and to remove others that "
                         "were written by this command")
    stale = [path for path in left if path not in outputs.values()
             and not any(source.is_relative_to(resolved(path)) for source in sources)]
    foreign = [path.name for path in stale if not (_ours(path, known[path]) if path in known else is_signed(path))]
    if foreign:
        print(f"note: not written by this command, and left in {out}: "
              f"{', '.join(foreign[:LISTED])}{', ...' if len(foreign) > LISTED else ''}")
    return [path for path in stale if path.name not in foreign]


def _refuse_links(paths: Iterable[Path]) -> None:
    """Raises a ValueError for a link among the places of masks and exports: what it leads to would be replaced."""
    if links := [path for path in paths if path.is_symlink()]:
        raise ValueError(f"{links[0]} is a link to {links[0].readlink()}, which would be replaced; remove the link, or "
                         "give another folder")


def _single(arguments: argparse.Namespace, inputs: Iterable[Path | str | None]) -> dict[str, Path | None]:
    """The single files that options name, by option. A preview may replace another.

    Raises:
        ValueError: one is an input, or exists and must not be replaced.
    """
    from sstlib.sessions.films import Sheet

    files = {f"--{name}": getattr(arguments, name) for name in SINGLE}
    refuse_inputs(files, inputs)
    if arguments.sheet:
        Sheet.check(arguments.sheet)
    if arguments.preview and arguments.preview.suffix.lower() != ".png":
        raise ValueError(f"{arguments.preview}: a preview is written as .png; name it so")
    for option in ("--sheet", "--preview"):
        if arguments.out and files[option] and resolved(files[option]).parent == resolved(arguments.out):
            raise ValueError(f"{option} would put {files[option]} among the masks; give another folder")
    for option, path in files.items():
        if path and not (option == "--preview" and path.is_file() and _is_preview(path)):
            _arguments.require_new(option, path, arguments.overwrite)
    return files


def _is_preview(path: Path) -> bool:
    """Whether a file is a color picture of this command, and not a mask, which would be a loss."""
    if not is_signed(path):
        return False
    with Image.open(path) as image:
        return image.mode == "RGB"


def _ours(path: Path, kind: Any) -> bool:
    """Whether what exists at the path of an export comes from this command."""
    from sstlib.sessions.product import lies_beside_masks

    try:
        kind.check(path)
    except (OSError, ValueError):
        return False
    return not kind.unsigned or lies_beside_masks(path)


def sinks(arguments: argparse.Namespace, clip: Any, stale: list[Path]) -> list[Any]:
    """The sinks for the masks of a clip; the folder of masks comes first, so that others can read from it."""
    from sstlib.sessions import MaskFolder
    from sstlib.sessions.exports import FORMATS, Exports

    chosen: list[Any] = [MaskFolder(clip, arguments.out, stale)]
    if arguments.export or arguments.sheet:
        kinds = [FORMATS[name] for name in dict.fromkeys(arguments.export)]
        chosen.append(Exports(clip, arguments.out, kinds, arguments.sheet, arguments.codec, arguments.crf))
    return chosen
