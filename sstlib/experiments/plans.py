"""A committed plan of a sweep: its runs in order of importance, its claims, when they are looked at, how far it is.

Runs of a plan are made by one code, that of the plan's commit. Another checkout follows the plan in a worktree of that
commit, to which the records that are there are lent and from which new ones come back.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sstlib import paths
from sstlib.config.fields import require
from sstlib.config.values import read_json
from sstlib.experiments import bases, records
from sstlib.experiments.bases import Base
from sstlib.experiments.sweeps import SWEEPS, Run
from sstlib.provenance import computed_by
from sstlib.statistics.verdicts import LOOKS

EVIDENCE = "evidence"
MEASURES = {"J&F": "J&F on DAVIS-2016 validation", "loss": "J&F that the target loses by an occlusion"}
MOST_CLAIMS = 4
TRIED = 1356 + 24 * 3 * 53  # frames that one trial segments: DAVIS-2016 validation and the paired scenes


@dataclass(frozen=True)
class Expected:
    """That one variant is above another, or loses less; `margin` is what may be called no difference, in points."""

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
        base: what variants are changes of.
        commit, computed_by: of the code that makes all runs.
        seeds: number of seeds at each look.
        hours: core hours of one run, as long as no record tells.
        choices: what was chosen on which data.
        order: variants, the most important first.
        families: of claims.
        source: its file, empty for the committed one.
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

    def runs(self, seeds: int | None = None) -> list[Run]:
        """Those of the first look, or with as many seeds, variant by variant."""
        return [self.base.run(variant, seed) for variant in self.order for seed in range(seeds or self.seeds[0])]

    def command(self, variant: str) -> str:
        """What makes the missing runs of one variant, whatever code is here."""
        return " ".join(["sst sweep --plan", *filter(None, [self.source]), "--only", variant])

    def records(self) -> dict[str, dict[int, records.RunRecord]]:
        """The records that are there, by variant and seed.

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


def sweep_of(variant: str) -> str:
    """The first sweep that has the variant; the base belongs to the pilot."""
    return next(name for name in (bases.PILOT, *SWEEPS) if variant in bases.labels(name))


def read(given: Path | str | None = None) -> Plan:
    """A plan from its file; by default the committed one, results/plans/evidence.json, of the folder that holds the
    results or else of the one that holds this code.

    Raises:
        FileNotFoundError: there is none.
        ValueError: unknown variants or measures, families of too many claims, or other levels than verdicts have.
    """
    committed = [root / "results" / "plans" / f"{EVIDENCE}.json" for root in (paths.ROOT, Path(__file__).parents[2])]
    path = Path(given or next((place for place in committed if place.is_file()), committed[0]))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such plan; the committed one is results/plans/{EVIDENCE}.json of a clone "
                                "of the repository")
    content = read_json(path)
    try:
        return dataclasses.replace(_plan(content), source=str(given or ""))
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


def hours(record: records.RunRecord) -> float:
    """Hours that training and trial of one run took, on a machine that other programs may have shared."""
    return (record.cost["training_seconds"] + TRIED / record.cost["frames_per_second"]) / 3600


def summary(plan: Plan) -> str:
    """What is done, what comes next and how long it is expected to take, a line a variant."""
    made, wanted = plan.records(), plan.seeds[0]
    spent = [hours(one) for runs in made.values() for one in runs.values()]
    each = sum(spent) / len(spent) if spent else plan.hours
    lines, left = [], 0
    for variant in plan.order:
        missing = sorted(set(range(wanted)) - set(made[variant]))
        left += len(missing)
        state = "done   " if not missing else "partly " if len(missing) < wanted else "missing"
        lines.append(f"{state}  {variant:<17} {wanted - len(missing)} of {wanted} seeds"
                     + f"   {plan.command(variant)}" * bool(missing))
    following = next((variant for variant in plan.order if len(made[variant]) < wanted), None)
    lines += [f"{len(spent)} runs took {sum(spent):.1f} hours; {left} of the first look are left: {left * each:.0f} "
              f"hours of one core at {each:.2f} a run", f"next: {following or 'the first look is complete'}",
              f"all runs are made by commit {plan.commit}" + ("" if computed_by() == plan.computed_by else
                                                              ", not by the code here: sst sweep --plan runs them in a "
                                                              "worktree of it")]
    return "\n".join(lines)


def follow(plan: Plan, jobs: int | None = None, only: str | None = None) -> int:
    """Makes the missing runs of the first look in the plan's order, or of one variant, by the plan's code; the first
    exit status that is not 0 ends it, else 0. Started again it goes on from the last checkpoint.

    Raises:
        ValueError: the plan's commit is not to be had, or it has no such variant.
    """
    if only is not None:
        require(only, "--only", plan.order)
    home = paths.ROOT if computed_by() == plan.computed_by else _worktree(plan.commit)
    there = home / "results" / "runs" / plan.base.name
    there.mkdir(parents=True, exist_ok=True)
    for record in records.read_all(plan.base.name):
        if there / record.path.name != record.path:
            shutil.copyfile(record.path, there / record.path.name)
    environment = os.environ | {"PYTHONPATH": str(home), "SSTVOS_HOME": str(home)}
    if davis := paths.davis():
        environment["SST_DAVIS"] = str(Path(davis).absolute())
    for variant in plan.order if only is None else [only]:
        if all(run.done for run in plan.runs() if run.variant == variant):
            continue
        command = [sys.executable, "-m", "sstlib", "sweep", sweep_of(variant), "--only", variant, *plan.base.options(),
                   "--seeds", str(plan.seeds[0]), *(["--jobs", str(jobs)] if jobs else [])]
        status = subprocess.run(command, cwd=home, env=environment, check=False).returncode
        for path in there.glob(f"{variant}-seed*.json"):
            if path != records.record_path(plan.base.name, variant, 0).with_name(path.name):
                records.read(path).write()
        if status:
            return status
    return 0


def _worktree(commit: str) -> Path:
    folder = paths.RESULTS / "training" / f"code-{commit}"
    if not folder.is_dir():
        made = subprocess.run(["git", "worktree", "add", "--detach", str(folder), commit], cwd=paths.ROOT,
                              capture_output=True, text=True, check=False)
        if made.returncode:
            raise ValueError(f"the plan's runs are made by commit {commit}, which git cannot check out here: "
                             f"{made.stderr.strip().splitlines()[-1:]}; clone the repository with its history")
    return folder
