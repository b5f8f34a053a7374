"""The C++ kernels: one file a pattern under kernels/, compiled on first use, called over raw addresses.

They compute in float32 (half precisions are converted on the way in and out), on torch.get_num_threads() threads, and
give the same result on any number of them: each sum has one owner. They are in C++ because numba was slower by far: a
plain local kernel in the same layout took 408 ms at S1 (see benchmarks/) where this one took 15, its wheels having no
vectorized exponential.
"""

import array
import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from sstlib import native
from sstlib.attention.affinity import KINDS, Wanted
from sstlib.attention.tensors import Key, Output, PerQuery, Query, Ranked, Value
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided

FOLDER = Path(__file__).parent
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
KERNELS = {  # of these very classes: a subclass may be any other pattern
    Local: lambda pattern: ("local", (*pattern.radii, 0)),
    Strided: lambda pattern: ("strided", (*pattern.strides, pattern.temporal_stride)),
    Dense: lambda pattern: ("strided", (1, 1, 1)),
    Grid: lambda pattern: ("grid", (0, 0, 0)),
}


def lacks(pattern: Connectivity, dtype: torch.dtype, device: torch.device) -> str:
    """Why the kernels cannot do this, or an empty text."""
    if device.type != "cpu":
        return f"it runs on the CPU, not on {device.type}"
    if dtype not in DTYPES:
        return f"it computes in float32, not {str(dtype).removeprefix('torch.')}"
    if _kernel(pattern) is None:
        return f"it has no kernel for {pattern.name}"
    return "" if library(
        _kernel(pattern)[0]) else "no C++ compiler built it (see the notice above, or SST_NATIVE=0 is set)"


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """A pattern's compiled kernels, or None."""
    loaded = native.load(FOLDER / f"{name}.cpp")
    for function in (loaded.forward, loaded.backward) if loaded else ():
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double]
        function.restype = None
    return loaded


def _kernel(pattern: Connectivity) -> tuple[str, tuple[int, int, int]] | None:
    """The file of a pattern and its three numbers there."""
    numbers = KERNELS.get(type(pattern))
    return numbers and numbers(pattern)


def forward(query: Query, key: Key, value: Value, pattern: Connectivity, scale: float, wanted: Wanted | None,
            remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Output, log-sum-exp, affinities and their keys, of (batch, head, time, height, width, dim) tensors."""
    q, k, v = _float(query), _float(key), _float(value)
    output, lse = q.new_empty(*q.shape[:5], v.shape[-1]), q.new_empty(q.shape[:5])
    best = argmax = None
    plain, affinity = [lse, None, None, None, None, None, None], (0, 0)
    if wanted is not None:
        affinity = wanted.objects, KINDS.index(wanted.kind)
        best = q.new_empty(*q.shape[:2], wanted.objects, *q.shape[2:5])
        argmax = torch.empty_like(best, dtype=torch.int32) if remember else None
        labels = (wanted.labels.float() if wanted.soft else wanted.labels).contiguous()
        sides = (None, labels) if wanted.soft else (labels, None)
        plain = [lse, None, *sides, wanted.bias.float().contiguous(), best, argmax]
    _call("forward", pattern, scale, [q, k, v, output, None, None, None, None], plain, affinity)
    if wanted is not None:
        _poison(best, wanted)
    if query.dtype != torch.float32:
        output, best = output.to(query.dtype), None if best is None else best.to(query.dtype)
    return output, lse, best, argmax


def _poison(best: Ranked, wanted: Wanted) -> None:
    """Makes affinities of an object whose memberships are not all finite undefined, and those of a head whose bias is
    no number: comparisons in the kernels pass over what is none.
    """
    if wanted.soft and not wanted.labels.sum().isfinite():
        best[(~wanted.labels.isfinite()).flatten(2).any(2)[:, None].expand(best.shape[:3])] = torch.nan
    if wanted.kind == "distance" and wanted.bias.isnan().any():
        best[wanted.bias.isnan().reshape(*wanted.bias.shape[:2]).expand(best.shape[:2])] = torch.nan


def backward(query: Query, key: Key, value: Value, output: Output, lse: PerQuery, grad: Output,
             grad_lse: PerQuery | None, pattern: Connectivity, scale: float) -> tuple[Tensor, ...]:
    """Gradients of query, key and value."""
    q, k, v, o, g = (_float(t) for t in (query, key, value, output, grad))
    grads = [t.new_empty(t.shape) for t in (q, k, v)]
    known = [lse.contiguous(), None if grad_lse is None else grad_lse.contiguous()]
    _call("backward", pattern, scale, [q, k, v, o, g, *grads], [*known, None, None, None, None, None], (0, 0))
    return tuple(t.to(query.dtype) for t in grads)


def _float(tensor: Tensor) -> Tensor:
    """In float32 with the channels of a cell side by side; other strides are free."""
    tensor = tensor if tensor.dtype == torch.float32 else tensor.float()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _call(function: str, pattern: Connectivity, scale: float, views: list, plain: list,
          affinity: tuple[int, int]) -> None:
    """Writes the arguments in the order that kernels/abi.h reads them."""
    name, numbers = KERNELS[type(pattern)](pattern)
    query, key, value = views[:3]
    sizes = [
        *query.shape[:2], key.shape[2], query.shape[2], *key.shape[3:], value.shape[-1], *numbers,
        int(pattern.causal), *affinity,
        torch.get_num_threads()
    ]
    for view in views:
        sizes += [0] * 5 if view is None else view.stride()[:5]
    # ctypes' own arrays take three times as long
    pointers = array.array("q", [0 if t is None else t.data_ptr() for t in (*views, *plain)])
    lengths = array.array("q", sizes)
    getattr(library(name), function)(pointers.buffer_info()[0], lengths.buffer_info()[0], scale)
