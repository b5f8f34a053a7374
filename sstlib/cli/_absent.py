"""`sst segment --absent`: objects that are not in some frames."""

import argparse
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sstlib.shapes import UInt8

FRAMES = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


class Absence(NamedTuple):
    """An object, by id or by the user's name for it, and the first and last frame of an interval without it."""

    identity: int | str
    first: int
    last: int


def configure(parser: Any) -> None:
    """The option."""
    parser.add_argument("--absent", type=absences, action="extend", default=[], metavar="OBJECT@FRAME[-FRAME]",
                        help="the object of this name or number is nowhere in these frames, the last included, "
                             "whatever was predicted; it may return. Such as --absent dog@120-180,300 --absent 2@40")


def absences(text: str) -> list[Absence]:
    """The type of --absent: an object and frames of it, with commas between them."""
    name, _, frames = text.rpartition("@")
    times = [FRAMES.fullmatch(part.strip()) for part in frames.split(",")]
    if not name or None in times:
        raise argparse.ArgumentTypeError(f"{text!r} is not OBJECT@FRAME or OBJECT@FRAME-FRAME, such as dog@120-180")
    result = [Absence(name, int(time[1]), int(time[2] or time[1])) for time in times]
    if wrong := [time[0] for time, absence in zip(times, result) if absence.last < absence.first]:
        raise argparse.ArgumentTypeError(f"{text!r}: {wrong[0]} ends before it begins")
    return result


def resolved(typed: Iterable[Absence], ids: Iterable[int], names: Mapping[int, str]) -> list[Absence]:
    """Absences with the ids of their objects.

    Args:
        typed: with objects as the user typed them.
        ids: of all objects.
        names: of objects by id.

    Raises:
        ValueError: there is no such object.
    """
    known = {str(identity): identity for identity in ids} | {name: identity for identity, name in names.items()}
    if unknown := [absence.identity for absence in typed if absence.identity not in known]:
        raise ValueError(f"--absent: there is no object {unknown[0]!r}; there are "
                         + ", ".join(names.get(identity, str(identity)) for identity in sorted(ids)))
    return [absence._replace(identity=known[absence.identity]) for absence in typed]


def at(absences: Iterable[Absence], number: int) -> frozenset[int]:
    """Ids that are absent from a frame, by its number."""
    return frozenset(absence.identity for absence in absences if absence.first <= number <= absence.last)


def by_frame(absences: list[Absence], given: Mapping[int, UInt8[np.ndarray, "height width"]],
             numbers: range) -> dict[int, frozenset[int]]:
    """Ids that are absent from frames, by each frame's index among those that are segmented.

    Args:
        absences: by id.
        given: masks, by the same indices.
        numbers: of the segmented frames in the video.

    Raises:
        ValueError: an object is absent where a mask shows it, or in none of the frames that are segmented.
    """
    for absence in absences:
        if not any(absence.first <= number <= absence.last for number in numbers):
            raise ValueError(f"--absent {absence.identity}@{absence.first}-{absence.last}: none of these frames is "
                             f"segmented; those that are go from {numbers[0]} to {numbers[-1]}")
    result = {t: ids for t, number in enumerate(numbers) if (ids := at(absences, number))}
    for t, ids in result.items():
        if shown := [identity for identity in sorted(ids) if t in given and (given[t] == identity).any()]:
            raise ValueError(f"--absent: object {shown[0]} has a mask in frame {numbers[t]}; give one of the two")
    return result
