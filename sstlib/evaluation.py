"""Scores folders of SEQUENCE/FRAME.png against annotations: what counts, tables, and a record that cannot go stale."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sstlib import metrics
from sstlib.metrics import PROTOCOLS, Protocol, SequenceScore, SequenceScorer
from sstlib.metrics.scores import VOID, averaged, present
from sstlib.shapes import UInt8

MISSING = ("error", "zeros")
LISTED = 12


@dataclass(frozen=True)
class Evaluation:
    """Scores of one result over the sequences of a data set.

    Attributes:
        protocol: what was scored.
        sequences: by name, in the order of the data set.
        notes: what a reader of the numbers must know: how annotations were read, what was missing or ignored.
        provenance: the two folders with a fingerprint of the files that were read.
    """

    protocol: Protocol
    sequences: dict[str, SequenceScore]
    notes: tuple[str, ...]
    provenance: dict

    def overall(self) -> dict[str, metrics.Statistics]:
        """J, F and J&F over all objects alike, as the official table: three objects of a sequence count three times."""
        return averaged(row for score in self.sequences.values() for row in score.per_object().values())

    def to_dict(self) -> dict:
        """All as JSON values: `global`, `sequences` with objects and frames, `protocol`, `notes`, `provenance`."""
        return {"global": {k: s.to_dict() for k, s in self.overall().items()},
                "protocol": vars(self.protocol),
                "notes": list(self.notes),
                "provenance": self.provenance,
                "sequences": {name: score.to_dict() for name, score in self.sequences.items()}}

    def rows(self) -> list[dict]:
        """A row an object: sequence, object, and the nine numbers, for a table or a CSV file."""
        return [{"sequence": name, "object": value}
                | {f"{k} {column}": number for k, s in row.items() for column, number in s.to_dict().items()}
                for name, score in self.sequences.items() for value, row in score.per_object().items()]

    def table(self) -> str:
        """A row a sequence and a last one over all objects, for the screen; percent, as the papers print them."""
        width = max(map(len, ("all objects", *self.sequences)))
        columns = [(k, part) for k in ("J&F", "J", "F") for part in ("mean", "recall", "decay")]
        head = f"{'':{width}}  objects " + " ".join(f"{k + ' ' + part:>10}" for k, part in columns)
        body = [(name, len(score.objects), score.overall()) for name, score in self.sequences.items()]
        body.append(("all objects", sum(count for _, count, _ in body), self.overall()))
        return "\n".join([head] + [
            f"{name:{width}}  {count:7} " + " ".join(f"{100 * getattr(row[k], part):10.1f}" for k, part in columns)
            for name, count, row in body])


def evaluate(predictions: str | Path, annotations: str | Path, *, protocol: str | Protocol | None = None,
             sequences: Sequence[str] | None = None, missing: str = "error",
             progress: Callable[[Iterable, int], Iterable] | None = None) -> Evaluation:
    """Region similarity J and contour accuracy F of predicted masks against annotations, by the DAVIS protocol.

    Args:
        predictions: folder of SEQUENCE/FRAME.png, label maps (palette or gray) or 1-bit masks.
        annotations: folder of the true masks in the same layout; its frames decide which are scored.
        protocol: a name of metrics.PROTOCOLS or a Protocol; by default davis2016 where the annotations are binary, that
            is where the first of every sequence holds no value but 0 and 255 (or 0 and 1, and the
            predictions 0 and 255), else davis2017.
        sequences: names to score; by default all of the annotations.
        missing: what predicted frames or sequences that are not there mean: "error" lists them, "zeros" is empty masks.
        progress: wraps the iteration over sequences, called with the iterable and its length.

    Raises:
        FileNotFoundError: a folder or predicted frame is missing.
        ValueError: an unknown protocol or sequence, masks of another size, or nothing to score.
    """
    predictions, annotations = _folder(predictions, "predictions"), _folder(annotations, "annotations")
    if missing not in MISSING:
        raise ValueError(f"missing is {missing!r}; it is one of {', '.join(MISSING)}")
    frames = _frames(annotations, sequences)
    notes: list[str] = []
    protocol = _protocol(protocol, predictions, frames, notes)
    absent = _absent(predictions, frames, protocol)
    if absent and missing == "error":
        raise FileNotFoundError(f"{len(absent)} predictions are missing in {predictions}: {_listed(absent)}; add them, "
                                "or let missing ones count as empty masks (missing=\"zeros\", --missing zeros)")
    if absent:
        notes.append(f"{len(absent)} missing predictions counted as empty masks: {_listed(absent)}")
    scores, digests = {}, ([], [])
    for name in progress(frames, len(frames)) if progress else frames:
        scores[name], predicted, true = _score(name, frames[name], predictions, protocol)
        digests[0].append(predicted)
        digests[1].append(true)
    notes += [note for score in scores.values() for note in score.notes]
    provenance = {side: {"folder": str(folder), "fingerprint": hashlib.sha256("".join(part).encode()).hexdigest()}
                  for side, folder, part in zip(("predictions", "annotations"), (predictions, annotations), digests)}
    return Evaluation(protocol, scores, tuple(notes), provenance)


def _folder(folder: str | Path, what: str) -> Path:
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder of {what}, {folder}, does not exist; give a folder of SEQUENCE/FRAME.png")
    return folder


def _frames(annotations: Path, sequences: Sequence[str] | None) -> dict[str, list[Path]]:
    """The annotation files of each sequence, sorted by name."""
    found = {folder.name: sorted(folder.glob("*.png")) for folder in sorted(annotations.iterdir()) if folder.is_dir()}
    found = {name: files for name, files in found.items() if files}
    if not found:
        raise FileNotFoundError(f"{annotations} holds no SEQUENCE/FRAME.png; give the folder of the sequences' folders")
    unknown = [name for name in sequences or () if name not in found]
    if unknown:
        raise FileNotFoundError(f"{annotations} has no annotations of {_listed(unknown)}; "
                                f"it has {_listed(list(found))}")
    return {name: found[name] for name in sequences or found}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _protocol(protocol: str | Protocol | None, predictions: Path, frames: dict[str, list[Path]],
              notes: list[str]) -> Protocol:
    if isinstance(protocol, Protocol):
        return protocol
    if protocol is not None and protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
    if protocol is not None:
        return PROTOCOLS[protocol]
    values = {value for files in frames.values() for value in present(_read(files[0]))}
    second = [predictions / name / files[min(1, len(files) - 1)].name for name, files in frames.items()]
    predicted = {value for path in second if path.exists() for value in present(_read(path))}
    if VOID in values <= {0, VOID} or (values <= {0, 1} and VOID in predicted <= {0, VOID}):
        notes.append("binary masks: whatever is not 0 counts as the one object (davis2016)")
        return PROTOCOLS["davis2016"]
    return PROTOCOLS["davis2017"]


def _absent(predictions: Path, frames: dict[str, list[Path]], protocol: Protocol) -> list[str]:
    """Predictions that will be scored and are not there: whole sequences by name, else SEQUENCE/FRAME.png."""
    absent = []
    for name, files in frames.items():
        scored = files[1:len(files) - protocol.skip_last]
        there = {path.name for path in (predictions / name).glob("*.png")}
        gone = [f"{name}/{path.name}" for path in scored if path.name not in there]
        absent += [f"{name}/ (all {len(scored)} frames)"] if len(gone) == len(scored) > 1 else gone
    return absent


def _score(name: str, files: list[Path], predictions: Path, protocol: Protocol) -> tuple[SequenceScore, str, str]:
    """Scores one sequence and gives the fingerprints of its predictions and its annotations."""
    scorer = SequenceScorer(protocol, name)
    predicted, true = hashlib.sha256(name.encode()), hashlib.sha256(name.encode())
    for index, path in enumerate(files):
        truth, other = _read(path, true), predictions / name / path.name
        scored = 0 < index < len(files) - protocol.skip_last
        prediction = _read(other, predicted) if scored and other.exists() else np.zeros_like(truth)
        try:
            scorer.update(prediction, truth, path.stem)
        except ValueError as error:
            raise ValueError(f"{other}: {error}") from None
    return scorer.result(), predicted.hexdigest(), true.hexdigest()


def _read(path: Path, digest: "hashlib._Hash | None" = None) -> UInt8[np.ndarray, "height width"]:
    if digest is not None:
        digest.update(path.name.encode() + path.read_bytes())
    with Image.open(path) as image:
        if image.mode not in ("P", "L", "1"):
            raise ValueError(f"{path} is an image of mode {image.mode}; a mask is a palette, gray or 1-bit PNG of ids")
        return np.array(image).astype(np.uint8)


def write_json(record: dict, path: str | Path) -> None:
    """Writes a record beside its place, then renames it: an interrupted run leaves the old file or none, never half."""
    _write(Path(path), json.dumps(record, indent=1, allow_nan=False) + "\n")


def write_csv(rows: list[dict], path: str | Path) -> None:
    """Writes rows as CSV under their names, whole or not at all."""
    lines = [list(rows[0])] + [list(row.values()) for row in rows]
    _write(Path(path), "".join(",".join(map(str, line)) + "\n" for line in lines))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
