"""Follows a plan: what is done, what is due at which look, and the runs that are missing.

All runs of a plan are made by the code of the plan's commit. Another checkout makes them in a worktree of that commit,
to which existing records are copied and from which new ones are copied back.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from sstlib import paths
from sstlib.config.fields import require
from sstlib.experiments import bases, evidence, records
from sstlib.experiments.plans import Plan
from sstlib.experiments.sweeps import SWEEPS
from sstlib.provenance import computed_by

TRIED = 1356 + 24 * 3 * 53  # frames that one trial segments: DAVIS-2016 validation and the paired scenes


def sweep_of(variant: str) -> str:
    """The first sweep that has the variant; the base belongs to the pilot."""
    return next(name for name in (bases.PILOT, *SWEEPS) if variant in bases.labels(name))


def hours(record: records.RunRecord) -> float:
    """Hours of training and trial of one run, on a machine that may have been shared."""
    return (record.cost["training_seconds"] + TRIED / record.cost["frames_per_second"]) / 3600


def summary(plan: Plan) -> str:
    """What is done, what comes next and how long it should take, with a line for each variant."""
    made, due = plan.records(), evidence.seeds_due(plan)
    spent = [hours(one) for runs in made.values() for one in runs.values()]
    each = sum(spent) / len(spent) if spent else plan.hours
    lines, left = [], {}
    for variant in plan.order:
        number = sum(seed < due[variant] for seed in made[variant])
        left[variant] = due[variant] - number
        state = "missing" if not number else "partly " if left[variant] else "done   "
        lines.append(f"{state}  {variant:<17} {number} of {due[variant]} seeds"
                     + f"   {plan.command(variant)}" * bool(left[variant]))
    following = next((variant for look in plan.seeds for variant in plan.order
                      if left[variant] and due[variant] <= look), "nothing: every look is complete")
    missing, elsewhere = sum(left.values()), ""
    if computed_by() != plan.computed_by:
        elsewhere = ", not by the code here: sst sweep --plan runs them in a worktree of it"
    lines += [f"{len(spent)} runs took {sum(spent):.1f} hours; {missing} are left of the looks that are due: "
              f"{missing * each:.0f} hours of one core at {each:.2f} a run", f"next: {following}",
              f"all runs are made by commit {plan.commit}{elsewhere}"]
    return "\n".join(lines)


def follow(plan: Plan, jobs: int | None = None, only: str | None = None) -> int:
    """Makes the missing runs in the plan's order, or those of one variant, with the plan's code: those of the first
    look, then those of the second for undecided claims. Stops at the first exit status other than 0, and returns it.
    Started again, it resumes from the last checkpoint.

    Raises:
        ValueError: the plan's commit is not available, or the plan has no such variant.
    """
    if only is not None:
        require(only, "--only", plan.order)
    home = paths.ROOT if computed_by() == plan.computed_by else _worktree(plan.commit)
    runs = home / "results" / "runs" / plan.base.name
    runs.mkdir(parents=True, exist_ok=True)
    for record in records.read_all(plan.base.name):
        if runs / record.path.name != record.path:
            shutil.copyfile(record.path, runs / record.path.name)
    for look in range(len(plan.seeds)):
        due = evidence.seeds_due(plan) if look else dict.fromkeys(plan.order, plan.seeds[0])
        for variant in plan.order if only is None else [only]:
            if all(plan.base.run(variant, seed).done for seed in range(due[variant])):
                continue
            if status := _made(plan, home, variant, due[variant], jobs):
                return status
    return 0


def _made(plan: Plan, home: Path, variant: str, seeds: int, jobs: int | None) -> int:
    """Runs the sweep that makes a variant's missing runs in another folder, and copies records and curves back; returns
    its exit status.
    """
    environment = os.environ | paths.absolute(os.environ) | {"PYTHONPATH": str(home), "SSTVOS_HOME": str(home)}
    if davis := paths.davis():
        environment["SST_DAVIS"] = str(Path(davis).absolute())
    command = [sys.executable, "-m", "sstlib", "sweep", sweep_of(variant), "--only", variant, *plan.base.options(),
               "--seeds", str(seeds), *(["--jobs", str(jobs)] if jobs else [])]
    status = subprocess.run(command, cwd=home, env=environment, check=False).returncode
    for path in (home / "results" / "runs" / plan.base.name).glob(f"{variant}-seed*.json"):
        if path != records.record_path(plan.base.name, variant, 0).with_name(path.name):
            place = records.read(path).write()
            curve = home / "results" / "training" / plan.base.name / path.stem / "curve.csv"
            if curve.is_file():  # a run that was made elsewhere has none
                records.write_curve(pd.read_csv(curve), place)
    return status


def _worktree(commit: str) -> Path:
    folder = paths.RESULTS / "training" / f"code-{commit}"
    if not folder.is_dir():
        made = subprocess.run(["git", "worktree", "add", "--detach", str(folder), commit], cwd=paths.ROOT,
                              capture_output=True, text=True, check=False)
        if made.returncode:
            raise ValueError(f"the plan's runs are made by commit {commit}, which git cannot check out here: "
                             f"{made.stderr.strip().splitlines()[-1:]}; clone the repository with its history")
    return folder
