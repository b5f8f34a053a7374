"""The implementations behind custom operators, so that torch.compile, autocast and autograd go through them.

`sstlib::attend` gives output, log-sum-exp and the best ranking scores; `sstlib::affinity` makes affinities of the latter.
Both have fake kernels (shapes for tracing) and gradients that are operators themselves.
"""

import functools

import torch
from torch import Tensor

from sstlib.attention import affinity as affinities
from sstlib.attention import flex, native, portable, tiles
from sstlib.attention.affinity import Ranking
from sstlib.connectivity import Connectivity, parse

_parse = functools.lru_cache(maxsize=64)(parse)  # operators take a pattern as text; reading it takes longer than a small call
TENSORS = "Tensor query, Tensor key, Tensor value"
HOW = "str pattern, float scale, str implementation"
FASTEST = {  # where several can, the first is taken; each is a module with lacks, forward and backward
    "native": (native, "the C++ kernel is the fastest measured for every pattern on a CPU"),
    "triton": (tiles, "the Triton kernel does one exponential a pair and stores no scores (on a GPU nothing is measured yet)"),
    "torch": (portable, "PyTorch can do everything"),
}


def lacks(name: str, pattern: Connectivity, dtype: torch.dtype, device: torch.device) -> str:
    """Why an implementation cannot do this, or an empty text."""
    return FASTEST[name][0].lacks(pattern, dtype, device)


def usable(pattern: Connectivity, dtype: torch.dtype, device: torch.device, affinity: bool = False) -> list[str]:
    """The implementations that can do this, the one that `auto` takes first; FlexAttention, by name alone, where it can train."""
    names = [name for name in FASTEST if not lacks(name, pattern, dtype, device)]
    return names if affinity or device.type != "cuda" or flex.lacks(pattern, dtype, device) else [*names, "flex"]


def choose(pattern: Connectivity, dtype: torch.dtype, device: torch.device) -> tuple[str, str]:
    """The rule: the first of FASTEST that can; its reason, and what kept those before it."""
    against = []
    for name, (module, reason) in FASTEST.items():
        why = module.lacks(pattern, dtype, device)
        if not why:
            return name, "; ".join([reason, *against])
        against.append(f"{name!r} cannot: {why}")
    raise AssertionError("the last one can do everything")


def _module(implementation: str, pattern: Connectivity, query: Tensor):
    """The implementation that runs. Decided here, inside the operators, where tracing does not look."""
    if implementation == "auto":
        implementation = choose(pattern, query.dtype, query.device)[0]
    elif why := lacks(implementation, pattern, query.dtype, query.device):
        raise ValueError(f"implementation {implementation!r} cannot do this: {why}; use 'torch' or 'auto'")
    return FASTEST[implementation][0]


@torch.library.custom_op("sstlib::attend", mutates_args=(), schema=(
    f"({TENSORS}, {HOW}, str mode, Tensor? terms, Tensor? key_term, Tensor? query_term, bool remember) "
    "-> (Tensor, Tensor, Tensor, Tensor)"))
def attend(query, key, value, pattern, scale, implementation, mode, terms, key_term, query_term, remember):
    """Sparse attention (Eq. 6) by one implementation; best scores and their keys are empty where nothing ranks."""
    connectivity = _parse(pattern)
    rank = None if terms is None else Ranking(mode, scale, terms, key_term, query_term)
    how = (connectivity, scale, rank, remember)
    with torch.autocast(query.device.type, enabled=False):  # an operator chooses its own precision: half scores would cost accuracy
        output, lse, best, argmax = _module(implementation, connectivity, query).forward(query, key, value, *how)
    if rank is None:
        best, argmax = lse.new_empty(0), lse.new_empty(0, dtype=torch.int32)
    return output, lse, best, argmax if remember else argmax.new_empty(0)


@attend.register_fake
def _(query, key, value, pattern, scale, implementation, mode, terms, key_term, query_term, remember):
    shape, wide = query.shape[:5], torch.promote_types(query.dtype, torch.float32)
    ranks = 0 if terms is None else (*shape[:2], terms.shape[1], *shape[2:])
    return (query.new_empty(*shape, value.shape[-1]), query.new_empty(shape, dtype=wide), query.new_empty(ranks, dtype=wide),
            query.new_empty(ranks if remember else 0, dtype=torch.int32))


@torch.library.custom_op("sstlib::attend_backward", mutates_args=(), schema=(
    f"({TENSORS}, Tensor output, Tensor lse, Tensor grad, Tensor grad_lse, {HOW}) -> (Tensor, Tensor, Tensor)"))
def attend_backward(query, key, value, output, lse, grad, grad_lse, pattern, scale, implementation):
    """Gradients of query, key and value."""
    connectivity = _parse(pattern)
    how = (connectivity, scale)
    with torch.autocast(query.device.type, enabled=False):
        return _module(implementation, connectivity, query).backward(query, key, value, output, lse, grad, grad_lse, *how)


@attend_backward.register_fake
def _(query, key, value, output, lse, grad, grad_lse, pattern, scale, implementation):
    return tuple(t.new_empty(t.shape) for t in (query, key, value))


def _save(ctx, inputs, output):
    query, key, value, ctx.pattern, ctx.scale, ctx.implementation, *_ = inputs
    ctx.save_for_backward(query, key, value, *output[:2])
    ctx.mark_non_differentiable(*output[2:])


def _gradient(ctx, grad, grad_lse, *_):
    query, key, value, output, lse = ctx.saved_tensors
    grads = attend_backward(query, key, value, output, lse, grad, grad_lse, ctx.pattern, ctx.scale, ctx.implementation)
    return *grads, *[None] * 8


attend.register_autograd(_gradient, setup_context=_save)


@torch.library.custom_op("sstlib::affinity", mutates_args=(), schema=(
    "(Tensor query, Tensor key, Tensor lse, Tensor? members, Tensor bias, Tensor best, Tensor argmax, str kind, float scale) -> Tensor"))
def affinity(query, key, lse, members, bias, best, argmax, kind, scale):
    """Object affinities (Eq. 4) from the best ranking scores, in the precision of the scores."""
    return affinities.from_best(query, lse, bias, best, kind, scale, members is not None)


@affinity.register_fake
def _(query, key, lse, members, bias, best, argmax, kind, scale):
    return best.new_empty(best.shape)


@torch.library.custom_op("sstlib::affinity_backward", mutates_args=(), schema=(
    "(Tensor grad, Tensor query, Tensor key, Tensor lse, Tensor? members, Tensor bias, Tensor argmax, str kind, float scale) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"))
def affinity_backward(grad, query, key, lse, members, bias, argmax, kind, scale):
    """Gradients of query, key, log-sum-exp, memberships (empty where there are none) and bias."""
    return tuple(affinities.backward(grad, query, key, lse, members, bias, argmax, kind, scale))


@affinity_backward.register_fake
def _(grad, query, key, lse, members, bias, argmax, kind, scale):
    return tuple(t.new_empty(t.shape) for t in (query, key, lse, lse.new_empty(0) if members is None else members, bias))


def _save_affinity(ctx, inputs, output):
    query, key, lse, members, bias, _, argmax, ctx.kind, ctx.scale = inputs
    ctx.save_for_backward(query, key, lse, members, bias, argmax)


def _affinity_gradient(ctx, grad):
    query, key, lse, members, bias, argmax = ctx.saved_tensors
    grads = list(affinity_backward(grad, query, key, lse, members, bias, argmax, ctx.kind, ctx.scale))
    grads[3] = None if members is None else grads[3]
    return *grads, None, None, None, None


affinity.register_autograd(_affinity_gradient, setup_context=_save_affinity)
