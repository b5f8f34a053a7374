"""Which predicted masks belong to which annotations, and what of them is missing or left over."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sstlib.video import images, is_picture
from sstlib.video.pictures import composed, same_number

MISSING = ("error", "zeros")
LISTED = 12


def predicted_masks(folder: Path, frames: Iterable[Path]) -> dict[str, Path]:
    """The predicted masks of a sequence by the names of the frames that are annotated, in their order.

    Raises:
        ValueError: a mask is named by the number of a frame, but otherwise (8 for 00008), or all are of other frames.
    """
    listed = images(folder, "predicted masks") if _holds_masks(folder) else {}
    numbers = {same_number(name): path for name, path in listed.items()}
    masks = {}
    for frame in frames:
        twin = listed.get(frame.stem, numbers.get(same_number(frame.stem)))
        if twin is not None and composed(twin.stem) != composed(frame.stem):
            raise ValueError(f"{twin}: its annotation is named {frame.name}; predictions take the names of the "
                             f"annotations' frames, so rename it {frame.stem}{twin.suffix}")
        if twin is not None:
            masks[frame.stem] = twin
    if listed and not masks:
        raise ValueError(f"{folder}: none of its masks ({names_of([*listed])}) is named as a frame that is annotated; "
                         "rename them")
    return masks


def _holds_masks(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_picture, folder.iterdir()))


def names_of(names: Sequence[str]) -> str:
    """Names in a sentence, those beyond a dozen by their number."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def chosen(sequences: Sequence[str] | None, names: Sequence[str], where: str) -> Sequence[str]:
    """Names of the sequences to score, each once and in the order of all that are there, so that one choice has one
    result: those that are given, or all.

    Raises:
        ValueError: no list of names, or one that is not there.
    """
    if sequences is None:
        return names
    if isinstance(sequences, str) or not sequences:
        raise ValueError(f"sequences is {sequences!r}; give a list of at least one name, or None for all")
    if unknown := [name for name in sequences if name not in names]:
        raise ValueError(f"{where} has no {names_of(unknown)}; it has {names_of(list(names))}")
    return [name for name in names if name in sequences]


def absent_noted(gone: Mapping[str, tuple[Sequence[Path], int]], predictions: Path, missing: str) -> list[str]:
    """What to note of predictions that are not there: the frames gone and the number scored, by sequence.

    Raises:
        FileNotFoundError: some are gone, and `missing` does not say that they count as empty.
        ValueError: `missing` is none of MISSING.
    """
    if missing not in MISSING:
        raise ValueError(f"missing is {missing!r}; it is one of {', '.join(MISSING)}")
    absent, count = [], sum(len(frames) for frames, _ in gone.values())
    for name, (frames, scored) in gone.items():
        whole = len(frames) == scored > 1
        absent += [f"{name}/ (all {scored} frames)"] if whole else [f"{name}/{path.name}" for path in frames]
    if absent and missing == "error":
        inner = holding(predictions, lambda place: any((place / name).is_dir() for name in gone))
        raise FileNotFoundError(f"{count} prediction{'s are' if count > 1 else ' is'} missing in {predictions}: "
                                f"{names_of(absent)}; {inner}add them, or let them count as empty masks "
                                "(missing=\"zeros\", --missing zeros)")
    return [f"{count} missing prediction{'s' * (count > 1)} counted as empty masks: {names_of(absent)}"] * bool(count)


def holding(folder: Path, fits: Callable[[Path], object]) -> str:
    """What is to be said of the folder within a folder that may be meant in its place, "" where none fits."""
    inner = next((place for place in sorted(folder.iterdir())
                  if place.is_dir() and not place.name.startswith(".") and fits(place)), None)
    return f"there are some in its folder {inner.name}: name that, or " if inner else ""


def uncompared_noted(predictions: Path, annotations: Mapping[str, Sequence[Path]], alone: bool) -> list[str]:
    """What to note of predictions without an annotation: sequences, unless these `alone` are wanted, and frames."""
    others = [] if alone else [path.name for path in sorted(predictions.iterdir())
                              if path.name not in annotations and _holds_masks(path)]
    notes = [f"predictions of {names_of(others)} are not scored, as there are no such annotations"] if others else []
    for name, files in annotations.items():
        listed = images(predictions / name, "predicted masks") if _holds_masks(predictions / name) else {}
        known = {composed(path.stem) for path in files}
        more = [frame for frame in listed if composed(frame) not in known]
        notes += [f"sequence {name}: predictions of {names_of(more)} are not scored, as there are no such annotations"
                  ] if more else []
    return notes
