"""What SST is compared with, on the same backbone, decoder and schedule: only the way masks travel differs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.config import ModelConfig
from sstlib.model.layers import Levels, ResidualBlock, upsample
from sstlib.model.matching import FeatureMatching
from sstlib.model.memory import Features, Memory, Remembered
from sstlib.model.propagator import Propagator
from sstlib.shapes import Float

Stored = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]


def beside_masks(shared: Float[Tensor, "batch channels height width"],
                 cells: Float[Tensor, "batch object height width"]
                 ) -> Float[Tensor, "batch_and_object channels_and_two height width"]:
    """What all objects share beside each object's mask and its complement."""
    objects = cells.shape[1]
    return torch.cat([shared[:, None].expand(-1, objects, -1, -1, -1),
                      torch.stack([cells, 1 - cells], 2)], 2).flatten(0, 1)


class Recurrent(Propagator):
    """Recurrent propagation: each object's state goes through a convolutional GRU fed the latest frame and its mask."""

    def __init__(self, config: ModelConfig):
        super().__init__(config, config.embedding, config.width, 0)
        seen = config.embedding + 2 + config.width
        self.update = nn.Conv2d(seen, 2 * config.width, 3, padding=1)
        self.candidate = nn.Conv2d(seen, config.width, 3, padding=1)
        self.look = nn.Conv2d(config.embedding + config.width, config.width, 3, padding=1)

    def store(self, features: Features, cells: Float[Tensor, "batch object height width"], memory: Memory | None,
              grown: Memory | None) -> Stored:
        batch, objects = cells.shape[:2]
        hidden = cells.new_zeros(batch * objects, self.config.width, *cells.shape[2:])
        if grown is not None:
            hidden = grown.state["hidden"].flatten(0, 1)
        seen = beside_masks(features.embedding, cells)
        reset, update = self.update(torch.cat([seen, hidden], 1)).sigmoid().chunk(2, 1)
        candidate = torch.tanh(self.candidate(torch.cat([seen, reset * hidden], 1)))
        hidden = (1 - update) * hidden + update * candidate
        return {}, {}, {"hidden": hidden.unflatten(0, (batch, objects))}

    def evidence(self, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        hidden = memory.state["hidden"]
        objects = hidden.shape[1]
        both = torch.cat([features.embedding[:, None].expand(-1, objects, -1, -1, -1), hidden], 2)
        return features.embedding, F.relu(self.look(both.flatten(0, 1))).unflatten(0, (-1, objects))


class STM(Propagator):
    """Space-time memory (Oh et al., ICCV 2019): cells read, by dense attention, values that each object left in every
    n-th earlier frame.

    Works at half the feature resolution (stride 16 of the small model, as the original). The memory holds the given
    frames, the latest frame and the newest `CAPACITY` of every `EVERY`-th; the original keeps all and grows with
    the video.
    """

    EVERY, CAPACITY = 5, 8

    def __init__(self, config: ModelConfig):
        super().__init__(config, config.embedding + config.width, config.width, 0)
        coarse, width = self.backbone.channels[2], config.width
        self.key, self.seen = nn.Conv2d(coarse, width, 3, padding=1), nn.Conv2d(coarse, width, 3, padding=1)
        self.value = nn.Sequential(nn.Conv2d(width + 2, width, 3, padding=1), ResidualBlock(width, width))

    def derive(self, levels: Levels) -> dict[str, Tensor]:
        return {"key": self.key(levels.coarse), "seen": self.seen(levels.coarse)}

    def store(self, features: Features, cells: Float[Tensor, "batch object height width"], memory: Memory | None,
              grown: Memory | None) -> Stored:
        halved = F.avg_pool2d(cells, 2, ceil_mode=True)
        value = self.value(beside_masks(features.derived["seen"], halved)).unflatten(0, halved.shape[:2])
        return {"key": features.derived["key"]}, {"value": value}, {}

    def select_recent(self, frames: tuple[Remembered, ...]) -> tuple[Remembered, ...]:
        earlier = [frame for frame in frames[:-1] if frame.time % self.EVERY == 0]
        return (*earlier[-self.CAPACITY:], frames[-1])

    def evidence(self, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        recent = {frame.time for frame in memory.recent}
        frames = [*(r for r in memory.references if r.time not in recent), *memory.recent]
        query, size = features.derived["key"], features.embedding.shape[-2:]
        keys = torch.cat([r.content["key"].flatten(2) for r in frames], 2)
        values = torch.cat([r.objects["value"].flatten(3) for r in frames], 3)
        weights = (torch.einsum("bcn,bcm->bnm", query.flatten(2), keys) * query.shape[1]**-0.5).softmax(-1)
        read = torch.einsum("bnm,bocm->bocn", weights, values).unflatten(-1, query.shape[-2:])
        read = upsample(read.flatten(1, 2), size).unflatten(1, values.shape[1:3])
        return torch.cat([features.embedding, upsample(features.derived["seen"], size)], 1), read


class CFBI(Propagator):
    """Foreground and background matching (Yang et al., ECCV 2020): the nearest cell of each object in the given frames,
    and near by in the latest frame, beside the latest embedding inside and outside of the object.

    With ResNet-101, DeepLabV3+ and the ensembler this is CFBI in full width. Its 15 maps are 16 here: the complement of
    the previous mask goes along, as it does for every method.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(config, config.embedding, 2 * config.embedding, FeatureMatching.maps)
        self.feature_matching = FeatureMatching(config.output_stride == 4)

    def store(self, features: Features, cells: Float[Tensor, "batch object height width"], memory: Memory | None,
              grown: Memory | None) -> Stored:
        return {"embedding": features.embedding}, {}, {}

    def evidence(self, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        return features.embedding, torch.cat(self.feature_matches(self.feature_matching, features, memory), 2)
