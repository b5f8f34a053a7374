"""What a session reports on its objects: a line each, a table of all frames, and how often they were doubtful."""

import csv
import io
from collections.abc import Mapping

from sstlib.sessions.clip import Clip
from sstlib.sessions.sentences import sentences

Judgments = Mapping[int, Mapping[int, list[float | int]]]  # presence, doubt, confidence, area, by frame number and id
COLUMNS = ("frame", "name", "object", "object_name", "presence", "doubt", "confidence", "area")
HALF = 0.5  # of a probability: below it an object is out of sight, from it on its mask is doubtful


def object_lines(clip: Clip, judgments: Judgments) -> list[str]:
    """A line on each object, by id and name."""
    parts = {t: tuple({i: row[part] for i, row in rows.items()} for part in (0, 1)) for t, rows in judgments.items()}
    ids = sorted({identity for rows in judgments.values() for identity in rows})
    return [line.replace(f"object {identity}:", f"object {identity} ({clip.names[identity]}):", 1)
            if identity in clip.names else line
            for identity, line in zip(ids, sentences(clip.frames.frame_names, parts), strict=True)]


def confidence_table(clip: Clip, judgments: Judgments) -> str:
    """Every object in every frame as CSV: probabilities that it is in sight and that its mask is wrong (J < 0.5), its
    confidence, its area in pixels.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for t in sorted(judgments):
        for identity, (*probabilities, area) in sorted(judgments[t].items()):
            rows.writerow([clip.number(t), clip.frames.frame_names[t], identity, clip.names.get(identity, ""),
                           *(f"{value:.6g}" for value in probabilities), area])
    return text.getvalue()


def worst_share(judgments: Judgments) -> float:
    """The share of frames in which an object was lost or doubtful, of the object with the largest share."""
    frames: dict[int, list[bool]] = {}
    for rows in judgments.values():
        for identity, (presence, doubt, *_) in rows.items():
            frames.setdefault(identity, []).append(presence < HALF or doubt >= HALF)
    return max((sum(bad) / len(bad) for bad in frames.values()), default=0.0)
