"""DAVIS 2016 and 2017: JPEGImages/RESOLUTION/SEQUENCE, Annotations/RESOLUTION/SEQUENCE, ImageSets/YEAR/SPLIT.txt."""

from pathlib import Path

from sstlib import paths
from sstlib.video import FolderSequence, Sequence, name_order

PREFERRED = "480p"  # the resolution that the benchmark is scored at


def open_split(name: str, split: str, folder: Path | None) -> list[Sequence]:
    """The sequences of ImageSets/YEAR/SPLIT.txt, at 480p where there is one; DAVIS 2016 merges all objects into one."""
    folder = folder or paths.davis()
    if folder is None:
        raise FileNotFoundError(f"no DAVIS folder: set SST_DAVIS to the one that holds JPEGImages/, or `sst data fetch {name}`")
    year = name.removeprefix("davis")
    listing = folder / "ImageSets" / year / f"{split}.txt"
    if not listing.is_file():
        raise FileNotFoundError(f"{listing}: no list of the {split} sequences; is {folder} the folder of DAVIS {year}?")
    names = listing.read_text().split()
    if not names:
        raise ValueError(f"{listing}: lists no sequence")
    return [_sequence(folder, sequence, merge=year == "2016") for sequence in names]


def _sequence(folder: Path, name: str, merge: bool) -> Sequence:
    """One sequence, from whichever resolution's folder holds it."""
    found = sorted((folder / "JPEGImages").glob(f"*/{name}"), key=lambda path: (path.parent.name != PREFERRED, name_order(path.parent.name)))
    if not found:
        raise FileNotFoundError(f"{folder / 'JPEGImages'}: no resolution's folder holds sequence {name!r}")
    frames = found[0]
    masks = folder / "Annotations" / frames.parent.name / name
    if not masks.is_dir():
        raise FileNotFoundError(f"{masks}: no such folder of masks for {frames}")
    sequence = FolderSequence(frames, masks, name, merge)
    if sequence.frame_names[0] not in sequence.masks:
        raise FileNotFoundError(f"{masks / sequence.frame_names[0]}.png: the first frame of {name} has no mask")
    return sequence
