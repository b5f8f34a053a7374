"""What training minimises: bootstrapped cross-entropy (CFBI) and a soft-Jaccard term (AOT)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib.shapes import Float, Int

IGNORED = 255


def bootstrapped_cross_entropy(
    logits: Float[Tensor, "batch object height width"], labels: Int[Tensor, "batch height width"], share: float = 1.0
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the hardest `share` of the pixels of each image (CFBI's only loss); void pixels do not count.

    Each image weighs the same, so that the loss of a batch is the mean over its parts wherever they are computed.

    Raises:
        ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share of pixels is {share}; expected more than 0 and at most 1")
    per_pixel = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none").flatten(1)
    if share == 1:
        return (per_pixel.sum(1) / (labels != IGNORED).flatten(1).sum(1).clamp(min=1)).mean()
    kept = max(1, int(share * per_pixel.shape[1]))
    return per_pixel.topk(kept, dim=1, sorted=False).values.mean()


def soft_jaccard(
    logits: Float[Tensor, "batch object height width"], labels: Int[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """One minus the soft intersection over union: mean over an image's visible objects, then over images; no background.

    An image without a visible object adds nothing: cross-entropy alone judges an empty frame.
    """
    valid, ids = labels != IGNORED, torch.where(labels == IGNORED, 0, labels)
    probabilities = logits.softmax(1)
    # Sums over each object's own pixels, without a map of the truth for every object: those maps were a tenth of a training step.
    own = probabilities.gather(1, ids.unsqueeze(1)).squeeze(1) * valid
    places = ids.flatten(1)
    intersection, size = (logits.new_zeros(logits.shape[:2]).scatter_add(1, places, x.flatten(1)) for x in (own, valid.to(logits.dtype)))
    claimed = torch.einsum("bohw,bhw->bo", probabilities, valid.to(logits.dtype))
    union = claimed + size - intersection
    visible = (size[:, 1:] > 0).to(logits.dtype)
    distance = 1 - intersection[:, 1:] / union[:, 1:].clamp(min=1)
    return ((distance * visible).sum(1) / visible.sum(1).clamp(min=1)).mean()


def segmentation_loss(
    logits: Float[Tensor, "batch object height width"], labels: Int[Tensor, "batch height width"], share: float, jaccard: float
) -> Float[Tensor, ""]:
    """(1 - jaccard) x bootstrapped cross-entropy + jaccard x soft-Jaccard."""
    loss = bootstrapped_cross_entropy(logits, labels, share)
    return loss if jaccard == 0 else (1 - jaccard) * loss + jaccard * soft_jaccard(logits, labels)
