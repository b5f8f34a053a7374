"""The contenders of the attention benchmark: implementations of each pattern, dense attention, and rivals, at named
sizes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.attention import sparse_attention, usable
from sstlib.benchmarks import rivals
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided
from sstlib.shapes import Float, Shaped


class Buffer(NamedTuple):
    """A size to measure at."""

    name: str
    time: int
    height: int
    width: int
    heads: int
    dim: int
    device: str = "cpu"
    dtype: str = "float32"


SIZES = {
    size.name: size for size in (Buffer("S1", 4, 30, 30, 8, 16), Buffer("S2", 8, 64, 64, 8, 16),
                                 Buffer("S3", 3, 60, 107, 8, 16), Buffer("S4", 16, 64, 64, 1, 32))
}
PUBLISHED = (Grid(), Local(7, causal=True), Strided(8, causal=True))
FORWARD, BOTH = "forward", "forward+backward"
LAST = ", last frame"
LARGEST_GATHER = 80_000_000  # floats that a gathered copy of the keys may have


def names_of(pattern: Connectivity, size: Buffer, affinity: bool = False) -> list[str]:
    """The implementations that can compute this, first the one that `auto` takes."""
    return usable(pattern, getattr(torch, size.dtype), torch.device(size.device), affinity)


class Contender(NamedTuple):
    """A row to be measured: `run` computes it once, and its time is multiplied by `factor` (dense attention runs on one
    head of several).
    """

    pattern: Connectivity
    implementation: str
    direction: str
    run: Callable[[], Any]
    factor: int = 1


def tensors_of(size: Buffer, heads: int | None = None) -> list[Tensor]:
    """Random queries, keys and values whose scores have a variance of 1."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, heads or size.heads, size.time, size.height, size.width, size.dim)
    tensors = [torch.randn(shape, generator=generator).mul_(size.dim ** -0.25) for _ in range(3)]
    return [t.to(size.device, getattr(torch, size.dtype)) for t in tensors]


def both(attend: Callable[..., Shaped[Tensor, "..."]],
         tensors: list[Float[Tensor, "batch head ..."]]) -> Callable[[], None]:
    """Forward and backward of a function of query, key and value."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    upstream = torch.ones_like(tensors[0])

    def run() -> None:
        out = attend(*leaves)
        torch.autograd.grad(out, leaves, upstream.view_as(out))
    return run


def contenders(size: Buffer, patterns: Sequence[Connectivity], quick: bool, flex: bool) -> Iterator[Contender]:
    """All rows of some patterns at a size; `flex` adds FlexAttention, which compiles for half a minute each, and
    `quick` leaves out what takes long.
    """
    tensors = tensors_of(size)
    measured = 1 if size.device == "cpu" else size.heads
    factor = size.heads // measured
    one = [t[:, :measured] for t in tensors]
    flat = [t.flatten(2, 4) for t in one]
    dense = functional.scaled_dot_product_attention
    yield Contender(Dense(), "sdpa", FORWARD, lambda: dense(*flat), factor)
    cells = size.time * size.height * size.width
    if (cells <= 40_000 or size.device != "cpu") and not (quick and cells > 4000):
        yield Contender(Dense(), "sdpa", BOTH, both(dense, flat), factor)
    labels, latest = _objects(size), tensors[0][:, :, -1:]
    order = torch.randperm(labels.numel(), generator=torch.Generator().manual_seed(0))
    scattered = labels.flatten()[order].view_as(labels)
    for pattern in patterns:
        for name in names_of(pattern, size):
            if name == "flex" and not flex:
                continue
            attend = lambda q, k, v, p=pattern, n=name: sparse_attention(q, k, v, p, implementation=n).output
            yield Contender(pattern, name, FORWARD, lambda f=attend: f(*tensors))
            yield Contender(pattern, name, BOTH, both(attend, tensors))
            if name not in names_of(pattern, size, affinity=True):
                continue
            ranked = lambda q, p=pattern, n=name, which=labels: sparse_attention(
                q, *tensors[1:], p, labels=which, objects=3, implementation=n)
            yield Contender(pattern, f"{name}, affinity of 3", FORWARD, lambda f=ranked: f(tensors[0]))
            if name == "native":  # the worst case: no two neighbors alike
                yield Contender(pattern, f"{name}, affinity of 3 scattered", FORWARD,
                                lambda f=ranked: f(tensors[0], which=scattered))
            yield Contender(pattern, name + LAST, FORWARD, lambda f=attend: f(latest, *tensors[1:]))
            yield Contender(pattern, f"{name}, affinity of 3{LAST}", FORWARD, lambda f=ranked: f(latest))
        if cells <= 4000:
            yield from _masked(pattern, size, tensors, one, flex)


def _masked(pattern: Connectivity, size: Buffer, tensors: list[Tensor], one: list[Tensor],
            flex: bool) -> Iterator[Contender]:
    """Rivals that need the mask of all pairs: on all heads, or on a CPU on the first, times the number of heads."""
    mask = pattern.mask(*size[1:4]).to(size.device)
    together, flat = ([t.flatten(2, 4) for t in ts] for ts in (tensors, one))
    bias = torch.zeros(mask.shape, dtype=tensors[0].dtype, device=size.device).masked_fill_(~mask, -float("inf"))
    yield Contender(pattern, "sdpa, masked", FORWARD,
                    lambda: functional.scaled_dot_product_attention(*together, attn_mask=bias))
    if size.device != "cpu":
        return
    index, valid = rivals.gather_index(mask)
    if index.numel() * size.dim <= LARGEST_GATHER:
        yield Contender(pattern, "gather", FORWARD, lambda: rivals.gathered(*flat, index, valid), size.heads)
    if type(pattern) is Local:  # whose window these rivals know
        yield Contender(pattern, "unfold", FORWARD,
                        lambda: rivals.unfolded(*(t[0, 0] for t in one), pattern.radii[0]), size.heads)
        yield Contender(pattern, "natten", FORWARD, rivals.natten(one, pattern), size.heads)
        if flex:
            yield Contender(pattern, "flex", FORWARD, rivals.flex(flat, mask), size.heads)


def _objects(size: Buffer) -> Tensor:
    """Labels as clips have them: two discs that move over a background."""
    t, y, x = torch.meshgrid(*(torch.arange(n) for n in (size.time, size.height, size.width)), indexing="ij")
    labels = torch.zeros(1, size.time, size.height, size.width, dtype=torch.long)
    for number, (down, across, radius, speed) in enumerate(((0.4, 0.3, 0.2, 1), (0.6, 0.7, 0.15, -1)), start=1):
        away = (y - down * size.height)**2 + (x - across * size.width - speed * t)**2
        labels[0][away < (radius * size.height)**2] = number
    return labels.to(size.device)
