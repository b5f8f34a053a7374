"""Masks as videos: tinted, before a green screen, and cut out with alpha; and a sheet of frames."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw

from sstlib.movies import CODECS, VideoWriter, contact_sheet
from sstlib.paths import atomic_write
from sstlib.sessions.matting import cut_out
from sstlib.sessions.product import Alpha, Frame, Labels, Product, Shot
from sstlib.shapes import UInt8
from sstlib.video import overlay, palette

GREEN = (0, 177, 64)  # chroma key green
SHEET = 24  # frames on a contact sheet
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}  # what a sheet is written as, by its name


class Film(Product):
    """A video with the times and the sound of the clip's."""

    codec: ClassVar[str] = ""  # fixed; else the one that the user chose

    def __init__(self, shot: Shot, folder: Path) -> None:
        super().__init__(shot, folder)
        self._writer: VideoWriter | None = None

    def picture(self, frame: Frame, labels: Labels, alpha: Alpha | None) -> np.ndarray:
        """The picture for a frame."""
        raise NotImplementedError

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        picture = self.picture(frame, labels, alpha)
        if self._writer is None:
            codec, crf = (self.codec, None) if self.codec else (self.shot.codec, self.shot.crf)
            self._writer = VideoWriter(self.path, self.shot.timing, codec, crf, picture.shape[2] == 4)
        self._writer.write(picture)

    def close(self) -> None:
        self._writer.close()

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()


class Overlay(Film):
    place = "overlay.mp4"

    @classmethod
    def where(cls, codec: str) -> str:
        return f"overlay{CODECS[codec].suffix}"

    def picture(self, frame: Frame, labels: Labels, alpha: Alpha | None) -> np.ndarray:
        return overlay(frame, labels)


class Green(Film):
    place, soft = "green.mp4", "alpha"

    @classmethod
    def where(cls, codec: str) -> str:
        return f"green{CODECS[codec].suffix}"

    def picture(self, frame: Frame, labels: Labels, alpha: Alpha | None) -> np.ndarray:
        share = alpha[..., None].astype(np.float32) / 255
        return np.rint(frame * share + np.float32(GREEN) * (1 - share)).astype(np.uint8)


class Webm(Film):
    place, soft, codec = "cutout.webm", "alpha", "vp9"

    def picture(self, frame: Frame, labels: Labels, alpha: Alpha | None) -> np.ndarray:
        return cut_out(frame, alpha)


class Prores(Film):
    place, soft, codec = "cutout.mov", "alpha", "prores"

    def picture(self, frame: Frame, labels: Labels, alpha: Alpha | None) -> np.ndarray:
        return cut_out(frame, alpha)


class Sheet(Product):
    """Two dozen frames of the whole clip side by side, objects outlined and named, as PNG or JPEG; not in the folder of
    masks, where every picture is a mask.
    """

    place = "sheet.png"

    def __init__(self, shot: Shot, path: Path) -> None:
        super().__init__(shot, path.parent)
        self.path, self._pictures = path, []
        self._times = {round(t) for t in np.linspace(0, len(shot.frame_names) - 1, SHEET)}

    @classmethod
    def check(cls, path: Path) -> None:
        super().check(path)
        if path.suffix.lower() not in PICTURES:
            raise ValueError(f"{path}: a sheet is written as {', '.join(PICTURES)}; name it so")

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        if t in self._times:
            self._pictures.append(outlined(frame, labels, self.shot, width=240))

    def close(self) -> None:
        with atomic_write(self.path) as file:
            Image.fromarray(contact_sheet(self._pictures)).save(file, format=PICTURES[self.path.suffix.lower()],
                                                                quality=92)


def outlined(frame: Frame, labels: Labels, shot: Shot, width: int) -> UInt8[np.ndarray, "small_height small_width 3"]:
    """A frame made small, with each object's outline and name in its color."""
    size = width, max(1, round(width * frame.shape[0] / frame.shape[1]))
    small = np.array(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
    masks = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    around = np.pad(masks, 1, mode="edge")
    inner = np.minimum.reduce([around[1:-1, :-2] == masks, around[1:-1, 2:] == masks, around[:-2, 1:-1] == masks,
                               around[2:, 1:-1] == masks])
    shown = (masks > 0) & (masks != 255) & ~inner
    small[shown] = palette()[masks[shown]]
    image = Image.fromarray(small)
    drawing = ImageDraw.Draw(image)
    for identity in np.unique(masks[shown]).tolist():
        rows, columns = np.nonzero(masks == identity)
        place, color = (int(columns.min()), max(0, int(rows.min()) - 11)), tuple(palette()[identity].tolist())
        drawing.text(place, shot.title(identity), fill=color, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(image)
