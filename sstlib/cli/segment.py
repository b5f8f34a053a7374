"""`sst segment VIDEO --mask FIRST.png --out DIR`: masks for every frame of a video file or a folder of frames."""

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sstlib.cli import _arguments
from sstlib.paths import atomic_write, refuse_inputs
from sstlib.values import require_place
from sstlib.video import (
    FolderSequence,
    Reading,
    Sequence,
    areas,
    images,
    is_picture,
    overlay,
    read_mask,
    reading_of,
    write_mask,
    written_here,
)

HELP = "carry the mask of one frame, or of several, through a whole video"
SHEET = 24  # frames on a contact sheet
LISTED = 6  # masks or files that are named one by one
OVERLAY = "overlay.mp4"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of frames")
    parser.add_argument("--mask", required=True, metavar="FILE", help="palette or gray PNG with an id for each object, "
                                                                      "white on black, or "
                        "a color for each object on black; or a folder of such, named as their frames, when several "
                        "frames are given")
    parser.add_argument("--threshold", type=_arguments.whole(1, 255), metavar="LEVEL", help="read masks with soft "
                                                                                            "edges, too: levels from "
                                                                                            "this one (1..255) on are "
                        "the one object")
    parser.add_argument("--at", type=int, default=0, metavar="FRAME",
                        help="number of the frame that the mask belongs to (default 0, the first); earlier frames are "
                             "segmented backward from it")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for FRAME.png, written as they "
                                                                               "come")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run left in the folder, and "
                                                                 "remove its other masks")
    parser.add_argument("--weights", default="sst-small", metavar="NAME", help="released weights by name, or a file "
                                                                               "(default sst-small)")
    parser.add_argument("--overlay", action="store_true", help="also write overlay.mp4, the video tinted with its "
                                                               "masks, with its sound")
    parser.add_argument("--sheet", type=_arguments.new_file, metavar="FILE.png", help="also write a contact sheet: two "
                                                                                      "dozen such frames side by side")
    parser.add_argument("--longest", type=int, metavar="PIXELS", help="work on frames of at most this long a side, 0 "
                                                                      "for any; masks keep the "
                        "full size (default: what the weights were trained for)")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored frame: twice the time")
    parser.add_argument("--scales", type=_arguments.number(0, 8, above=True), nargs="+", default=[1.0], metavar="S",
                        help="average over these sizes (default 1)")
    parser.add_argument("--aggregation", choices=["naive", "hard", "soft"], default="naive",
                        help="the largest probability wins and probabilities go on to later frames (naive, the "
                             "default); the winner alone goes on "
                        "(hard, as CFBI); objects compete as if independent (soft, as STM)")
    parser.add_argument("--keep-reference", action="store_true", help="let every frame also attend to the given ones")
    parser.add_argument("--threads", type=_arguments.threads, metavar="N", help="take at most so many threads "
                                                                                "(default: all cores), and one while "
                                                                                "other "
                        "programs use the cores; results are equal to the bit with 1 only")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")


def run(arguments: argparse.Namespace) -> int:
    """Segments the video and says where the masks are."""
    import torch

    from sstlib import weights
    from sstlib.inference import segment_to_folder, working_size
    from sstlib.model.presence import sentences

    device = _arguments.usable_device(arguments.device)
    sequence = opened(arguments.video)
    files = mask_files(Path(arguments.mask), arguments.at, sequence)
    stale = _checked_outputs(arguments, sequence, files)
    reading = reading_of(files.values(), arguments.threshold)
    masks = given_masks(files, sequence, reading)
    report(arguments.video, sequence, files, masks, reading)
    network = weights.load(arguments.weights, device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    longest = network.longest if arguments.longest is None else arguments.longest
    size = next(iter(masks.values())).shape
    height, width = working_size(size, longest)
    if (height, width) != size:
        why = "the size that the weights are for; --longest 0 takes them in full" if arguments.longest is None else "as --longest says"
        print(f"frames of {size[1]}x{size[0]} are worked on at {width}x{height}, {why}")
    options = {"longest": arguments.longest, "flip": arguments.flip, "scales": tuple(arguments.scales),
               "aggregation": arguments.aggregation, "keep_reference": arguments.keep_reference or None}
    before = _without_objects(masks)
    given = {t - before: labels for t, labels in masks.items() if t >= before}
    rest = Rest(sequence, before)
    predictions = segment_to_folder(network, rest, arguments.out, given, **options)
    count, told = before, {}
    for t, prediction in tqdm(predictions, total=len(sequence) - before, unit="frame", ascii=True, desc=sequence.name,
                              disable=None):
        count += 1
        told[t] = prediction.presence, prediction.doubt
        while stale:  # not before a first mask is there: until then all may still be refused
            stale.pop().unlink()
    for name in sequence.frame_names[:before]:
        write_mask(arguments.out / f"{name}.png", np.zeros_like(masks[before - 1]))
    print(f"{count} masks are in {arguments.out}", *sentences(rest.frame_names, told), sep="\n")
    if arguments.overlay:
        write_overlay(sequence, arguments.out)
        print(f"and {arguments.out / OVERLAY}")
    if arguments.sheet:
        write_sheet(sequence, arguments.out, arguments.sheet)
        print(f"and {arguments.sheet}")
    return 0


class Rest:
    """The frames of a sequence from number `first` on."""

    def __init__(self, sequence: Sequence, first: int) -> None:
        self.sequence, self.first, self.name = sequence, first, sequence.name
        self.frame_names = sequence.frame_names[first:]

    def __len__(self) -> int:
        return len(self.frame_names)

    def frame(self, t: int) -> np.ndarray:
        return self.sequence.frame(self.first + range(len(self))[t])

    def label(self, t: int) -> np.ndarray | None:
        return self.sequence.label(self.first + range(len(self))[t])


def opened(path: str) -> Sequence:
    """The video or folder of frames; what its reader warns of is printed in a line."""
    from sstlib.movies import open_clip

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        sequence = open_clip(path)
    for warning in warned:
        print(f"note: {warning.message}", file=sys.stderr)
    return sequence


def mask_files(path: Path, at: int, sequence: Sequence) -> dict[int, Path]:
    """Mask files by frame number, from one file or from a folder of files named as their frames.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a mask in the folder that belongs to no frame; a folder with `at`; a frame that is not there.
    """
    if not path.is_dir():
        if not 0 <= at < len(sequence):
            raise ValueError(f"--at {at}: {sequence.name} has frames 0..{len(sequence) - 1}")
        return {at: path}
    if at:
        raise ValueError(f"--at {at} goes with a single mask; {path} is a folder, whose masks are named as their "
                         "frames: leave --at out")
    numbers = {name: t for t, name in enumerate(sequence.frame_names)}
    listed = images(path, "masks")
    stray = [name for name in listed if name not in numbers]
    if stray:
        raise ValueError(f"{listed[stray[0]]}: {sequence.name} has no frame {stray[0]!r}; masks are named as their "
                         "frames")
    return {numbers[name]: file for name, file in listed.items()}


def given_masks(files: Mapping[int, Path], sequence: Sequence, reading: Reading) -> dict[int, np.ndarray]:
    """All given masks by frame number, read and checked before anything is computed.

    Raises:
        ValueError: a mask that cannot be read, of another size than the frames, or none that holds an object.
    """
    height, width = getattr(sequence, "size", None) or sequence.frame(0).shape[:2]
    masks = {}
    for t, path in sorted(files.items()):
        masks[t] = read_mask(path, reading)
        if masks[t].shape != (height, width):
            raise ValueError(f"{path}: the mask is {masks[t].shape[1]}x{masks[t].shape[0]} pixels (labels have shape "
                             f"{masks[t].shape}), the "
                             f"frames of {sequence.name} are {width}x{height}; resize the mask by nearest neighbor")
        if reading.kind not in ("ids", "palette", "colors") and masks[t].all():
            raise ValueError(f"{path}: the mask is one object throughout and has no background; give one that tells "
                             "them apart")
    if _without_objects(masks) > max(masks):
        void = " and void (255)" if any(labels.any() for labels in masks.values()) else ""
        raise ValueError(f"{next(iter(files.values()))}: the given masks hold no object, only background{void}; mark "
                         "at least one to follow")
    return masks


def _without_objects(masks: Mapping[int, np.ndarray]) -> int:
    """How many frames at the start hold no object: up to the last mask that says so before any mask with an object."""
    before = 0
    for t, labels in sorted(masks.items()):
        if ((labels > 0) & (labels != 255)).any():
            break
        before = t + 1
    return before


def report(path: str, sequence: Sequence, files: Mapping[int, Path], masks: Mapping[int, np.ndarray],
           reading: Reading) -> None:
    """Prints what was read, before work starts: the video, and what each mask was taken for."""
    height, width = next(iter(masks.values())).shape
    folder = isinstance(sequence, FolderSequence)
    rate = "" if folder else f", {float(getattr(sequence, 'rate', 0)):g} frames a second"
    print(f"{path}: {'folder' if folder else 'video'} of {len(sequence)} frames, {width}x{height}{rate}")
    for t in sorted(files)[:LISTED]:
        print(f"{files[t]}: for frame {sequence.frame_names[t]}, {areas(masks[t])}; read as: {reading}")
    if len(files) > LISTED:
        print(f"and {len(files) - LISTED} more masks, read alike")
    if before := _without_objects(masks):
        print(f"no object before frame {sequence.frame_names[before]}: masks are empty up to there")


def _checked_outputs(arguments: argparse.Namespace, sequence: Sequence, files: Mapping[int, Path]) -> list[Path]:
    """What an earlier run left in the folder and this one will not replace, to be removed.

    Raises:
        ValueError: an output is an input; or something is left there, and it is not to be overwritten.
    """
    out = require_place(arguments.out, folder=True)
    inputs = [arguments.video, arguments.mask, arguments.weights, *files.values(), *getattr(sequence, "paths", ())]
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


def tinted(sequence: Sequence, folder: Path, times: Iterable[int]) -> Iterator[np.ndarray]:
    """Frames tinted with their masks in a folder."""
    for t in times:
        yield overlay(sequence.frame(t), read_mask(folder / f"{sequence.frame_names[t]}.png", Reading("ids")))


def write_overlay(sequence: Sequence, folder: Path) -> None:
    """The video tinted with the masks in a folder, as overlay.mp4 beside them, with its times and its sound."""
    from sstlib.movies import VideoSequence, write_video

    steps = tqdm(range(len(sequence)), unit="frame", ascii=True, desc="overlay", disable=None)
    source = sequence if isinstance(sequence, VideoSequence) else None
    write_video(folder / OVERLAY, tinted(sequence, folder, steps), getattr(sequence, "rate", 24.0), source)


def write_sheet(sequence: Sequence, folder: Path, path: Path) -> None:
    """Tinted frames of the whole video on one sheet; not beside the masks, which are all images of their folder."""
    from sstlib.movies import contact_sheet

    times = sorted({round(t) for t in np.linspace(0, len(sequence) - 1, SHEET)})
    with atomic_write(path) as file:
        Image.fromarray(contact_sheet(tinted(sequence, folder, times))).save(file, format="PNG")
