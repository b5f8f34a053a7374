"""The definition: dense masked attention with object affinity (Eq. 4-6), differentiable, in any precision.

It holds the whole attention map, so it is for small buffers: every other implementation is tested against it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sstlib.attention.affinity import INFINITY, TINY, memberships
from sstlib.attention.tensors import Bias, Columns, Key, Labels, Query, Rows, Scores, Some, Value
from sstlib.connectivity import Connectivity, attended
from sstlib.native.pytorch import logsumexp
from sstlib.shapes import Bool, Float


def lacks(pattern: Connectivity, dtype: torch.dtype, device: torch.device, given: Sequence[Some] = (),
          ranks: bool = False) -> str:
    """An empty text: the definition knows everything."""
    return ""


def attention(query: Query, key: Key, value: Value, pattern: Connectivity, scale: float, kind: str,
              bias: Bias | None, labels: Labels | None, objects: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Output, affinity and log-sum-exp over tensors (batch, head, time, height, width, dim).

    `labels` are numbers (batch, time, height, width) or memberships (batch, object, time, height, width). Without them
    there is no affinity, and no bias.

    Raises:
        ValueError: a query without a key.
    """
    queried, size = query.shape[2], tuple(key.shape[2:5])
    attended(queried, pattern, size)
    connected = pattern.mask(*size).to(query.device)[-queried * size[1] * size[2]:]
    q, k, v = (t.flatten(2, 4) for t in (query, key, value))
    scores = (q @ k.mT) * scale
    masked = scores.masked_fill(~connected, -INFINITY)
    lse = logsumexp(masked, -1)
    weights = (masked - lse[..., None]).exp()
    output = (weights @ v).unflatten(2, query.shape[2:5])
    affinity = None
    if labels is not None:
        values = affinities(kind, q, k, scores, lse, None if bias is None else bias[..., None])
        allowed = connected & earlier(size, queried).to(query.device)
        weighed = values[:, :, None] * memberships(labels, objects, q.dtype)[:, None, :, None]
        affinity = weighed.masked_fill(~allowed, 0).amax(-1).clamp_min(0).unflatten(3, query.shape[2:5])
    return output, affinity, lse.unflatten(2, query.shape[2:5])


def affinities(kind: str, q: Rows, k: Columns, scores: Scores, logsumexp: Float[Tensor, "*block row"],
               bias: Some | None) -> Tensor:
    """The affinity of each query to each key (..., query, key), whether connected or not, given their scores."""
    if kind == "weight":
        return (scores - logsumexp[..., None]).clamp_max(0).exp()  # those that are not connected may be beyond
    if kind == "distance":
        return 2 * torch.sigmoid(-(squared_distance(q, k) + bias))
    return scores if kind == "dot" else cosine(q, k)


def earlier(size: tuple[int, int, int], queried: int) -> Bool[Tensor, "queries keys"]:
    """Whether a key's frame comes before the query's, for queries of the last `queried` frames."""
    frame = torch.arange(size[0], device="cpu").repeat_interleave(size[1] * size[2])
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
