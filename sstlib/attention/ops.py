"""The implementations behind custom operators, so that torch.compile, autocast and autograd go through them.

`sstlib::attend` gives output, log-sum-exp and object affinities; it has a fake kernel (shapes for tracing) and gradients that are
operators themselves.
"""

import contextlib
import functools

import torch
from torch import Tensor
from torch.nn import Parameter

from sstlib import connectivity
from sstlib.attention import affinity as affinities
from sstlib.attention import flex, native, portable, tiles
from sstlib.attention.affinity import Wanted
from sstlib.connectivity import Connectivity

parse = functools.lru_cache(maxsize=64)(connectivity.parse)  # operators take a pattern as text; reading it takes longer than a small call
TENSORS = "Tensor query, Tensor key, Tensor value"
HOW = "str pattern, float scale, str implementation"
FASTEST = {  # where several can, the first is taken; each is a module with lacks, forward and backward
    "native": (native, "the C++ kernel is the fastest measured for every pattern on a CPU"),
    "triton": (tiles, "the Triton kernels are the fastest measured for every pattern on a GPU"),
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


def _own_precision(device: str) -> contextlib.AbstractContextManager:
    """An operator chooses its precision itself: half scores would cost accuracy."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else contextlib.nullcontext()


def watched(tensors: list[Tensor]) -> bool:
    """Whether somebody has to see an operator here: a tracer, a transform, a mode or a tensor of a class of its own."""
    return (torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or torch._C._len_torch_dispatch_stack() > 0
            or torch._C._len_torch_function_stack() > 0 or torch._C._functorch.peek_interpreter_stack() is not None
            or any(type(t) not in (Tensor, Parameter) for t in tensors))


def compute(query, key, value, bias, labels, pattern, scale, implementation, kind, objects, remember):
    """What `attend` computes, without PyTorch's dispatcher, which takes as long as a small call: output, log-sum-exp, affinities or None,
    and the keys that gave them."""
    wanted = None if labels is None else Wanted(kind, labels, objects, bias)
    with _own_precision(query.device.type):
        output, lse, affinity, argmax = _module(implementation, pattern, query).forward(query, key, value, pattern, scale, wanted, remember)
    return output, lse, None if wanted is None else affinity, argmax


@torch.library.custom_op("sstlib::attend", mutates_args=(), schema=(
    f"({TENSORS}, Tensor? bias, Tensor? labels, {HOW}, str kind, int objects, bool remember) -> (Tensor, Tensor, Tensor, Tensor)"))
def attend(query, key, value, bias, labels, pattern, scale, implementation, kind, objects, remember):
    """Sparse attention (Eq. 6) by one implementation, with affinities (Eq. 4) and the keys that gave them where labels are given."""
    output, lse, affinity, argmax = compute(query, key, value, bias, labels, parse(pattern), scale, implementation, kind, objects, remember)
    if affinity is None:
        affinity = query.new_empty(0)
    return output, lse, affinity, argmax if labels is not None and remember else lse.new_empty(0, dtype=torch.int32)


@attend.register_fake
def _(query, key, value, bias, labels, pattern, scale, implementation, kind, objects, remember):
    shape, wide = query.shape[:5], torch.promote_types(query.dtype, torch.float32)
    ranks = 0 if labels is None else (*shape[:2], objects, *shape[2:])
    return (query.new_empty(*shape, value.shape[-1]), query.new_empty(shape, dtype=wide), query.new_empty(ranks),
            query.new_empty(ranks if remember else 0, dtype=torch.int32))


@torch.library.custom_op("sstlib::attend_backward", mutates_args=(), schema=(
    f"({TENSORS}, Tensor output, Tensor lse, Tensor grad, Tensor? grad_lse, {HOW}) -> (Tensor, Tensor, Tensor)"))
def attend_backward(query, key, value, output, lse, grad, grad_lse, pattern, scale, implementation):
    """Gradients of query, key and value."""
    pattern = parse(pattern)
    with _own_precision(query.device.type):
        return _module(implementation, pattern, query).backward(query, key, value, output, lse, grad, grad_lse, pattern, scale)


@attend_backward.register_fake
def _(query, key, value, output, lse, grad, grad_lse, pattern, scale, implementation):
    return tuple(t.new_empty(t.shape) for t in (query, key, value))


@torch.library.custom_op("sstlib::affinity_backward", mutates_args=(), schema=(
    "(Tensor grad, Tensor query, Tensor key, Tensor lse, Tensor? members, Tensor bias, Tensor argmax, str kind, float scale) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"))
def affinity_backward(grad, query, key, lse, members, bias, argmax, kind, scale):
    """Gradients that affinities send to query, key, log-sum-exp, memberships (empty where there are none) and bias."""
    return tuple(affinities.backward(grad, query, key, lse, members, bias, argmax, kind, scale))


@affinity_backward.register_fake
def _(grad, query, key, lse, members, bias, argmax, kind, scale):
    like = [query, key, lse, query.new_empty(0) if members is None else members, bias]
    return tuple(t.new_empty(t.shape) for t in like)


def _save(ctx, inputs, output):
    query, key, value, bias, labels, ctx.pattern, ctx.scale, ctx.implementation, ctx.kind, *_ = inputs
    members = labels if labels is not None and labels.dtype.is_floating_point else None
    ctx.save_for_backward(query, key, value, bias, members, output[0], output[1], output[3])
    ctx.mark_non_differentiable(output[3])
    ctx.set_materialize_grads(False)


def _gradient(ctx, grad, grad_lse, grad_affinity, _):
    query, key, value, bias, members, output, lse, argmax = ctx.saved_tensors
    to_members = to_bias = None
    if grad_affinity is not None and argmax.numel():
        to_query, to_key, to_lse, to_members, to_bias = affinity_backward(grad_affinity, query, key, lse, members, bias, argmax, ctx.kind, ctx.scale)
        to_members = None if members is None else to_members
        if ctx.kind == "weight":  # the only one that knows of the log-sum-exp
            grad_lse = to_lse if grad_lse is None else grad_lse + to_lse
    grad = torch.zeros_like(output) if grad is None else grad
    grads = attend_backward(query, key, value, output, lse, grad, grad_lse, ctx.pattern, ctx.scale, ctx.implementation)
    if to_bias is not None:
        grads = grads[0] + to_query, grads[1] + to_key, grads[2]
    return *grads, to_bias, to_members, *[None] * 6


attend.register_autograd(_gradient, setup_context=_save)
