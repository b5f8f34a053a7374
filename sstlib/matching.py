"""Matching of the current frame with remembered ones by features alone: dense with the reference frames (an extension for small models)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.shapes import Float


def best_other(scores: Float[Tensor, "batch object *rest"]) -> Float[Tensor, "batch object *rest"]:
    """For each object the largest score that any other object has; 0 where there is no other."""
    if scores.shape[1] == 1:
        return torch.zeros_like(scores)
    top, index = scores.topk(2, dim=1)
    own = torch.arange(scores.shape[1], device=scores.device).view(1, -1, *[1] * (scores.dim() - 2))
    return torch.where(index[:, :1] == own, top[:, 1:], top[:, :1])


class ReferenceMatching(nn.Module):
    """Dense attention from the current frame to all cells of the reference frames, at half the feature resolution.

    Gives each object four maps: the reference memberships read by softmax, its best similarity, and both for the other objects.
    30 x 54 cells at 480p are 2.6 million pairs: a thousandth of dense attention over four frames at stride 8.
    """

    maps = 4

    def __init__(self, channels: int, width: int = 64):
        super().__init__()
        self.key = nn.Conv2d(channels, width, 1)
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def keys(self, coarse: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch key height width"]:
        """Unit vectors to be compared by their cosine."""
        return F.normalize(self.key(coarse), dim=1)

    def forward(self, query: Float[Tensor, "batch key height width"], keys: Float[Tensor, "batch key cells"],
                memberships: Float[Tensor, "batch object cells"]) -> Float[Tensor, "batch object 4 height width"]:
        """Matches against `keys`, the cells of all reference frames, whose objects are `memberships`."""
        cosine = torch.einsum("bcn,bcm->bnm", query.flatten(2), keys)
        weights = (cosine * self.sharpness).softmax(-1)
        read = torch.einsum("bnm,bom->bon", weights, memberships)
        similarity = (1 + cosine) / 2
        best = torch.stack([(similarity * memberships[:, None, o]).amax(-1) for o in range(memberships.shape[1])], 1)
        maps = torch.stack([read, best, read.sum(1, keepdim=True) - read, best_other(best)], 2)
        return maps.unflatten(-1, query.shape[-2:])
