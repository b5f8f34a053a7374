"""SST (section 3): sparse attention over a history of frames (Eq. 1 to 6), on a `Propagator`'s features."""

import torch
from torch import Tensor, nn

from sstlib.attention import sparse_attention
from sstlib.attention.tensors import Key, Labels, Members
from sstlib.config import ModelConfig
from sstlib.config.fields import naming
from sstlib.connectivity import parse
from sstlib.model.encoding import PositionalEncoding
from sstlib.model.layers import FilterResponseNorm, Levels
from sstlib.model.matching import FeatureMatching, best_other
from sstlib.model.memory import Features, Memory, Remembered
from sstlib.model.propagator import Propagator
from sstlib.shapes import Float, Int


class EncoderLayer(nn.Module):
    """g_l of Eq. 3: sparse multi-head attention, then a position-wise network, each added and normalized (Fig. 2)."""

    def __init__(self, config: ModelConfig, connectivity: str):
        super().__init__()
        self.config, self.connectivity, self.attention = config, parse(connectivity), sparse_attention
        width, hidden = config.width, config.width * config.feedforward
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        # Queries start as keys: attention is a similarity from the first step, so that masks find their way before
        # anything is learned.
        self.key.load_state_dict(self.query.state_dict())
        frn = config.norm == "frn"
        self.norm1, self.norm2 = (
            FilterResponseNorm(width, last=True) if frn else nn.LayerNorm(width) for _ in range(2))
        nonlinearity = FilterResponseNorm(hidden, threshold=True, last=True) if frn else nn.ReLU(inplace=True)
        self.feedforward = nn.Sequential(nn.Linear(width, hidden), nonlinearity, nn.Linear(hidden, width))

    def heads(self, x: Float[Tensor, "batch time height width channels"]
              ) -> Float[Tensor, "batch head time height width dim"]:
        """Channels dealt out to the heads."""
        return x.unflatten(-1, (self.config.heads, -1)).permute(0, 4, 1, 2, 3, 5).contiguous()

    def keys_and_values(self, x: Float[Tensor, "batch time height width channels"]) -> tuple[Tensor, Tensor]:
        """Key and value of every cell."""
        return self.heads(self.key(x)), self.heads(self.value(x))

    def forward(self, x: Float[Tensor, "batch queries height width channels"],
                key: Float[Tensor, "batch head time height width dim"],
                value: Float[Tensor, "batch head time height width dim"],
                memberships: Float[Tensor, "batch object time height width"] | None,
                labels: Int[Tensor, "batch time height width"] | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Cells of the last frames after attending to all frames, and the last frame's evidence about objects: maps and
        features.

        Maps are (batch, object, 2 or 4 * head, height, width): affinity to the object, best affinity to another, and
        the masks warped from its cells and from those of others; features, if they are what is warped, likewise both.
        None without memberships.
        """
        attended, affinity, warped = self.attend(x, key, value, memberships, labels)
        x = self.norm1(x + attended)
        x = self.norm2(x + self.feedforward(x))
        if memberships is None:
            return x, None, None
        assert affinity is not None  # memberships give it
        maps = torch.cat([affinity, best_other(affinity)], 2)
        if warped is None:
            return x, maps, None
        warped = torch.cat([warped, warped.sum(1, keepdim=True) - warped], 2)
        return (x, maps, warped) if self.config.warped == "features" else (x, torch.cat([maps, warped], 2), None)

    def attend(self, x: Float[Tensor, "batch time_q height width channels"], key: Key, value: Key,
               memberships: Members | None, labels: Labels | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What cells read from all frames, and of the last frame's, for each object: affinities (Eq. 4), and what its
        past cells carry.

        The latter rides as further value channels, so that one pass over the keys gives it all.
        """
        config, dim = self.config, value.shape[-1]
        objects = None if memberships is None else memberships.shape[1]
        if memberships is not None and not config.strict:
            rider = memberships.to(value.dtype).permute(0, 2, 3, 4, 1)[:, None].expand(-1, config.heads, -1, -1, -1, -1)
            if config.warped == "features":
                rider = (rider[..., None] * value[..., None, :]).flatten(-2)
            value = torch.cat([value, rider], -1)
        query = self.heads(self.query(x))
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):  # operators choose their own
            attended = self.attention(query, key, value, self.connectivity, labels=labels, objects=objects,
                                      affinity=config.affinity, scale=dim**-0.5 if config.scaled else None)
        merged = self.out(attended.output[..., :dim].permute(0, 2, 3, 4, 1, 5).flatten(-2))
        if memberships is None:
            return merged, None, None
        affinity = attended.affinity[:, :, :, -1].transpose(1, 2)
        if config.strict:
            return merged, affinity, None
        warped = attended.output[:, :, -1, ..., dim:].unflatten(-1, (objects, -1)).permute(0, 4, 1, 5, 2, 3)
        return merged, affinity, warped.flatten(2, 3)


class SST(Propagator):
    """Sparse Spatiotemporal Transformer: cells of the current frame attend to a history of tau frames (section 3.1).

    Masks enter by object affinity (Eq. 4) and warped memberships alone, so the encoder runs once for all objects.
    Without `causal` every frame of the buffer attends to every other, the last layer for the current frame only; with
    it, past frames never see later ones and their keys and values are kept instead of computed again, tau times less
    encoder work a frame.
    """

    def __init__(self, config: ModelConfig):
        depth, features = len(config.layers), config.warped == "features" and not config.strict
        matches = config.profile == "cfbi+sst"
        scores = 2 if features or config.strict else 4
        super().__init__(config, config.embedding + config.width,
                         2 * config.width * depth * features + 2 * config.embedding * matches,
                         scores * config.heads * depth + FeatureMatching.maps * matches)
        self.feature_matching = FeatureMatching(config.output_stride == 4) if matches else None
        self.project = nn.Conv2d(config.embedding, config.width, 1)
        self.encoding = PositionalEncoding(config.encoding, config.width, config.encoding_base, config.encoding_axes)
        with naming("layers"):
            self.layers = nn.ModuleList(EncoderLayer(config, connectivity) for connectivity in config.layers)

    def derive(self, levels: Levels) -> dict[str, Tensor]:
        return {"tokens": self.project(levels.embedding).permute(0, 2, 3, 1)[:, None]}

    def select_recent(self, frames: tuple[Remembered, ...]) -> tuple[Remembered, ...]:
        return frames[-self.config.history:]

    def store(self, features: Features, cells: Float[Tensor, "batch object height width"], memory: Memory | None,
              grown: Memory | None) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        content = self.encode(features, memory)[2] if self.config.causal else {"tokens": features.derived["tokens"]}
        return content if self.feature_matching is None else content | {"embedding": features.embedding}, {}, {}

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
        references = [r for r in memory.references if r.time < oldest] if self.config.keep_reference else []
        return (*references, *memory.recent)

    def encode(self, features: Features,
               memory: Memory | None) -> tuple[Tensor, tuple[list[Tensor], list[Tensor]], dict[str, Tensor]]:
        """The current frame's encoder output, maps and warped features of all layers, and (causal) keys and values."""
        if features.encoded is not None and features.encoded[0] is memory:
            return features.encoded[1]
        past = self.buffer(memory)
        memberships = labels = None
        if past:
            seen = torch.stack([r.memberships for r in past], 2)
            unknown = torch.zeros_like(seen[:, :, :1])
            memberships = torch.cat([seen, unknown], 2)
            labels = torch.cat([*(r.labels[:, None] for r in past),
                                torch.full_like(unknown[:, 0], -1, dtype=torch.long)], 1)
        x = features.derived["tokens"]
        if not self.config.causal:
            x = torch.cat([*(r.content["tokens"] for r in past), x], 1)
        times = [r.time for r in past] + [memory.time if memory is not None else features.start]
        x = x + self._positions(times[-x.shape[1]:], x)
        maps, warped = [], []
        content: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers):
            key, value = layer.keys_and_values(x)
            if self.config.causal:
                content |= {f"key{number}": key, f"value{number}": value}
                key = torch.cat([*(r.content[f"key{number}"] for r in past), key], 2)
                value = torch.cat([*(r.content[f"value{number}"] for r in past), value], 2)
            queries = x[:, -1:] if number == len(self.layers) - 1 else x
            x, affinity, carried = layer(queries, key, value, memberships, labels)
            maps += [] if affinity is None else [affinity]
            warped += [] if carried is None else [carried]
        result = x[:, -1].permute(0, 3, 1, 2), (maps, warped), content
        features.encoded = (memory, result)
        return result

    def _positions(self, times: list[int], x: Tensor) -> Tensor:
        """Positional encoding of the frames numbered `times` (Eq. 2)."""
        if self.config.encoding_time == "buffer":
            times = [len(times) - 1 - slot for slot in range(len(times))]
        elif self.config.encoding_time == "none":
            times = [0] * len(times)
        return self.encoding(torch.tensor(times, device=x.device), *x.shape[2:4]).to(x.dtype)
