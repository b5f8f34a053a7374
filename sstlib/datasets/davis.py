"""DAVIS 2016 and 2017: JPEGImages/RESOLUTION/SEQUENCE, Annotations/RESOLUTION/SEQUENCE, ImageSets/YEAR/SPLIT.txt."""

import os
from pathlib import Path, PurePosixPath

from sstlib import paths
from sstlib.datasets.registry import Absent
from sstlib.video import FolderSequence, Sequence, name_order

PREFERRED = "480p"  # the resolution that the benchmark is scored at


def open_split(name: str, split: str, folder: Path | None) -> list[Sequence]:
    """The sequences of ImageSets/YEAR/SPLIT.txt, at 480p if there; DAVIS 2016 merges all objects into one."""
    year, folder = name.removeprefix("davis"), located(name, folder)
    return [_sequence(folder, sequence, merge=year == "2016") for sequence in _listed(folder, year, split)]


def located(name: str, folder: Path | None) -> Path:
    """The folder, if given, or the place of that data set on this machine.

    Raises:
        Absent: it is not there.
    """
    alone = paths.DATA / "DAVIS2016"  # its binary masks would overwrite those of 2017
    if folder is None and name == "davis2016" and not os.environ.get("SST_DAVIS") and alone.is_dir():
        folder = alone
    folder = folder or paths.davis()
    if folder is None:
        raise Absent(f"no DAVIS folder: set SST_DAVIS to the one that holds JPEGImages/, or `sst data fetch {name}`")
    return folder


def _listed(folder: Path, year: str, split: str) -> list[str]:
    """Names of a split's sequences; DAVIS 2016's own archive lists pairs of files instead, by resolution.

    Raises:
        FileNotFoundError: no such list.
        ValueError: it is not text, is empty, or names a sequence twice.
    """
    listing = folder / "ImageSets" / year / f"{split}.txt"
    pairs = folder / "ImageSets" / PREFERRED / f"{split}.txt"
    if listing.is_file():
        names = _words(listing)
    elif year == "2016" and pairs.is_file():
        listing = pairs
        names = list(dict.fromkeys(PurePosixPath(frame).parent.name for frame in _words(pairs)[::2]))
    else:
        raise FileNotFoundError(f"{listing}: no list of the {split} sequences; is {folder} the folder of DAVIS {year}?")
    if not names:
        raise ValueError(f"{listing}: lists no sequence")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{listing}: lists {twice[0]} twice; keep one line of it")
    return names


def _words(listing: Path) -> list[str]:
    """The words of a list; a byte order mark, with which some editors begin a file, is skipped."""
    try:
        return listing.read_text("utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{listing}: not UTF-8 ({error}); save the list of sequences as that") from None


def _sequence(folder: Path, name: str, merge: bool) -> Sequence:
    """One sequence, from the folder of a resolution that holds it."""
    folders = sorted((place / name for place in (folder / "JPEGImages").glob("*") if (place / name).is_dir()),
                     key=lambda path: (path.parent.name != PREFERRED, name_order(path.parent.name)))
    if not folders:
        raise FileNotFoundError(f"{folder / 'JPEGImages'}: no resolution's folder holds sequence {name!r}")
    frames = folders[0]
    masks = folder / "Annotations" / frames.parent.name / name
    if not masks.is_dir():
        raise FileNotFoundError(f"{masks}: no such folder of masks for {frames}")
    sequence = FolderSequence(frames, masks, name, merge, within=folder)
    if sequence.frame_names[0] not in sequence.masks:
        raise FileNotFoundError(f"{masks / sequence.frame_names[0]}.png: the first frame of {name} has no mask")
    lacking = [frame for frame in sequence.frame_names if frame not in sequence.masks]
    if lacking and len(sequence.masks) > 1:  # of test-dev the first alone is public
        raise FileNotFoundError(f"{masks / lacking[0]}.png: no such mask; {len(lacking)} of the {len(sequence)} frames "
                                f"of {name} lack theirs, and would not be scored; copy or unpack them again")
    return sequence
