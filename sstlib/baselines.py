"""What SST is compared with, on the same backbone, decoder and schedule: only the way masks travel differs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.config import ModelConfig
from sstlib.model import Features, Memory, Propagator
from sstlib.shapes import Float


class Recurrent(Propagator):
    """Recurrent mask propagation: each object's state goes through a convolutional GRU fed with the latest frame and its mask."""

    def __init__(self, config: ModelConfig):
        super().__init__(config, config.embedding, config.width)
        self.update = nn.Conv2d(config.embedding + 2 + config.width, 2 * config.width, 3, padding=1)
        self.candidate = nn.Conv2d(config.embedding + 2 + config.width, config.width, 3, padding=1)
        self.look = nn.Conv2d(config.embedding + config.width, config.width, 3, padding=1)

    def store(self, features: Features, cells: Float[Tensor, "batch object height width"], memory: Memory | None,
              grown: Memory | None) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        batch, objects = cells.shape[:2]
        hidden = grown.state["hidden"] if grown is not None else cells.new_zeros(batch, objects, self.config.width, *cells.shape[2:])
        seen = torch.cat([features.embedding[:, None].expand(-1, objects, -1, -1, -1), torch.stack([cells, 1 - cells], 2)], 2).flatten(0, 1)
        hidden = hidden.flatten(0, 1)
        reset, update = self.update(torch.cat([seen, hidden], 1)).sigmoid().chunk(2, 1)
        candidate = torch.tanh(self.candidate(torch.cat([seen, reset * hidden], 1)))
        hidden = (1 - update) * hidden + update * candidate
        return {}, {}, {"hidden": hidden.unflatten(0, (batch, objects))}

    def evidence(self, features: Features, memory: Memory) -> tuple[Tensor, Tensor]:
        hidden = memory.state["hidden"]
        objects = hidden.shape[1]
        both = torch.cat([features.embedding[:, None].expand(-1, objects, -1, -1, -1), hidden], 2)
        return features.embedding, F.relu(self.look(both.flatten(0, 1))).unflatten(0, (-1, objects))


BASELINES: dict[str, type[Propagator]] = {"recurrent": Recurrent}
