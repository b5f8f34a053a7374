"""Trains and evaluates the variants of an experiment: one run a task, one record a run."""

import argparse
import os
from collections import Counter
from typing import Any

from sstlib.cli import _arguments

HELP = "run the missing runs of sweeps (all, or those named), each in its own process"
EXAMPLES = """examples:
  sst sweep --list                                                       which runs there are, and which are done
  sst sweep --plan --list                                                what of the plan is done, and what comes next
  sst sweep --plan --only grid-2                                         runs of one variant of the plan
  sst sweep --plan rivals --list                                         the plan of SST against its rivals
  sst sweep --plan rivals --time                                         what a step of each of them costs
  sst sweep pattern rivals --base my.json --seeds 5 --jobs 4             tables of one's own base, four runs at a time
  sst sweep --scheduler tcp://HOST:8786                                  on a Dask cluster that shares this folder
"""


def configure(parser: argparse.ArgumentParser) -> None:
    from sstlib.cli._cluster import add_cluster_arguments

    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="sweeps (default: all); without --base or --plan their runs are short, a minute each on "
                             "generated clips; with --base also pilot, the base alone")
    _arguments.close_with(parser, EXAMPLES)
    base = parser.add_argument_group("another base", "in place of the short experiment's")
    base.add_argument("--base", metavar="CONFIG",
                      help="vary this preset or JSON file instead of the short experiment's base: evidence, or the "
                           "paper's own setting, sst-paper")
    base.add_argument("--seeds", type=_arguments.whole(1, 1000), metavar="N",
                      help="with --base: seeds 0 to N - 1 (default 5)")
    base.add_argument("--steps", type=_arguments.whole(1, 10**9), metavar="N",
                      help="with --base: other steps than its own")
    which = parser.add_argument_group("which runs", "by default all that are missing")
    which.add_argument("--only", metavar="VARIANT", help="this variant alone")
    which.add_argument("--seed", type=_arguments.whole(), metavar="K",
                       help="this seed alone; with --only and one NAME the run is made in this process")
    instead = which.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the runs and which are done; run nothing")
    instead.add_argument("--time", action="store_true",
                         help="with --plan: train nothing, time a step of each of its networks, in turns, on one "
                              "thread")
    which.add_argument("--plan", nargs="?", const="evidence", metavar="FILE",
                       help="make the runs of a plan in its order, or of one variant by --only, by its commit's code: "
                            "a file, or evidence (default) or rivals of results/plans; with --list: what is done, "
                            "what comes next and how long it takes")
    which.add_argument("--fresh", action="store_true", help="make runs anew, also where there is a record")
    where = add_cluster_arguments(parser)
    where.add_argument("--device", metavar="D", help="cpu, cuda or cuda:NUMBER (default: a GPU where there is one)")


def run(arguments: argparse.Namespace) -> int:
    from sstlib import reproduction
    from sstlib.reproduction.runs import note, run_name, task, visible

    if arguments.plan is not None:
        return _planned(arguments)
    if arguments.time:
        raise ValueError("--time is of the networks of a plan; name it by --plan")
    if arguments.base is None and (arguments.seeds or arguments.steps):
        raise ValueError("--seeds and --steps are of a base; name it by --base")
    if arguments.seeds and arguments.seed is not None:
        raise ValueError(f"--seed {arguments.seed} is one seed and --seeds {arguments.seeds} are several; give one of "
                         "the two")
    os.environ |= visible(_arguments.usable_device(arguments.device) if arguments.device else "")
    runs, options = _varied(arguments) if arguments.base else _short(arguments)
    if arguments.list:
        for name, run in runs:
            print(f"{'done   ' if run.done else 'missing'}  {name:<10}  {run_name(run)}")
        for made, number in Counter(note(run) for _, run in runs if run.done).items():
            if made:
                print(f"{number} of them {made}")
        return 0
    if len(runs) == 1 and arguments.only is not None and arguments.seed is not None:
        return make(runs[0][1], arguments.fresh)
    tasks = [task(name, run, arguments.fresh, options, arguments.device or "") for name, run in runs]
    with reproduction.Engine(arguments.scheduler, arguments.workers) as engine:
        outcomes = engine.run(tasks, arguments.fresh, title="runs")
    print(reproduction.summary(outcomes))
    return int(any(outcome.status == "failed" for outcome in outcomes))


def _planned(arguments: argparse.Namespace) -> int:
    """Prints or follows a plan, which determines what is run."""
    from sstlib.experiments import following, plans

    others = {"NAME": arguments.names, "--base": arguments.base, "--seeds": arguments.seeds, "--steps": arguments.steps,
              "--seed": arguments.seed, "--fresh": arguments.fresh,
              "--device": arguments.device, "--scheduler": arguments.scheduler,
              "--only": arguments.only if arguments.list or arguments.time else None,
              "--jobs": arguments.workers if arguments.list or arguments.time else None}
    if given := [name for name, value in others.items() if value not in (None, [], False)]:
        raise ValueError(f"--plan says what is run, so {', '.join(given)} cannot go with it; --list, "
                         "--time, or --only and --jobs, can")
    plan = plans.read(arguments.plan)
    if arguments.list:
        print(following.summary(plan))
        return 0
    if arguments.time:
        from sstlib.experiments import costs

        print(costs.measure(plan).write())
        return 0
    return following.follow(plan, arguments.workers, arguments.only)


def _short(arguments: argparse.Namespace) -> tuple[list, list[str]]:
    """Runs of the short experiment, each with its sweep's name."""
    from sstlib import experiments, reproduction
    from sstlib.reproduction.runs import select

    for name in arguments.names:
        reproduction.require_known(name, experiments.SWEEPS, f"no sweep {name!r}")
    return select(arguments.names or list(experiments.SWEEPS), arguments.only, arguments.seed), []


def _varied(arguments: argparse.Namespace) -> tuple[list, list[str]]:
    """Runs of another base, each with its sweep's name, and the options that select the base."""
    from sstlib.experiments import SWEEPS, bases

    base = bases.Base.named(arguments.base, arguments.steps)
    seeds = range(arguments.seeds or 5) if arguments.seed is None else [arguments.seed]
    runs = bases.select(base, arguments.names or list(SWEEPS), seeds, arguments.only)
    base.require_alike([run for _, run in runs] if arguments.fresh else [])
    return runs, base.options()


def make(run: Any, fresh: bool) -> int:
    """Makes one run in this process."""
    from sstlib.reproduction.runs import run_name

    if run.done and not fresh:
        print(f"{run_name(run)} is done: {run.record_path}; --fresh makes it again")
        return 0
    from sstlib.experiments.execute import execute

    print(f"{run_name(run)}: {execute(run).path}")
    return 0
