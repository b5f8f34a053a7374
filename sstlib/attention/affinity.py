"""Object affinity (Eq. 4): each query's best connected cell of earlier frames, per object, without an attention map.

Every kind grows with one ranking score of a key, so attention keeps a running maximum of it beside the softmax and,
when a gradient is wanted, remembers which key gave it. The affinity follows from that maximum; its gradient from that
key alone.

    kind       affinity of query i to key j            ranked by, under hard labels     weighed by memberships m
    weight     softmax weight exp(s - log-sum-exp)     s                                s + log m
    distance   2 (1 - sigmoid(|q - k|^2 + bias))       s - scale |k|^2 / 2              m 2 (1 - sigmoid(...)) itself
    cosine     q.k / (|q| |k|)                         s / |k|                          s m / |k|
    dot        s = scale q.k                           s                                s m

Memberships in [0, 1] multiply the affinity before the maximum; hard labels are memberships of 0 and 1. So three modes
cover all: add a term a key and object to the score (-inf: not of that object), multiply with one (0: not), or the
sigmoid.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sstlib.attention.tensors import Best, Bias, Key, Labels, Members, PerQueries, PerQuery, Queries, Query, Ranked
from sstlib.shapes import Float

KINDS = ("weight", "distance", "cosine", "dot")
TINY = 1e-12  # least norm that cosine divides by
INFINITY = float("inf")
Pairs = Float[Tensor, "*#pair"]


class Ranking(NamedTuple):
    """What attention needs beside queries and keys to rank keys for objects; `group` is batch times head."""

    mode: str  # add, multiply or sigmoid
    scale: float
    terms: Tensor  # (group or batch, object, key)
    key_term: Tensor | None  # (group, key): -scale |k|^2 / 2, for sigmoid
    query_term: Tensor | None  # (group, query): |q|^2 + bias, for sigmoid

    @property
    def least(self) -> float:
        """The record to beat: a product that is not above 0 does not count (Eq. 4 takes the maximum with 0)."""
        return -INFINITY if self.mode == "add" else 0.0

    def records(self, query: Queries, remember: bool) -> tuple[Tensor, Tensor]:
        """The best ranking score (group, cell, object) before any key is seen, and its key: none."""
        dtype = torch.promote_types(query.dtype, torch.float32)
        best = query.new_full((*query.shape[:2], self.terms.shape[1]), self.least, dtype=dtype)
        return best, torch.full(best.shape if remember else (0,), -1, dtype=torch.int32, device=query.device)

    def ranked(self, scores: Pairs, term: Pairs, key_term: Pairs | None, query_term: Pairs | None) -> Tensor:
        """Ranking scores for one object, from the scores and the terms of the same pairs."""
        if self.mode == "add":
            return scores + term
        if self.mode == "multiply":
            return scores * term
        return term * 2 * torch.sigmoid(2 / self.scale * (scores + key_term) - query_term)


class Wanted(NamedTuple):
    """Object affinities that a caller asks for, as the implementations are told."""

    kind: str
    labels: Labels
    objects: int
    bias: Bias  # of distance

    @property
    def soft(self) -> bool:
        """Whether memberships weigh the affinities."""
        return self.labels.dtype.is_floating_point

    def ranking(self, query: Query, key: Key, scale: float) -> Ranking:
        """How queries and keys (batch, head, time, height, width, dim) rank (see the table)."""
        kind, wide = self.kind, torch.promote_types(query.dtype, torch.float32)
        members = memberships(self.labels, self.objects, wide)
        flat_key = key.to(wide).flatten(0, 1).flatten(1, 3)
        heads = key.shape[1]
        if kind == "cosine":
            inverse = flat_key.norm(dim=-1).clamp_min(TINY).reciprocal()
            return Ranking("multiply", scale, members.repeat_interleave(heads, 0) * inverse[:, None], None, None)
        if kind == "dot" and self.soft:
            return Ranking("multiply", scale, members, None, None)
        if kind != "distance":
            return Ranking("add", scale, members.log() if self.soft else _logs(members), None, None)
        key_term = flat_key.square().sum(-1) * (-scale / 2)
        if not self.soft:
            return Ranking("add", scale, _logs(members).repeat_interleave(heads, 0) + key_term[:, None], None, None)
        query_term = query.to(wide).square().sum(-1) + self.bias.to(wide)
        return Ranking("sigmoid", scale, members, key_term, query_term.flatten(0, 1).flatten(1))

    def affinity(self, query: Query, logsumexp: PerQuery, best: Ranked, scale: float) -> Tensor:
        """The affinity (batch, head, object, time_q, height, width) of the best ranking scores, 0 for none (Eq. 4)."""
        if self.kind == "weight":
            value = (best - logsumexp[:, :, None]).clamp_max(0).exp()  # of large scores the difference is rounding
        elif self.kind == "distance" and not self.soft:
            squared = query.to(best.dtype).square().sum(-1)[:, :, None] - 2 / scale * best
            value = 2 * torch.sigmoid(-(squared.clamp_min(0) + self.bias[:, :, None])).masked_fill(best == -INFINITY, 0)
        elif self.kind == "cosine":
            value = best / (scale * query.to(best.dtype).norm(dim=-1).clamp_min(TINY)[:, :, None])
        else:
            value = best
        return value.clamp_min(0).to(query.dtype)


def memberships(labels: Labels, objects: int, dtype: torch.dtype) -> Tensor:
    """Memberships (batch, object, cell) of labels: themselves, or zeros and ones for numbers."""
    if labels.dtype.is_floating_point:
        return labels.flatten(2).to(dtype)
    return (labels.flatten(1)[:, None] == torch.arange(objects, device=labels.device)[:, None]).to(dtype)


def _logs(members: Tensor) -> Tensor:
    """Logarithms of zeros and ones, which are slow to compute."""
    return torch.zeros_like(members).masked_fill_(members == 0, -INFINITY)


def slopes(query: Queries, key: Queries, logsumexp: PerQueries, bias: Float[Tensor, "group 1"], kind: str,
           scale: float) -> tuple[Tensor, ...]:
    """The unweighed affinity f of each query to one key, and its derivatives, all (group, query).

    Returns f, a, b, c and d such that df/dq = a k + b q, df/dk = a q + c k, and d is df/dbias for distance, -df/dlse
    for weight.
    """
    score = (query * key).sum(-1)
    zero = torch.zeros_like(score)
    if kind == "weight":
        value = (scale * score - logsumexp).clamp_max(0).exp()  # where there is no best key, the first may be beyond
        return value, scale * value, zero, zero, value
    if kind == "distance":
        x = (query - key).square().sum(-1) + bias
        value = 2 * torch.sigmoid(-x)
        slope = -value * torch.sigmoid(x)
        return value, -2 * slope, 2 * slope, 2 * slope, slope
    if kind == "cosine":
        inverse = [t.norm(dim=-1).clamp_min(TINY).reciprocal() for t in (query, key)]
        value = score * inverse[0] * inverse[1]  # above 0, as every best key's is
        return value, inverse[0] * inverse[1], -value * inverse[0] ** 2, -value * inverse[1] ** 2, zero
    value = (scale * score).clamp_min(0)
    return value, scale * (value > 0).to(value.dtype), zero, zero, zero


def backward(grad: Ranked, query: Query, key: Key, logsumexp: PerQuery, members: Members | None, bias: Bias,
             argmax: Best, kind: str, scale: float) -> list[Tensor]:
    """Gradients of query, key, log-sum-exp, memberships and bias: the definition, differentiated at the remembered
    keys.

    `members` is None under hard labels. One object at a time, so that one gathered copy of the keys exists at a time.
    """
    batch, heads, objects = argmax.shape[:3]
    wide, groups = logsumexp.dtype, batch * heads
    q, k = (t.to(wide).flatten(0, 1).flatten(1, 3) for t in (query, key))
    lse = logsumexp.flatten(0, 1).flatten(1)
    biases = bias.to(wide).reshape(groups, 1)
    grads = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(lse), torch.zeros_like(lse)
    to_members = torch.zeros(objects, 0 if members is None else members.shape[0] * k.shape[1], dtype=wide,
                             device=key.device)
    group = torch.arange(groups, device=key.device)[:, None]
    for number in range(objects):
        cells = argmax[:, :, number].flatten(0, 1).flatten(1)
        g = torch.where(cells >= 0, grad[:, :, number].flatten(0, 1).flatten(1), 0)
        rows = (cells.clamp_min(0) + group * k.shape[1]).flatten()
        best = k.flatten(0, 1)[rows].view_as(q)
        value, a, b, c, d = slopes(q, best, lse, biases, kind, scale)
        if members is not None:
            weighed = (cells.clamp_min(0) + group // heads * k.shape[1]).flatten()
            to_members[number].index_add_(0, weighed, (g * value).flatten())
            g = g * members[:, number].to(wide).flatten()[weighed].view_as(g)
        a, b, c, d = ((g * t)[..., None] for t in (a, b, c, d))
        grads[0].add_(a * best).add_(b * q)
        grads[1].flatten(0, 1).index_add_(0, rows, (a * q + c * best).flatten(0, 1))
        grads[2 if kind == "weight" else 3].add_(d[..., 0], alpha=-1 if kind == "weight" else 1)
    if members is None:
        to_members = to_members.new_empty(0)
    else:
        to_members = to_members.view(objects, batch, -1).transpose(0, 1).reshape(members.shape).to(members.dtype)
    return [
        grads[0].view(query.shape).to(query.dtype), grads[1].view(key.shape).to(key.dtype),
        grads[2].view(lse.shape).view(logsumexp.shape), to_members, grads[3].sum(1).view(bias.shape).to(bias.dtype)
    ]
