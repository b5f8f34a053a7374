"""The masks given to `sst segment`: options, reading and checking, and the lines printed about them."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sstlib.cli import _absent, _arguments, _prompts
from sstlib.metrics.scores import object_ids
from sstlib.paths import resolved
from sstlib.shapes import UInt8
from sstlib.video import (
    VOID,
    FolderSequence,
    Reading,
    Sequence,
    areas,
    images,
    is_picture,
    read_mask,
    reading_of,
    require_background,
)
from sstlib.video.pictures import composed, files_of, passed_over, same_number

LISTED = 6  # masks that are listed one by one
ALIKE = 0.02  # how much the aspect ratios of a mask and its frame may differ if one is the other resized


def configure(parser: argparse.ArgumentParser) -> None:
    """Options for masks, and for prompts in their place."""
    group = parser.add_argument_group("masks and prompts", "what is followed: by --mask, or by prompts in its place")
    group.add_argument("--mask", metavar="FILE",
                       help="palette or gray PNG with an id for each object, white on black, or a color for each "
                            "object on black; or a folder of such, named as their frames, when several frames are "
                            "given; or a file of COCO (.json, polygons or run lengths), LabelMe (.json, or a folder of "
                            "them) or CVAT (.xml, of images or of a video), with the names of its objects")
    _prompts.configure(group)
    group.add_argument("--at", type=int, metavar="FRAME",
                       help="number of the frame that the mask, or the prompts, belong to (default: of a folder of "
                            "frames the one that the mask is named as, else the first that is segmented); earlier "
                            "frames are segmented backward from it")
    group.add_argument("--threshold", type=_arguments.whole(1, 255), metavar="LEVEL",
                       help="read masks with soft edges, too: levels from this one (1..255) on are the one object")
    _absent.configure(group)


def named_files(arguments: argparse.Namespace, sequence: Sequence, frames: Sequence) -> dict[int, Path]:
    """The given mask files, by the index of their frames among those that are segmented; empty with prompts.

    Raises:
        ValueError: no mask and no prompt, or both; or a frame that does not exist.
    """
    require_objects(arguments)
    at = at_frame(arguments.at, sequence, frames)
    if not arguments.mask:
        return {}
    if from_tool(arguments):
        return {at: Path(arguments.mask)}
    return mask_files(Path(arguments.mask), arguments.at, at, sequence, frames)


def require_objects(arguments: argparse.Namespace) -> None:
    """Raises a ValueError if no objects are given, or both masks and prompts, or an option for pictures of masks
    without such pictures.
    """
    if bool(arguments.mask) == bool(arguments.prompts):
        raise ValueError("give the objects of one frame either by --mask or by --box, --points and --polygon"
                         f"{', not by both' if arguments.mask else ''}")
    if arguments.threshold and (arguments.prompts or from_tool(arguments)):
        raise ValueError(f"--threshold is for pictures of masks, and {arguments.mask or 'a prompt'} is none; leave it "
                         "out")


def from_tool(arguments: argparse.Namespace) -> bool:
    """Whether the mask is a labeling tool's file, or a folder of such files: without pictures, or with the frames,
    where LabelMe puts them.
    """
    from sstlib.video.labeltools import LABELME, SUFFIXES

    path = Path(arguments.mask)
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES
    beside = isinstance(arguments.video, str) and resolved(arguments.video) == resolved(path)
    return bool(files_of(path, LABELME)) and (beside or not any(is_picture(entry) for entry in path.iterdir()))


def labeled(path: Path, at: int | None, sequence: Sequence, frames: Sequence) -> tuple[Any, list[str]]:
    """The clip with the masks of a labeling tool's file, and lines about them. A single mask belongs to the frame that
    `--at` names, or to that of its name; several masks to those of their names or numbers.

    Raises:
        ValueError: a mask without a frame, or of another size.
    """
    from sstlib.sessions import Clip, size_of
    from sstlib.video.labeltools import read_labels

    content, size = read_labels(path, sequence.frame_names), size_of(frames)
    if content.size != size:
        raise ValueError(f"{path}: its masks are {content.size[1]}x{content.size[0]} pixels, the frames of "
                         f"{sequence.name} are {size[1]}x{size[0]}")
    known = {name: t for t, name in enumerate(sequence.frame_names)} | {t: t for t in range(len(sequence))}
    times = list(range(len(sequence))) if frames is sequence else list(frames.times)
    given: dict[int, np.ndarray] = {}
    called: dict[int, str] = {}  # what the images of others are called
    if at is not None and len(content.masks) > 1:
        raise ValueError(f"--at {at} goes with a single mask; {path} has those of {len(content.masks)} frames, by name "
                         "or number: leave --at out")
    for frame, labels in content.masks.items():
        alone = len(content.masks) == 1 and (at is not None or frame not in known and isinstance(frame, str))
        place = at_frame(at, sequence, frames) if alone else None
        if place is None:
            if frame not in known:
                raise ValueError(f"{path}: {sequence.name} has no frame {frame!r}; images are named as the frames, and "
                                 "those of a video go by number; for a single mask, --at says its frame")
            if known[frame] not in times:
                raise ValueError(f"{path}: its frame {frame!r} is not among those that are segmented")
            place = times.index(known[frame])
        given[place] = labels
        if isinstance(frame, str) and frame != frames.frame_names[place]:
            called[place] = f", drawn on an image called {frame}"
    clip = Clip(frames, dict(sorted(given.items())), content.names)
    return clip, [*(f"{path}: {content.kind}, for frame {frames.frame_names[t]}{called.get(t, '')}, "
                    f"{named_areas(labels, content.names)}" for t, labels in list(clip.given.items())[:LISTED]),
                  *(f"{path}: {sentence}" for sentence in content.passed_over)]


def read(arguments: argparse.Namespace, sequence: Sequence, frames: Sequence,
         files: Mapping[int, Path]) -> tuple[Any, list[str]]:
    """The clip with all that is given, and lines about it to print before work starts.

    Args:
        sequence: the whole video.
        frames: the part that is segmented.
        files: masks; empty with prompts.

    Raises:
        ValueError: a mask or a prompt that does not fit.
    """
    from sstlib.sessions import Clip
    from sstlib.sessions.corrections import NOTHING

    if files and from_tool(arguments):
        clip, lines = labeled(Path(arguments.mask), arguments.at, sequence, frames)
    elif not files:
        at = at_frame(arguments.at, sequence, frames)
        labels, names = _prompts.labels_of(frames.frame(at), arguments.prompts)
        clip = Clip(frames, {at: labels}, names)
        lines = [f"prompts: for frame {frames.frame_names[at]}, {named_areas(labels, names)}"]
    else:
        reading = reading_of(files.values(), arguments.threshold)
        masks = given_masks(files, frames, reading)
        clip, more = drawn(Path(arguments.mask), Clip(frames, masks))
        vain = {t for t, labels in masks.items() if t >= clip.before and t not in clip.absent and not labels.any()}
        lines = [f"{files[t]}: for frame {frames.frame_names[t]}, {areas(masks[t])}{NOTHING * (t in vain)}; read as: "
                 f"{reading}" for t in sorted(files)[:LISTED]]
        lines += [f"and {len(files) - LISTED} more masks, read alike"] if len(files) > LISTED else []
        lines += more
    if clip.before:
        lines.append(f"no object before frame {frames.frame_names[clip.before]}: masks are empty up to there")
    numbers = range(len(frames)) if frames is sequence else frames.times
    absences = _absent.resolved(arguments.absent, clip.ids, clip.names)
    absent = _absent.by_frame(absences, clip.given, numbers)
    clip = replace(clip, absent={t: absent.get(t, frozenset()) | clip.absent.get(t, frozenset())
                                 for t in sorted({*absent, *clip.absent})})
    return clip, [*opening(arguments.video, sequence, frames, clip.size), *lines]


def drawn(folder: Path, clip: Any) -> tuple[Any, list[str]]:
    """The clip with names and erasures of objects, if `sst annotate` wrote them into the folder of masks, and lines
    about them. A frame from which everything was erased does not begin the clip.
    """
    from sstlib.sessions.drawings import OBJECTS, noted

    known, places = noted(folder), {name: t for t, name in enumerate(clip.frames.frame_names)}
    shown = clip.ids
    names = {n: name for n, name in known.names.items() if n in shown and name != f"object {n}"}
    erased = {places[frame]: ids & shown - {*np.unique(clip.given.get(places[frame], 0)).tolist()}
              for frame, ids in known.absent.items() if frame in places}
    absent = {t: ids for t, ids in sorted(erased.items()) if ids}
    given = {t: labels for t, labels in clip.given.items() if t not in absent or (labels % VOID).any()}
    parts = [", ".join(f"{n} is {name}" for n, name in names.items())] if names else []
    parts += [f"frame {clip.frames.frame_names[t]} without " + ", ".join(names.get(n, str(n)) for n in sorted(ids))
             for t, ids in [*absent.items()][:LISTED]] + ["..."] * (len(absent) > LISTED)
    lines = [f"{folder / OBJECTS}: " + "; ".join(parts)] if parts else []
    return replace(clip, given=given, names=names, absent=absent), lines


def corrections(arguments: argparse.Namespace, clip: Any, files: Mapping[int, Path]) -> Any:
    """The folder of corrections, if there is one; each correction is reported when it is read."""
    from tqdm import tqdm

    from sstlib.sessions import Corrections

    if not arguments.corrections:
        return None
    pictures = files and not from_tool(arguments)
    reading = reading_of(files.values(), arguments.threshold) if pictures else None
    result = Corrections(arguments.corrections, clip.frames, clip.size, clip.ids, reading, tqdm.write)
    for instead in filter(None, (passed_over(arguments.corrections), drawn_elsewhere(arguments.corrections))):
        print(f"note: {arguments.corrections}: {instead}", file=sys.stderr)
    return result


def drawn_elsewhere(folder: Path) -> str:
    """What is to be said of files of labeling tools in a folder of corrections, "" where there are none."""
    from sstlib.sessions.drawings import OBJECTS
    from sstlib.video.labeltools import SUFFIXES

    names = [path.name for path in files_of(folder, SUFFIXES) if path.name != OBJECTS]
    return f"{names[0]} is no picture, and not taken; corrections are masks as those in --out" if names else ""


def at_frame(at: int | None, sequence: Sequence, frames: Sequence) -> int:
    """The index, among the frames that are segmented, of the one that `--at` names.

    Raises:
        ValueError: it is not among them.
    """
    times = range(len(frames)) if frames is sequence else frames.times
    if at is None:
        return 0
    if at not in times:
        raise ValueError(f"--at {at}: {sequence.name} has frames 0..{len(sequence) - 1}"
                         + (", of which this one is not segmented" if 0 <= at < len(sequence) else ""))
    return times.index(at)


def opening(path: str, sequence: Sequence, frames: Sequence, size: tuple[int, int]) -> list[str]:
    """Lines about the video and the frames that are segmented."""
    folder = isinstance(sequence, FolderSequence)
    rate = "" if folder else f", {float(getattr(sequence, 'rate', 0)):g} frames a second"
    aspect = getattr(sequence, "aspect", 1)
    shown = "" if aspect == 1 else f" (shown as {round(size[1] * aspect)}x{size[0]}; masks are of the former)"
    lines = [f"{path}: {'folder' if folder else 'video'} of {len(sequence)} frame{'s' * (len(sequence) > 1)}, "
             f"{size[1]}x{size[0]}{shown}{rate}"]
    if frames is not sequence:
        every = "" if frames.times.step == 1 else f", one in {frames.times.step}"
        lines.append(f"segmented are {len(frames)} of them, number {frames.times[0]} (named {frames.frame_names[0]}) "
                     f"to {frames.times[-1]}{every}, counted from 0")
    return lines


def named_areas(labels: UInt8[np.ndarray, "height width"], names: Mapping[int, str]) -> str:
    """A description of labels: objects by id and name."""
    counts, ids = np.bincount(labels.ravel(), minlength=256), object_ids(labels)
    void = f"; void (255): {counts[VOID]:,} pixels" if counts[VOID] else ""
    return f"{len(ids)} object{'s' * (len(ids) > 1)}: " + ", ".join(
        f"{n}{f' ({names[n]})' if n in names else ''} = {counts[n]:,} pixels" for n in ids) + void


def mask_files(path: Path, at: int | None, first: int, sequence: Sequence, frames: Sequence) -> dict[int, Path]:
    """Mask files by their place among the frames that are segmented, from one file, which belongs to the frame at place
    `first` unless it is named as another, or from a folder of files named as their frames.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a mask in the folder that belongs to no frame; a folder with `at`; no mask of a segmented frame.
    """
    if not path.is_dir():
        return {named_place(path, first, sequence, frames) if at is None else first: path}
    if at is not None:
        raise ValueError(f"--at {at} goes with a single mask; {path} is a folder, whose masks are named as their "
                         "frames: leave --at out")
    listed = {composed(name): file for name, file in images(path, "masks").items()}
    names = {*map(composed, sequence.frame_names)}
    stray = [name for name in listed if name not in names]
    if stray:
        raise ValueError(f"{listed[stray[0]]}: {sequence.name} has no frame {stray[0]!r}; masks are named as their "
                         f"frames, which go from {sequence.frame_names[0]} to {sequence.frame_names[-1]}")
    numbers = {composed(name): t for t, name in enumerate(frames.frame_names)}
    files = {numbers[name]: file for name, file in listed.items() if name in numbers}
    if not files:
        raise ValueError(f"{path}: none of its masks is of a frame that is segmented ({frames.frame_names[0]} to "
                         f"{frames.frame_names[-1]})")
    if instead := passed_over(path):
        print(f"note: {path}: {instead}", file=sys.stderr)
    if unused := len(listed) - len(files):
        print(f"note: {unused} of the masks in {path} {'are' if unused > 1 else 'is'} of frames that are not segmented",
              file=sys.stderr)
    return files


def named_place(path: Path, first: int, sequence: Sequence, frames: Sequence) -> int:
    """The place among the frames that are segmented of the one that a single mask is named as, as it would have it in a
    folder of masks. `first` where its name is none of a frame, is its video's, is of a frame that is left out, or is a
    number in a video file, whose frames have no names: programs that extract them count from 1, too. So is a number
    that is written otherwise than those of the frames.
    """
    number, names = same_number(path.stem), frames.frame_names
    name = next((name for name in sequence.frame_names if same_number(name) == number), None)
    if name is None or name == names[first] or path.stem == sequence.name:
        return first
    if isinstance(sequence, FolderSequence) and name in names and composed(name) == composed(path.stem):
        return names.index(name)
    print(f"note: {path} is named as frame {name}, and taken for frame {names[first]}; --at FRAME, counted from 0, "
          "says another", file=sys.stderr)
    return first


def given_masks(files: Mapping[int, Path], sequence: Sequence, reading: Reading) -> dict[int, np.ndarray]:
    """All given masks by frame number, read and checked before anything is computed.

    Raises:
        ValueError: a mask that cannot be read or has another size than the frames, or no mask with an object.
    """
    from sstlib.sessions import first_object, size_of

    height, width = size_of(sequence)
    masks = {}
    for t, path in sorted(files.items()):
        masks[t] = read_mask(path, reading)
        if masks[t].shape != (height, width):
            rows, columns = masks[t].shape
            alike = abs(columns * height / (rows * width) - 1) < ALIKE
            raise ValueError(f"{path}: the mask is {columns}x{rows} pixels, the frames of {sequence.name} are "
                             f"{width}x{height}; " + ("resize the mask by nearest neighbor" if alike else
                             "it is of another shape, so cut off, turned or of another video: draw it on a frame"))
        require_background(path, masks[t], reading)
    if first_object(masks) > max(masks):
        void = " and void (255)" if any(labels.any() for labels in masks.values()) else ""
        raise ValueError(f"{next(iter(files.values()))}: the given masks hold no object, only background{void}; mark "
                         "at least one to follow")
    return masks
