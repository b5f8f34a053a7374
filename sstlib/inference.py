"""A segmenter: a frame in, its masks out; bounded memory, objects that join, are corrected or leave at any frame.

>>> from sstlib import synthetic, weights
>>> clip = synthetic.render(synthetic.random_spec("easy", 1, frames=4), 1)
>>> segmenter = Segmenter(weights.load("sst-small"))
>>> predictions = [segmenter.step(frame, clip.labels[0] if t == 0 else None) for t, frame in enumerate(clip.frames)]
>>> predictions[-1].labels.shape == clip.labels[0].shape, predictions[-1].ids
(True, (0, 1, 2))
"""

import copy
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib import video
from sstlib.config import ModelConfig
from sstlib.config.fields import require
from sstlib.config.values import Flag, Number, Whole
from sstlib.model import Features, Memory, Propagator
from sstlib.model.fast.threads import shared_cores
from sstlib.model.presence import INERTIA, evidence, presence_and_doubt
from sstlib.shapes import Float, Shaped, UInt8

LARGEST_ID = 254  # 255 is void
AGGREGATIONS = ("naive", "hard", "soft")
SHORTEST = 16  # pixels; the least cap on a frame's longer side
LEAST = 5  # pixels of the longer side of what the network sees: more than one cell at stride 4, to be normalized


@dataclass(frozen=True)
class Prediction:
    """Masks of one frame, in the caller's ids and size."""

    labels: UInt8[np.ndarray, "height width"]
    memberships: Float[np.ndarray, "object working_height working_width"]  # at the size that the network works at
    ids: tuple[int, ...]  # 0 for the background, then the caller's ids
    confidence: dict[int, float]  # mean probability over the object's mask; of an empty one, that it is nowhere
    presence: dict[int, float]  # probability that the object is in sight
    doubt: dict[int, float]  # probability that its mask overlaps with the truth by less than half (J < 0.5)

    @property
    def probabilities(self) -> Float[np.ndarray, "object height width"]:
        """Of the background and each object, in the order of `ids`; computed on demand for frames that were shrunk."""
        if self.memberships.shape[1:] == self.labels.shape:
            return self.memberships
        return enlarged(torch.from_numpy(self.memberships), self.labels.shape).softmax(0).numpy()


class Segmenter:
    """Carries masks through a video one frame at a time, with a memory that does not grow.

    The network stays as it is: the segmenter works on modules of its own, which share its parameters and buffers,
    always in evaluation mode. What further training does to the weights counts from the next frame on.

    Args:
        network: trained weights (`sstlib.weights.load`).
        longest: cap on the frame's longer side inside the network, in pixels; masks come back in full size. None: what
            the weights were trained for (`network.longest`); 0: no cap. Smaller frames are never enlarged.
        flip: average with the prediction on the mirrored frame.
        scales: average over these sizes of the frame (CFBI's multi-scale test uses 1, 1.15, 1.3, 1.5).
        aggregation: `naive`, the largest probability wins (section 3.1) and later frames see the probabilities, as in
            training; `hard`, likewise, but later frames see the winner alone (CFBI); `soft`, objects as independent,
            the background what none of them claims (STM, Cutie).
        keep_reference, history: override the configuration's choice whether the given frames stay in the buffer, and of
            how many frames it is.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(self, network: Propagator, *, longest: int | None = None, flip: bool = False,
                 scales: tuple[float, ...] = (1.0,), aggregation: str = "naive", keep_reference: bool | None = None,
                 history: int | None = None):
        kinds = {str(p.dtype) for p in network.parameters()} if isinstance(network, Propagator) else ()
        if kinds != {"torch.float32"}:
            given = f"of {' and '.join(sorted(kinds))}" if kinds else f"a {type(network).__name__}"
            raise ValueError(f"the network is {given}; give one of torch.float32, as weights.load(NAME), for half "
                             "precision under torch.autocast, and without a wrapper, as torch.compile's _orig_mod")
        require(aggregation, "aggregation", AGGREGATIONS)
        Flag().check(flip, "flip")
        longest = Whole().check(longest, "longest") if longest is not None else network.longest or 0
        if 0 < longest < SHORTEST:
            raise ValueError(f"longest is {longest} pixels; make it at least {SHORTEST}, or 0 for no cap")
        if not isinstance(scales, Iterable) or not (scales := [*scales]):
            raise ValueError(f"scales are {scales!r}; give one or more positive numbers, as (1.0, 1.3)")
        scales = [Number(0, 8, above=True).check(scale, "a scale") for scale in scales]
        options = {"keep_reference": keep_reference, "history": history}.items()
        self.network = sharing_weights(network, **{name: value for name, value in options if value is not None}).eval()
        self.device = next(network.parameters()).device
        self.longest, self.aggregation = longest or None, aggregation
        self.views = [(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]
        self.memories: list[Memory | None] = [None] * len(self.views)
        self.ids: list[int] = [0]
        self.evidence: dict[int, list[float]] = {}  # running means of each object's since its mask was given
        self.size: tuple[int, int] | None = None

    @property
    def working_size(self) -> tuple[int, int]:
        """Height and width at which masks are computed, in pixels; known from the first frame on."""
        return working_size(self.size, self.longest)

    @shared_cores()
    @torch.inference_mode()
    def step(self, frame: Shaped[np.ndarray, "..."], labels: Shaped[np.ndarray, "..."] | None = None,
             absent: Iterable[int] = ()) -> Prediction:
        """Masks of the next frame, computed by as many threads as find a free core (`threads.shared_cores`).

        Args:
            frame: RGB, uint8 (height, width, 3); every frame of the size of the first.
            labels: masks given for this frame; needed for the first. Ids not seen before join; an id seen before is
                corrected: its mask becomes the given one, which replaces all that was remembered of it. Ids that are
                not in `labels` keep their prediction where nothing is given, and what is remembered of them; so does
                every id in void (255).
            absent: ids that are nowhere in this frame, whatever was predicted; what they look like stays known, so that
                they may return.

        Raises:
            ValueError: a first frame without objects, labels of another size or with ids above 254, a frame of another
                size or kind, an absent id that is no object or has a mask.
        """
        if not isinstance(absent, Iterable) or isinstance(absent, str):
            raise ValueError(f"absent is {absent!r}; give the ids of objects, as {{1, 2}}")
        absent = list(absent)
        self._check(frame, labels, absent)
        before = self.memories, self.ids, self.evidence, self.size
        try:
            return self._stepped(frame, labels, set(absent))
        except BaseException:  # such as an interrupt, or no memory: the same frame may be given again
            self.memories, self.ids, self.evidence, self.size = before
            raise

    def _stepped(self, frame: np.ndarray, labels: np.ndarray | None, absent: set[int]) -> Prediction:
        """The step, once what it takes is checked; it replaces what the segmenter knows and changes none of it."""
        whole = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]
        given = None if labels is None else torch.from_numpy(labels.astype(np.uint8)).to(self.device)
        first, self.size = self.size is None, frame.shape[:2]
        features = [self.network.extract(self._seen(whole, *view)) for view in self.views]
        memberships = None
        if not first:
            logits = [self.network.segment(*pair) for pair in zip(features, self.memories)]
            memberships = self._merge(
                [self._unview(x, mirrored).float().softmax(1) for x, (_, mirrored) in zip(logits, self.views)])
        changed: set[int] = set()
        if given is not None or absent:
            memberships, changed = self._given(given, memberships, absent)
        self._remember(features, memberships, changed - absent, absent)
        labels, confidence = self._labels(memberships[0], given, changed, first)
        presence, doubt = self._judged(features[0], labels, list(confidence.values()), first, changed, absent)
        return Prediction(labels.cpu().numpy(), memberships[0].cpu().numpy(), tuple(self.ids), confidence, presence,
                          doubt)

    def _remember(self, features: list[Features], memberships: Tensor, given: set[int], absent: set[int]) -> None:
        """Takes the frame into every view's memory."""
        if self.aggregation == "hard":
            memberships = F.one_hot(memberships.max(1).indices, len(self.ids)).permute(0, 3, 1, 2).to(memberships.dtype)
        channels = [channel for channel, identity in enumerate(self.ids) if identity in given]
        if absent:
            self.memories = [m and dataclasses.replace(m, recent=(), landmarks=()) for m in self.memories]
        self.memories = [self.network.remember(memory, seen, self._resized(memberships, seen.size, mirrored), channels)
                         for memory, seen, (_, mirrored) in zip(self.memories, features, self.views)]

    def remove(self, identity: int) -> None:
        """Forgets an object; what it covered counts as background from now on.

        Raises:
            ValueError: there is no such object.
        """
        if identity not in self.ids[1:]:
            raise ValueError(f"object {identity} cannot be removed; the objects are {self.ids[1:]}")
        others = [channel for channel, other in enumerate(self.ids) if other != identity]
        with torch.inference_mode():
            self.memories = [memory.select(others) for memory in self.memories]
        self.ids = [self.ids[channel] for channel in others]
        self.evidence.pop(identity, None)

    def _check(self, frame: np.ndarray, labels: np.ndarray | None, absent: list) -> None:
        plain = isinstance(frame, np.ndarray) and isinstance(labels, np.ndarray | None)
        if not plain or np.ma.isMA(frame) or np.ma.isMA(labels):
            raise ValueError(f"frame and labels are plain arrays of NumPy; these are {type(frame).__name__} and "
                             f"{type(labels).__name__}")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(f"the frame is {frame.dtype} of shape {frame.shape}; give RGB as uint8 of shape (height, "
                             "width, 3), values 0..255")
        size = frame.shape[:2]
        if self.size is not None and size != self.size:
            raise ValueError(f"this frame is {size[1]}x{size[0]} pixels, the ones before were {self.size[1]}x"
                             f"{self.size[0]}; a video has one size: resize the frame, or start a new Segmenter")
        if (side := round(max(size) * min(scale for scale, _ in self.views) * shrinking(size, self.longest))) < LEAST:
            raise ValueError(f"the frame is {size[1]}x{size[0]} pixels, {side} in the network; its longer side must be "
                             f"at least {LEAST} there")
        if unknown := [identity for identity in absent if identity not in self.ids[1:]]:
            raise ValueError(f"object {unknown[0]} is said to be absent; the objects are {self.ids[1:]}")
        if labels is not None:
            self._check_labels(labels, size, absent)
        elif self.size is None:
            raise ValueError("the first frame came without labels; give the masks of the objects to follow")

    def _check_labels(self, labels: np.ndarray, size: tuple[int, int], absent: list) -> None:
        if labels.shape != size:
            raise ValueError(f"labels have shape {labels.shape}, the frame {size}; resize masks by nearest neighbor")
        if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != bool:
            raise ValueError(f"labels are {labels.dtype}; give whole numbers, 0 for background and an id an object")
        largest, least = int(labels.max(initial=0, where=labels != video.VOID)), int(labels.min(initial=0))
        if largest > LARGEST_ID or least < 0:
            raise ValueError(f"labels go from {least} to {largest}; ids are 0..{LARGEST_ID}, 255 is void: renumber")
        if self.size is None and largest == 0:
            raise ValueError("the labels of the first frame hold no object: 0 is background, 255 void; give ids 1..254")
        if both := [identity for identity in absent if (labels == identity).any()]:
            raise ValueError(f"object {both[0]} is said to be absent and has a mask in the labels; give one of them")

    def _given(self, labels: Tensor | None, predicted: Tensor | None, absent: set[int]) -> tuple[Tensor, set[int]]:
        """Memberships where labels are given, and of which objects; the others stay as predicted outside of them."""
        shown = set() if labels is None else set(labels.unique().tolist()) - {0, video.VOID}
        self.ids = [*self.ids, *sorted(shown - set(self.ids))]
        if predicted is None:
            return torch.cat([self._share(labels, identity) for identity in self.ids], 1), shown
        memberships = F.pad(predicted, (0, 0, 0, 0, 0, len(self.ids) - predicted.shape[1]))
        void = 0.0 if labels is None else self._share(labels, video.VOID)
        for channel in [channel for channel, identity in enumerate(self.ids) if identity in shown | absent]:
            memberships[:, :1] += memberships[:, channel, None] * (1 - void)
            memberships[:, channel, None] *= void
        shares = {self.ids.index(identity): self._share(labels, identity) for identity in shown}
        memberships *= 1 - sum(shares.values())
        for channel, share in shares.items():
            memberships[:, channel, None] += share
        return memberships, shown | absent

    def _share(self, labels: UInt8[Tensor, "height width"],
               identity: int) -> Float[Tensor, "1 1 working_height working_width"]:
        """How much of each pixel of the working size an id covers."""
        return self._resized((labels == identity).to(torch.float32)[None, None], self.working_size)

    def _merge(self, probabilities: list[Tensor]) -> Tensor:
        """One set of probabilities from those of all views."""
        merged = torch.stack(probabilities).mean(0) if len(probabilities) > 1 else probabilities[0]
        if self.aggregation != "soft":
            return merged
        foreground = merged[:, 1:]
        parts = torch.cat([(1 - foreground).prod(1, keepdim=True), foreground], 1).clamp(1e-7, 1 - 1e-7)
        return parts.logit().softmax(1)

    def _seen(self, frame: UInt8[Tensor, "1 3 height width"], scale: float,
              mirrored: bool) -> Float[Tensor, "1 3 view_height view_width"]:
        """The frame as one view of the network sees it, in [0, 1]."""
        shrink = scale * (capped := shrinking(self.size, self.longest))
        size = tuple(self.network.fitting(max(1, round(side * shrink))) for side in self.size)
        # As bytes: a tenth of the time, a quarter of the memory. Bicubic: bilinear blurs, and some clips drift for it
        if capped < 1 and shrink < 1:
            frame = F.interpolate(frame, size, mode="bicubic", align_corners=False, antialias=True)
        return self._resized(frame.to(self.device).float() / 255, size, mirrored)

    def _resized(self, image: Tensor, size: tuple[int, int], mirrored: bool = False) -> Tensor:
        if tuple(image.shape[-2:]) != size:
            image = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        return image.flip(-1) if mirrored else image

    def _unview(self, logits: Tensor, mirrored: bool) -> Tensor:
        """Logits of a view at the working size."""
        logits, size = logits.flip(-1) if mirrored else logits, self.working_size
        return logits if logits.shape[-2:] == size else F.interpolate(logits, size, mode="bilinear")

    def _judged(self, features: Features, labels: UInt8[Tensor, "height width"], confidence: list[float], first: bool,
                changed: set[int], absent: set[int]) -> tuple[dict[int, float], dict[int, float]]:
        """Presence and doubt of each object; what the user said is beyond doubt."""
        rows = []
        if not first and confidence:  # all objects may have been removed
            numbers = evidence(self.memories[0], confidence)
            before = numbers.new_tensor([self.evidence.get(i, own) for i, own in zip(self.ids[1:], numbers.tolist())])
            usual = INERTIA * before + (1 - INERTIA) * numbers
            rows = presence_and_doubt(features, numbers, usual).tolist()
            self.evidence = {i: own for i, own in zip(self.ids[1:], usual.tolist()) if i not in changed}
        presence, doubt = [dict(zip(self.ids[1:], row)) for row in rows] or ({}, {})
        # An empty mask is wrong just where its object is in sight; the less of the two keeps the gate's word
        for i in [i for i in presence if not (labels == i).any()]:
            presence[i] = doubt[i] = min(presence[i], doubt[i])
        return presence | {i: float(i not in absent) for i in changed}, doubt | dict.fromkeys(changed, 0.0)

    def _labels(self, memberships: Float[Tensor, "object working_height working_width"],
                given: UInt8[Tensor, "height width"] | None, changed: set[int],
                first: bool) -> tuple[UInt8[Tensor, "height width"], dict[int, float]]:
        """The frame's labels in full size, and each object's confidence."""
        small, best = winners(memberships, self.ids)
        confidence = {}
        for channel, identity in enumerate(self.ids[1:], 1):
            mask = small == identity
            area = int(mask.count_nonzero())
            confidence[identity] = float((best * mask).sum()) / area if area else 1 - float(memberships[channel].max())
        labels = small if small.shape == self.size else winners(memberships, self.ids, self.size)[0]
        if given is not None:  # as given to the pixel, whatever the working size
            free = (given == 0) | (given == video.VOID)
            own = torch.isin(labels, torch.tensor(sorted(changed), dtype=torch.uint8, device=self.device))
            labels = torch.where(free, labels.masked_fill(own & ((given == 0) | first), 0), given)
        return labels, confidence


def shrinking(size: tuple[int, int], longest: int | None) -> float:
    """The factor that makes a frame's longer side at most `longest`; None or 0 for no cap."""
    return min(1.0, longest / max(size)) if longest else 1.0


def working_size(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """Height and width at which frames of a size are worked on."""
    return max(1, round(size[0] * shrinking(size, longest))), max(1, round(size[1] * shrinking(size, longest)))


def sharing_weights(network: Propagator, **options: object) -> Propagator:
    """A network of the same parameters and buffers, but modules and a configuration of its own, some fields changed."""
    twin = copy.deepcopy(network, {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())})
    config = network.config.replace(**options)
    for module in twin.modules():
        if isinstance(getattr(module, "config", None), ModelConfig):
            module.config = config
    return twin


def enlarged(memberships: Float[Tensor, "... working_height working_width"],
             size: tuple[int, int]) -> Float[Tensor, "... height width"]:
    """Logits at another size whose softmax is the memberships'; nobody's pixels are everybody's."""
    logits = memberships.clamp_min(torch.finfo(torch.float32).tiny).log().reshape(1, -1, *memberships.shape[-2:])
    return F.interpolate(logits, size, mode="bilinear", align_corners=False).reshape(*memberships.shape[:-2], *size)


def winners(memberships: Float[Tensor, "object working_height working_width"], ids: list[int],
            size: tuple[int, int] | None = None) -> tuple[UInt8[Tensor, "height width"], Float[Tensor, "height width"]]:
    """The id of the largest membership of each pixel, the first among equals, and that membership.

    Args:
        memberships: of the background and each object.
        ids: of each.
        size: of the labels; where given, logits at this size are compared, one object at a time, so that memory does
            not grow with them.
    """
    planes = (enlarged(plane, size) if size else plane for plane in memberships)
    best = next(planes).clone()
    labels = torch.full_like(best, ids[0], dtype=torch.uint8)
    for identity, plane in zip(ids[1:], planes):
        labels.masked_fill_(plane > best, identity)
        torch.maximum(best, plane, out=best)
    return labels, best
