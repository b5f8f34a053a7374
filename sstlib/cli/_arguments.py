"""Types of the commands' options, each checked while the command line is read, and the device that one names."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sstlib.config.values import LARGEST, Kind, Number, Whole, require_place
from sstlib.paths import STREAMS

MOST = 1024  # threads or processes
TABLES = frozenset({".csv", ".json", ".npz", ".tar", ".zip"})  # and archives


def of(kind: Kind) -> Callable[[str], Any]:
    """The `type=` of an option that takes values of this kind."""
    def read(text: str) -> Any:
        try:
            return kind.check(kind.read(text), "it")
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return read


def whole(least: int = 0, most: int = LARGEST) -> Callable[[str], int]:
    """The type of an option that takes a whole number."""
    return of(Whole(least, most))


def number(least: float | int, most: float | int, above: bool = False) -> Callable[[str], float]:
    """The type of an option that takes a finite number; `above` leaves `least` itself out."""
    return of(Number(least, most, above))


def close_with(parser: argparse.ArgumentParser, text: str) -> None:
    """Ends a command's help with a text, unwrapped, such as its examples."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = text


threads = whole(1, MOST)
"""The type of an option that takes a number of threads or processes; at least one."""


def new_file(text: str) -> Path:
    """The type of an option that names a file to write, checked to be writable; - means standard output, and ./- a file
    of that name.
    """
    try:
        return require_place("/dev/stdout" if text == "-" else text)
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def new_folder(text: str) -> Path:
    """The type of an option that names a folder to write into, so that - is refused."""
    if text == "-":
        raise argparse.ArgumentTypeError("- is standard output, and a folder is needed; one of that name is ./-")
    return folder_or_stream(text)


def folder_or_stream(text: str) -> Path:
    """The type of an option that names a folder to write into, or - for standard output. What is to be made and is
    named as a video, a picture, a table or an archive is taken for a mistake.
    """
    from sstlib.movies import VIDEO_SUFFIXES
    from sstlib.video.pictures import FRAME_SUFFIXES

    if Path(text).suffix.lower() in VIDEO_SUFFIXES | FRAME_SUFFIXES | TABLES and not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} is to be a folder, and is named as a file; name a folder for what is "
                                         "written")
    return Path(text)


def require_new(option: str, path: Path, overwrite: bool) -> None:
    """Raises a ValueError where an option would replace a file without --overwrite; what standard output leads to, a
    file or not, is the shell's.
    """
    if path not in STREAMS and path.is_file() and not overwrite:
        raise ValueError(f"{option} would replace {path}; give another name, or --overwrite")


def usable_device(name: str | None, expected: str = "cpu, cuda or cuda:NUMBER") -> str:
    """The device that `--device` names, by default a GPU where there is one; `expected` is what a command takes.

    Raises:
        ValueError: no such device, or this machine lacks it.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, separator, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (separator and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"--device is {name!r}; expected {expected}")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"no device {name!r} here; leave --device out to work on what there is")
    return name
