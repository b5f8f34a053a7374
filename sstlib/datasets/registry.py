"""Data sets as lists of sequences: `open_dataset("davis2016", "val")`, or a folder of one's own.

A data set is one module with `open_split(folder, split)`, named in `DATASETS`.
"""

import importlib
from pathlib import Path
from typing import NamedTuple

from sstlib.datasets.folder import open_folder
from sstlib.video import Sequence


class Source(NamedTuple):
    """Where a data set is read from and which parts it has."""

    module: str
    splits: tuple[str, ...]


DATASETS = {
    "davis2016": Source("davis", ("train", "val")),
    "davis2017": Source("davis", ("train", "val", "test-dev")),
    "youtube2018": Source("youtube", ("train", "valid", "valid_all_frames", "test", "test_all_frames")),
    "youtube2019": Source("youtube", ("train", "valid", "valid_all_frames", "test", "test_all_frames")),
    "sst-occlusion": Source("sst_occlusion", ("train", "val", "test", "mini")),
}


def open_dataset(name: str, split: str = "val", folder: Path | str | None = None) -> list[Sequence]:
    """The sequences of one split of a data set, or those of a folder of one's own, read lazily.

    Args:
        name: a name of `DATASETS`, or the path of a folder or video file (see `folder.open_folder`).
        split: one of its splits; a folder of one's own has none.
        folder: where it is; by default where `sst data` keeps it (DAVIS: also where `SST_DAVIS` says).

    Raises:
        ValueError: an unknown name or split.
        FileNotFoundError: the data set, or a part of it, is not there.
    """
    if name not in DATASETS:
        if Path(name).exists():
            return open_folder(Path(name))
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}, or the path of a folder or video")
    source = DATASETS[name]
    if split not in source.splits:
        raise ValueError(f"{name} has no split {split!r}; expected one of {', '.join(source.splits)}")
    module = importlib.import_module(f"{__package__}.{source.module}")
    return module.open_split(name, split, Path(folder) if folder is not None else None)
