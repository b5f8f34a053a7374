"""A segmenter that takes a frame and gives its masks: bounded memory, objects that join, are corrected or leave at any frame."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib import video
from sstlib.config import require
from sstlib.model import Memory, Propagator
from sstlib.shapes import Float, Shaped, UInt8

LARGEST_ID = 254  # 255 is void
AGGREGATIONS = ("naive", "hard", "soft")


@dataclass(frozen=True)
class Prediction:
    """Masks of one frame, in the caller's ids and size."""

    labels: UInt8[np.ndarray, "height width"]
    probabilities: Float[np.ndarray, "object height width"]  # of the background and each object, in the order of `ids`
    ids: tuple[int, ...]  # 0 for the background, then the caller's ids
    confidence: dict[int, float]  # an object's mean probability over its mask; of one with an empty mask, that it is nowhere


class Segmenter:
    """Carries masks through a video one frame at a time, with a memory that does not grow.

    Args:
        network: trained weights (`sstlib.weights.load`).
        longest: cap on the frame's longer side inside the network, in pixels; masks come back in full size. None: no cap.
        flip: average with the prediction on the mirrored frame.
        scales: average over these sizes of the frame (CFBI's multi-scale test uses 1, 1.15, 1.3, 1.5).
        aggregation: `naive`, the largest probability wins (section 3.1) and later frames see the probabilities, as in training;
            `hard`, likewise, but later frames see the winner alone (CFBI); `soft`, objects as independent, the background what none of
            them claims (STM, Cutie).
        keep_reference: overrides the configuration's choice whether the given frames stay in the buffer.
    """

    def __init__(self, network: Propagator, *, longest: int | None = None, flip: bool = False, scales: tuple[float, ...] = (1.0,),
                 aggregation: str = "naive", keep_reference: bool | None = None):
        require(aggregation, "aggregation", AGGREGATIONS)
        if longest is not None and longest < 16:
            raise ValueError(f"longest is {longest} pixels; make it at least 16")
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales are {scales}; give one or more positive numbers")
        self.network = copy.copy(network).eval()  # shares the weights; its configuration is its own
        if keep_reference is not None:
            self.network.config = network.config.replace(keep_reference=keep_reference)
        self.device = next(network.parameters()).device
        self.longest, self.aggregation = longest, aggregation
        self.views = [(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]
        self.memories: list[Memory | None] = [None] * len(self.views)
        self.ids: list[int] = [0]
        self.size: tuple[int, int] | None = None

    @torch.inference_mode()
    def step(self, frame: Shaped[np.ndarray, "..."], labels: Shaped[np.ndarray, "..."] | None = None) -> Prediction:
        """Masks of the next frame.

        Args:
            frame: RGB, uint8 (height, width, 3); every frame of the size of the first.
            labels: masks given for this frame; needed for the first. Ids not seen before join; an id seen before is corrected: its mask
                becomes the given one. Ids that are not in `labels` keep their prediction where nothing is given; so does void (255).

        Raises:
            ValueError: a first frame without objects, labels of another size or with ids above 254, a frame of another size or kind.
        """
        self._check(frame, labels)
        pixels = torch.from_numpy(frame.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255
        features = [self.network.extract(self._view(pixels, *view)) for view in self.views]
        predicted = None
        if self.size is not None:
            logits = [self.network.segment(*pair) for pair in zip(features, self.memories)]
            predicted = self._merge([self._unview(x, mirrored, frame.shape[:2]).float().softmax(1)
                                     for x, (_, mirrored) in zip(logits, self.views)])
        self.size = frame.shape[:2]
        memberships = predicted if labels is None else self._given(torch.from_numpy(labels.astype(np.int64)).to(self.device), predicted)
        kept = memberships
        if self.aggregation == "hard":
            kept = F.one_hot(memberships.max(1).indices, len(self.ids)).permute(0, 3, 1, 2).to(memberships.dtype)
        self.memories = [self.network.remember(memory, seen, self._view(kept, *view, like=seen.size), labels is not None)
                         for memory, seen, view in zip(self.memories, features, self.views)]
        return self._prediction(memberships[0])

    def remove(self, identity: int) -> None:
        """Forgets an object; what it covered counts as background from now on.

        Raises:
            ValueError: there is no such object.
        """
        if identity not in self.ids[1:]:
            raise ValueError(f"object {identity} cannot be removed; the objects are {self.ids[1:]}")
        kept = [channel for channel, other in enumerate(self.ids) if other != identity]
        with torch.inference_mode():
            self.memories = [memory.select(kept) for memory in self.memories]
        self.ids = [self.ids[channel] for channel in kept]

    def _check(self, frame: np.ndarray, labels: np.ndarray | None) -> None:
        size = frame.shape[:2]
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"the frame is {frame.dtype} of shape {frame.shape}; give RGB as uint8 of shape (height, width, 3), values 0..255")
        if self.size is not None and size != self.size:
            raise ValueError(f"this frame is {size[1]}x{size[0]} pixels, the ones before were {self.size[1]}x{self.size[0]}; "
                             "a video has one size: resize the frame, or start a new Segmenter")
        if labels is None:
            if self.size is None:
                raise ValueError("the first frame came without labels; give the masks of the objects to follow")
            return
        if labels.shape != size:
            raise ValueError(f"labels have shape {labels.shape}, the frame {size}; resize the masks by nearest neighbor")
        if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != bool:
            raise ValueError(f"labels are {labels.dtype}; give whole numbers, 0 for the background and an id for each object")
        largest, least = int(labels.max(initial=0, where=labels != video.VOID)), int(labels.min(initial=0))
        if largest > LARGEST_ID or least < 0:
            raise ValueError(f"labels go from {least} to {largest}; ids are 0..{LARGEST_ID}, 255 is void: renumber the objects")
        if self.size is None and largest == 0:
            raise ValueError("the labels of the first frame hold no object; give the mask of at least one to follow")

    def _given(self, labels: Tensor, predicted: Tensor | None) -> Tensor:
        """Memberships of a frame with given labels: the given objects as they are, the others as predicted outside of them."""
        here = [i for i in labels.unique().tolist() if i not in (0, video.VOID)]
        known = len(self.ids)
        self.ids += [i for i in here if i not in self.ids]
        channels = torch.tensor(self.ids, device=self.device)
        given = (labels == channels[:, None, None]).to(torch.float32)[None]
        if predicted is None:
            return given
        blank = predicted.new_zeros(1, len(self.ids) - known, *labels.shape)
        kept = torch.cat([predicted, blank], 1)
        corrected = torch.isin(channels, torch.tensor(here, device=self.device))
        corrected[0] = False
        kept[:, 0] += kept[:, corrected].sum(1) * (labels != video.VOID)
        kept[:, corrected] *= (labels == video.VOID)
        return torch.where((labels > 0) & (labels != video.VOID), given, kept)

    def _merge(self, probabilities: list[Tensor]) -> Tensor:
        """One set of probabilities from those of all views."""
        merged = torch.stack(probabilities).mean(0) if len(probabilities) > 1 else probabilities[0]
        if self.aggregation != "soft":
            return merged
        foreground = merged[:, 1:]
        parts = torch.cat([(1 - foreground).prod(1, keepdim=True), foreground], 1).clamp(1e-7, 1 - 1e-7)
        return parts.logit().softmax(1)

    def _view(self, image: Tensor, scale: float, mirrored: bool, like: tuple[int, int] | None = None) -> Tensor:
        """The frame, or memberships, as one view of the network sees them."""
        height, width = size = tuple(image.shape[-2:])
        if like is None:
            shrink = scale * min(1.0, self.longest / max(size)) if self.longest else scale
            like = (self.network.fitting(max(1, round(height * shrink))), self.network.fitting(max(1, round(width * shrink))))
            if shrink == 1.0 and not self.network.centred:
                like = size
        if like != size:
            image = F.interpolate(image, like, mode="bilinear", align_corners=False, antialias=True)
        return image.flip(-1) if mirrored else image

    def _unview(self, logits: Tensor, mirrored: bool, size: tuple[int, int]) -> Tensor:
        """Logits of a view at the frame's own size."""
        logits = logits.flip(-1) if mirrored else logits
        return logits if logits.shape[-2:] == size else F.interpolate(logits, size, mode="bilinear", align_corners=False)

    def _prediction(self, memberships: Float[Tensor, "object height width"]) -> Prediction:
        best = memberships.amax(0)
        labels = torch.zeros_like(best, dtype=torch.uint8)
        for channel, identity in reversed(list(enumerate(self.ids))):  # the first wins among equals; argmax takes ten times as long
            won = memberships[channel] == best
            labels.mul_(~won).add_(won, alpha=identity)
        confidence = {}
        for channel, identity in enumerate(self.ids[1:], 1):
            mask = labels == identity
            area = int(mask.count_nonzero())
            confidence[identity] = float((best * mask).sum()) / area if area else 1 - float(memberships[channel].max())
        return Prediction(labels.cpu().numpy(), memberships.cpu().numpy(), tuple(self.ids), confidence)


def segment_sequence(network: Propagator, sequence: video.Sequence, given: Mapping[int, np.ndarray] | None = None,
                     **options: object) -> Iterator[tuple[int, Prediction]]:
    """Masks of every frame of a sequence, as they come; frames are read one at a time.

    The first given frame and those after it come first, in order; then, backward from it, the frames before it.

    Args:
        network: trained weights.
        sequence: frames in a folder, a video file or arrays.
        given: masks by frame number; None takes the first that the sequence has.
        **options: of `Segmenter`.

    Raises:
        ValueError: no masks, or a frame number outside the sequence.
    """
    if given is None:
        given = next(({t: labels} for t in range(len(sequence)) if (labels := sequence.label(t)) is not None), {})
    outside = [t for t in given if not 0 <= t < len(sequence)]
    if outside or not given:
        raise ValueError(f"{sequence.name} has frames 0..{len(sequence) - 1}; masks were given for {outside or 'none'}")
    start = min(given)
    for direction in (range(start, len(sequence)), range(start, -1, -1)):
        segmenter = Segmenter(network, **options)
        for t in direction:
            if t == start and direction.step < 0 and start == 0:
                return
            frame = sequence.frame(t)
            try:
                prediction = segmenter.step(frame, given.get(t))
            except ValueError as error:
                raise ValueError(f"{sequence.name}, frame {sequence.frame_names[t]}: {error}") from error
            if direction.step > 0 or t < start:
                yield t, prediction


def segment_to_folder(network: Propagator, sequence: video.Sequence, folder: Path | str, given: Mapping[int, np.ndarray] | None = None,
                      **options: object) -> Iterator[tuple[int, Prediction]]:
    """Writes the mask of each frame under its name as soon as it is known (whole or not at all), and passes the predictions on.

    Args:
        network, sequence, given, options: as in `segment_sequence`.
        folder: where FRAME.png go.
    """
    for t, prediction in segment_sequence(network, sequence, given, **options):
        video.write_mask(Path(folder) / f"{sequence.frame_names[t]}.png", prediction.labels)
        yield t, prediction
