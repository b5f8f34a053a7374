"""Which implementation computes: the one place that knows them all.

Those of FASTEST are modules with `lacks`, `forward` and `backward`, which run inside the operators of ops.py. Those of
NAMED have `lacks` and `attention`, made of operations that autograd knows; they are taken by name alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from sstlib.attention import flex, general, kernels, portable, reference
from sstlib.attention.plan import computed
from sstlib.attention.tensors import Query, Some
from sstlib.attention.triton import tiles
from sstlib.config.entries import Registry
from sstlib.connectivity import Connectivity, pairs_of_last
from sstlib.connectivity.unions import Size


@dataclass(frozen=True)
class Implementation:
    """What computes attention: its `module`, and the `reason` why auto takes it."""

    name: str
    module: Any
    reason: str


FASTEST: Registry[Implementation] = Registry(  # where several can, the first is taken; the last one can do everything
    "implementation",
    Implementation("native", kernels, "the C++ kernel is the fastest measured for every pattern on a CPU"),
    Implementation("triton", tiles, "the Triton kernels are the fastest measured for every pattern on a GPU"),
    Implementation("torch", portable, "PyTorch can do everything"),
)
NAMED = {"reference": reference, "flex": flex}


def implementations() -> tuple[str, ...]:
    """Names that a caller may give."""
    return "auto", "reference", *FASTEST, "flex"


def check(name: str) -> None:
    """Raises a ValueError for a name that no implementation has."""
    if name not in (known := implementations()):
        raise ValueError(f"implementation is {name!r}; expected one of {', '.join(known)}")


def lacks(name: str, pattern: Connectivity, dtype: torch.dtype, device: torch.device) -> str:
    """Why one of FASTEST cannot do this, or an empty text."""
    return FASTEST[name].module.lacks(pattern, dtype, device)


def usable(pattern: Connectivity, dtype: torch.dtype, device: torch.device, affinity: bool = False) -> list[str]:
    """The implementations that can do this, `auto`'s choice first; FlexAttention, by name alone, where it can train."""
    names = [name for name in FASTEST if not lacks(name, pattern, dtype, device)]
    return names if affinity or device.type != "cuda" or flex.lacks(pattern, dtype, device) else [*names, "flex"]


def choose(pattern: Connectivity, dtype: torch.dtype, device: torch.device) -> tuple[str, str]:
    """The rule: the first of FASTEST that can; its reason, and what kept those before it."""
    against: list[str] = []
    for name, one in FASTEST.items():
        why = one.module.lacks(pattern, dtype, device)
        if not why:
            return name, "; ".join([one.reason, *against])
        against.append(f"{name!r} cannot: {why}")
    raise AssertionError("the last one can do everything")


def cost(name: str, pattern: Connectivity, size: Size, queried: int) -> str:
    """How many pairs a head has, and what the general path makes of them."""
    count, cells = pairs_of_last(queried, pattern, size), size[0] * size[1] * size[2]
    text = f"{count:,} pairs a head, {count * size[0] / (queried * cells**2):.2%} of dense attention's"
    if name != "torch" or portable.path(pattern) is not general:
        return text
    made, products, shapes = computed(pattern, size, queried)
    return (f"by the general path: {products} disjoint products in blocks of {shapes} shapes, which compute "
            f"{made / count:.2f} times the pairs; {text}")


def refuse(name: str, why: str) -> NoReturn:
    """Raises a ValueError that says why an implementation that was named cannot do this."""
    raise ValueError(f"implementation {name!r} cannot do this: {why}; use 'torch' or 'auto'")


def fastest(name: str, pattern: Connectivity, query: Query) -> Any:
    """The one of FASTEST that runs; decided inside the operators, where tracing does not look."""
    if name == "auto":
        name = choose(pattern, query.dtype, query.device)[0]
    elif why := lacks(name, pattern, query.dtype, query.device):
        refuse(name, why)
    return FASTEST[name].module


def named(name: str, pattern: Connectivity, tensors: Sequence[Some], ranks: bool) -> Any:
    """The one of NAMED, which can do this with query, key and value."""
    if why := NAMED[name].lacks(pattern, tensors[0].dtype, tensors[0].device, tensors, ranks):
        refuse(name, why)
    return NAMED[name]
