"""Object affinity (Eq. 4): each query's best connected cell of earlier frames, per object, without an attention map.

Every kind grows with one ranking score of a key, so attention keeps a running maximum of it beside the softmax and
remembers which key gave it. The affinity follows from that maximum; its gradient from the remembered key alone.

    kind       affinity of query i to key j              ranking score (s = scale q.k)
    weight     softmax weight exp(s - log-sum-exp)       s
    distance   2 (1 - sigmoid(|q - k|^2 + bias))         s - scale |k|^2 / 2
    cosine     q.k / (|q| |k|)                           s / |k|
    dot        s                                         s

Memberships m in [0, 1] multiply the affinity before the maximum; hard labels are memberships of 0 and 1. A maximum of
products needs another ranking: s + log m for weight, score times m for dot and cosine, the affinity itself for distance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("weight", "distance", "cosine", "dot")
TINY = 1e-12  # least norm that cosine divides by


@dataclass(frozen=True)
class Ranking:
    """What attention needs beside queries and keys to rank a key for an object; `group` is batch times head."""

    kind: str
    scale: float
    objects: int
    labels: Tensor | None  # (group, key) with an object's number, or any other number for none
    memberships: Tensor | None  # (group, object, key); one of these two is given
    key_term: Tensor | None  # (group, key): added to the score (distance) or multiplied with it (cosine)
    query_term: Tensor | None  # (group, query): |q|^2 + bias, where memberships weigh distances

    def base(self, scores: Tensor, key_term: Tensor | None) -> Tensor:
        """The ranking score under hard labels, from scores (..., query, key) and the terms of those keys."""
        if self.kind == "distance":
            return scores + key_term
        return scores * key_term if self.kind == "cosine" else scores

    def weighed(self, base: Tensor, membership: Tensor, query_term: Tensor | None) -> Tensor:
        """The ranking score under memberships (..., key) of one object."""
        if self.kind == "weight":
            return base + membership.log()
        if self.kind == "distance":
            return membership * 2 * torch.sigmoid(2 / self.scale * base - query_term)
        return base * membership


def ranking(query: Tensor, key: Tensor, kind: str, scale: float, bias: Tensor, objects: int, heads: int,
            labels: Tensor | None, memberships: Tensor | None) -> Ranking:
    """Prepares the ranking of flattened queries and keys (group, cell, dim); labels (batch, key) are repeated for each head."""
    key_term = query_term = None
    if kind == "distance":
        key_term = key.square().sum(-1) * (-scale / 2)
        if memberships is not None:
            query_term = query.square().sum(-1) + bias
    elif kind == "cosine":
        key_term = key.norm(dim=-1).clamp_min(TINY).reciprocal()
    if memberships is not None:
        memberships = memberships.repeat_interleave(heads, 0)
    else:
        labels = labels.repeat_interleave(heads, 0)
    return Ranking(kind, scale, objects, labels, memberships, key_term, query_term)


class Affinity(torch.autograd.Function):
    """The affinity from the best ranking score; backward goes through the best key of each query and object."""

    @staticmethod
    def forward(ctx, query, key, logsumexp, memberships, bias, best, argmax, kind, scale):
        ctx.save_for_backward(query, key, logsumexp, memberships, bias, argmax)
        ctx.settings = kind, scale
        return from_best(query, logsumexp, bias, best, argmax, kind, scale, memberships is not None)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        query, key, logsumexp, memberships, bias, argmax = ctx.saved_tensors
        totals = [None if t is None else torch.zeros_like(t) for t in (query, key, logsumexp, memberships, bias)]
        for number in range(argmax.shape[1]):
            _add_gradient(totals, grad[:, number], argmax[:, number], number,
                          (query, key, logsumexp, memberships, bias), *ctx.settings)
        return *totals, None, None, None, None


def from_best(query: Tensor, logsumexp: Tensor, bias: Tensor, best: Tensor, argmax: Tensor, kind: str, scale: float,
              soft: bool) -> Tensor:
    """The affinity (group, object, query) of the best ranking scores; 0 where no key carries the object (Eq. 4)."""
    if kind == "weight":
        value = (best - logsumexp[:, None]).exp()
    elif kind == "distance" and not soft:
        squared = query.square().sum(-1)[:, None] - 2 / scale * best
        value = 2 * torch.sigmoid(-(squared.clamp_min(0) + bias[:, None]))
    elif kind == "cosine":
        value = best / (scale * query.norm(dim=-1).clamp_min(TINY)[:, None])
    else:
        value = best
    return torch.where(argmax >= 0, value.clamp_min(0), 0)


def at(query: Tensor, key: Tensor, logsumexp: Tensor, membership: Tensor | None, bias: Tensor, kind: str, scale: float) -> Tensor:
    """The affinity of each query to one key each, as the definition has it (differentiable); all flattened alike."""
    score = (query * key).sum(-1)
    if kind == "weight":
        value = (scale * score - logsumexp).exp()
    elif kind == "distance":
        value = 2 * torch.sigmoid(-((query - key).square().sum(-1) + bias))
    elif kind == "cosine":
        value = score / (query.norm(dim=-1).clamp_min(TINY) * key.norm(dim=-1).clamp_min(TINY))
    else:
        value = scale * score
    value = value.clamp_min(0)
    return value if membership is None else value * membership


def _add_gradient(totals: list, grad: Tensor, argmax: Tensor, number: int, inputs: tuple, kind: str, scale: float) -> None:
    """Adds one object's gradient: the definition at the remembered keys, differentiated there, scattered back."""
    query, key, logsumexp, memberships, bias = inputs
    group, queries = argmax.shape
    width = key.shape[1]
    rows = (argmax.clamp_min(0) + torch.arange(group, device=argmax.device)[:, None] * width).flatten()
    taken = [query.detach(), key.detach().reshape(group * width, -1)[rows].view(group, queries, -1), logsumexp.detach(),
             None if memberships is None else memberships.detach()[:, number].reshape(-1)[rows].view(group, queries), bias.detach()]
    with torch.enable_grad():
        leaves = [None if t is None else t.clone().requires_grad_() for t in taken]
        value = at(*leaves, kind, scale)
        used = [t for t in leaves if t is not None]
        found = iter(torch.autograd.grad(value, used, torch.where(argmax >= 0, grad, 0), allow_unused=True))
    parts = [None if t is None else next(found) for t in leaves]
    for place, part in enumerate(parts):
        if part is None:
            continue
        if place == 1:
            totals[1].view(group * width, -1).index_add_(0, rows, part.reshape(group * queries, -1))
        elif place == 3:
            flat = torch.zeros(group * width, dtype=part.dtype, device=part.device).index_add_(0, rows, part.flatten())
            totals[3][:, number] += flat.view(group, width)
        else:
            totals[place] += part
