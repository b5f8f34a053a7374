"""What a pilot of one network says about how many seeds a comparison needs."""

from dataclasses import dataclass

import numpy as np

from sstlib.shapes import Float
from sstlib.statistics.comparison import Difference

SEEDS = (3, 5, 8)


@dataclass(frozen=True)
class Components:
    """Standard deviations of one score, or of one difference of two: over seeds, over sequences, and of the rest."""

    seed: float
    sequence: float
    rest: float

    @classmethod
    def of(cls, scores: Float[np.ndarray, "seed sequence"]) -> "Components":
        """Estimated by analysis of variance; what comes out negative is 0.

        Raises:
            ValueError: as `Difference.of`.
        """
        difference = Difference.of(scores)
        seed, sequence = difference.by_seed - difference.rest, difference.by_sequence - difference.rest
        return cls(max(seed * difference.seeds, 0) ** 0.5, max(sequence * difference.sequences, 0) ** 0.5,
                   (difference.rest * difference.seeds * difference.sequences) ** 0.5)

    def of_a_difference(self, sequence: float) -> "Components":
        """Of the difference of two networks that each spread like this one, if runs of one seed share nothing.

        Args:
            sequence: standard deviation over sequences of the true difference, which runs of one network cannot show.
        """
        return Components(self.seed * 2**0.5, sequence, self.rest * 2**0.5)

    def expected(self, seeds: int, sequences: int) -> Difference:
        """The spread that a difference is expected to have with as many runs."""
        rest = self.rest**2 / (seeds * sequences)
        return Difference(0.0, self.seed**2 / seeds + rest, self.sequence**2 / sequences + rest, rest, seeds, sequences)
