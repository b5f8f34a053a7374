"""Data of one's own: a tree like DAVIS's without its lists, a folder of frames, or a video file."""

from pathlib import Path

from sstlib.movies import open_clip
from sstlib.video import FRAME_SUFFIXES, FolderSequence, Sequence, name_order


def open_folder(folder: Path) -> list[Sequence]:
    """The sequences of JPEGImages/[RESOLUTION/]SEQUENCE with masks in Annotations, where there are any; or one clip.

    Raises:
        FileNotFoundError: no such folder or file, or nothing in it that is a sequence.
    """
    tree = folder / "JPEGImages"
    if not tree.is_dir():
        masks = folder / "masks"
        return [open_clip(folder, masks if masks.is_dir() else None)]
    found = [place for depth in ("*", "*/*") for place in tree.glob(depth) if place.is_dir() and _has_images(place)]
    if not found:
        raise FileNotFoundError(f"{tree}: no folder in it holds images")
    found.sort(key=lambda place: name_order(str(place)))
    masks = [folder / "Annotations" / place.relative_to(tree) for place in found]
    return [FolderSequence(place, mask if mask.is_dir() else None) for place, mask in zip(found, masks, strict=True)]


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in FRAME_SUFFIXES for path in folder.iterdir())
