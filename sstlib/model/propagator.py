"""What SST and every rival share: a `Propagator` carries masks from frame to frame.

In three steps: `extract` the features of a frame, `segment` it with a memory of earlier frames, `remember` it with its
masks. Methods differ only in what they remember and what evidence they draw from it.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib import weights
from sstlib.config import ModelConfig
from sstlib.config.networks import BACKBONES, METHODS
from sstlib.model.decoder import PresenceHead, build_decoder
from sstlib.model.layers import Levels, upsample
from sstlib.model.matching import FeatureMatching, ReferenceMatching
from sstlib.model.memory import Features, Memory, Remembered, pool_instances
from sstlib.model.presence import COMPARED, followed, unlikeness
from sstlib.shapes import Float

ABSENT = -20.0  # logit of an object that no given mask has shown yet: no probability, yet a finite loss


class Propagator(nn.Module):
    """Base of SST and its rivals: backbone, decoder and memory. A method overrides the hooks from `select_recent` on,
    and has an entry in `networks.METHODS`.

    Args:
        config: the configuration, kept as `config`.
        shared: channels of evidence that all objects share.
        features: channels of each object's evidence that are features; they come first.
        maps: channels of its evidence that are scores and masks, the previous mask's two not counted.

    Attributes:
        masked: whether the decoder reads the previous mask.
    """

    # Pixels of a frame's longer side that the weights were trained for; None: nothing is known
    longest: int | None = None

    def __init__(self, config: ModelConfig, shared: int, features: int, maps: int):
        super().__init__()
        self.config = config
        self.backbone = BACKBONES[config.backbone].build(config)
        low, _, coarse = self.backbone.channels  # type: ignore[misc]  # a module as any, to the checker
        self.matching = None if config.matching == "none" else ReferenceMatching(coarse, config.matching == "centered",
                                                                                 config.landmarks > 0)
        matched = ReferenceMatching.maps * (1 + (config.landmarks > 0)) if self.matching else 0
        self.masked = not (config.strict and config.profile == "strict")
        self.decoder = build_decoder(config, shared, features, maps + 2 * self.masked + matched, low)
        compared = COMPARED * config.presence_compared
        self.presence = PresenceHead(2 * config.decoder_width, compared) if config.presence else None

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, device: str | torch.device = "cpu") -> "Propagator":
        """The network of released weights, a weights file, a folder or a repository of the Hugging Face hub (see
        `weights.find`).

        Raises:
            FileNotFoundError: no such weights.
            ValueError: no weights of sstlib, or those of another method than this class.
        """
        network = weights.load(name_or_path, device)
        if not isinstance(network, cls):
            raise ValueError(f"{str(name_or_path)!r} is a {type(network).__name__}, not a {cls.__name__}; load it by "
                             "Propagator.from_pretrained")
        return network

    @property
    def centered(self) -> bool:
        """Whether cells sit on every s-th pixel, as ResNet's padding puts them, and not on blocks of s pixels."""
        return BACKBONES[self.config.backbone].centered

    def fitting(self, length: int) -> int:
        """The side nearest to `length` whose cells reach just to the border: 16 k + 1 if centered (CFBI), else any."""
        return max(16 * round((length - 1) / 16), 16) + 1 if self.centered else length

    def extract(self, frame: Float[Tensor, "batch 3 height width"]) -> Features:
        """Features of a batch of frames (RGB in [0, 1]); the costly part that no mask enters."""
        # Convolutions here are twice as fast so
        levels = self.backbone(frame.contiguous(memory_format=torch.channels_last))
        derived = self.derive(levels)
        if self.matching:
            derived["match"] = self.matching.keys(levels.coarse)
        return Features(levels.low, levels.embedding, derived, tuple(frame.shape[-2:]))

    def remember(self, memory: Memory | None, features: Features,
                 memberships: Float[Tensor, "batch object height width"],
                 given: bool | Sequence[int] = False, start: int = 0) -> Memory:
        """A memory that also holds this frame.

        Args:
            memory, start: what was remembered so far; None at the first frame, which has this number.
            features: of the frame.
            memberships: of each pixel in each object (0: the background); more objects than before: some joined.
            given: the objects whose masks come from the user, not from `segment`; True for all of them, as always at
                the first frame. These masks replace all that was remembered of their objects.
        """
        given = range(1, memberships.shape[1]) if given is True else given or ()
        cells = self._cells(features, memberships)
        if memory is None:
            features.start, features.encoded = start, None
        pooled = pool_instances(features.embedding, cells)
        grown = memory.grow(memberships.shape[1]) if memory is not None else None
        if grown is not None and given:
            memory = grown = grown.forget(given)
        content, objects, state = self.store(features, cells, memory, grown)
        if features.level is not None:
            level = F.pad(features.level, (0, memberships.shape[1] - features.level.shape[1]))
            level[:, list(given)] = 0
            state = {**state, "level": level}
        if self.matching:
            content["match"] = features.derived["match"]
        frame = Remembered(memory.time if memory is not None else start, cells, content, objects)
        if grown is None:
            return Memory(start + 1, (frame,), (frame,), pooled, pooled, state)
        references, reference = grown.references, grown.reference
        if given:
            references = (*references, frame.only([0, *given]))
            channels = torch.tensor([0, *given], device=reference.device)
            reference = reference.index_add(1, channels, pooled[:, channels])
        landmarks = grown.landmarks
        if self.config.landmarks and frame.time % self.config.landmark_every == 0:
            landmarks = (*landmarks, _landmark(frame))[-self.config.landmarks:]
        return Memory(grown.time + 1, references, self.select_recent((*grown.recent, frame)), reference, pooled, state,
                      landmarks)

    def _cells(self, features: Features, memberships: Tensor) -> Float[Tensor, "batch object height width"]:
        """Memberships of feature cells, from those of pixels."""
        if tuple(memberships.shape[-2:]) != features.size:
            raise ValueError(f"memberships are {tuple(memberships.shape[-2:])} pixels, the frame {features.size}; "
                             "resize the masks by nearest neighbor")
        if self.centered:
            return F.interpolate(memberships, features.embedding.shape[-2:], mode="bilinear", align_corners=True)
        return F.avg_pool2d(memberships, self.config.output_stride, ceil_mode=True)

    def segment(self, features: Features, memory: Memory) -> Float[Tensor, "batch object height width"]:
        """Logits of every object, the background first, at every pixel of the frame.

        With a presence head they are less by the logarithm of the probability that the object is in sight, and
        `features.presence` is left to be read: (batch, object, 2) logits that it is in sight and that its mask is good
        (J of at least one half).
        """
        shared, evidence = self.evidence(features, memory)
        previous = memory.recent[-1].memberships
        maps = [evidence, torch.stack([previous, 1 - previous], 2)] if self.masked else [evidence]
        if self.matching:
            maps += self._matched(features, memory)
        averages = [x[..., :-1] / (x[..., -1:] + 1e-5) for x in (memory.reference, memory.previous)]
        instance = torch.cat(averages, 2).flatten(2)[..., :0 if self.config.strict else None]
        known = memory.reference[:, :, 0, -1] > 0
        known[:, 0] = True
        if self.presence is None:
            logits = self.decoder(features.low, shared, torch.cat(maps, 2), instance, known)
        else:
            logits, around = self.decoder.decoded(features.low, shared, torch.cat(maps, 2), instance)
            share = logits.masked_fill(~known[:, :, None, None], ABSENT).detach().float().softmax(1)
            compared = unlikeness(share, features, memory) if self.config.presence_compared else None
            features.presence = self.presence(around, share, compared)
            logits = logits + _unseen(features.presence)
            if self.config.presence_gate and not self.training:
                before = memory.state.get("level", torch.zeros_like(features.presence[..., 0]))
                features.level = followed(features.presence[..., 0], before, self.config.presence_gate)
                known = known & (features.level >= 0)
                known[:, 0] = True
        logits = upsample(logits, features.size, 4, self.centered)
        return logits.masked_fill(~known[:, :, None, None], ABSENT)

    def _matched(self, features: Features, memory: Memory) -> list[Tensor]:
        """Maps of the dense matching with the reference frames and with landmarks, at the feature resolution."""
        assert self.matching is not None
        query = features.derived["match"]
        keys = torch.cat([r.content["match"].flatten(2) for r in memory.references], 2)
        memberships = torch.cat([F.avg_pool2d(r.memberships, 2, ceil_mode=True).flatten(2) for r in memory.references],
                                2)
        matches = [self.matching(query, keys, memberships)]
        if memory.landmarks:
            keys, memberships = (torch.cat([x.flatten(2) for x in parts], 2) for parts in zip(
                *((r.content["match"], r.memberships) for r in memory.landmarks), strict=True))
            matches.append(self.matching(query, keys, memberships, landmarks=True))
        elif self.config.landmarks:
            matches.append(torch.zeros_like(matches[0]))
        size = features.embedding.shape[-2:]
        return [upsample(maps.flatten(1, 2), size).unflatten(1, (-1, ReferenceMatching.maps)) for maps in matches]

    def feature_matches(self, matching: FeatureMatching, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        """CFBI's evidence about each object: the latest embedding inside and outside of it, and the maps of `matching`.

        The frames in memory must hold their `embedding`."""
        frames = [(r.content["embedding"], r.labels) for r in (*memory.references, memory.recent[-1])]
        maps = matching(features.embedding, frames[:-1], frames[-1], memory.objects)
        inside = memory.recent[-1].memberships[:, :, None]
        return torch.cat([frames[-1][0][:, None] * inside, frames[-1][0][:, None] * (1 - inside)], 2), maps

    def select_recent(self, frames: tuple[Remembered, ...]) -> tuple[Remembered, ...]:
        """Which of the frames so far stay, oldest first and the latest always last."""
        return frames[-1:]

    def derive(self, levels: Levels) -> dict[str, Tensor]:
        """What the method computes of each frame whatever the memory."""
        return {}

    def store(self, features: Features, cells: Float[Tensor, "batch object height width"], memory: Memory | None,
              grown: Memory | None) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """What is kept of a frame: without an object axis, with one, and the state carried on.

        `memory` is the one that the frame was segmented with, `grown` the same with room for objects that join now."""
        raise NotImplementedError

    def evidence(self, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        """Features that objects share (batch, channels, height, width), and each object's, on a further axis 1."""
        raise NotImplementedError


def _landmark(frame: Remembered) -> Remembered:
    """What dense matching keeps of a frame, averaged over 2x2 of its cells: 16 bytes of 100 at stride 8."""
    match = F.normalize(F.avg_pool2d(frame.content["match"], 2, ceil_mode=True), dim=1)
    return Remembered(frame.time, F.avg_pool2d(frame.memberships, 4, ceil_mode=True), {"match": match}, {})


def _unseen(presence: Float[Tensor, "batch object 2"]) -> Float[Tensor, "batch object 1 1"]:
    """What an object's logits lose for its not being in sight; the background never is out of it."""
    lost = F.logsigmoid(presence[..., 0].float())
    return torch.cat([torch.zeros_like(lost[:, :1]), lost[:, 1:]], 1)[:, :, None, None]


def own_memberships(logits: Float[Tensor, "batch object height width"],
                    hard: bool = False) -> Float[Tensor, "batch object height width"]:
    """Predicted masks as they are fed back, without gradient: softmax over the objects, or 1 for the winner."""
    if hard:
        return F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).float()
    return logits.detach().float().softmax(1)


def unroll(network: Propagator, frames: Float[Tensor, "batch time 3 height width"],
           memberships: Float[Tensor, "batch object height width"],
           teacher: Float[Tensor, "batch time object height width"] | None = None
           ) -> Float[Tensor, "batch later object height width"]:
    """Logits of every frame after the first, whose memberships are given.

    Args:
        network: any method.
        frames: clips in [0, 1].
        memberships: of the first frame.
        teacher: true memberships of all frames, remembered in place of the network's own (CFBI's first half of
            training).
    """
    return unroll_all(network, frames, memberships, teacher)[0]


def unroll_all(network: Propagator, frames: Float[Tensor, "batch time 3 height width"],
               memberships: Float[Tensor, "batch object height width"],
               teacher: Float[Tensor, "batch time object height width"] | None = None, start: int = 0,
               hard: bool = False) -> tuple[Tensor, Tensor | None]:
    """As `unroll`, from frame number `start` on, with own masks as the winner alone if `hard`; and the presence head's
    logits for every later frame (batch, later, object, 2), or None.
    """
    batch, time = frames.shape[:2]
    features = network.extract(frames.transpose(0, 1).flatten(0, 1)).split(batch)
    memory = network.remember(None, features[0], memberships, start=start)
    logits = []
    for t in range(1, time):
        logits.append(network.segment(features[t], memory))
        if t < time - 1:
            memory = network.remember(memory, features[t],
                                      own_memberships(logits[-1], hard) if teacher is None else teacher[:, t])
    presence = [seen.presence for seen in features[1:]]
    return torch.stack(logits, 1), None if presence[0] is None else torch.stack(presence, 1)


def build(config: ModelConfig) -> Propagator:
    """The network of a configuration, freshly initialized, in float32; `config.method` names its entry in `METHODS`."""
    return METHODS[config.method].build(config).float()
