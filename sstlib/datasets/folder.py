"""Data of one's own: a tree like DAVIS's without its lists, a folder of frames, or a video file."""

from pathlib import Path

from sstlib.movies import open_clip
from sstlib.video import FolderSequence, Sequence, is_picture, name_order


def open_folder(folder: Path) -> list[Sequence]:
    """The sequences of JPEGImages/[RESOLUTION/]SEQUENCE with masks in Annotations, where there are any; or one clip.

    Raises:
        FileNotFoundError: no such folder or file, or nothing in it that is a sequence.
        ValueError: two sequences of one name.
    """
    tree = folder / "JPEGImages"
    if not tree.is_dir():
        masks = folder / "masks"
        return [open_clip(folder, masks if masks.is_dir() else None)]
    places = [place for folders in map(_sequences, _folders(tree)) for place in folders]
    if not places:
        raise FileNotFoundError(f"{tree}: no folder in it holds images")
    places.sort(key=lambda place: name_order(str(place)))
    known: dict[str, Path] = {}
    for place in places:
        if (twin := known.setdefault(place.name, place)) != place:
            raise ValueError(f"{place}: {twin} has the same name; move one of them elsewhere, as where they are two "
                             "resolutions of one clip, or name it otherwise")
    masks = [folder / "Annotations" / place.relative_to(tree) for place in places]
    return [FolderSequence(place, mask if mask.is_dir() else None) for place, mask in zip(places, masks, strict=True)]


def _sequences(place: Path) -> list[Path]:
    """A folder of images, or the folders of images in that of a resolution."""
    places = [place] if _has_images(place) else _folders(place)
    for folder in places or [place]:
        if not _has_images(folder):
            raise FileNotFoundError(f"{folder}: no images in this folder; fill it or take it away")
    return places


def _folders(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _has_images(folder: Path) -> bool:
    return any(map(is_picture, folder.iterdir()))
