"""What a pilot of one network says about how many seeds a comparison needs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sstlib.shapes import Float
from sstlib.statistics.comparison import Difference

EFFECTS = (1.0, 2.0, 3.0, 5.0)
SEEDS = (3, 5, 8)
MOST = 100


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
        return cls(
            max(seed * difference.seeds, 0) ** 0.5,
            max(sequence * difference.sequences, 0) ** 0.5,
            (difference.rest * difference.seeds * difference.sequences) ** 0.5,
        )

    def of_a_difference(self, sequence: float, paired: float = 0.0) -> "Components":
        """Of the difference of two networks that each spread like this one.

        Args:
            sequence: standard deviation over sequences of the true difference, which runs of one network cannot show.
            paired: correlation of two networks' runs of one seed; 0 if sharing the order of data takes nothing away.
        """
        doubled = (2 * (1 - paired)) ** 0.5
        return Components(self.seed * doubled, sequence, self.rest * doubled)

    def expected(self, seeds: int, sequences: int) -> Difference:
        """The spread that a difference is expected to have with as many runs."""
        rest = self.rest**2 / (seeds * sequences)
        return Difference(0.0, self.seed**2 / seeds + rest, self.sequence**2 / sequences + rest, rest, seeds, sequences)


@dataclass(frozen=True)
class Plan:
    """Numbers of seeds against effects.

    Attributes:
        components: of a difference.
        sequences: number of sequences.
        level: of a single claim's decision, and `power` the chance to see what is there.
        needed: seeds that an effect needs, None where more than `MOST` would be too few: the sequences are.
        detectable: the smallest effect that as many seeds find.
    """

    components: Components
    sequences: int
    level: float
    power: float
    needed: dict[float, int | None]
    detectable: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """All as JSON values."""
        return asdict(self) | {
            name: {f"{key:g}": value for key, value in getattr(self, name).items()} for name in ("needed", "detectable")
        }


def plan(
    components: Components,
    sequences: int,
    level: float,
    power: float = 0.8,
    effects: Sequence[float] = EFFECTS,
    seeds: Sequence[int] = SEEDS,
) -> Plan:
    """How many seeds differences of the given sizes need, and what given numbers of seeds can find.

    Args:
        components: of a difference, see `Components.of_a_difference`.
        sequences: number of sequences that the runs are scored on.
        level: of a single claim, such as 0.04 / 8 for the first of eight at a second look.
    """

    def least(count: int) -> float:
        return components.expected(count, sequences).detectable(level, power)

    def enough(effect: float) -> int | None:
        low, high = 1, MOST  # too few, enough
        if least(high) > effect:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if least(middle) > effect else (low, middle)
        return high

    return Plan(
        components,
        sequences,
        level,
        power,
        {effect: enough(effect) for effect in effects},
        {count: least(count) for count in seeds},
    )
