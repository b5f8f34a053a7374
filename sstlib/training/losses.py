"""What training minimizes: bootstrapped cross-entropy (CFBI), soft Jaccard (AOT), and the presence head's loss."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib.shapes import Bool, Float, Int

IGNORED = 255


class _Pixels(NamedTuple):
    """What both terms are made of, computed once."""

    logarithms: Float[Tensor, "batch object height width"]  # of the probabilities
    own: Float[Tensor, "batch height width"]  # the one of the pixel's label
    ids: Int[Tensor, "batch height width"]  # labels, 0 where void
    valid: Bool[Tensor, "batch height width"]

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "_Pixels":
        valid, logarithms = labels != IGNORED, logits.log_softmax(1)
        ids = torch.where(valid, labels, 0)
        return cls(logarithms, logarithms.gather(1, ids.unsqueeze(1)).squeeze(1), ids, valid)

    def cross_entropy(self, share: float) -> Tensor:
        per_pixel = -self.own.masked_fill(~self.valid, 0).flatten(1)
        if share == 1:
            return (per_pixel.sum(1) / self.valid.flatten(1).sum(1).clamp(min=1)).mean()
        count = max(1, int(share * per_pixel.shape[1]))
        return per_pixel.topk(count, dim=1, sorted=False).values.mean()

    def jaccard(self) -> Tensor:
        valid, objects = self.valid.to(self.own.dtype), self.logarithms.shape[1]
        intersection, size = (_sums(self.ids, x, objects) for x in (self.own.exp(), valid))
        claimed = torch.einsum("bohw,bhw->bo", self.logarithms.exp(), valid)
        union = claimed + size - intersection
        visible = (size[:, 1:] > 0).to(valid.dtype)
        distance = 1 - intersection[:, 1:] / union[:, 1:].clamp(min=1)
        return ((distance * visible).sum(1) / visible.sum(1).clamp(min=1)).mean()


def _sums(ids: Int[Tensor, "batch height width"], values: Float[Tensor, "batch height width"],
          objects: int) -> Float[Tensor, "batch object"]:
    """The sum of the values of each object's own pixels.

    On a CPU without a map of the truth for every object: those maps were a tenth of a training step. A GPU's threads
    would wait for each other where they add to the same few numbers.
    """
    if values.device.type == "cpu":
        return values.new_zeros(len(ids), objects).scatter_add(1, ids.flatten(1), values.flatten(1))
    return torch.stack([torch.where(ids == o, values, 0).sum((1, 2)) for o in range(objects)], 1)


def presence_loss(presence: Float[Tensor, "batch later object 2"],
                  logits: Float[Tensor, "batch later object height width"],
                  labels: Int[Tensor, "batch time height width"]) -> Float[Tensor, ""]:
    """Cross-entropy of what is told of each object: that it is in sight, and that the mask made of it has a J of at
    least one half.

    Args:
        presence: logits of both, for every frame after the first.
        logits: the masks.
        labels: truth of all frames. Objects that the first one does not show do not count.
    """
    ids = torch.arange(1, logits.shape[2], device=labels.device).view(-1, 1, 1)
    truth, valid = labels[:, 1:, None] == ids, labels[:, 1:, None] != IGNORED
    claimed = (logits.argmax(2)[:, :, None] == ids) & valid
    union = (truth | claimed).sum((3, 4))
    good = 2 * (truth & claimed).sum((3, 4)) >= union
    counted = (labels[:, :1, None] == ids).any(4).any(3).expand_as(good).float()
    wanted = torch.stack([truth.any(4).any(3), good], 3).float()
    per_object = F.binary_cross_entropy_with_logits(presence[:, :, 1:].float(), wanted, reduction="none").sum(3)
    return (per_object * counted).sum() / counted.sum().clamp(min=1)


def segmentation_loss(logits: Float[Tensor, "batch object height width"], labels: Int[Tensor, "batch height width"],
                      share: float = 1.0, jaccard: float = 0.0) -> Float[Tensor, ""]:
    """(1 - jaccard) x mean cross-entropy over each image's hardest `share` of pixels (CFBI) + jaccard x soft Jaccard.

    Soft Jaccard is one minus the soft intersection over union, the mean over an image's visible objects. Images weigh
    the same, so that a batch's loss is the mean over its parts wherever they are computed; void pixels do not count.

    Raises:
        ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share of pixels is {share}; expected more than 0 and at most 1")
    pixels = _Pixels.of(logits, labels)
    loss = pixels.cross_entropy(share)
    return loss if jaccard == 0 else (1 - jaccard) * loss + jaccard * pixels.jaccard()
