"""SST (section 3): per-frame features, sparse attention over a history of frames, a decoder; and what every rival shares with it.

A `Propagator` carries masks from frame to frame in three steps: `extract` the features of a frame, `segment` it with a memory of
earlier frames, `remember` it with its masks. Methods differ only in what they remember and what evidence they draw from it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.backbone import Levels, build_backbone, enlarge
from sstlib.config import MODELS, ModelConfig
from sstlib.decoder import PresenceHead, build_decoder
from sstlib.encoder import EncoderLayer
from sstlib.encoding import PositionalEncoding
from sstlib.matching import FeatureMatching, ReferenceMatching
from sstlib.memory import Features, Memory, Remembered, pool_instances
from sstlib.shapes import Float

__all__ = ["MODELS", "SST", "Features", "Memory", "Propagator", "Remembered", "build", "own_memberships", "unroll"]

ABSENT = -20.0  # logit of an object that no given mask has shown yet: no probability, yet a finite loss


class Propagator(nn.Module):
    """Base of SST and its rivals: backbone, decoder and memory. A method overrides the hooks from `select_recent` on.

    Args:
        config: the configuration, kept as `config`.
        shared: channels of evidence that all objects share.
        features: channels of each object's evidence that are features; they come first.
        maps: channels of its evidence that are scores and masks, the previous mask's two not counted.
    """

    longest: int | None = None  # pixels of a frame's longer side that the weights were trained for; None: nothing is known

    def __init__(self, config: ModelConfig, shared: int, features: int, maps: int):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config)
        low, _, coarse = self.backbone.channels
        self.matching = None if config.matching == "none" else ReferenceMatching(coarse, config.matching == "centered", config.landmarks > 0)
        matched = ReferenceMatching.maps * (1 + (config.landmarks > 0)) if self.matching else 0
        self.decoder = build_decoder(config, shared, features, maps + 2 + matched, low)
        self.presence = PresenceHead(2 * config.decoder_width) if config.presence else None

    @classmethod
    def from_pretrained(cls, name_or_path: str, device: str | torch.device = "cpu") -> "Propagator":
        """The network of released weights, a weights file, a folder or a repository of the Hugging Face hub (see `weights.find`).

        Raises:
            FileNotFoundError: no such weights.
            ValueError: no weights of sstlib, or those of another method than this class.
        """
        from sstlib import weights  # a room after this one

        network = weights.load(name_or_path, device)
        if not isinstance(network, cls):
            raise ValueError(f"{str(name_or_path)!r} is a {type(network).__name__}, not a {cls.__name__}; load it by Propagator.from_pretrained")
        return network

    @property
    def centred(self) -> bool:
        """Whether cells sit on every s-th pixel, as ResNet's padding puts them, and not on blocks of s pixels."""
        return self.config.backbone.startswith("resnet")

    def fitting(self, length: int) -> int:
        """The side nearest to `length` whose cells reach exactly to the border: 16 k + 1 for centred cells (CFBI), else any."""
        return max(16 * round((length - 1) / 16), 16) + 1 if self.centred else length

    def extract(self, frame: Float[Tensor, "batch 3 height width"]) -> Features:
        """Features of a batch of frames (RGB in [0, 1]); the costly part that no mask enters."""
        levels = self.backbone(frame.contiguous(memory_format=torch.channels_last))  # convolutions here are twice as fast so
        derived = self.derive(levels)
        if self.matching:
            derived["match"] = self.matching.keys(levels.coarse)
        return Features(levels.low, levels.embedding, derived, tuple(frame.shape[-2:]))

    def remember(self, memory: Memory | None, features: Features, memberships: Float[Tensor, "batch object height width"],
                 given: bool | Sequence[int] = False) -> Memory:
        """A memory that also holds this frame.

        Args:
            memory: what was remembered so far; None at the first frame.
            features: of the frame.
            memberships: of each pixel in each object, object 0 the background; more objects than before means that some joined.
            given: the objects whose masks come from the user, not from `segment`; True for all of them, as always at the first frame.
                These masks replace all that was remembered of their objects.
        """
        given = range(1, memberships.shape[1]) if given is True else given or ()
        if tuple(memberships.shape[-2:]) != features.size:
            raise ValueError(f"memberships are {tuple(memberships.shape[-2:])} pixels, the frame {features.size}; resize the masks by nearest neighbor")
        if self.centred:
            cells = F.interpolate(memberships, features.embedding.shape[-2:], mode="bilinear", align_corners=True)
        else:
            cells = F.avg_pool2d(memberships, self.config.output_stride, ceil_mode=True)
        pooled = pool_instances(features.embedding, cells)
        grown = memory.grow(memberships.shape[1]) if memory is not None else None
        if grown is not None and given:
            memory = grown = grown.forget(given)
        content, objects, state = self.store(features, cells, memory, grown)
        if self.matching:
            content["match"] = features.derived["match"]
        frame = Remembered(memory.time if memory is not None else 0, cells, content, objects)
        if grown is None:
            return Memory(1, (frame,), (frame,), pooled, pooled, state)
        references, reference = grown.references, grown.reference
        if given:
            references = (*references, frame.only([0, *given]))
            channels = torch.tensor([0, *given], device=reference.device)
            reference = reference.index_add(1, channels, pooled[:, channels])
        landmarks = grown.landmarks
        if self.config.landmarks and frame.time % self.config.landmark_every == 0:
            landmarks = (*landmarks, _landmark(frame))[-self.config.landmarks:]
        return Memory(grown.time + 1, references, self.select_recent((*grown.recent, frame)), reference, pooled, state, landmarks)

    def segment(self, features: Features, memory: Memory) -> Float[Tensor, "batch object height width"]:
        """Logits of every object, the background first, at every pixel of the frame.

        With a presence head they are less by the logarithm of the probability that the object is in sight, and `features.presence` is left
        to be read: (batch, object, 2) logits that it is in sight and that its mask is good (J of at least one half).
        """
        shared, evidence = self.evidence(features, memory)
        previous = memory.recent[-1].memberships
        maps = [evidence, torch.stack([previous, 1 - previous], 2)]
        if self.matching:
            maps += self._matched(features, memory)
        averages = [x[..., :-1] / (x[..., -1:] + 1e-5) for x in (memory.reference, memory.previous)]
        instance = torch.cat(averages, 2).flatten(2)
        known = memory.reference[:, :, 0, -1] > 0
        known[:, 0] = True
        if self.presence is None:
            logits = self.decoder(features.low, shared, torch.cat(maps, 2), instance, known)
        else:
            logits, around = self.decoder.decoded(features.low, shared, torch.cat(maps, 2), instance)
            features.presence = self.presence(around, logits.masked_fill(~known[:, :, None, None], ABSENT))
            logits = logits + _unseen(features.presence)
        logits = enlarge(logits, features.size, 4, self.centred)
        return logits.masked_fill(~known[:, :, None, None], ABSENT)

    def _matched(self, features: Features, memory: Memory) -> list[Tensor]:
        """Maps of the dense matching with the reference frames and with landmarks, at the feature resolution."""
        query = features.derived["match"]
        keys = torch.cat([r.content["match"].flatten(2) for r in memory.references], 2)
        memberships = torch.cat([F.avg_pool2d(r.memberships, 2, ceil_mode=True).flatten(2) for r in memory.references], 2)
        found = [self.matching(query, keys, memberships)]
        if memory.landmarks:
            keys, memberships = (torch.cat([x.flatten(2) for x in kept], 2) for kept in zip(
                *((r.content["match"], r.memberships) for r in memory.landmarks), strict=True))
            found.append(self.matching(query, keys, memberships, landmarks=True))
        elif self.config.landmarks:
            found.append(torch.zeros_like(found[0]))
        size = features.embedding.shape[-2:]
        return [enlarge(maps.flatten(1, 2), size).unflatten(1, (-1, ReferenceMatching.maps)) for maps in found]

    def feature_matches(self, matching: FeatureMatching, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        """CFBI's evidence about each object: the latest embedding inside and outside of it, and the maps of `matching`.

        The frames in memory must hold their `embedding`."""
        kept = [(r.content["embedding"], r.labels) for r in (*memory.references, memory.recent[-1])]
        maps = matching(features.embedding, kept[:-1], kept[-1], memory.objects)
        inside = memory.recent[-1].memberships[:, :, None]
        return torch.cat([kept[-1][0][:, None] * inside, kept[-1][0][:, None] * (1 - inside)], 2), maps

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
        """Features shared by all objects (batch, channels, height, width) and evidence of each (batch, object, channels, height, width)."""
        raise NotImplementedError


def _landmark(frame: Remembered) -> Remembered:
    """What dense matching keeps of a frame: keys and memberships averaged over 2x2 of its cells, 16 bytes of 100 at stride 8."""
    match = F.normalize(F.avg_pool2d(frame.content["match"], 2, ceil_mode=True), dim=1)
    return Remembered(frame.time, F.avg_pool2d(frame.memberships, 4, ceil_mode=True), {"match": match}, {})


def _unseen(presence: Float[Tensor, "batch object 2"]) -> Float[Tensor, "batch object 1 1"]:
    """What an object's logits lose for its not being in sight; the background never is out of it."""
    lost = F.logsigmoid(presence[..., 0].float())
    return torch.cat([torch.zeros_like(lost[:, :1]), lost[:, 1:]], 1)[:, :, None, None]


class SST(Propagator):
    """Sparse Spatiotemporal Transformer: cells of the current frame attend to a history of tau frames (section 3.1).

    Masks enter by object affinity (Eq. 4) and warped memberships alone, so the encoder runs once for all objects. Without `causal` every
    frame of the buffer attends to every other, the last layer for the current frame only; with it, past frames never see later ones and
    their keys and values are kept instead of computed again, tau times less encoder work a frame.
    """

    def __init__(self, config: ModelConfig):
        depth, features = len(config.layers), config.warped == "features"
        matches = config.profile == "cfbi+sst"
        super().__init__(config, config.embedding + config.width, 2 * config.width * depth * features + 2 * config.embedding * matches,
                         (2 if features else 4) * config.heads * depth + FeatureMatching.maps * matches)
        self.feature_matching = FeatureMatching(config.output_stride == 4) if matches else None
        self.project = nn.Conv2d(config.embedding, config.width, 1)
        self.encoding = PositionalEncoding(config.encoding, config.width, config.encoding_base, config.encoding_axes)
        self.layers = nn.ModuleList(EncoderLayer(config, connectivity) for connectivity in config.layers)

    def derive(self, levels: Levels) -> dict[str, Tensor]:
        return {"tokens": self.project(levels.embedding).permute(0, 2, 3, 1)[:, None]}

    def select_recent(self, frames: tuple[Remembered, ...]) -> tuple[Remembered, ...]:
        return frames[-self.config.history:]

    def store(self, features: Features, cells: Float[Tensor, "batch object height width"], memory: Memory | None,
              grown: Memory | None) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        kept = self.encode(features, memory)[2] if self.config.causal else {"tokens": features.derived["tokens"]}
        return kept if self.feature_matching is None else kept | {"embedding": features.embedding}, {}, {}

    def evidence(self, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        encoded, (maps, warped), _ = self.encode(features, memory)
        if self.feature_matching is not None:
            pair, matches = self.feature_matches(self.feature_matching, features, memory)
            maps, warped = [*maps, matches], [*warped, pair]
        return torch.cat([features.embedding, encoded], 1), torch.cat([*warped, *maps], 2)

    def buffer(self, memory: Memory | None) -> tuple[Remembered, ...]:
        """The earlier frames that the current one attends to, in the order of time."""
        if memory is None:
            return ()
        oldest = memory.recent[0].time if memory.recent else memory.time
        kept = [r for r in memory.references if r.time < oldest] if self.config.keep_reference else []
        return (*kept, *memory.recent)

    def encode(self, features: Features, memory: Memory | None) -> tuple[Tensor, tuple[list[Tensor], list[Tensor]], dict[str, Tensor]]:
        """Encoder output of the current frame, maps and warped features of all layers, and (causal) the keys and values to keep."""
        if features.encoded is not None and features.encoded[0] is memory:
            return features.encoded[1]
        past = self.buffer(memory)
        memberships = labels = None
        if past:
            seen = torch.stack([r.memberships for r in past], 2)
            unknown = torch.zeros_like(seen[:, :, :1])
            memberships = torch.cat([seen, unknown], 2)
            labels = torch.cat([*(r.labels[:, None] for r in past), torch.full_like(unknown[:, 0], -1, dtype=torch.long)], 1)
        x = features.derived["tokens"]
        if not self.config.causal:
            x = torch.cat([*(r.content["tokens"] for r in past), x], 1)
        times = [r.time for r in past] + [memory.time if memory is not None else 0]
        x = x + self._positions(times[-x.shape[1]:], x)
        maps, warped, kept = [], [], {}
        for number, layer in enumerate(self.layers):
            key, value = layer.keys_and_values(x)
            if self.config.causal:
                kept |= {f"key{number}": key, f"value{number}": value}
                key = torch.cat([*(r.content[f"key{number}"] for r in past), key], 2)
                value = torch.cat([*(r.content[f"value{number}"] for r in past), value], 2)
            queries = x[:, -1:] if number == len(self.layers) - 1 else x
            x, found, carried = layer(queries, key, value, memberships, labels)
            maps += [] if found is None else [found]
            warped += [] if carried is None else [carried]
        result = x[:, -1].permute(0, 3, 1, 2), (maps, warped), kept
        features.encoded = (memory, result)
        return result

    def _positions(self, times: list[int], x: Tensor) -> Tensor:
        """Positional encoding of the frames numbered `times` (Eq. 2)."""
        if self.config.encoding_time == "buffer":
            times = [len(times) - 1 - slot for slot in range(len(times))]
        elif self.config.encoding_time == "none":
            times = [0] * len(times)
        return self.encoding(torch.tensor(times, device=x.device), *x.shape[2:4]).to(x.dtype)


def own_memberships(logits: Float[Tensor, "batch object height width"]) -> Float[Tensor, "batch object height width"]:
    """Predicted masks as they are fed back in training and use alike: softmax over the objects, without gradient."""
    return logits.detach().float().softmax(1)


def unroll(network: Propagator, frames: Float[Tensor, "batch time 3 height width"], memberships: Float[Tensor, "batch object height width"],
           teacher: Float[Tensor, "batch time object height width"] | None = None) -> Float[Tensor, "batch later object height width"]:
    """Logits of every frame after the first, whose memberships are given.

    Args:
        network: any method.
        frames: clips in [0, 1].
        memberships: of the first frame.
        teacher: true memberships of all frames, remembered in place of the network's own (CFBI's first half of training).
    """
    return unroll_all(network, frames, memberships, teacher)[0]


def unroll_all(network: Propagator, frames: Float[Tensor, "batch time 3 height width"], memberships: Float[Tensor, "batch object height width"],
               teacher: Float[Tensor, "batch time object height width"] | None = None) -> tuple[Tensor, Tensor | None]:
    """As `unroll`, and what the presence head says of every frame after the first (batch, later, object, 2), if there is one."""
    batch, time = frames.shape[:2]
    features = network.extract(frames.transpose(0, 1).flatten(0, 1)).split(batch)
    memory = network.remember(None, features[0], memberships)
    logits = []
    for t in range(1, time):
        logits.append(network.segment(features[t], memory))
        if t < time - 1:
            memory = network.remember(memory, features[t], own_memberships(logits[-1]) if teacher is None else teacher[:, t])
    told = [seen.presence for seen in features[1:]]
    return torch.stack(logits, 1), None if told[0] is None else torch.stack(told, 1)


def build(config: ModelConfig) -> Propagator:
    """The network of a configuration, freshly initialized; `config.method` chooses the class."""
    from sstlib.baselines import BASELINES  # the rivals subclass Propagator, so their room comes after this one

    return {"sst": SST, **BASELINES}[config.method](config)
