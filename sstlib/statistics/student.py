"""Student's t without a statistics library: probabilities far out in the tails, and the values that cut them off."""

import functools
import math

import numpy as np

from sstlib.shapes import Float

NODES, WEIGHTS = np.polynomial.legendre.leggauss(96)
FARTHEST = 1e10
LEVELS = np.geomspace(1e-9, 1, 1500)  # at which critical values are kept
Numbers = Float[np.ndarray, "*any"] | float


def tail(t: Numbers, freedom: int) -> Numbers:
    """Two-sided probability of a value beyond +-t under Student's distribution.

    With t = sqrt(freedom) tan(angle) its density is cos(angle)^(freedom - 1) up to a constant (Abramowitz and Stegun
    26.7); that is integrated by Gauss's rule over the tail alone, so that small probabilities are exact, too.

    Raises:
        ValueError: no degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"freedom is {freedom}; a spread is estimated from at least two values")
    first = np.arctan(np.abs(t) / math.sqrt(freedom))
    half = (np.minimum(math.pi / 2, first + 40 / math.sqrt(freedom)) - first) / 2
    density = np.cos(first[..., None] + half[..., None] * (NODES + 1)) ** (freedom - 1)
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    return np.minimum(2 * constant * half * (density * WEIGHTS).sum(-1), 1.0)


def critical(level: Numbers, freedom: int) -> Numbers:
    """The t beyond which, on both sides together, lies the probability `level`: the inverse of `tail`, by bisection.

    Raises:
        ValueError: `level` is no such probability.
    """
    level = np.asarray(level, dtype=float)
    if not ((level > 0) & (level <= 1)).all():
        raise ValueError(f"{level} is no probability of missing; an interval's level is a share such as 0.95")
    low, high = (np.full_like(level, math.log(1e-10)), np.full_like(level, math.log(FARTHEST)))
    for _ in range(60):
        middle = (low + high) / 2
        inside = tail(np.exp(middle), freedom) > level
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.exp(low)


@functools.lru_cache(maxsize=64)
def criticals(freedom: int) -> Float[np.ndarray, "levels"]:
    """`critical` at all LEVELS, kept."""
    return critical(LEVELS, freedom)
