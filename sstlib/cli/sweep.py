"""Trains and evaluates the variants of an experiment: one run a task, one record a run."""

import argparse
from collections import Counter

from sstlib.cli import _arguments

HELP = "run the missing runs of sweeps (all, or those named), each in its own process"


def configure(parser: argparse.ArgumentParser) -> None:
    from sstlib.cli._cluster import add_cluster_arguments

    parser.add_argument("names", nargs="*", metavar="NAME", help="sweeps; default: all")
    parser.add_argument("--only", metavar="VARIANT", help="this variant alone")
    parser.add_argument("--seed", type=_arguments.whole(), metavar="K",
                        help="this seed alone; with --only and one NAME the run is made in this process")
    parser.add_argument("--list", action="store_true", help="list the runs and which are done; run nothing")
    parser.add_argument("--fresh", action="store_true", help="make runs again whose record is there")
    add_cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from sstlib import experiments, reproduction
    from sstlib.reproduction.runs import note, run_name, select, task

    for name in arguments.names:
        reproduction.require_known(name, experiments.SWEEPS, f"no sweep {name!r}")
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
    with reproduction.Engine(arguments.scheduler, arguments.workers) as engine:
        outcomes = engine.run([task(name, run, arguments.fresh) for name, run in runs], arguments.fresh, title="runs")
    print(reproduction.summary(outcomes))
    return int(any(outcome.status == "failed" for outcome in outcomes))


def make(run, fresh: bool) -> int:
    """Makes one run in this process."""
    from sstlib.reproduction.runs import run_name

    if run.done and not fresh:
        print(f"{run_name(run)} is done: {run.record_path}; --fresh makes it again")
        return 0
    from sstlib.experiments.execute import execute

    print(f"{run_name(run)}: {execute(run).path}")
    return 0
