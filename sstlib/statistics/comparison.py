"""Two trained networks compared over the same seeds and sequences: the difference, how sure it is, what it could miss.

A difference of seed i on sequence j is taken for a mean, an effect of the seed, an effect of the sequence and a rest.
The mean over a seeds and b sequences then has the variance A + B - E, where A is the variance of the means of the seeds
over a, B that of the means of the sequences over b, and E that of the rest over ab (two-way analysis of variance with
random effects, e.g. Searle, Casella and McCulloch, Variance Components, chapter 4).

An interval needs more than that, for 3 to 8 seeds say little about A. Here it is +-sqrt(t(a-1)^2 A + t(b-1)^2 B): each
part is widened by the t of its own degrees of freedom. By Banerjee (Sankhya 22, 1960) its level is at least the stated
one whatever the true shares of the two: the chance that a normal value lies within is concave in its squared width, so
it is at least the average of the chances that either part alone gives. Not taking E away keeps to the safe side, as in
Clark's min F' (J. Verbal Learning 12, 1973). The customary choices do not hold their level with few seeds: where
seeds make the difference, the crossed bootstrap with 3 of them misses in a fifth of the cases instead of 5%, and
Satterthwaite's degrees of freedom decide falsely some 7 times too often at the levels of 0.001 that Holm asks for (both
are in the tests).
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from sstlib.shapes import Float
from sstlib.statistics.student import LEVELS, critical, criticals
from sstlib.statistics.uncertainty import Interval

DRAWS = 40_000


@dataclass(frozen=True)
class Difference:
    """The mean of a difference over crossed seeds and sequences, and three variances of that mean.

    Attributes:
        mean: of the difference, in the unit of what is compared.
        by_seed: A, as estimated from the means of the seeds.
        by_sequence: B, as estimated from the means of the sequences.
        rest: E, which A and B both contain.
        seeds: number a of seeds.
        sequences: number b of sequences.
    """

    mean: float
    by_seed: float
    by_sequence: float
    rest: float
    seeds: int
    sequences: int

    @classmethod
    def of(cls, values: Float[np.ndarray, "seed sequence"]) -> "Difference":
        """From the differences themselves; a row of NaN is a run that is missing.

        Raises:
            ValueError: single values are missing or not finite, or fewer than two runs or two sequences are left.
        """
        values = values[~np.isnan(values).all(axis=1)]
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0].tolist()
            raise ValueError(f"run {row} has {values[row, column]} for sequence {column}; "
                             "a run is scored on every sequence, or missing altogether (all NaN)")
        seeds, sequences = values.shape
        if min(seeds, sequences) < 2:
            raise ValueError(f"{seeds} seeds and {sequences} sequences are left; spread is known from two of each on")
        mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
        rest = values - rows[:, None] - columns + mean
        return cls(float(mean), float(rows.var(ddof=1) / seeds), float(columns.var(ddof=1) / sequences),
                   float((rest**2).sum() / ((seeds - 1) * (sequences - 1) * values.size)), seeds, sequences)

    def half_width(self, level: float) -> float:
        """Half of the interval that misses the true difference with probability `level` at most."""
        widened = (critical(level, count - 1) ** 2 * part for count, part in self._parts())
        return math.sqrt(float(sum(widened)))

    def interval(self, level: float = 0.95) -> Interval:
        """The interval that holds the true difference with probability `level` at least."""
        half = self.half_width(1 - level)
        return Interval(self.mean, self.mean - half, self.mean + half, level)

    def probability(self, value: float = 0.0) -> float:
        """Two-sided: the smallest level at which the interval does not hold `value`."""
        widths = sum(criticals(count - 1) ** 2 * part for count, part in self._parts())
        distance = (self.mean - value) ** 2
        if not widths[0]:  # no spread at all
            return float(distance == 0)
        if not distance:
            return 1.0
        return math.exp(np.interp(-math.log(distance), -np.log(np.maximum(widths, 1e-300)), np.log(LEVELS)))

    def detectable(self, level: float, power: float = 0.8) -> float:
        """The smallest true difference that data spread like these would show with probability `power`.

        The interval's half width and the mean are drawn as often as it takes: the difference must reach beyond the one
        by the other's error.
        """
        parts = [
            critical(level, count - 1) ** 2 * part * _spreads(count - 1, n)
            for n, (count, part) in enumerate(self._parts())
        ]
        deviation = math.sqrt(max(self.by_seed + self.by_sequence - self.rest, self.by_seed, self.by_sequence))
        return float(np.quantile(np.sqrt(sum(parts)) - deviation * _normals(), power).clip(min=0))

    def _parts(self) -> tuple[tuple[int, float], tuple[int, float]]:
        return (self.seeds, self.by_seed), (self.sequences, self.by_sequence)


@functools.lru_cache(maxsize=64)
def _spreads(freedom: int, stream: int) -> Float[np.ndarray, "draws"]:
    """Estimated over true variance, drawn."""
    return np.random.default_rng((stream, freedom)).chisquare(freedom, DRAWS) / freedom


@functools.cache
def _normals() -> Float[np.ndarray, "draws"]:
    return np.random.default_rng(7).standard_normal(DRAWS)


def compare(first: Float[np.ndarray, "seed sequence"], second: Float[np.ndarray, "seeds sequences"]) -> Difference:
    """The second network less the first, from their scores run by run and sequence by sequence.

    Row i of both comes from seed i, which gives both the same order of data and, as far as they have the same weights,
    the same initialization. A run that is missing on either side (a row of NaN) leaves its seed out.

    Raises:
        ValueError: the two differ in shape, or as `Difference.of`.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"{first.shape} and {second.shape} (seeds, sequences) differ; give both networks the same seeds "
            "and sequences, with a row of NaN where a run is missing"
        )
    return Difference.of(second.astype(float) - first)
