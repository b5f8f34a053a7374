"""The planned looks at a family of claims: runs come in one by one, verdicts are made at two numbers of seeds alone.

The first look is at a claim as soon as its runs with the first number of seeds are there; the others of its family
count as if nothing spoke for them, which only makes it harder. The second look waits until every claim of the family
had its first one. It is at what was left undecided, with all the planned seeds, and at no number between the two:
looking whenever a run comes in would decide falsely far more often than stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sstlib.shapes import Bool, Float
from sstlib.statistics.comparison import Difference
from sstlib.statistics.verdicts import Claim, Verdict, decide

NO_DATA = Difference(0.0, 1e6, 1e6, 0.0, 5, 20)  # of which every probability is 1 or nearly


@dataclass(frozen=True)
class Followed:
    """A claim with the runs that are there.

    Attributes:
        name: of the claim.
        values: differences, above zero for what is claimed, in the order of the seeds; a row of NaN for a seed that is
            missing on either side.
        margin: as `Claim.margin`.
    """

    name: str
    values: Float[np.ndarray, "seed sequence"]
    margin: float | None = None

    def ready(self, seeds: int) -> bool:
        """Whether all of the first so many seeds are there."""
        return int(self._present[:seeds].sum()) == seeds

    def claim(self, seeds: int) -> Claim:
        """On the first so many seeds; without them, on nothing."""
        difference = Difference.of(self.values[:seeds]) if self.ready(seeds) else NO_DATA
        return Claim(self.name, difference, self.margin)

    @property
    def _present(self) -> Bool[np.ndarray, "seed"]:
        return ~np.isnan(self.values).all(axis=1)


def verdicts(family: Sequence[Followed], looks: tuple[int, int]) -> dict[str, Verdict | None]:
    """Of each claim by name, None where the runs of the first look are not all there.

    A claim that was undecided at the first look stays so until all of its runs of the second are there.

    Args:
        family: the claims that are decided together.
        looks: numbers of seeds at the first and the second look.
    """
    soon, late = looks
    first = decide([one.claim(soon) for one in family])
    if not all(one.ready(soon) for one in family):
        return {one.name: first[one.name] if one.ready(soon) else None for one in family}
    second = decide([one.claim(late) for one in family], 2, first)
    return {one.name: second[one.name] if one.ready(late) else first[one.name] for one in family}


def open_claims(family: Sequence[Followed], looks: tuple[int, int]) -> list[str]:
    """Names of the claims that need the seeds of the second look; none before every claim had its first."""
    if not all(one.ready(looks[0]) for one in family):
        return []
    return [name for name, verdict in decide([one.claim(looks[0]) for one in family]).items() if not verdict.decided]
