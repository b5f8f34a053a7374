"""`sst segment` with one video or several: patterns, the masks and the folder of each, and the table of their outcomes.
"""

import argparse
import glob
import sys
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sstlib.cli import _extras, _runs
from sstlib.cli._status import BAD_INPUT
from sstlib.paths import resolved

# Options that take a single video
SINGLE = ("prompts", "at", "absent", "sheet", "confidence", "preview", "corrections", "watch")
OF_MASKS = ("export", "sheet", "confidence", "exit_doubt")  # options of what is made of masks


@dataclass
class Outcome:
    """The outcome of a video: its clip, the judgments of its objects in each frame, the exit status, and whether an
    earlier run had done all of it.
    """

    clip: Any
    judgments: dict[int, dict[int, list[float | int]]]
    status: int = 0
    earlier: bool = False


def check(arguments: argparse.Namespace) -> None:
    """Refuses options that do not go together.

    Raises:
        ValueError: names them.
    """
    if arguments.out is None and not arguments.preview:
        raise ValueError("give --out DIR for the masks (or --preview FILE.png alone, to see what would be followed)")
    if arguments.out is None and (vain := [name for name in OF_MASKS if getattr(arguments, name) not in (None, [])]):
        raise ValueError(f"--{vain[0].replace('_', '-')} is of masks, which need --out DIR; without it, leave "
                         f"--{vain[0].replace('_', '-')} out for the preview alone")
    if arguments.crf is not None and not {"overlay", "green"}.intersection(arguments.export):
        raise ValueError("--crf is the quality of --export overlay and green; add one of them, or leave it out")
    if arguments.watch and not arguments.corrections:
        raise ValueError("--watch waits for masks in a folder; name it by --corrections")
    videos = {resolved(video) for video in arguments.video}
    if arguments.corrections and resolved(arguments.corrections) in videos:
        raise ValueError(f"--corrections {arguments.corrections} is the video itself; name a folder of masks")


def expanded(texts: Sequence[str]) -> list[str]:
    """The videos that paths and patterns name, each once, in order.

    Raises:
        FileNotFoundError: a pattern that matches nothing.
        ValueError: a stream among videos, or a camera without its number.
    """
    from sstlib.movies import is_stream

    videos: list[str] = []
    for text in texts:
        if is_stream(text):
            raise ValueError(f"{text} is a stream, which goes alone; there are {len(texts)} videos")
        if text.startswith("camera:") and not Path(text).exists():
            raise ValueError(f"{text!r} is no video; give a file, a folder of frames, or camera:NUMBER")
        matched = sorted(glob.glob(text)) if glob.has_magic(text) and not Path(text).exists() else [text]
        if not matched:
            raise FileNotFoundError(f"{text}: no file or folder fits this pattern")
        videos += [path for path in matched if path not in videos]
    return videos


def require_packages(arguments: argparse.Namespace, videos: Sequence[str]) -> None:
    """Refuses what needs packages that are not installed, before a long video is read.

    Raises:
        ValueError: names them, and the extra that installs them.
    """
    from sstlib.movies import is_movie
    from sstlib.sessions.exports import FORMATS

    written = [FORMATS[name].where(arguments.codec) for name in arguments.export]
    _extras.require(["av"] * any(map(is_movie, [*videos, *written])) + ["cv2"] * bool(arguments.prompts))


def by_name(arguments: argparse.Namespace) -> bool:
    """Whether a folder of masks holds one for each video, by name: with a pattern it does, even if that matches a
    single video.
    """
    pattern = any(glob.has_magic(text) and not Path(text).exists() for text in arguments.video)
    return pattern and bool(arguments.mask) and Path(arguments.mask).is_dir()


def replacing(arguments: argparse.Namespace, before: Any) -> argparse.Namespace:
    """The arguments for checking outputs: masks of an interrupted run that is resumed may be there."""
    own = copy(arguments)
    own.overwrite = arguments.overwrite or before is not None
    return own


def one_after_another(arguments: argparse.Namespace, videos: list[str],
                      segment: Callable[[argparse.Namespace], Outcome]) -> int:
    """Segments each video into its own folder and prints a table; returns the most severe exit status. If the same
    command is given again before all videos are done, those that are done are not repeated.

    Raises:
        ValueError: options for a single video, or two videos of one name.
    """
    from sstlib.video import clip_name

    if wrong := [name for name in SINGLE if getattr(arguments, name) not in (None, False, [])]:
        raise ValueError(f"{'--box, --points and --polygon' if wrong[0] == 'prompts' else '--' + wrong[0]} "
                         f"go{'' if wrong[0] == 'prompts' else 'es'} with one video; there are {len(videos)}: "
                         "segment them one by one")
    if not (arguments.mask and Path(arguments.mask).is_dir()):
        raise ValueError(f"{arguments.mask or 'no mask'}: for several videos, --mask is a folder that holds a mask "
                         "NAME.png, or a folder NAME of masks, for each")
    names = [clip_name(video) for video in videos]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"several videos are called {twice[0]}, and their masks would lie in one folder; segment them "
                         "apart")
    rows, statuses = [], []
    for video, name in zip(videos, names):
        own = copy(arguments)
        own.video, own.out = video, arguments.out / name
        row, status = _row_of(own, name, segment)
        rows.append(row)
        statuses.append(status)
        if status == BAD_INPUT and arguments.fail_fast:
            break
    left = [(name, "", "", "", "not begun") for name in names[len(rows):]]
    print_table([("video", "frames", "objects", "frames/s", "status"), *rows, *left])
    if BAD_INPUT in statuses:
        return BAD_INPUT
    for name in names:
        (arguments.out / name / _runs.STATE).unlink(missing_ok=True)
    return max(statuses)


def _row_of(own: argparse.Namespace, name: str,
            segment: Callable[[argparse.Namespace], Outcome]) -> tuple[tuple[str, ...], int]:
    """Segments one video of several: its row in the table, and its exit status."""
    started = time.monotonic()
    try:
        own.mask = str(mask_of(Path(own.mask), name))
        outcome = segment(own)
    except (ValueError, OSError) as error:
        print(f"sst segment: {' '.join(str(error).split())}", file=sys.stderr)
        return (name, "", "", "", "failed"), BAD_INPUT
    frames, seconds = len(outcome.clip.frames), max(time.monotonic() - started, 1e-9)
    objects = {identity for rows in outcome.judgments.values() for identity in rows}
    word = ("doubtful" if outcome.status else "done") + " before" * outcome.earlier
    rate = "" if outcome.earlier else f"{frames / seconds:.2f}"
    return (name, str(frames), str(len(objects)), rate, word), outcome.status


def mask_of(folder: Path, name: str) -> Path:
    """The mask, or folder of masks, of one of several videos, which has its name.

    Raises:
        FileNotFoundError: none.
        ValueError: several.
    """
    from sstlib.video import is_picture

    fitting = [path for path in sorted(folder.iterdir()) if path.name == name and path.is_dir()
               or path.stem == name and is_picture(path)]
    if not fitting:
        raise FileNotFoundError(f"{folder / name}.png: no mask, or folder of masks, for the video {name}")
    if len(fitting) > 1:
        raise ValueError(f"{fitting[0]} and {fitting[1].name} are both for the video {name}; keep one of them")
    return fitting[0]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows in columns, names to the left and numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for name, *cells in rows:
        print(name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:])), sep="  ")
