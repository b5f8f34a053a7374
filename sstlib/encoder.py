"""A layer of SST's encoder: sparse attention over a history of frames, and the evidence about objects that comes with it."""

import torch
from torch import Tensor, nn

from sstlib.attention import sparse_attention
from sstlib.backbone import FilterResponseNorm
from sstlib.config import ModelConfig
from sstlib.connectivity import parse
from sstlib.convolution import projected
from sstlib.matching import best_other
from sstlib.shapes import Float, Int


class EncoderLayer(nn.Module):
    """g_l of Eq. 3: sparse multi-head attention and a position-wise network, each added and then normalized (post-norm, Fig. 2)."""

    def __init__(self, config: ModelConfig, connectivity: str):
        super().__init__()
        self.config, self.connectivity, self.attention = config, parse(connectivity), sparse_attention
        width, hidden = config.width, config.width * config.feedforward
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        # Queries start as keys: attention is a similarity from the first step, so that masks find their way before anything is learned.
        self.key.load_state_dict(self.query.state_dict())
        frn = config.norm == "frn"
        self.norm1, self.norm2 = (FilterResponseNorm(width, last=True) if frn else nn.LayerNorm(width) for _ in range(2))
        nonlinearity = FilterResponseNorm(hidden, threshold=True, last=True) if frn else nn.ReLU(inplace=True)
        self.feedforward = nn.Sequential(nn.Linear(width, hidden), nonlinearity, nn.Linear(hidden, width))

    def heads(self, x: Float[Tensor, "batch time height width channels"]) -> Float[Tensor, "batch head time height width dim"]:
        """Channels dealt out to the heads."""
        return x.unflatten(-1, (self.config.heads, -1)).permute(0, 4, 1, 2, 3, 5).contiguous()

    def keys_and_values(self, x: Float[Tensor, "batch time height width channels"]) -> tuple[Tensor, Tensor]:
        """Key and value of every cell."""
        return self.heads(projected(self.key, x)), self.heads(projected(self.value, x))

    def forward(self, x: Float[Tensor, "batch queries height width channels"], key: Float[Tensor, "batch head time height width dim"],
                value: Float[Tensor, "batch head time height width dim"], memberships: Float[Tensor, "batch object time height width"] | None,
                labels: Int[Tensor, "batch time height width"] | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Cells of the last frames after attending to all frames, and the last frame's evidence about objects: maps and features.

        Maps are (batch, object, 2 or 4 * head, height, width): affinity to the object, best affinity to another, and the masks warped from
        its cells and from those of others; features, if they are what is warped, likewise both. None without memberships.
        """
        attended, affinity, warped = self.attend(x, key, value, memberships, labels)
        x = self.norm1(x + attended)
        first, nonlinearity, second = self.feedforward
        rectified = isinstance(nonlinearity, nn.ReLU)
        hidden = projected(first, x, rectified)
        x = self.norm2(x + projected(second, hidden if rectified else nonlinearity(hidden)))
        if memberships is None:
            return x, None, None
        warped = torch.cat([warped, warped.sum(1, keepdim=True) - warped], 2)
        maps = torch.cat([affinity, best_other(affinity)], 2)
        return (x, maps, warped) if self.config.warped == "features" else (x, torch.cat([maps, warped], 2), None)

    def attend(self, x: Tensor, key: Tensor, value: Tensor, memberships: Tensor | None,
               labels: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What cells read from all frames, and of the last frame's, for each object: affinities (Eq. 4), and what its past cells carry.

        The latter rides as further value channels, so that one pass over the keys gives it all.
        """
        config, dim = self.config, value.shape[-1]
        objects = None
        if memberships is not None:
            objects = memberships.shape[1]
            rider = memberships.to(value.dtype).permute(0, 2, 3, 4, 1)[:, None].expand(-1, config.heads, -1, -1, -1, -1)
            if config.warped == "features":
                rider = (rider[..., None] * value[..., None, :]).flatten(-2)
            value = torch.cat([value, rider], -1)
        query = self.heads(projected(self.query, x))
        with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):  # the operators choose their own precisions
            attended = self.attention(query, key, value, self.connectivity, labels=labels, objects=objects, affinity=config.affinity,
                                      scale=dim**-0.5 if config.scaled else None)
        merged = projected(self.out, attended.output[..., :dim].permute(0, 2, 3, 4, 1, 5).flatten(-2))
        if memberships is None:
            return merged, None, None
        warped = attended.output[:, :, -1, ..., dim:].unflatten(-1, (objects, -1)).permute(0, 4, 1, 5, 2, 3).flatten(2, 3)
        return merged, attended.affinity[:, :, :, -1].transpose(1, 2), warped
