"""A committed plan of a sweep: its runs in order of importance, its claims, and when these are evaluated."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sstlib import paths
from sstlib.config.fields import require
from sstlib.config.values import read_json
from sstlib.experiments import records
from sstlib.experiments.bases import Base
from sstlib.experiments.sweeps import Run
from sstlib.statistics.verdicts import LOOKS

EVIDENCE, RIVALS = "evidence", "rivals"  # the committed plans
MEASURES = {"J&F": "J&F on DAVIS-2016 validation", "loss": "J&F that the target loses by an occlusion"}
MOST_CLAIMS = 4


@dataclass(frozen=True)
class Expected:
    """The claim that one variant is above another, or loses less; `margin` (points) is the largest negligible
    difference.
    """

    better: str
    worse: str
    margin: float | None = None


@dataclass(frozen=True)
class Family:
    """Claims that are decided together (`statistics.verdicts`), on one of `MEASURES`."""

    name: str
    title: str
    measure: str
    claims: tuple[Expected, ...]


@dataclass(frozen=True)
class Plan:
    """What is run, compared and claimed.

    Attributes:
        base: of which variants are changes.
        commit, computed_by: of the code that makes all runs.
        seeds: number of seeds at each look.
        hours: core hours of one run, until records tell.
        choices: what was chosen on which data.
        order: variants, the most important first.
        families: of claims.
        source: its file or name, empty for evidence.
    """

    base: Base
    commit: str
    computed_by: str
    seeds: tuple[int, ...]
    hours: float
    choices: str
    order: tuple[str, ...]
    families: tuple[Family, ...]
    source: str = ""

    def runs(self) -> list[Run]:
        """Those of the first look, variant by variant."""
        return [self.base.run(variant, seed) for variant in self.order for seed in range(self.seeds[0])]

    def command(self, variant: str) -> str:
        """The command that makes the missing runs of one variant, with any version of the code."""
        return " ".join(["sst sweep --plan", *filter(None, [self.source]), "--only", variant])

    def records(self) -> dict[str, dict[int, records.RunRecord]]:
        """The existing records, by variant and seed.

        Raises:
            ValueError: one of another code than the plan's.
        """
        made: dict[str, dict[int, records.RunRecord]] = {variant: {} for variant in self.order}
        for record in records.read_all(self.base.name):
            if record.provenance.get("computed_by") != self.computed_by:
                raise ValueError(f"{record.path} was made by other code (commit {record.provenance.get('commit')}) "
                                 f"than the plan's ({self.commit}), and records of two are not mixed; delete it")
            made.setdefault(record.variant, {})[record.seed] = record
        return made


def read(given: Path | str = EVIDENCE) -> Plan:
    """A plan from its file, or a committed one by name: results/plans/NAME.json in the folder of results or else in
    that of this code.

    Raises:
        FileNotFoundError: there is no such plan.
        ValueError: unknown variants or measures, families of too many claims, or other levels than verdicts have.
    """
    committed = [root / "results" / "plans" / f"{given}.json" for root in (paths.ROOT, Path(__file__).parents[2])]
    path = next((place for place in (Path(given), *committed) if place.is_file()), Path(given))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such plan; give a file, or {EVIDENCE} or {RIVALS} in a clone of the "
                                "repository")
    content = read_json(path)
    try:
        return dataclasses.replace(_plan(content), source=str(given) if str(given) != EVIDENCE else "")
    except KeyError as error:
        raise ValueError(f"{path} is no plan: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no plan: {error}") from error


def _plan(content: dict[str, Any]) -> Plan:
    base, order = Base.named(content["base"], content["steps"]), tuple(content["order"])
    for variant in order:
        base.run(variant, 0)
    families = tuple(
        Family(one["name"], one["title"], one["measure"], tuple(Expected(**claim) for claim in one["claims"]))
        for one in content["families"])
    for family in families:
        require(family.measure, f"measure of {family.name}", tuple(MEASURES))
        if not 0 < len(family.claims) <= MOST_CLAIMS:
            raise ValueError(f"{family.name} has {len(family.claims)} claims; what is decided together are 1 to "
                             f"{MOST_CLAIMS}")
        for claim in family.claims:
            for variant in (claim.better, claim.worse):
                require(variant, f"a variant of {family.name}", order)
    if (levels := tuple(look["level"] for look in content["looks"])) != LOOKS:
        raise ValueError(f"looks have the levels {levels}; verdicts are made at {LOOKS}")
    return Plan(base, content["commit"], content["computed_by"], tuple(look["seeds"] for look in content["looks"]),
                content["hours_a_run"], content["choices"], order, families)
