"""Data sets as lists of sequences: `open_dataset("davis2016", "val")`, or a folder of one's own.

A data set is one entry of `DATASETS`, which says how it is opened, scored and fetched, and under which terms.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sstlib import paths
from sstlib.config.entries import Registry, lazily
from sstlib.config.fields import naming
from sstlib.datasets.folder import open_folder
from sstlib.metrics import PROTOCOLS
from sstlib.video import Sequence

Opener = Callable[[str, str, Path | None], list[Sequence]]


class Absent(FileNotFoundError):
    """A data set that is not on this machine, which is no fault."""


@dataclass(frozen=True)
class Benchmark:
    """The part of a data set that releases are scored on.

    Attributes:
        split: of the data set.
        title: in run records and cards.
        chosen: whether a sequence of the split belongs to it.
    """

    split: str
    title: str
    chosen: Callable[[Sequence], bool] = lambda sequence: True


@dataclass(frozen=True)
class DataSet:
    """A data set and all that the project knows of it.

    Attributes:
        name: in commands and configurations.
        open: its sequences, from name, split and folder (None: where `sst data` keeps it), read lazily.
        splits: its parts.
        terms: its license, in a sentence or two.
        derived: the terms that weights trained on it state.
        license: of such weights, as hubs of models name it.
        protocol: how it is scored, a name of `metrics.PROTOCOLS`.
        scored: the split that `sst evaluate` scores unless another is named.
        hidden: splits whose annotations its makers keep.
        content: of generated clips, whose sequences hold their truth as `clip`: what identifies a split's content.
        scenes: of paired scenes (`evaluation.passages`): each split's, from split and folder, with `content` beside it.
        submitted: whether predictions go to a server, as the zip of `youtube.write_submission`.
        benchmark: the part that releases are scored on, if any.
        folder: where it is fetched to; None if there is nothing to fetch.
        page: where its makers describe it.
        urls: archives that can be fetched without an account.
        most: bytes that it may take unpacked.
    """

    name: str
    open: Opener
    splits: tuple[str, ...]
    terms: str
    derived: str
    license: str
    protocol: str = "davis2017"
    scored: str = "val"
    hidden: frozenset[str] = frozenset()
    content: Callable[[str], str] | None = None
    scenes: Callable[[str, Path | None], Iterable] | None = None
    submitted: bool = False
    benchmark: Benchmark | None = None
    folder: Path | None = None
    page: str = ""
    urls: tuple[str, ...] = ()
    most: int = 0

    def __post_init__(self) -> None:
        """Raises a ValueError where it names a split or a protocol that there is not, or has a name that `data.real`
        would take for several.
        """
        named = {"scored": {self.scored}, "hidden": self.hidden,
                 "benchmark": {self.benchmark.split} if self.benchmark else set()}
        for field, splits in named.items():
            if unknown := sorted(splits - {*self.splits}):
                raise ValueError(f"data set {self.name}: {field} names the split {unknown[0]!r}, and its splits are "
                                 f"{', '.join(self.splits)}")
        with naming(f"data set {self.name}"):
            PROTOCOLS.find(self.protocol)
        if not self.name or {*"+*"} & {*self.name}:
            raise ValueError(f"data set {self.name!r}: + and * join data sets in data.real; give it another name")


def tree(folder: Path) -> Opener:
    """An opener for a data set laid out as folder/SPLIT/{JPEGImages,Annotations}/SEQUENCE/FRAME."""
    def opened(name: str, split: str, other: Path | None) -> list[Sequence]:
        place = (other or folder) / split
        if not place.is_dir():
            raise Absent(f"{place}: no such folder; put {name} {split} there")
        return open_folder(place)
    return opened


def _non_commercial(makers: str) -> str:
    """The terms of weights that were trained on non-commercial data."""
    return f"Non-commercial research only, with attribution, as {makers} asks of what is made from it."


def _davis(year: str, cite: str, folder: str, most: int, urls: tuple[str, ...], **more) -> DataSet:
    return DataSet(
        f"davis{year}", lazily("sstlib.datasets.davis:open_split"), license="cc-by-nc-4.0", protocol=f"davis{year}",
        terms="non-commercial research with attribution (Perazzi et al. 2016, Pont-Tuset et al. 2017): CC BY-NC 4.0; "
        "some clips are under their authors' own terms",
        derived=_non_commercial(f"DAVIS {year} (CC BY-NC 4.0; {cite})"),
        folder=paths.DATA / folder, page=f"https://davischallenge.org/davis{year}/code.html", urls=urls, most=most,
        **more)


def _youtube(year: str) -> DataSet:
    splits = ("train", "valid", "valid_all_frames", "test", "test_all_frames")
    return DataSet(
        f"youtube{year}", lazily("sstlib.datasets.youtube:open_split"), splits, license="cc-by-nc-4.0",
        terms="non-commercial research (Xu et al. 2018): annotations CC BY 4.0, the videos belong to their uploaders. "
        "The makers ask for an account, so download the zips there and name them by --zip",
        derived=_non_commercial(f"YouTube-VOS {year} (annotations CC BY 4.0; Xu et al., ECCV 2018)"),
        protocol="youtube", scored="train", hidden=frozenset(splits[1:]), submitted=True,
        folder=paths.DATA / f"YouTube-VOS-{year}", page="https://youtube-vos.org/dataset/vos/", most=160 << 30)


GENERATED = "generated, no restrictions"
COMPOSED = "composed of your own DAVIS 2016, whose terms it has: non-commercial research with attribution"
AS_DAVIS = _non_commercial("DAVIS 2016 (CC BY-NC 4.0; Perazzi et al., CVPR 2016)")
FREE = "Free of data terms: no real image was seen in training. MIT, as the code."
DATASETS: Registry[DataSet] = Registry(
    "data set",
    _davis("2016", "Perazzi et al., CVPR 2016", "DAVIS2016", 12 << 30,
           ("https://graphics.ethz.ch/Downloads/Data/Davis/DAVIS-data.zip", ), splits=("train", "val"),
           benchmark=Benchmark("val", "davis2016 val 480p")),
    _davis("2017", "Pont-Tuset et al., 2017", "DAVIS", 8 << 30, tuple(
        f"https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-{part}-480p.zip"
        for part in ("trainval", "test-dev")), splits=("train", "val", "test-dev"), hidden=frozenset({"test-dev"})),
    _youtube("2018"),
    _youtube("2019"),
    DataSet("sst-occlusion", lazily("sstlib.datasets.sst_occlusion:open_split"), ("train", "val", "test", "mini"),
            terms=GENERATED, derived=FREE, license="mit",
            scored="test", content=lazily("sstlib.datasets.sst_occlusion:content_hash"),
            benchmark=Benchmark("test", "sst-occlusion 1 test, the axis of length", lambda one: one.axis == "length")),
    DataSet("sst-occlusion-2", lazily("sstlib.datasets.sst_occlusion_2:open_split"), ("val", "test"), terms=GENERATED,
            derived=FREE, license="mit", scored="test",
            content=lazily("sstlib.datasets.sst_occlusion_2:content_hash"),
            scenes=lazily("sstlib.datasets.sst_occlusion_2:scenes"),
            benchmark=Benchmark("test", "sst-occlusion 2 test, 0, 4 and 16 frames hidden",
                                lambda one: one.length in (0, 4, 16))),
    DataSet("davis-occlusion", lazily("sstlib.datasets.davis_occlusion:open_split"), ("train", "val", "test"),
            terms=COMPOSED, derived=AS_DAVIS, license="cc-by-nc-4.0", scored="test",
            benchmark=Benchmark("test", "davis-occlusion 1 test, 0, 4 and 16 frames hidden",
                                lambda one: one.length in (0, 4, 16)),
            content=lazily("sstlib.datasets.davis_occlusion:content_hash"),
            scenes=lazily("sstlib.datasets.davis_occlusion:scenes")),
    DataSet("fast-objects", lazily("sstlib.datasets.fast_objects:open_split"), ("test",), terms=GENERATED, derived=FREE,
            license="mit", scored="test", benchmark=Benchmark("test", "fast-objects 1, generated clips"),
            content=partial(lazily("sstlib.datasets.fast_objects:content_hash"), "fast-objects")),
    DataSet("davis-fast-objects", lazily("sstlib.datasets.fast_objects:open_split"), ("test",),
            terms=COMPOSED, derived=AS_DAVIS, license="cc-by-nc-4.0", scored="test",
            benchmark=Benchmark("test", "davis-fast-objects 1, composed clips"),
            content=partial(lazily("sstlib.datasets.fast_objects:content_hash"), "davis-fast-objects")),
)


def open_dataset(name: str, split: str = "val", folder: Path | str | None = None) -> list[Sequence]:
    """The sequences of one split of a data set, or those of a folder of one's own, read lazily.

    Args:
        name: a name of `DATASETS`, or the path of a folder or video file (see `folder.open_folder`).
        split: one of its splits; a folder of one's own has none.
        folder: where it is; by default where `sst data` keeps it (DAVIS: also where `SST_DAVIS` says).

    Raises:
        ValueError: an unknown name or split.
        FileNotFoundError: the data set (then `Absent`), or a part of it, is not there.
    """
    if name not in DATASETS:
        if name and Path(name).exists():
            return open_folder(Path(name))
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}, or the path of a folder or video")
    known = DATASETS[name]
    if split not in known.splits:
        raise ValueError(f"{name} has no split {split!r}; expected one of {', '.join(known.splits)}")
    return known.open(name, split, Path(folder) if folder is not None else None)
