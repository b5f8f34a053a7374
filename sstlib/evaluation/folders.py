"""Folders of SEQUENCE/FRAME.png scored against annotations, over processes, with a record that cannot go stale."""

import inspect
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sstlib.config.values import parse_json, shown
from sstlib.evaluation.pairing import absent_noted, chosen, holding, names_of, predicted_masks, uncompared_noted
from sstlib.evaluation.result import Evaluation
from sstlib.metrics import METRICS, PROTOCOLS, Metric, Protocol, SequenceScore, SequenceScorer, counts, scores
from sstlib.metrics.scores import FrameCounts, count_frame, object_ids, one_object, present
from sstlib.paths.digests import sha256
from sstlib.video import Reading, contents, images, is_picture, masks, png, read_mask, reading_of

WORTHWHILE = 100  # frames: fewer are scored sooner than a process has started
SHARES = 8  # tasks a process: few ways to and fro, and none waits long for the others' last
UNSCORED = FrameCounts((), (), {})
ONE_OBJECT = ("binary", "indices", "bit", "alpha")  # readings of masks that tell an object from the background alone
Masks = Mapping[str, Sequence[Path]]


class Pair(NamedTuple):
    """The mask files of one frame; no prediction where none is needed (the first frame) or none is there."""

    truth: Path
    prediction: Path | None


class Clip(NamedTuple):
    """One sequence: the first frame that shows an object, whose mask is given, and all that are scored; how each
    side is read.
    """

    pairs: list[Pair]
    truth: Reading
    prediction: Reading


def evaluate(predictions: str | Path, annotations: str | Path | Masks, *, protocol: str | Protocol | None = None,
             sequences: Sequence[str] | None = None, missing: str = "error",
             groups: Mapping[str, Iterable[tuple[str, int]]] | None = None, processes: int = 1,
             record: str | Path | None = None, progress: bool = False) -> Evaluation:
    """Region similarity J and contour accuracy F of predicted masks against annotations.

    Args:
        predictions: folder of SEQUENCE/FRAME.png, label maps (palette or gray) or 1-bit masks.
        annotations: likewise true masks, or the files of each sequence (`dataset_masks`), which say what is scored.
        protocol: a name of metrics.PROTOCOLS or a Protocol; by default davis2016 where the first annotation of every
            sequence is binary (1-bit, or of no values but 0 and 255), else davis2017.
        sequences: names to score; by default all of the annotations.
        missing: what predicted frames or sequences that are not there mean: "error" lists them, "zeros" is empty masks.
        groups: "seen" and "unseen" objects for YouTube-VOS's G (`youtube_groups`).
        processes: that decode and score frames; several need a main module that is safe to import (multiprocessing).
        record: JSON of the result: read instead of scoring if of the very same files, settings and code, else written.
        progress: show a bar of frames.

    Raises:
        FileNotFoundError: a folder or predicted frame is missing.
        ValueError: an unknown protocol or sequence, masks of another size, or nothing to score.
    """
    predictions, origin = existing_folder(predictions, "predictions"), "files"
    if not isinstance(annotations, Mapping):
        annotations = folder_masks(origin := existing_folder(annotations, "annotations"))
    names = _grouped(chosen(sequences, list(annotations), "the folder of annotations"), groups)
    protocol, clips, notes = _matched(predictions, {name: annotations[name] for name in names}, protocol, groups)
    pairs = {name: clip.pairs for name, clip in clips.items()}
    gone = {name: [pair.truth for pair in scored if pair.prediction is None] for name, (_, *scored) in pairs.items()}
    notes += absent_noted({name: (paths, len(pairs[name]) - 1) for name, paths in gone.items()}, predictions, missing)
    notes += uncompared_noted(predictions, annotations, alone=sequences is not None)
    provenance = _provenance(pairs, predictions=predictions, annotations=origin)
    result = Evaluation(protocol, {}, tuple(notes), provenance, {k: frozenset(v) for k, v in (groups or {}).items()})
    if record and Path(record).is_file() and (known := _reusable(Path(record), result)):
        return known.noted(f"read from {record}: files, settings and code are unchanged since it was written")
    result.sequences.update(_score(clips, protocol, processes, progress))
    result = result.noted(*(note for score in result.sequences.values() for note in score.notes), *_ungrouped(result))
    if record:
        result.write(record)
    return result


def _grouped(names: Sequence[str], groups: Mapping[str, Iterable[tuple[str, int]]] | None) -> Sequence[str]:
    """The names; raises a ValueError where the groups are of none of these sequences."""
    known = {name for members in (groups or {}).values() for name, _ in members}
    if groups is not None and not known.intersection(names):
        raise ValueError(f"no sequence that is scored ({names_of(list(names))}) is among those whose objects are "
                         f"grouped ({names_of(sorted(known)) or 'none'}); give meta.json of their split")
    return names


def _ungrouped(result: Evaluation) -> list[str]:
    """What to note of objects that count in the means and in none of the groups."""
    known = set().union(*result.groups.values())
    lacking = [f"{name} {value}" for name, score in result.sequences.items() for value in score.objects
               if (name, value) not in known]
    return [f"{len(lacking)} of the objects are in no group, and count in none of YouTube-VOS's numbers: "
            f"{names_of(lacking)}"] if result.groups and lacking else []


def _matched(predictions: Path, annotations: Masks,
             protocol: str | Protocol | None, groups: Mapping | None) -> tuple[Protocol, dict[str, Clip], list[str]]:
    """The protocol, the pairs of masks of each sequence that it scores, and what is to be said of them."""
    readings = {name: reading_of(files) for name, files in annotations.items()}
    predicted = {name: predicted_masks(predictions / name, files) for name, files in annotations.items()}
    guesses = {name: reading_of([predicted[name][path.stem] for path in files[1:] if path.stem in predicted[name]],
                                known=readings[name].colors)
               for name, files in annotations.items()}  # the first is not scored: it may be a copy of the annotation
    protocol, notes = _protocol(protocol, annotations, readings, guesses)
    if groups and protocol.single_object:
        raise ValueError(f"{protocol.name} takes all objects of a sequence for one, which is of no group; score seen "
                         "and unseen objects as youtube, or leave groups (--meta, --seen) out")
    notes += [note for side, known in (("annotations", readings), ("predictions", guesses))
              for name, reading in known.items() for note in unlike_ids(name, side, reading)]
    clips = {}
    for name, files in annotations.items():
        start = 0 if protocol.late_objects else _first_object(files, readings[name])
        if start:
            notes.append(f"sequence {name}: the frames before {files[start].stem} show no object; it starts there")
        given = object_ids(read_mask(files[start], readings[name]))
        if not protocol.single_object:
            notes += one_of_several(name, guesses[name], given)
        scored = files[start + 1:len(files) - protocol.skip_last]
        pairs = [Pair(files[start], None), *(Pair(path, predicted[name].get(path.stem)) for path in scored)]
        clips[name] = Clip(pairs, readings[name], guesses[name])
        _require_scored(protocol, name, given, len(scored))
    return protocol, clips, notes


def _require_scored(protocol: Protocol, name: str, given: tuple[int, ...], count: int) -> None:
    """Raises what a sequence's score would at its end, by the objects of its first mask and how many frames follow."""
    scorer = SequenceScorer(protocol, name)
    for frame in (FrameCounts(given, (), {}), *[UNSCORED] * (count + protocol.skip_last)):
        scorer.add(frame)
    scorer.result()


def unlike_ids(name: str, side: str, reading: Reading) -> list[str]:
    """What to note of masks that are read by colors or transparency, whose objects were numbered here."""
    return [f"sequence {name}: {side} are read {reading}"] if reading.color or reading.kind == "alpha" else []


def one_of_several(name: str, reading: Reading, ids: Sequence[int]) -> list[str]:
    """What to note of predictions that tell no objects apart where the truth has another one than the first, or more.
    """
    return [] if {*ids} <= {1} or reading.kind not in ONE_OBJECT else [
        f"sequence {name}: predictions tell one object from the background alone ({reading}), which counts as object "
        f"1; the truth has {', '.join(map(str, ids))}: save predictions by its ids"]


def folder_masks(folder: Path) -> dict[str, list[Path]]:
    """The masks of each sequence in a folder of SEQUENCE/FRAME.png, in the order of their numbers.

    Raises:
        FileNotFoundError: there are none.
        ValueError: two masks of one name or number.
    """
    def sequences(place: Path) -> list[Path]:
        return [inner for inner in sorted(place.iterdir())
                if inner.is_dir() and not inner.name.startswith(".") and any(map(is_picture, inner.iterdir()))]

    places = sequences(folder)
    if not places:
        raise FileNotFoundError(f"{folder} holds no SEQUENCE/FRAME.png; {holding(folder, sequences)}give the "
                                "folder of the sequences' folders")
    return {place.name: list(images(place, "masks").values()) for place in places}


def _first_object(files: Sequence[Path], reading: Reading) -> int:
    """Number of the first mask that shows an object, 0 where none does."""
    return next((n for n, path in enumerate(files) if object_ids(read_mask(path, reading))), 0)


def dataset_masks(name: str, split: str = "val") -> dict[str, list[Path]]:
    """The annotation files of a known data set's split, by sequence.

    Raises:
        ValueError: an unknown data set or split, or one whose annotations are no files.
        FileNotFoundError: the data set is not there.
    """
    from sstlib.datasets import DATASETS, open_dataset  # which the counting processes do without

    if name in DATASETS and split in DATASETS[name].hidden:
        raise ValueError(f"the annotations of {name} {split} are not public, but for the given masks; submit the "
                         "predictions to its server, or evaluate on sequences held out of train")
    masks_of = {}
    for sequence in open_dataset(name, split):
        masks = getattr(sequence, "masks", None)
        if not masks:
            raise ValueError(f"{name} {split} has no annotation files of {sequence.name}; give their folder instead")
        masks_of[sequence.name] = [masks[frame] for frame in sequence.frame_names if frame in masks]
    return masks_of


def youtube_groups(meta: str | Path, seen: str | Path) -> dict[str, frozenset[tuple[str, int]]]:
    """Objects of YouTube-VOS as (sequence, id), in the groups seen and unseen.

    Args:
        meta: the split's meta.json, with the category of every object.
        seen: meta.json of the training set, whose categories are the seen ones, or a JSON list of their names.

    Raises:
        ValueError: a file is not of that form.
    """
    from sstlib.datasets.youtube import object_id

    try:
        known = parse_json(Path(seen).read_bytes(), str(seen))
        if isinstance(known, dict):
            known = {entry["category"] for video in known["videos"].values() for entry in video["objects"].values()}
        elif not (isinstance(known, list) and all(isinstance(category, str) for category in known)):
            raise ValueError(f"{seen} holds {shown(known)}, no list of names")
        members: dict[str, set] = {"seen": set(), "unseen": set()}
        for name, video in parse_json(Path(meta).read_bytes(), str(meta))["videos"].items():
            for value, entry in video["objects"].items():
                members["seen" if entry["category"] in known else "unseen"].add((name, object_id(value)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{meta} and {seen}: expected meta.json of YouTube-VOS, videos/NAME/objects/ID/category "
                         f"({type(error).__name__}: {error})") from None
    return {group: frozenset(objects) for group, objects in members.items()}


def existing_folder(folder: str | Path, content: str) -> Path:
    """The folder, if it is one.

    Raises:
        FileNotFoundError: it is not.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"the folder of {content}, {folder}, {problem}; give a folder of SEQUENCE/FRAME.png")
    return folder


def _protocol(protocol: str | Protocol | None, annotations: Masks, truths: Mapping[str, Reading],
              predictions: Mapping[str, Reading]) -> tuple[Protocol, list[str]]:
    """The protocol that was asked for, or the one that the masks call for, with a note where that was decided here."""
    if isinstance(protocol, Protocol):
        return protocol, []
    if protocol is not None:
        return PROTOCOLS.find(protocol), []
    if all(reading.kind in ONE_OBJECT for reading in truths.values()):
        return PROTOCOLS["davis2016"], ["the annotations are binary: whatever is not 0 is the one object (davis2016)"]
    kinds = {reading.kind for reading in predictions.values()}
    if "indices" in kinds and kinds <= {*ONE_OBJECT, "empty"} and all(
            set(present(read_mask(files[0], truths[name]))) <= {0, 1} for name, files in annotations.items()):
        return PROTOCOLS["davis2016"], ["the predictions are binary: whatever is not 0 is the one object (davis2016)"]
    return PROTOCOLS["davis2017"], []


def _provenance(pairs: Mapping[str, list[Pair]], **folders: Path | str) -> dict:
    """Where the masks came from, and fingerprints of every byte that is read and of the code that scores them."""
    contents: dict[str, list[str]] = {side: [] for side in folders}
    for name, frames in pairs.items():
        for truth, prediction in frames:
            for side, path in (("annotations", truth), ("predictions", prediction)):
                contents[side].append(f"{name}/{truth.name} {sha256(path) if path else 'absent'}\n")
    return {side: {"folder": str(folder), "fingerprint": sha256(*contents[side])} for side, folder in folders.items()
            } | {"code": scorer_code()}


def scorer_code() -> str:
    """Fingerprint of the code that reads masks and turns them into scores."""
    return sha256(*map(inspect.getsource, (counts, scores, masks, contents, png)), counts.SOURCE)


def _reusable(record: Path, expected: Evaluation) -> Evaluation | None:
    """The evaluation in `record` if it is what scoring again would give, else None."""
    try:
        earlier = Evaluation.read(record)
        same = all(earlier.provenance[side]["fingerprint"] == expected.provenance[side]["fingerprint"]
                   for side in ("predictions", "annotations"))
        same = same and earlier.provenance["code"] == expected.provenance["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = same and (earlier.protocol, earlier.groups) == (expected.protocol, expected.groups)
    same = same and all(score.values.keys() == METRICS.keys() for score in earlier.sequences.values())
    return earlier if same else None


def _score(clips: Mapping[str, Clip], protocol: Protocol, processes: int, progress: bool
           ) -> Iterator[tuple[str, SequenceScore]]:
    """Counts all frames, in chunks over processes, and puts them together sequence by sequence."""
    total = sum(len(clip.pairs) for clip in clips.values())
    processes = processes if total >= WORTHWHILE else 1
    tasks, size = [], 1 + total // (SHARES * processes)
    for clip in clips.values():
        tasks += [(clip._replace(pairs=clip.pairs[start:start + size]), protocol.single_object)
                  for start in range(0, len(clip.pairs), size)]
    with (_mapping(processes) as mapped,
          tqdm(total=total, unit="frame", disable=None if progress else True) as bar):
        counted = (frame for chunk in mapped(_count, tasks) for frame in chunk)
        for name, clip in clips.items():
            scorer = SequenceScorer(protocol, name)
            for frame in clip.pairs:
                scorer.add(next(counted), frame.truth.stem)
                bar.update()
            if protocol.skip_last:
                scorer.add(UNSCORED)
            yield name, scorer.result()


@contextmanager
def _mapping(processes: int) -> Iterator[Callable]:
    """A `map` in this process or over several; those are started anew, as a copy of a process with threads may hang."""
    if processes < 2:
        yield map
        return
    added = {  # of a program's own, new processes know nothing
        name: one for name, one in METRICS.items() if one.masks and not one.masks.__module__.startswith("sstlib.")
    }
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _enter, (added,)) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _enter(metrics: dict[str, Metric]) -> None:
    METRICS.update(metrics)


def _count(task: tuple[Clip, bool]) -> list[FrameCounts]:
    """Reads and counts some frames of one sequence, as of one object where that is wanted."""
    clip, single = task
    counted = []
    for path, other in clip.pairs:
        truth = read_mask(path, clip.truth)
        prediction = np.zeros_like(truth) if other is None else read_mask(other, clip.prediction)
        if single and clip.prediction.kind not in ONE_OBJECT:
            prediction = one_object(prediction, void=True)
        if single and clip.truth.kind not in ONE_OBJECT:
            truth = one_object(truth, void=True)
        try:
            counted.append(count_frame(prediction, truth))
        except ValueError as error:
            raise ValueError(f"{other}: {error}") from None
    return counted
