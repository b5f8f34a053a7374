"""YouTube-VOS 2018 and 2019: SPLIT/{JPEGImages,Annotations}/VIDEO, SPLIT/meta.json; the zip that its server takes.

Annotated at 6 frames a second. Objects may start later than the clip; meta.json says for each at which frames its
mask is wanted, the first being the given one. `valid_all_frames` are the same clips at 30 frames a second.
"""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sstlib import paths
from sstlib.config.values import parse_json
from sstlib.datasets.registry import Absent
from sstlib.paths import atomic_write
from sstlib.video import FolderSequence, Sequence, images, mask_image, name_order, read_mask, reading_of

ALL_FRAMES = "_all_frames"
LARGEST_ID = 254  # 255 is void


class YouTubeSequence(FolderSequence):
    """A video of YouTube-VOS.

    Attributes:
        categories: what each object is.
        starts: name of the frame at which each object is given.
        scored: names of the frames whose masks are wanted.

    Raises:
        FileNotFoundError: a frame or a first mask that meta.json names is missing.
    """

    def __init__(self, frames: Path, masks: Path, name: str, objects: dict[int, dict[str, Any]]) -> None:
        super().__init__(frames, masks, name, within=frames.parents[2])
        self.categories = {n: known.get("category", "") for n, known in objects.items()}
        self.starts = {n: min(known["frames"], key=name_order) for n, known in objects.items()}
        self.scored = sorted({frame for known in objects.values() for frame in known["frames"]}, key=name_order)
        known_frames = set(self.frame_names)
        for frame in self.scored:
            if frame not in known_frames:
                raise FileNotFoundError(
                    f"{frames / frame}.jpg: meta.json names this frame of {name}, but there is no such file"
                )
        for n, frame in self.starts.items():
            if frame not in self.masks:
                raise FileNotFoundError(
                    f"{masks / frame}.png: object {n} of {name} is given at this frame, but there is no such mask"
                )


def open_split(name: str, split: str, folder: Path | None) -> list[Sequence]:
    """The videos of a split, in the order of meta.json.

    Raises:
        Absent: the data set is not in the folder.
        ValueError: meta.json is not as YouTube-VOS writes it.
    """
    folder = folder or paths.DATA / f"YouTube-VOS-{name.removeprefix('youtube')}"
    root, given = folder / split, folder / split.removesuffix(ALL_FRAMES)
    for part in (root / "JPEGImages", given / "Annotations"):
        if not part.is_dir():
            raise Absent(f"{part}: no such folder; unpack {name} {split} there, see `sst data list`")
    described = _described(given / "meta.json")
    return [
        YouTubeSequence(root / "JPEGImages" / video, given / "Annotations" / video, video, objects)
        for video, objects in described.items()
    ]


def _described(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Objects of each video by id, from meta.json.

    Raises:
        FileNotFoundError: no meta.json.
        ValueError: not JSON, or without a key that it must have.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it says which objects are wanted at which frames")
    try:
        videos = parse_json(path.read_bytes(), "it")["videos"]
        described = {video: {object_id(n): known for n, known in entry["objects"].items()}
                     for video, entry in videos.items()}
    except (KeyError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not as YouTube-VOS writes it (videos, then objects, then frames): {error!r}"
        ) from None
    for video, objects in described.items():
        if video in ("", ".", "..") or {"/", "\\", "\0"} & set(video):
            raise ValueError(f"{path}: {video!r} is no name of a video's folder")
        for n, known in objects.items():
            frames = known.get("frames") if isinstance(known, dict) else None
            if not isinstance(frames, list) or not frames or not all(
                    isinstance(frame, str) and frame for frame in frames):
                raise ValueError(f"{path}: object {n} of video {video} has no key 'frames' with names of frames")
            if not isinstance(known.get("category", ""), str):
                raise ValueError(f"{path}: object {n} of video {video} has category {known['category']!r}; expected a "
                                 "name")
    if not described:
        raise ValueError(f"{path}: describes no video")
    return described


def object_id(text: str) -> int:
    """An object's id in meta.json, which is the value of its pixels.

    Raises:
        ValueError: none, or written otherwise than it is, so that there may be two of it.
    """
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_ID or text != str(int(text)):
        raise ValueError(f"object {text!r}; ids are 1..{LARGEST_ID}")
    return int(text)


def write_submission(path: Path | str, predictions: Path | str, sequences: Iterable[Sequence]) -> int:
    """Packs predicted masks VIDEO/FRAME.png into the zip that the YouTube-VOS server takes, and returns their number.

    Only the frames that are scored go in; each is checked before: there, of the size of its frame, without unknown ids.

    Raises:
        FileNotFoundError: a mask is missing.
        ValueError: a mask of another size, or with an id that the video does not have; masks without ids.
    """
    count = 0
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for sequence in sequences:
            folder = Path(predictions) / sequence.name
            names = getattr(sequence, "scored", sequence.frame_names)
            masks = images(folder, "masks") if folder.is_dir() else {}
            for name in names:
                if name not in masks:
                    raise FileNotFoundError(f"{folder / name}.png: the server wants this frame's mask")
            reading = reading_of([masks[name] for name in names])
            ids = sorted(getattr(sequence, "categories", {}))
            if ids not in ([], [1]) and not reading.by_id and reading.kind != "empty":
                raise ValueError(f"{folder}: masks are read {reading}, and {sequence.name} has objects "
                                 f"{', '.join(map(str, ids))}; save these ids")
            for name in names:
                labels = read_mask(masks[name], reading)
                _checked(masks[name], labels, sequence, name)
                content = io.BytesIO()
                mask_image(labels).save(content, format="PNG")  # by palette, whatever kind of image it was read from
                archive.writestr(f"Annotations/{sequence.name}/{name}.png", content.getvalue())
                count += 1
    return count


def _checked(path: Path, labels: np.ndarray, sequence: Sequence, name: str) -> None:
    height, width = sequence.frame(sequence.frame_names.index(name)).shape[:2]
    if labels.shape != (height, width):
        raise ValueError(f"{path}: the mask is {labels.shape[1]}x{labels.shape[0]}, its frame is {width}x{height}")
    unknown = sorted(
        set(np.unique(labels).tolist()) - {0} - set(getattr(sequence, "categories", labels.ravel().tolist()))
    )
    if unknown:
        raise ValueError(f"{path}: has object {unknown[0]}, which {sequence.name} does not have")
