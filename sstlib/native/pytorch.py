"""PyTorch's private names: all that the library uses, each with what stands in where a version has it no more.

A release may drop any of them. Each is looked up here and nowhere else (tests/test_pytorch.py); without it the same
comes out by public means, more slowly. All of them are there in 2.9, 2.11 and 2.13.
"""

import contextlib
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sstlib.shapes import Float, Shaped

Some = Shaped[Tensor, "..."]
Queries, Keys = Float[Tensor, "batch head query dim"], Float[Tensor, "batch head key dim"]
Mask = Float[Tensor, "query key"] | None


def _private(name: str, owner: Any = torch) -> Any:
    """What a name means in this version, or None."""
    try:
        return operator.attrgetter(name)(owner)
    except AttributeError:
        return None


LEVEL = _private("_current_level", forward_ad) is not None
TRANSFORM = _private("_C._functorch.peek_interpreter_stack")
TRANSFORMS = _private("_C._functorch.get_interpreter_stack")
VMAP = _private("_C._functorch.TransformType.Vmap")
DISPATCH_MODES = _private("_C._len_torch_dispatch_stack")
FUNCTION_MODES = _private("_C._len_torch_function_stack")
ATTENTION = _private("ops.aten._scaled_dot_product_flash_attention_for_cpu")
ATTENTION_BACKWARD = _private("ops.aten._scaled_dot_product_flash_attention_for_cpu_backward")
LERP = _private("_foreach_lerp_")
ZEROS = _private("_is_zerotensor")


def forward_mode() -> bool:
    """Whether forward-mode derivatives are being taken; their levels do not nest."""
    if LEVEL:
        return forward_ad._current_level >= 0
    try:
        forward_ad.exit_dual_level(level=forward_ad.enter_dual_level())
    except RuntimeError:
        return True
    return False


def transformed() -> bool:
    """Whether a transform of torch.func is under way, in which no tensor can be made to require a gradient."""
    if TRANSFORM is not None:
        return TRANSFORM() is not None
    try:
        torch.empty(0).requires_grad_()
    except RuntimeError:
        return True
    return False


def differentiating() -> bool:
    """Whether a transform other than vmap is under way; where none can be told from vmap, whether any is."""
    if TRANSFORMS is None or VMAP is None:
        return transformed()
    return any(level.key() != VMAP for level in TRANSFORMS())


def dispatch_modes() -> bool:
    """Whether a mode sees every operator (a tracer, fake tensors, a counter); where that is not told, always."""
    return DISPATCH_MODES is None or DISPATCH_MODES() > 0


def function_modes() -> bool:
    """Whether a mode sees every function; where that is not told, always."""
    return FUNCTION_MODES is None or FUNCTION_MODES() > 0


def has_attention() -> bool:
    """Whether there is the fused attention for a CPU that gives the log-sum-exp; its public form does not."""
    return ATTENTION is not None and ATTENTION_BACKWARD is not None


def attention(q: Queries, k: Keys, v: Keys, mask: Mask, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of (batch, head, query, dim) tensors, where `has_attention`."""
    return ATTENTION(q, k, v, attn_mask=mask, scale=scale)


def attention_backward(grad: Queries, q: Queries, k: Keys, v: Keys, output: Queries,
                       lse: Float[Tensor, "batch head query"], mask: Mask,
                       scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, where `has_attention`."""
    return ATTENTION_BACKWARD(grad, q, k, v, output, lse, 0.0, False, attn_mask=mask, scale=scale)


def lerp_(averages: Sequence[Some], values: Sequence[Some], weight: float) -> None:
    """Moves each average toward its value, all in one call."""
    if LERP is not None:
        LERP(averages, values, weight)
        return
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, weight)


def version(tensor: Some) -> int | None:
    """How often a tensor was changed in place; None where that is not told."""
    return None if tensor.is_inference() else getattr(tensor, "_version", None)


def elsewhere(tensor: Some) -> bool:
    """Whether a tensor's numbers are not what lies in its memory, which an operator that PyTorch calls never sees: the
    sign of a conjugate's imaginary part is kept beside it, and zeros may take no memory.
    """
    return tensor.is_neg() or ZEROS is not None and ZEROS(tensor)


def constant(function: Callable) -> Callable:
    """The function, marked so that torch.compile takes its results for constants and does not trace it.

    PyTorch's own decorator does no more, and imports the whole compiler first, for as long as all of PyTorch.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def logsumexp(scores: Some, axis: int) -> Tensor:
    """PyTorch's own has a forward-mode derivative that is computed in place, of which no gradient can be taken."""
    top = scores.amax(axis, keepdim=True)
    return ((scores - top).exp().sum(axis, keepdim=True).log() + top).squeeze(axis)


def recompilations(limit: int) -> contextlib.AbstractContextManager:
    """Within, torch.compile makes so many variants of a function before it gives up and runs it as it is."""
    config = _private("_dynamo.config")
    return config.patch(recompile_limit=limit) if hasattr(config, "recompile_limit") else contextlib.nullcontext()


def block_mask(connected: Callable, queries: int, keys: int, device: torch.device) -> Any:
    """FlexAttention's mask; compiled on a GPU, so that the mask of all pairs never exists."""
    from torch.nn.attention.flex_attention import create_block_mask

    known = "_compile" in inspect.signature(create_block_mask).parameters
    options = {"_compile": device.type == "cuda"} if known else {}
    return create_block_mask(connected, None, None, queries, keys, device=str(device), **options)
