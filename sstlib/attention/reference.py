"""The definition: dense masked attention with object affinity (Eq. 4-6), differentiable, in any precision.

It holds the whole attention map, so it is for small buffers: every other implementation is tested against it.
"""

import torch
from torch import Tensor

from sstlib.attention.affinity import TINY
from sstlib.connectivity import Connectivity
from sstlib.shapes import Bool, Float

INFINITY = float("inf")


def attention(query: Tensor, key: Tensor, value: Tensor, pattern: Connectivity, scale: float, kind: str, bias: Tensor | None,
              members: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Output, affinity and log-sum-exp over tensors (batch, head, time, height, width, dim).

    `members` are memberships (batch, object, time, height, width); hard labels are given as zeros and ones. Without them there is no
    affinity, and no bias.
    """
    queried, size = query.shape[2], tuple(key.shape[2:5])
    connected = pattern.mask(*size).to(query.device)[-queried * size[1] * size[2]:]
    q, k, v = (t.flatten(2, 4) for t in (query, key, value))
    scores = (q @ k.mT) * scale
    masked = scores.masked_fill(~connected, -INFINITY)
    logsumexp = masked.logsumexp(-1)
    weights = (masked - logsumexp[..., None]).exp()
    output = (weights @ v).unflatten(2, query.shape[2:5])
    affinity = None
    if members is not None:
        values = {"weight": lambda: weights, "dot": lambda: scores, "cosine": lambda: cosine(q, k),
                  "distance": lambda: 2 * torch.sigmoid(-(squared_distance(q, k) + bias[..., None]))}[kind]()
        allowed = connected & earlier(size, queried).to(query.device)
        weighed = values[:, :, None] * members.flatten(2)[:, None, :, None]
        affinity = weighed.masked_fill(~allowed, 0).amax(-1).clamp_min(0).unflatten(3, query.shape[2:5])
    return output, affinity, logsumexp.unflatten(2, query.shape[2:5])


def earlier(size: tuple[int, int, int], queried: int) -> Bool[Tensor, "queries keys"]:
    """Whether a key's frame comes before the query's, for queries of the last `queried` frames."""
    frame = torch.arange(size[0]).repeat_interleave(size[1] * size[2])
    return frame[None] < frame[-queried * size[1] * size[2]:, None]


def squared_distance(query: Float[Tensor, "*group queries dim"], key: Float[Tensor, "*group keys dim"]
                     ) -> Float[Tensor, "*group queries keys"]:
    """|q - k|^2 of each pair, without the cancellation of |q|^2 + |k|^2 - 2 q.k."""
    return (query[..., :, None, :] - key[..., None, :, :]).square().sum(-1)


def cosine(query: Float[Tensor, "*group queries dim"], key: Float[Tensor, "*group keys dim"]
           ) -> Float[Tensor, "*group queries keys"]:
    """The angle's cosine of each pair, 0 where one of them is 0."""
    unit = [t / t.norm(dim=-1, keepdim=True).clamp_min(TINY) for t in (query, key)]
    return unit[0] @ unit[1].mT
