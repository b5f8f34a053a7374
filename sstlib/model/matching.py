"""Matching of the current frame with remembered ones by features alone: densely with the reference frames, and CFBI's
two kinds.

CFBI's maps are distances to the nearest cell of each object, in all reference frames (global) and in windows of the
latest frame (multi-local). The nearest cell is searched without gradient and the distance to it computed with, which is
the gradient of the minimum.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sstlib.model.layers import upsample
from sstlib.shapes import Float, Int

RADII = (2, 4, 6, 8, 10, 12)  # cells of stride 8
QUERIES = 1024  # cells compared with all keys at a time
# likewise, where the scores of so many stay in a processor's cache: three times as fast as going through memory
CACHED = 128
WIDEST = 112  # channels in which centered features are compared: those of EfficientNet-Lite0 at its stride 16
FAR = 5e4  # squared distance to an object that is nowhere in reach (CFBI)
Labeled = tuple[Float[Tensor, "batch channels height width"], Int[Tensor, "batch height width"]]  # embedding, labels


def best_other(scores: Float[Tensor, "batch object *rest"]) -> Float[Tensor, "batch object *rest"]:
    """For each object the largest score that any other object has; 0 where there is no other."""
    if scores.shape[1] == 1:
        return torch.zeros_like(scores)
    if scores.shape[1] == 2:
        return scores.flip(1)
    top, index = scores.topk(2, dim=1)
    own = torch.arange(scores.shape[1], device=scores.device).view(1, -1, *[1] * (scores.dim() - 2))
    return torch.where(index[:, :1] == own, top[:, 1:], top[:, :1])


class ReferenceMatching(nn.Module):
    """Dense attention from the current frame to all cells of the reference frames, at half the feature resolution.

    Gives each object four maps: the reference memberships read by softmax, its best similarity, and both for the other
    objects. 30 x 54 cells at 480p are 2.6 million pairs: a thousandth of dense attention over four frames at stride 8.

    Args:
        channels: of the coarse features.
        centered: compare the features less their mean over the frame, by a projection that starts as the identity:
            pretrained ones tell what belongs together best so, and are there from the first step.
        landmarks: there are other frames to match with too.
    """

    maps = 4

    def __init__(self, channels: int, centered: bool = False, landmarks: bool = False):
        super().__init__()
        self.centered = centered
        self.key = nn.Conv2d(channels, WIDEST if centered else 64, 1, bias=not centered)
        if centered:
            nn.init.dirac_(self.key.weight)
        self.sharpness = nn.Parameter(torch.tensor(10.0))
        self.landmark_sharpness = nn.Parameter(torch.tensor(10.0)) if landmarks else None

    def keys(self, coarse: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch key height width"]:
        """Unit vectors to be compared by their cosine."""
        if self.centered:
            coarse = coarse - coarse.mean((2, 3), keepdim=True)
        return F.normalize(self.key(coarse), dim=1)

    def forward(self, query: Float[Tensor, "batch key height width"], keys: Float[Tensor, "batch key cells"],
                memberships: Float[Tensor, "batch object cells"],
                landmarks: bool = False) -> Float[Tensor, "batch object 4 height width"]:
        """Matches with `keys`, the cells of all reference frames or of all landmarks, and their `memberships`."""
        read, best, half = [], [], memberships / 2  # (1 + cosine) / 2 is the similarity
        sharpness = self.landmark_sharpness if landmarks else self.sharpness
        # A GPU pays for launches
        for part in query.flatten(2).mT.split(CACHED if query.device.type == "cpu" else QUERIES, 1):
            cosine = part @ keys
            weights = (cosine * sharpness).softmax(-1)
            read.append(memberships @ weights.mT)
            # In place where no gradient needs it: passes over memory are what this costs
            nearness = cosine + 1 if cosine.requires_grad else cosine.add_(1)
            best.append(torch.stack([(nearness * half[:, None, o]).amax(-1) for o in range(half.shape[1])], 1))
        shares, closest = torch.cat(read, 2), torch.cat(best, 2)
        maps = torch.stack([shares, closest, shares.sum(1, keepdim=True) - shares, best_other(closest)], 2)
        return maps.unflatten(-1, query.shape[-2:])


class FeatureMatching(nn.Module):
    """CFBI's global and multi-local foreground and background matching: 14 maps an object, each a distance squashed to
    0..1.

    Args:
        halved: search the windows at half the resolution, as CFBI does at stride 4.
    """

    maps = 2 + 2 * len(RADII)

    def __init__(self, halved: bool):
        super().__init__()
        self.halved = halved
        self.background, self.foreground = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, query: Float[Tensor, "batch channels height width"],
                references: list[Labeled], previous: Labeled, objects: int
                ) -> Float[Tensor, "batch object 14 height width"]:
        """Maps of the query against given frames and the latest one, each an embedding and the labels of its cells."""
        size = query.shape[-2:]
        keys = torch.cat([embedding.flatten(2) for embedding, _ in references], 2)
        labels = torch.cat([numbers.flatten(1) for _, numbers in references], 1)
        everywhere = nearest(query.flatten(2), keys, labels, objects).unflatten(2, size)[:, :, None]
        if self.halved:
            query, previous = _halve(query), (_halve(previous[0]), previous[1][:, ::2, ::2])
        near = upsample(nearest_in_windows(query, *previous, objects).flatten(1, 2), size,
                        centered=True).unflatten(1, (objects, -1))
        bias = torch.stack([self.background] + [self.foreground] * (objects - 1)).view(-1, 1, 1, 1)
        own = 2 * (torch.cat([everywhere, near], 2) + bias).sigmoid() - 1
        return torch.cat([own, 1 - best_other(1 - own)], 2)


def _halve(x: Tensor) -> Tensor:
    """Every second cell, averaged with its neighbors, so that cell i of the result lies on cell 2 i."""
    return F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)


def nearest(query: Float[Tensor, "batch channels cells"], keys: Float[Tensor, "batch channels keys"],
            labels: Int[Tensor, "batch keys"], objects: int) -> Float[Tensor, "batch object cells"]:
    """Squared distance from each query to the nearest key of each object; the far value where an object has no key."""
    with torch.no_grad():
        indices = []
        length = keys.square().sum(1)
        for part in query.split(QUERIES, 2):
            distance = length[:, None] - 2 * torch.einsum("bcn,bcm->bnm", part, keys)
            indices.append(torch.stack([distance.masked_fill((labels != o)[:, None], torch.inf).argmin(2)
                                        for o in range(objects)], 1))
        index = torch.cat(indices, 2)
        present = torch.stack([(labels == o).any(1) for o in range(objects)], 1)
    return _distances(query, keys, torch.where(present[:, :, None], index, -1))


def nearest_in_windows(query: Float[Tensor, "batch channels height width"],
                       keys: Float[Tensor, "batch channels height width"], labels: Int[Tensor, "batch height width"],
                       objects: int) -> Float[Tensor, "batch object radius height width"]:
    """As `nearest`, for keys at most a radius away along height and along width; one map for each of RADII."""
    batch, _, height, width = query.shape
    reach = RADII[-1]
    rings: list[Tensor] = []
    with torch.no_grad():
        padded = F.pad(keys, (reach,) * 4)
        numbers = F.pad(labels, (reach,) * 4, value=-1)
        places = F.pad(torch.arange(height * width, device=query.device).view(1, height, width), (reach,) * 4, value=-1)
        least = query.new_full((batch, objects, height, width), torch.inf)
        index = torch.full_like(least, -1, dtype=torch.long)
        ids = torch.arange(objects, device=query.device).view(1, -1, 1, 1)
        offsets = sorted(((dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)),
                         key=lambda o: max(map(abs, o)))
        for number, (dy, dx) in enumerate(offsets, 1):
            window = (..., slice(reach + dy, reach + dy + height), slice(reach + dx, reach + dx + width))
            distance = torch.where(numbers[window][:, None] == ids,
                                   (query - padded[window]).square().sum(1, keepdim=True), torch.inf)
            index = torch.where(distance < least, places[window], index)
            least = torch.minimum(distance, least)
            if number in {(2 * radius + 1) ** 2 for radius in RADII}:
                rings.append(index)
    distances = [_distances(query.flatten(2), keys.flatten(2), ring.flatten(2)) for ring in rings]
    return torch.stack(distances, 2).unflatten(-1, (height, width))


def _distances(query: Tensor, keys: Tensor,
               index: Int[Tensor, "batch object cells"]) -> Float[Tensor, "batch object cells"]:
    """Squared distances from each query to the key of each object at `index`; far where that is -1."""
    channels = query.shape[1]
    chosen = [keys.gather(2, index[:, o].clamp(min=0)[:, None].expand(-1, channels, -1)) for o in range(index.shape[1])]
    distance = torch.stack([(query - key).square().sum(1) for key in chosen], 1)
    return torch.where(index >= 0, distance, FAR)
