"""Whether an object is in sight and whether its mask may be wrong: probabilities for each object and frame.

A network with a presence head says itself whether an object is in sight. All else is a logistic function of two
numbers; its coefficients were fitted on clips of results/runs/doubt and are scored on others (`releasing.doubt`). The
head's own word on its masks ranks them worse (area under the curve .82 against .90), and is for training alone.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib.model.memory import Features, Memory
from sstlib.shapes import Float

EVIDENCE = ("likeness", "confidence")
COMPARED = 2  # numbers of `unlikeness`
UPDATE = 0.3  # weight of a frame in an object's usual presence
FADE = 0.95  # of the usual presence of one that goes out of sight
RETURN = -1.0  # logit above which an object that was out of sight is back
# Coefficients of EVIDENCE, and what is added.
PRESENCE = (5.417, 6.197, -8.295)
DOUBT = (-14.575, -16.924, 28.183)
# Of networks with a presence head, for running means of the evidence (what is lost stays lost for a while) and its own
DOUBT_COMPARED = (-43.409, -17.231, -10.347, -4.725, 70.744)
INERTIA = 0.85  # chosen on the same clips as the inputs of doubt, by less than .01 of the area under the curve


def likeness(memory: Memory) -> Float[Tensor, " object"]:
    """Cosine of each object's latest mean embedding to that of its given masks, background first; 0 where absent."""
    return F.cosine_similarity(memory.reference[0, :, 0, :-1], memory.previous[0, :, 0, :-1], 1)


def unlikeness(share: Float[Tensor, "batch object fine_height fine_width"], features: Features,
               memory: Memory) -> Float[Tensor, "batch object 2"]:
    """How little what a predicted mask holds is like what the given masks hold: log(10.1 - 10 cosine) of mean
    embeddings and of mean features of the dense matching.

    Where an object is hidden, masks that stay behind lie on an occluder or on one of its kind, which the decoder cannot
    tell as well from what it sees around them.
    """
    given = sum(_sums(r.content["match"], r.memberships) for r in memory.references)
    pairs = ((_sums(features.embedding, share), memory.reference[:, :, 0, :-1]),
             (_sums(features.derived["match"], share), given))
    cosine = torch.stack([F.cosine_similarity(own.float(), known.float(), -1) for own, known in pairs], 2)
    return (10.1 - 10 * cosine).log()


def _sums(features: Float[Tensor, "batch channels height width"],
          memberships: Float[Tensor, "batch object fine_height fine_width"]) -> Float[Tensor, "batch object channels"]:
    """Features summed over each object."""
    cells = F.adaptive_avg_pool2d(memberships, features.shape[-2:])
    return torch.einsum("bohw,bchw->boc", cells, features.to(cells.dtype))


def followed(logit: Float[Tensor, "batch object"], level: Float[Tensor, "batch object"],
             share: float) -> Float[Tensor, "batch object"]:
    """The usual logit of each object's presence, updated; less than 0 while it is out of sight, 0 before it was seen.

    How sure the head is differs from object to object, so that one goes out of sight where its logit falls below a
    `share` of its own usual one. Memory has no mask of it from then on, so that the logit falls further; where it is
    above RETURN, the object is in sight again for a frame, and stays if the logit is as high as before then. What has
    changed for good is in sight for good after a while, as its usual logit fades.
    """
    usual = torch.where(logit < share * level, -FADE * level, level + UPDATE * (logit - level))
    return torch.where(level > 0, usual, torch.where(level < 0, torch.where(logit > RETURN, -level, level),
                                                     logit.clamp_min(1)))


def logistic(numbers: Float[Tensor, "object kind"], coefficients: Sequence[float]) -> Float[Tensor, " object"]:
    """Probabilities from evidence."""
    *slopes, bias = coefficients
    return (numbers @ numbers.new_tensor(slopes) + bias).sigmoid()


def evidence(memory: Memory, confidence: Sequence[float]) -> Float[Tensor, "object 2"]:
    """The EVIDENCE of each object by a memory that holds the frame and `Prediction.confidence`, background aside."""
    alike = likeness(memory)[1:].float()
    return torch.stack([alike, alike.new_tensor(confidence)], 1)


def presence_and_doubt(features: Features, numbers: Float[Tensor, "object 2"],
                       usual: Float[Tensor, "object 2"]) -> Float[Tensor, "2 object"]:
    """Probability of each object that it is in sight, and that the J of its mask is below 0.5.

    Args:
        features: of the frame, once it was segmented; the last of `usual` may have joined since: they are in sight.
        numbers: the frame's `evidence`.
        usual: its running means, this frame included.
    """
    if features.presence is None:
        return torch.stack([logistic(numbers, PRESENCE), logistic(numbers, DOUBT)])
    seen = features.presence[0, 1:, 0].float().sigmoid()
    if features.level is not None:  # the gate's word is the last
        seen = torch.where(features.level[0, 1:] < 0, torch.minimum(seen, 1 - seen), seen)
    doubt = logistic(torch.cat([usual, numbers], 1), DOUBT_COMPARED)
    return torch.stack([F.pad(seen, (0, len(usual) - len(seen)), value=1), doubt])
