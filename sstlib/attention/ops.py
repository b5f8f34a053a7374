"""The implementations behind custom operators, so that torch.compile, vmap, autocast and autograd go through them.

`sstlib::attend` gives output, log-sum-exp and object affinities; it has a fake kernel (shapes for tracing), a rule for
vmap and gradients that are operators themselves. Derivatives of gradients are those of general.attention, and
forward-mode ones, too, which the front door sends there: an operator would drop them without a word, so it refuses
them.
"""

import contextlib
import functools
import uuid

import torch
from torch import Tensor
from torch.nn import Parameter

from sstlib import connectivity
from sstlib.attention import affinity as affinities
from sstlib.attention import choice, general
from sstlib.attention.affinity import Wanted
from sstlib.attention.tensors import Best, Bias, Key, Labels, Members, Output, PerQuery, Query, Ranked, Some, Value
from sstlib.config.declared import distinguished
from sstlib.connectivity import PATTERNS, Connectivity
from sstlib.native import pytorch

TENSORS = "Tensor query, Tensor key, Tensor value"
HOW = "str pattern, float scale, str implementation"
MARK = "  # class "
FORWARD_MODE = ("sparse_attention has no forward-mode derivatives in a compiled or exported graph; take them outside "
                "of torch.compile")
_classes: dict[str, type[Connectivity]] = {}  # of one's own, by the marks behind their texts
_held: dict[str, Connectivity] = {}  # patterns whose text does not read as them


def parse(text: str) -> Connectivity:
    """The pattern of a text, read once until its name means another class: reading takes longer than a small call."""
    return _held.get(text) or _parse(text, PATTERNS.get(text.partition("(")[0].strip().lower()))


@functools.lru_cache(maxsize=64)
def _parse(text: str, latest: type[Connectivity] | None) -> Connectivity:
    return distinguished(connectivity.parse(text, _classes.get(text.rpartition(MARK)[2])))


def text_of(pattern: Connectivity) -> str:
    """A text that `parse` reads as this very pattern, since operators take no other objects.

    The name of a class of one's own may come to mean another, so that a mark follows, in what Python takes for a
    comment. Each is of one process: in another, as that which loads an exported graph, the name is what counts.
    """
    if torch.compiler.is_dynamo_compiling():  # which would make another pattern of what it holds for a constant
        return _marked(str(pattern), type(pattern))
    return _text_of(pattern)


@functools.lru_cache(maxsize=256)
def _text_of(pattern: Connectivity) -> str:
    with contextlib.suppress(ValueError):
        if parse(text := _marked(str(pattern), type(pattern))) == pattern:
            return text
    text = f"{type(pattern).__name__} of fields that no text tells, known to one process alone as {uuid.uuid4().hex}"
    _held[text] = pattern
    return text


@pytorch.constant
def _marked(text: str, kind: type[Connectivity]) -> str:
    if kind.__module__ == connectivity.__name__:
        return text
    if kind.__str__ is not Connectivity.__str__:
        raise ValueError(f"{kind.__name__} has a text of its own, which may not tell all of its fields; leave __str__ "
                         "as it is")
    mark = next((mark for mark, known in _classes.items() if known is kind), uuid.uuid4().hex)
    _classes[mark] = kind
    return f"{text}{MARK}{mark}"


def autocast(device: str) -> bool:
    """Whether autocast is on for a device; the one without data has none, and PyTorch cannot be asked about it."""
    return device != "meta" and torch.is_autocast_enabled(device)


def one_precision(*tensors: Some) -> tuple[Tensor, ...]:
    """Tensors that autocast left in several precisions, in its own."""
    device = tensors[0].device.type
    mixed = autocast(device) and len({t.dtype for t in tensors}) > 1
    return tuple(t.to(torch.get_autocast_dtype(device)) for t in tensors) if mixed else tensors


def _own_precision(device: str) -> contextlib.AbstractContextManager:
    """An operator chooses its precision itself: half scores would cost accuracy."""
    return torch.autocast(device, enabled=False) if autocast(device) else contextlib.nullcontext()


def differentiated() -> bool:
    """Whether derivatives are taken that an operator has none for: forward-mode ones, or those of torch.func."""
    seen_through = not torch.compiler.is_compiling() and pytorch.transformed() and pytorch.differentiating()
    return seen_through or pytorch.forward_mode()


def transparent(query: Query, key: Key, value: Value, pattern: Connectivity, scale: float, kind: str, bias: Bias | None,
                labels: Labels | None, objects: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Output, affinity and log-sum-exp by operations that every transform sees."""
    with _own_precision(query.device.type):
        return general.attention(query, key, value, pattern, scale, kind, bias, labels, objects)


def watched(tensors: list[Some]) -> bool:
    """Whether somebody has to see an operator: a tracer, transform, mode, tensor of another class or without data."""
    return (torch.compiler.is_compiling() or torch.jit.is_tracing() or pytorch.dispatch_modes()
            or pytorch.function_modes() or pytorch.transformed() or tensors[0].is_meta
            or any(type(t) not in (Tensor, Parameter) or pytorch.elsewhere(t) for t in tensors))


def compute(query: Query, key: Key, value: Value, bias: Bias | None, labels: Labels | None, pattern: Connectivity,
            scale: float, implementation: str, kind: str, objects: int, remember: bool) -> tuple[Tensor | None, ...]:
    """What `attend` computes, None for what nobody wants, past PyTorch's dispatcher, which costs a small call."""
    module = choice.fastest(implementation, pattern, query)
    if not query.shape[0]:
        return _made(query, value, labels, objects, remember)
    wanted = None if labels is None else Wanted(kind, labels, objects, bias)
    with _own_precision(query.device.type):
        output, lse, affinity, argmax = module.forward(query, key, value, pattern, scale, wanted, remember)
    return output, lse, None if wanted is None else affinity, argmax


def _made(query, value, labels, objects, remember):
    """Tensors for what `attend` gives, whose elements are yet to be computed."""
    shape, wide = query.shape[:5], torch.promote_types(query.dtype, torch.float32)
    ranks = 0 if labels is None else (*shape[:2], objects, *shape[2:])
    return (query.new_empty(*shape, value.shape[-1]), query.new_empty(shape, dtype=wide), query.new_empty(ranks),
            query.new_empty(ranks if remember else 0, dtype=torch.int32))


def _refuse_forward_mode():
    if pytorch.forward_mode():
        raise ValueError(FORWARD_MODE)


@torch.library.custom_op("sstlib::attend", mutates_args=(), schema=(
    f"({TENSORS}, Tensor? bias, Tensor? labels, {HOW}, str kind, int objects, bool remember) "
    "-> (Tensor, Tensor, Tensor, Tensor)"))
def attend(query: Query, key: Key, value: Value, bias: Bias | None, labels: Labels | None, pattern: str, scale: float,
           implementation: str, kind: str, objects: int, remember: bool) -> tuple[Tensor | None, ...]:
    """Sparse attention (Eq. 6) by one implementation; with labels, affinities (Eq. 4) and the keys that gave them."""
    _refuse_forward_mode()
    output, lse, affinity, argmax = compute(query, key, value, bias, labels, parse(pattern), scale, implementation,
                                            kind, objects, remember)
    if affinity is None:
        affinity = query.new_empty(0)
    return output, lse, affinity, argmax if labels is not None and remember else lse.new_empty(0, dtype=torch.int32)


@attend.register_fake
def _(query, key, value, bias, labels, pattern, scale, implementation, kind, objects, remember):
    _refuse_forward_mode()
    return _made(query, value, labels, objects, remember)


@torch.library.custom_op("sstlib::attend_backward", mutates_args=(), schema=(
    f"({TENSORS}, Tensor output, Tensor lse, Tensor grad, Tensor? grad_lse, {HOW}) -> (Tensor, Tensor, Tensor)"))
def attend_backward(query: Query, key: Key, value: Value, output: Output, lse: PerQuery, grad: Output,
                    grad_lse: PerQuery | None, pattern: str, scale: float, implementation: str) -> tuple[Tensor, ...]:
    """Gradients of query, key and value."""
    pattern = parse(pattern)
    with _own_precision(query.device.type):
        module = choice.fastest(implementation, pattern, query)
        return module.backward(query, key, value, output, lse, grad, grad_lse, pattern, scale)


@attend_backward.register_fake
def _(query, key, value, output, lse, grad, grad_lse, pattern, scale, implementation):
    return tuple(t.new_empty(t.shape) for t in (query, key, value))


@torch.library.custom_op("sstlib::affinity_backward", mutates_args=(), schema=(
    "(Tensor grad, Tensor query, Tensor key, Tensor lse, Tensor? members, Tensor bias, Tensor argmax, str kind, "
    "float scale) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"))
def affinity_backward(grad: Ranked, query: Query, key: Key, lse: PerQuery, members: Members | None, bias: Bias,
                      argmax: Best, kind: str, scale: float) -> tuple[Tensor, ...]:
    """Gradients that affinities send to query, key, log-sum-exp, memberships (empty where there are none) and bias."""
    return tuple(affinities.backward(grad, query, key, lse, members, bias, argmax, kind, scale))


@affinity_backward.register_fake
def _(grad, query, key, lse, members, bias, argmax, kind, scale):
    like = [query, key, lse, query.new_empty(0) if members is None else members, bias]
    return tuple(t.new_empty(t.shape) for t in like)


def _save(ctx, inputs, output):
    query, key, value, bias, labels, ctx.pattern, ctx.scale, ctx.implementation, ctx.kind, ctx.objects, _ = inputs
    ctx.save_for_backward(query, key, value, bias, labels, output[0], output[1], output[3])
    ctx.mark_non_differentiable(output[3])
    ctx.set_materialize_grads(False)


def _gradient(ctx, grad, grad_lse, grad_affinity, _):
    query, key, value, bias, labels, output, lse, argmax = ctx.saved_tensors
    if not query.shape[0]:
        return *[None if t is None else t * 0 for t in (query, key, value, bias, labels)], *[None] * 6
    ranked = grad_affinity is not None and any(ctx.needs_input_grad[place] for place in (0, 1, 3, 4))
    # Differentiated again, or vmap hid that a gradient would be wanted
    if torch.is_grad_enabled() or ranked and not argmax.numel():
        return *_gradient_of_operations(ctx, [grad, grad_affinity, grad_lse]), *[None] * 6
    to_members = to_bias = None
    if ranked:
        members = labels if labels.dtype.is_floating_point else None
        to_query, to_key, to_lse, to_members, to_bias = affinity_backward(grad_affinity, query, key, lse, members, bias,
                                                                          argmax, ctx.kind, ctx.scale)
        to_members = None if members is None else to_members
        if ctx.kind == "weight":  # the only one that knows of the log-sum-exp
            grad_lse = to_lse if grad_lse is None else grad_lse + to_lse
    grad = torch.zeros_like(output) if grad is None else grad
    grads = attend_backward(query, key, value, output, lse, grad, grad_lse, ctx.pattern, ctx.scale, ctx.implementation)
    if to_bias is not None:
        grads = grads[0] + to_query, grads[1] + to_key, grads[2]
    return *grads, to_bias, to_members, *[None] * 6


def _gradient_of_operations(ctx, grads):
    """Gradients of query, key, value, bias and labels by ordinary operations, differentiable where wanted."""
    again, needed = torch.is_grad_enabled(), ctx.needs_input_grad[:5]
    given = [t if again or t is None else t.detach().requires_grad_(wanted)
             for t, wanted in zip(ctx.saved_tensors, needed)]
    with torch.enable_grad():
        query, key, value, bias, labels = given
        computed = transparent(query, key, value, parse(ctx.pattern), ctx.scale, ctx.kind, bias, labels, ctx.objects)
        pairs = [(t, g) for t, g in zip(computed, grads, strict=True) if g is not None and t.requires_grad]
        if not pairs:  # nothing that is differentiated has a part in them
            return [None] * len(needed)
        outputs, upstream = zip(*pairs, strict=True)
        results = iter(torch.autograd.grad(outputs, [t for t, wanted in zip(given, needed) if wanted], upstream,
                                           create_graph=again, allow_unused=True))
    return [next(results) if wanted else None for wanted in needed]


attend.register_autograd(_gradient, setup_context=_save)


def _join_batches(operator):
    """Registers what vmap does with an operator: what it maps over joins the batch, the first axis of every tensor."""
    def rule(info, in_dims, *arguments):
        count = info.batch_size
        several = [(a.expand(count, *a.shape) if dim is None else a.movedim(dim, 0)) if isinstance(a, Tensor) else a
                   for a, dim in zip(arguments, in_dims, strict=True)]
        outputs = operator(*(a.flatten(0, 1) if isinstance(a, Tensor) else a for a in several))
        mapped = [t.ndim > 1 for t in outputs]  # others stand for what was not asked for
        return tuple(t.unflatten(0, several[0].shape[:2]) if m else t for t, m in zip(outputs, mapped)), tuple(
            0 if m else None for m in mapped)
    operator.register_vmap(rule)


for _operator in (attend, attend_backward, affinity_backward):
    _join_batches(_operator)
