"""Masks that `sst segment` is given: its options for them, how they are read and checked, and what is said of it."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sstlib.cli import _arguments
from sstlib.video import FolderSequence, Reading, Sequence, areas, images, read_mask

LISTED = 6  # masks that are named one by one


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the masks that are given."""
    parser.add_argument("--mask", required=True, metavar="FILE",
                        help="palette or gray PNG with an id for each object, white on black, or a color for each "
                             "object on black; or a folder of such, named as their frames, when several frames are "
                             "given")
    parser.add_argument("--threshold", type=_arguments.whole(1, 255), metavar="LEVEL",
                        help="read masks with soft edges, too: levels from this one (1..255) on are the one object")
    parser.add_argument("--at", type=int, default=0, metavar="FRAME",
                        help="number of the frame that the mask belongs to (default 0, the first); earlier frames are "
                             "segmented backward from it")


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
    from sstlib.sessions import first_object

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
    if first_object(masks) > max(masks):
        void = " and void (255)" if any(labels.any() for labels in masks.values()) else ""
        raise ValueError(f"{next(iter(files.values()))}: the given masks hold no object, only background{void}; mark "
                         "at least one to follow")
    return masks


def report(path: str, sequence: Sequence, files: Mapping[int, Path], masks: Mapping[int, np.ndarray],
           reading: Reading) -> None:
    """Prints what was read, before work starts: the video, and what each mask was taken for."""
    from sstlib.sessions import first_object

    height, width = next(iter(masks.values())).shape
    folder = isinstance(sequence, FolderSequence)
    rate = "" if folder else f", {float(getattr(sequence, 'rate', 0)):g} frames a second"
    print(f"{path}: {'folder' if folder else 'video'} of {len(sequence)} frames, {width}x{height}{rate}")
    for t in sorted(files)[:LISTED]:
        print(f"{files[t]}: for frame {sequence.frame_names[t]}, {areas(masks[t])}; read as: {reading}")
    if len(files) > LISTED:
        print(f"and {len(files) - LISTED} more masks, read alike")
    if before := first_object(masks):
        print(f"no object before frame {sequence.frame_names[before]}: masks are empty up to there")
