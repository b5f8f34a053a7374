"""Exports of a clip's masks: layers, videos, annotations and tables, by name in `FORMATS`, and the sinks that write
them, either from predictions as they come or from the masks in the clip's order when all are there.
"""

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sstlib.inference import Prediction
from sstlib.movies import Timing, VideoSequence
from sstlib.paths import naming_place
from sstlib.sessions.annotations import Boxes, Coco, Mots, Yolo
from sstlib.sessions.clip import Clip, Part
from sstlib.sessions.films import Green, Overlay, Prores, Sheet, Webm
from sstlib.sessions.matting import Cutout, Floats, Objects, Soft, alpha_of
from sstlib.sessions.product import Frame, Product, Shot
from sstlib.sessions.sinks import Sink
from sstlib.video import Reading, Sequence, read_mask, write_picture

FORMATS: dict[str, type[Product]] = {
    "overlay": Overlay, "green": Green, "cutout": Cutout, "webm": Webm, "prores": Prores, "objects": Objects,
    "soft": Soft, "npz": Floats, "coco": Coco, "yolo": Yolo, "mots": Mots, "boxes": Boxes
}


class Exports(Sink):
    """Products of a clip, beside the masks in a folder.

    Products of probabilities take predictions in the order in which they come. All others are made from the masks when
    all are in the folder, so that videos and tables are in order even if a clip was segmented backward.

    Args:
        clip: what is segmented.
        out: the folder of masks.
        kinds: of products.
        sheet: where a contact sheet goes, if any.
        codec, crf: of videos for viewing.
    """

    def __init__(self, clip: Clip, out: Path, kinds: Iterable[type[Product]], sheet: Path | None = None,
                 codec: str = "h264", crf: int | None = None) -> None:
        self.clip, self.out, self._alpha = clip, out, out / ".alpha.part"
        self.shot = shot_of(clip)
        self.shot.codec, self.shot.crf = codec, crf
        self.products = [kind(self.shot, out) for kind in kinds] + ([Sheet(self.shot, sheet)] if sheet else [])
        self._soft = [product for product in self.products if product.soft == "all"]
        self._ordered = [product for product in self.products if product.soft != "all"]
        self._needs_alpha = any(product.soft == "alpha" for product in self._ordered)
        self.needs_all = bool(self._soft) or self._needs_alpha
        self._known: dict[int, set[int]] = {}  # objects of each frame

    def done_before(self, ids: Mapping[int, set[int]]) -> None:
        self._known |= ids

    def write(self, t: int, frame: Frame, prediction: Prediction) -> None:
        self._known[t] = set(prediction.ids) - {0}
        for product in self._soft:
            product.take(t, prediction)
        if self._needs_alpha:
            write_picture(self._alpha_file(t), Image.fromarray(alpha_of(prediction)))

    def _alpha_file(self, t: int) -> Path:
        return self._alpha / f"{self.shot.frame_names[t]}.png"

    def close(self) -> None:
        self.shot.ids |= set().union(*self._known.values())
        frames, pictures = self.clip.frames, any(product.pictures for product in self._ordered)
        steps = range(len(frames)) if self._ordered else ()
        for t in tqdm(steps, unit="frame", ascii=True, desc="exports", disable=None):
            labels = read_mask(self.out / f"{self.shot.frame_names[t]}.png", Reading("ids"))
            alpha = np.asarray(Image.open(self._alpha_file(t))) if self._needs_alpha else None
            frame = frames.frame(t) if pictures else np.zeros((*labels.shape, 3), np.uint8)
            for product in self._ordered:
                with naming_place(product.path):
                    product.add(t, frame, labels, alpha)
        closed(self.products)
        shutil.rmtree(self._alpha, ignore_errors=True)

    def discard(self) -> None:
        discarded(self.products)
        shutil.rmtree(self._alpha, ignore_errors=True)


class LiveExports(Sink):
    """Products of a stream, whose frames come once and in order, and are exported as they come.

    Args:
        name: of the stream.
        size: height and width of its frames.
        timing: when they are shown.
        names, ids: of its objects.
    """

    def __init__(self, out: Path, kinds: Iterable[type[Product]], name: str, size: tuple[int, int], timing: Timing,
                 names: Mapping[int, str], ids: set[int], codec: str = "h264", crf: int | None = None) -> None:
        self.shot = Shot(name, [], size, timing, names, ids, [], codec, crf)
        self.products = [kind(self.shot, out) for kind in kinds]

    def write(self, t: int, frame: Frame, prediction: Prediction) -> None:
        self.shot.frame_names.append(f"{t:05d}")
        self.shot.file_names.append(f"{t:05d}.jpg")
        self.shot.ids |= set(prediction.ids) - {0}
        alpha = alpha_of(prediction) if any(product.soft == "alpha" for product in self.products) else None
        for product in self.products:
            with naming_place(product.path):
                if product.soft == "all":
                    product.take(t, prediction)
                else:
                    product.add(t, frame, prediction.labels, alpha)

    def close(self) -> None:
        closed(self.products)

    def discard(self) -> None:
        discarded(self.products)


def closed(products: Iterable[Product]) -> None:
    """Closes all products, which then appear, and prints their paths."""
    for product in products:
        with naming_place(product.path):
            product.close()
        print(f"and {product.path}")


def discarded(products: Iterable[Product]) -> None:
    """Discards all products, ignoring errors: the one that led here is the one to report."""
    for product in products:
        with suppress(Exception):
            product.discard()


def shot_of(clip: Clip) -> Shot:
    """The `Shot` of a clip."""
    source, numbers = origin(clip.frames)
    if isinstance(source, VideoSequence):
        timing, times = Timing.of(source, numbers), source.times
        seconds = [times[t] for t in numbers]
    else:
        rate = Fraction(getattr(source, "rate", 24))
        timing, seconds = Timing(rate / abs(numbers.step)), [t / rate for t in numbers]
    paths = getattr(source, "paths", None)
    names = [paths[t].name for t in numbers] if paths else [f"{name}.jpg" for name in clip.frames.frame_names]
    return Shot(clip.frames.name, list(clip.frames.frame_names), clip.size, timing, clip.names, clip.ids, names,
                numbers=numbers, seconds=seconds)


def origin(frames: Sequence | Part) -> tuple[Sequence, range]:
    """The sequence that frames are a part of, and their numbers in it."""
    if not isinstance(frames, Part):
        return frames, range(len(frames))
    source, numbers = origin(frames.sequence)
    return source, numbers[frames.times.start:frames.times.stop:frames.times.step]
