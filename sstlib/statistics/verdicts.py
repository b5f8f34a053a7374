"""What a table of claims may say: seen, reversed, equal within a margin, or undecided, and what that could have missed.

All claims of a table are decided together, so that the chance of any false decision among them is at most the level of
the look. Of a claim two things can be held against the data: that there is no difference, and, where a margin is given,
that the difference is as large as the margin. They cannot both be true, so that one false decision is possible at most.
Probabilities are taken in ascending order, each against the level over the number of claims about which a false
decision is still possible, until one fails: Holm's rule (Scand. J. Statist. 6, 1979) with Shaffer's count (J. Am.
Statist. Assoc. 81, 1986). Equality is two one-sided tests (Schuirmann, J. Pharmacokin. Biopharm. 15, 1987).

Looks are planned: all claims after the runs of the first look, then more seeds for the undecided ones alone, as many as
was fixed beforehand. Their levels add up, by Bonferroni's inequality, to that of the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sstlib.statistics.comparison import Difference
from sstlib.statistics.uncertainty import Interval

LOOKS = (0.01, 0.04)  # level of the first look and of the second


@dataclass(frozen=True)
class Claim:
    """That a difference is above zero; `margin` is what it may be at most to be called none, if that is of interest.

    Raises:
        ValueError: the margin is not above 0.
    """

    name: str
    difference: Difference
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.margin is not None and not self.margin > 0:
            raise ValueError(
                f"{self.name}: margin is {self.margin}; expected above 0, or None where equality is not asked"
            )

    def probabilities(self) -> dict[str, float]:
        """Of data so far off: if there were no difference, and if it were as large as the margin."""
        result = {"difference": self.difference.probability()}
        if self.margin is not None:
            inside = abs(self.difference.mean) < self.margin
            sides = (self.difference.probability(self.margin), self.difference.probability(-self.margin))
            result["equality"] = max(sides) / 2 if inside else 1.0
        return result


@dataclass(frozen=True)
class Verdict:
    """What was decided about one claim.

    Attributes:
        claim: with the difference that it was decided on.
        kind: "seen", "reversed", "equal" or "undecided".
        look: number of the look that decided, or of the last one.
        level: at which it was decided, or at which it failed to be, the other claims of the table taken into account.
    """

    claim: Claim
    kind: str
    look: int
    level: float

    @property
    def decided(self) -> bool:
        return self.kind != "undecided"

    @property
    def detectable(self) -> float:
        """The smallest true difference that would have been seen at this level four times out of five."""
        return self.claim.difference.detectable(self.level)

    @property
    def interval(self) -> Interval:
        """At the level of the decision: it leaves out 0 where a difference was seen."""
        return self.claim.difference.interval(1 - self.level)

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.kind == "equal":
            return f"equal within {self.claim.margin:g}"
        return self.kind if self.decided else f"undecided (could have seen {self.detectable:.1f})"


def decide(claims: Sequence[Claim], look: int = 1, earlier: Mapping[str, Verdict] | None = None) -> dict[str, Verdict]:
    """Verdicts on all claims of a table, by name, in their order.

    Args:
        claims: all of the table, at a second look too; what was decided before stays so.
        look: 1 or 2.
        earlier: verdicts of the first look, at the second.

    Raises:
        ValueError: no such look, a second one without the first or of other claims, or two claims of one name.
    """
    earlier = earlier or {}
    names = [claim.name for claim in claims]
    if len(set(names)) < len(names):
        raise ValueError(f"claims share a name among {', '.join(names)}; name each of them")
    if look not in (1, 2) or (look == 2) != bool(earlier):
        raise ValueError(
            f"look is {look} with {len(earlier)} earlier verdicts; the first look has none, the second all"
        )
    if earlier and set(earlier) != set(names):
        raise ValueError(f"the first look was at {', '.join(earlier)}, this one is at {', '.join(names)}; "
                         "a table has the same claims at both")
    open_claims = {claim.name: claim for claim in claims if not (earlier and earlier[claim.name].decided)}
    rejected, last = _step_down(open_claims, LOOKS[look - 1])
    verdicts = {}
    for name, claim in open_claims.items():
        if "difference" in rejected[name]:
            kind = "seen" if claim.difference.mean > 0 else "reversed"
            verdicts[name] = Verdict(claim, kind, look, rejected[name]["difference"])
        elif "equality" in rejected[name]:
            verdicts[name] = Verdict(claim, "equal", look, rejected[name]["equality"])
        else:
            verdicts[name] = Verdict(claim, "undecided", look, last)
    return {name: verdicts.get(name) or earlier[name] for name in names}


def _step_down(claims: Mapping[str, Claim], level: float) -> tuple[dict[str, dict[str, float]], float]:
    """What is rejected of each claim and at which level, and the level at which the next one was not."""
    standing = {name: claim.probabilities() for name, claim in claims.items()}
    rejected: dict[str, dict[str, float]] = {name: {} for name in claims}
    share = level
    while possible := sum(bool(left) for left in standing.values()):
        share = level / possible
        probability, name, which = min((p, name, which) for name, left in standing.items() for which, p in left.items())
        if probability > share:
            break
        del standing[name][which]
        rejected[name][which] = share
    return rejected, share
