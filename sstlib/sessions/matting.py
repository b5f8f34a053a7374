"""Masks as layers: an image an object, probabilities, and cut-outs of the picture."""

import numpy as np

from sstlib.inference import Prediction
from sstlib.paths import atomic_write
from sstlib.sessions.product import Alpha, FolderProduct, Frame, Labels
from sstlib.shapes import Float, Shaped, UInt8

INSIDE, OUTSIDE = 144, 111  # least alpha of objects' pixels, largest of others': apart even after lossy coding


class Objects(FolderProduct):
    """objects/ID/FRAME.png, or ID-NAME: white on black, an image an object, of every object in every frame."""

    place = "objects"
    pictures = False

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        for identity in sorted(self.shot.ids):
            name = f"{self.subfolder(identity)}/{self.shot.frame_names[t]}.png"
            self.put(name, np.where(labels == identity, np.uint8(255), np.uint8(0)))


class Soft(FolderProduct):
    """soft/ID/FRAME.png, or ID-NAME: each object's probability in 16 bits, 65535 for 1."""

    place, soft = "soft", "all"

    def take(self, t: int, prediction: Prediction) -> None:
        for identity, probability in zip(prediction.ids[1:], prediction.probabilities[1:]):
            self.put(f"{self.subfolder(identity)}/{self.shot.frame_names[t]}.png", sixteen_bits(probability))

    def close(self) -> None:
        for identity in self.shot.ids:  # frames before an object joined have no probability of it
            for name in self.shot.frame_names:
                place = f"{self.subfolder(identity)}/{name}.png"
                if not (self.scratch / place).exists():
                    self.put(place, np.zeros(self.shot.size, np.uint16))
        super().close()


class Floats(FolderProduct):
    """npz/FRAME.npz: `ids`, 0 the background, and `probabilities`, float32 (id, height, width)."""

    place, soft = "npz", "all"
    unsigned = ("*.npz", )

    def take(self, t: int, prediction: Prediction) -> None:
        with atomic_write(self.scratch / f"{self.shot.frame_names[t]}.npz") as file:
            np.savez_compressed(file, ids=np.array(prediction.ids, np.uint8),
                                probabilities=prediction.probabilities.astype(np.float32))


class Cutout(FolderProduct):
    """cutout/FRAME.png: the objects alone, RGBA with soft edges; alpha of 128 or more is the mask."""

    place, soft = "cutout", "alpha"

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        self.put(f"{self.shot.frame_names[t]}.png", cut_out(frame, alpha))


def cut_out(frame: Frame, alpha: Alpha) -> UInt8[np.ndarray, "height width 4"]:
    """The objects of a frame alone: colors where alpha is not 0, and alpha."""
    return np.dstack([frame * (alpha > 0)[..., None], alpha])


def sixteen_bits(probability: Float[np.ndarray, "height width"]) -> Shaped[np.ndarray, "height width"]:
    """Probabilities as whole numbers, 65535 for 1."""
    return np.rint(np.clip(probability, 0, 1) * 65535).astype(np.uint16)


def alpha_of(prediction: Prediction) -> Alpha:
    """Alpha of each pixel: the best object's share of its own and the background's probability, stretched from a
    quarter .. three quarters to 0 .. 255, so that unlikely pixels leave no haze; it stays on the mask's side of 128.
    """
    labels = prediction.labels
    covered = (labels > 0) & (labels != 255)
    probabilities = prediction.probabilities
    if len(probabilities) < 2:
        return np.where(covered, np.uint8(255), np.uint8(0))
    best = probabilities[1:].max(0)
    share = best / np.maximum(best + probabilities[0], 1e-12)
    level = np.rint(255 * np.clip(2 * share - 0.5, 0, 1)).astype(np.uint8)
    return np.where(covered, np.maximum(level, INSIDE), np.minimum(level, OUTSIDE)).astype(np.uint8)
