"""Trains and evaluates the variants of an experiment: one run a task, one record a run."""

import argparse
from collections import Counter

from sstlib import paths
from sstlib.cli import _arguments

HELP = "run the missing runs of sweeps (all, or those named), each in its own process"


def configure(parser: argparse.ArgumentParser) -> None:
    from sstlib.cli.reproduce import add_cluster_arguments

    parser.add_argument("names", nargs="*", metavar="NAME", help="sweeps; default: all")
    parser.add_argument("--only", metavar="VARIANT", help="this variant alone")
    parser.add_argument("--seed", type=_arguments.whole(), metavar="K",
                        help="this seed alone; with --only and one NAME the run is made in this process")
    parser.add_argument("--list", action="store_true", help="list the runs and which are done; run nothing")
    parser.add_argument("--fresh", action="store_true", help="make runs again whose record is there")
    add_cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from sstlib import experiments, runner

    for name in arguments.names:
        runner.require_known(name, experiments.SWEEPS, f"no sweep {name!r}")
    runs = select(arguments.names or list(experiments.SWEEPS), arguments.only, arguments.seed)
    if arguments.list:
        for name, run in runs:
            print(f"{'done   ' if run.done else 'missing'}  {name:<10}  {run_name(run)}")
        for made, number in Counter(note(run) for _, run in runs if run.done).items():
            if made:
                print(f"{number} of them {made}")
        return 0
    if len(runs) == 1 and arguments.only is not None and arguments.seed is not None:
        return make(runs[0][1], arguments.fresh)
    with runner.Engine(arguments.scheduler, arguments.workers) as engine:
        outcomes = engine.run([task(name, run, arguments.fresh) for name, run in runs], arguments.fresh, title="runs")
    print(runner.summary(outcomes))
    return int(any(outcome.status == "failed" for outcome in outcomes))


def select(names: list[str], variant: str | None = None, seed: int | None = None) -> list:
    """Sweep and run of what is asked for; a run that two sweeps share comes once."""
    from sstlib import experiments, runner

    runs = {run.record_path: (name, run) for name in reversed(names) for run in experiments.SWEEPS[name].runs()}
    for asked, field in ((variant, "variant"), (seed, "seed")):
        if asked is not None:
            known = sorted({getattr(run, field) for _, run in runs.values()})
            runner.require_known(asked, known, f"no {field} {asked!r} in {', '.join(names)}")
            runs = {path: found for path, found in runs.items() if getattr(found[1], field) == asked}
    return sorted(runs.values(), key=lambda found: names.index(found[0]))


def run_name(run) -> str:
    return f"{run.experiment}/{run.variant}-seed{run.seed}"


def note(run) -> str:
    """What the summary says of a reused run that other code than this made."""
    return f"{run.note}; sst sweep --fresh makes them again" if run.note else ""


def task(name: str, run, fresh: bool = False):
    """A run as a task: this command again, for this run alone, in a process of its own."""
    from sstlib import runner

    command = ("sstlib", "sweep", name, "--only", run.variant, "--seed", str(run.seed), *(["--fresh"] if fresh else []))
    log = paths.EXECUTED / "logs" / f"{run_name(run).replace('/', '-')}.log"
    return runner.Task(run_name(run), command, output=run.record_path, record=run.record_path, complete=run.done, note=note(run) if run.done else "",
                       log=log, environment={"SSTVOS_HOME": str(paths.ROOT)})


def make(run, fresh: bool) -> int:
    """Makes one run in this process."""
    if run.done and not fresh:
        print(f"{run_name(run)} is done: {run.record_path}; --fresh makes it again")
        return 0
    from sstlib.experiments.execute import execute

    print(f"{run_name(run)}: {execute(run).path}")
    return 0
