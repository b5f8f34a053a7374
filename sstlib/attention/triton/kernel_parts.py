"""What the Triton kernels share: constants, reading and writing cells, ranking keys for objects; and a kernel of
nothing but exponentials.
"""

from typing import no_type_check

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
NEVER = tl.constexpr(-1e30)  # the score of a pair that is not connected: finite, so that differences of two are numbers


@triton.jit
@no_type_check  # a tensor of Triton is none of Python
def head_of(base, group, heads, batch_stride, head_stride):
    """Where a group's cells begin: one head of one batch."""
    return base + group // heads * batch_stride + group % heads * head_stride


@triton.jit
@no_type_check
def read(base, cells, exist, stride, D: tl.constexpr, PADDED: tl.constexpr):
    """The channels of cells, zeros beyond."""
    d = tl.arange(0, PADDED)
    return tl.load(base + cells[:, None] * stride + d[None, :], mask=exist[:, None] & (d[None, :] < D), other=0.0)


@triton.jit
@no_type_check
def write(base, cells, exist, values, D: tl.constexpr, PADDED: tl.constexpr, ADD: tl.constexpr):
    """Writes the channels of cells, or adds to what an earlier kernel wrote."""
    d = tl.arange(0, PADDED)
    at, mask = base + cells[:, None] * D + d[None, :], exist[:, None] & (d[None, :] < D)
    if ADD:
        values += tl.load(at, mask=mask, other=0.0)
    tl.store(at, values.to(base.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def keep(base, values, group, cells, exist, queries, OBJECTS: tl.constexpr, PADDED: tl.constexpr):
    """Writes what was found for each object (cell, object) where a group's objects have `queries` cells each."""
    o = tl.arange(0, PADDED)[None, :]
    tl.store(base + (group * OBJECTS + o) * queries + cells[:, None], values, mask=exist[:, None] & (o < OBJECTS))


@triton.jit
@no_type_check
def ranked(scores, term, key_term, query_term, scale, slope, MODE: tl.constexpr):
    """Ranking scores for one object (see affinity.py), of scores that are not yet scaled; see `counted` for pairs
    that are not connected.
    """
    if MODE == "add":
        rank = scores * scale + term
    elif MODE == "multiply":
        rank = scores * scale * term
    else:
        rank = term * 2 * tl.sigmoid(slope * (scores * scale + key_term) - query_term)
    return rank


@triton.jit
@no_type_check
def counted(rank, scale, MODE: tl.constexpr):
    """The best ranking scores, without those of pairs that are not connected: a sum leaves them far below, a product
    at 0 or below.
    """
    return tl.where(rank < NEVER / 2 * scale, -float("inf"), rank) if MODE == "add" else rank


@triton.jit
@no_type_check
def exponentials(out, rounds, BLOCK: tl.constexpr):
    """A chain of exponentials of numbers in registers: the machine's limit."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = n.to(tl.float32) * -1e-6
    for _ in range(rounds):
        x = tl.exp2(-x)
    tl.store(out + n, x)
