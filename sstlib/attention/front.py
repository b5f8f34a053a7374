"""The front door: checks what is given, chooses an implementation, and puts the pieces together."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sstlib.attention import affinity as affinities
from sstlib.attention import choice, ops, portable
from sstlib.attention.tensors import Output, PerQuery, Ranked, Some
from sstlib.config.declared import distinguished
from sstlib.config.values import shown
from sstlib.connectivity import Connectivity, attended
from sstlib.native import pytorch
from sstlib.shapes import Float, Shaped

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SCALES = 1e-12, 1e12  # beyond, distances that are recovered from scaled scores are lost in rounding
OBJECTS = 65_535  # more would be computed without end
ROUNDING = 0.01  # by which memberships may exceed 1, as where a mask of ones was resized in half precision


class Attended(NamedTuple):
    """What attention gives: the output, the object affinity (None without labels) and the log-sum-exp of the scores."""

    output: Output
    affinity: Ranked | None
    logsumexp: PerQuery


def sparse_attention(query: Float[Tensor, "batch head time_q height width dim"],
                     key: Float[Tensor, "batch head time height width dim"],
                     value: Float[Tensor, "batch head time height width dim_v"],
                     connectivity: Connectivity | str | Sequence[Connectivity | str], *,
                     labels: Shaped[Tensor, "batch ..."] | None = None, objects: int | None = None,
                     affinity: str = "weight", affinity_bias: float | Some = 0.0, scale: float | None = None,
                     implementation: str = "auto") -> Attended:
    """Attention over a sparse connectivity (Eq. 6) and the object affinity of its cells (Eq. 4).

    Queries are of the last `time_q` frames of the buffer that keys and values cover: of all, or of the current one.

    Args:
        query, key, value: heads over (time, height, width); value may have another width than query and key.
        connectivity: a pattern, or one a head.
        labels: objects of the key cells: numbers (batch, time, height, width) of which 0..objects-1 count and any other
            means no object, or memberships in [0, 1] (batch, object, time, height, width); on a CPU others are refused.
        objects: how many objects, at most 65,535; needed with numbers, implied by memberships.
        affinity: weight (softmax weight), distance (2 (1 - sigmoid(|q - k|^2 + affinity_bias))), cosine or dot.
        affinity_bias: one number, or a tensor with one or one a head; of NaN there or in memberships comes NaN.
        scale: factor of the scores, a number; None is 1, as in the paper. Multiply the query by one that is learned.
        implementation: auto, or one by name (`explain` says which auto takes, and why).

    Returns:
        Attended: output (batch, head, time_q, height, width, dim_v); affinity (batch, head, object, time_q, height,
            width), the best over connected cells of strictly earlier frames, 0 where there is none or all are negative;
            logsumexp (batch, head, time_q, height, width), in float32 for half precisions.

    Raises:
        ValueError: shapes, labels, kinds, precisions or implementations that do not go together.
    """
    scale = 1.0 if scale is None else _number(scale, "scale", *SCALES)
    query, key, value = ops.one_precision(*_tensors(query, key, value, labels))
    _check_tensors(query, key, value)
    labels, objects = _check_labels(labels, objects, key, affinity)
    choice.check(implementation)
    bias = None if labels is None else _bias(affinity_bias, query)
    how = (labels, objects, affinity, scale, implementation)
    if isinstance(connectivity, (str, Connectivity)) or not isinstance(connectivity, Sequence):
        return _one_pattern(query, key, value, bias, _pattern(connectivity), *how)
    return _a_pattern_a_head(query, key, value, bias, [_pattern(c) for c in connectivity], how)


def explain(query: Float[Tensor, "batch head time_q height width dim"],
            key: Float[Tensor, "batch head time height width dim"],
            value: Float[Tensor, "batch head time height width dim_v"],
            connectivity: Connectivity | str) -> tuple[str, str]:
    """Which implementation `auto` takes for these tensors and this pattern; why, and how many pairs that is.

    Raises:
        ValueError: shapes and precisions that do not go together, patterns of several heads, or one that leaves a query
            without a key.
    """
    if isinstance(connectivity, list | tuple):
        raise ValueError(f"connectivity lists {len(connectivity)} patterns, of a head each; ask for one at a time")
    _check_tensors(*_tensors(query, key, value, None))
    pattern, size = _pattern(connectivity), tuple(key.shape[2:5])
    attended(query.shape[2], pattern, size)
    name, reason = choice.choose(pattern, query.dtype, query.device)
    return name, f"{reason}; {choice.cost(name, pattern, size, query.shape[2])}"


def _one_pattern(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, pattern: Connectivity | str,
                 labels: Tensor | None, objects: int, kind: str, scale: float, implementation: str) -> Attended:
    """Attention of heads that share a pattern."""
    if torch.compiler.is_dynamo_compiling():
        if implementation in choice.NAMED:
            choice.refuse(implementation, "it is not for torch.compile")
    elif isinstance(pattern, str):  # a graph that was broken leaves it unread
        pattern = ops.parse(pattern)
    if implementation in choice.NAMED:
        module = choice.named(implementation, pattern, (query, key, value), labels is not None)
        return Attended(*module.attention(query, key, value, pattern, scale, kind, bias, labels, objects))
    bias = None if bias is None else bias[..., None, None]
    if ops.differentiated():
        if torch.compiler.is_compiling():
            raise ValueError(ops.FORWARD_MODE)
        if implementation not in ("auto", "torch"):
            choice.refuse(implementation, "forward-mode derivatives and those of torch.func go through PyTorch alone")
        return Attended(*ops.transparent(query, key, value, pattern, scale, kind, bias, labels, objects))
    given = [t for t in (query, key, value, bias, labels) if t is not None]
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    if not learns and not ops.watched(given):
        output, lse, ranked, _ = ops.compute(query, key, value, bias, labels, pattern, scale, implementation, kind,
                                             objects, False)
        return Attended(output, None if labels is None else ranked, lse)
    # Tracing and vmap hide whether a gradient is wanted
    hidden = torch.is_grad_enabled() and (torch.compiler.is_compiling() or pytorch.transformed())
    ranks = learns and any(t.requires_grad for t in (query, key, bias, labels) if t is not None)
    text = pattern if isinstance(pattern, str) else ops.text_of(pattern)
    output, lse, ranked, _ = ops.attend(query, key, value, bias, labels, text, scale, implementation, kind, objects,
                                        labels is not None and (hidden or ranks))
    return Attended(output, None if labels is None else ranked, lse)


def _a_pattern_a_head(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None,
                      patterns: Sequence[Connectivity | str], how: tuple) -> Attended:
    """Attention whose heads have patterns of their own; heads of one pattern go together."""
    if len(patterns) != query.shape[1]:
        raise ValueError(f"connectivity has {len(patterns)} patterns for {query.shape[1]} heads; give one, or so many")
    parts = []
    for pattern in dict.fromkeys(patterns):
        heads = [i for i, other in enumerate(patterns) if other == pattern]
        q, k, v = (t[:, heads] for t in (query, key, value))
        parts.append((heads, _one_pattern(q, k, v, None if bias is None else bias[:, heads], pattern, *how)))
    if len(parts) == 1:
        return parts[0][1]
    order = torch.tensor([h for heads, _ in parts for h in heads], device=query.device).argsort()
    columns = zip(*(part for _, part in parts))
    return Attended(*(None if ts[0] is None else torch.cat(ts, 1).index_select(1, order) for ts in columns))


def _pattern(connectivity: Any) -> Connectivity | str:
    if isinstance(connectivity, str):
        # The operator reads it, where tracing does not look
        return connectivity if torch.compiler.is_dynamo_compiling() else ops.parse(connectivity)
    if not isinstance(connectivity, Connectivity):
        raise ValueError(f"connectivity is {shown(connectivity)}; expected a pattern or its text, such as "
                         "'local(radius=7)', or a list of one a head")
    library = type(connectivity) in portable.PATHS or torch.compiler.is_dynamo_compiling()
    return connectivity if library else distinguished(connectivity)


def _tensors(query: Any, key: Any, value: Any, labels: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, once all that is there is a tensor."""
    for each in (query, key, value, *([] if labels is None else [labels])):
        if not isinstance(each, Tensor) or each.layout != torch.strided or each.is_nested:
            raise ValueError("query, key, value and labels are dense tensors of PyTorch; one of these is a "
                             f"{type(each).__name__} {getattr(each, 'layout', '')}".strip())
    return query, key, value


def _check_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Says what is wrong, if anything; nothing is written before, since a call may be shorter than its message."""
    shape, keys, values = query.shape, key.shape, value.shape
    wrong = ("each is (batch, head, time, height, width, dim)" if not len(shape) == len(keys) == len(values) == 6 else
             "query and key differ in more than time" if shape[:2] != keys[:2] or shape[3:] != keys[3:] else
             "key and value differ in more than dim" if keys[:5] != values[:5] else
             f"queries are the last frames of the buffer, at least 1 and at most its {keys[2]}" if not 1 <= shape[2] <=
             keys[2] else "no axis but the batch may be empty" if 0 in shape[1:] or 0 in values[1:] else "")
    if wrong:
        raise ValueError(f"query {tuple(shape)}, key {tuple(keys)}, value {tuple(values)}: {wrong}")
    if not query.dtype == key.dtype == value.dtype or query.dtype not in DTYPES:
        raise ValueError(f"dtypes {query.dtype}, {key.dtype}, {value.dtype}: expected the same for all, one of "
                         f"{', '.join(str(d).removeprefix('torch.') for d in DTYPES)}")
    if not query.device == key.device == value.device:
        raise ValueError(f"devices {query.device}, {key.device}, {value.device}: query, key and value must share one")


def _check_labels(labels: Tensor | None, objects: Any, key: Tensor, kind: str) -> tuple[Tensor | None, Any]:
    if kind not in affinities.KINDS:
        raise ValueError(f"affinity is {kind!r}; expected one of {', '.join(affinities.KINDS)}")
    if labels is None:
        return None, 0
    batch, _, *size, _ = key.shape
    if labels.device != key.device:
        raise ValueError(f"labels are on {labels.device} and keys on {key.device}; move one of them")
    if labels.dtype in DTYPES:
        if labels.ndim != 5 or labels.shape[0] != batch or list(labels.shape[2:]) != size or not labels.shape[1]:
            raise ValueError(f"memberships have shape {tuple(labels.shape)}; expected (batch, object, time, height, "
                             f"width) = ({batch}, objects, {', '.join(map(str, size))}), as the keys have")
        if objects is not None and objects != labels.shape[1]:  # torch.compile takes no symbol to be `in`
            raise ValueError(f"objects is {objects} but the memberships are of {labels.shape[1]}; leave objects out")
        if labels.is_cpu and not ops.watched([labels]) and ((labels < 0) | (labels > 1 + ROUNDING)).any():
            raise ValueError(f"memberships are from {labels.min():g} to {labels.max():g}; expected 0 (a cell without "
                             "the object) to 1 (of it alone): divide them by what is whole, or clamp them")
        return labels, labels.shape[1]
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():  # is True object 0 or 1?
        raise ValueError(f"labels are {labels.dtype}; expected whole numbers, of which 0 is the first object, or "
                         "memberships in a precision of keys, (batch, object, time, height, width)")
    if list(labels.shape) != [batch, *size]:
        raise ValueError(f"labels have shape {tuple(labels.shape)}; expected that of keys, {(batch, *size)}")
    if not isinstance(objects, numbers.Integral | torch.SymInt) or objects is True or not 1 <= objects <= OBJECTS:
        raise ValueError(f"objects is {shown(objects)}; say how many, 1 to {OBJECTS} (labels 0..objects-1 count)")
    return labels.long(), objects if isinstance(objects, torch.SymInt) else int(objects)


def _number(value: Any, name: str, least: float = -math.inf, most: float = math.inf) -> float:
    """The value, where it is a number between the two; of a tensor, gradients would be lost without a word."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not least < value < most:
        raise ValueError(f"{name} is {shown(value)}; expected a number above {least:g} and below {most:g}")
    return float(value)


def _bias(bias: Any, query: Tensor) -> Tensor:
    """(batch, head, 1), from a number, a tensor with one, or one a head."""
    batch, heads = query.shape[:2]
    if not isinstance(bias, Tensor):
        return torch.full((batch, heads, 1), _number(bias, "affinity_bias"), device=query.device,
                          dtype=torch.promote_types(query.dtype, torch.float32))
    real = not bias.dtype.is_complex and bias.dtype != torch.bool
    if bias.layout != torch.strided or not real or (bias.numel() != 1 and bias.numel() != heads):
        raise ValueError(f"affinity_bias is of {bias.dtype}, {bias.layout} and shape {tuple(bias.shape)}; expected one "
                         f"real number, or one of {heads} heads")
    if bias.device != query.device:
        raise ValueError(f"affinity_bias is on {bias.device} and queries on {query.device}; move one of them")
    return bias.reshape(1, -1, 1).expand(batch, heads, 1)
