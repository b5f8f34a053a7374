"""Trains and evaluates the variants of an experiment: one run a task, one record a run."""

import argparse

from sstlib import paths

HELP = "run the missing runs of sweeps (all, or those named), each in its own process"


def configure(parser: argparse.ArgumentParser) -> None:
    from sstlib.cli.reproduce import add_cluster_arguments

    parser.add_argument("names", nargs="*", metavar="NAME", help="sweeps; default: all")
    parser.add_argument("--only", metavar="VARIANT", help="this variant alone")
    parser.add_argument("--seed", type=int, metavar="K", help="this seed alone; with --only and one NAME the run is made in this process")
    parser.add_argument("--list", action="store_true", help="list the runs and which are done; run nothing")
    parser.add_argument("--fresh", action="store_true", help="make runs again whose record is there")
    add_cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from sstlib import experiments, runner

    for name in arguments.names:
        runner.require_known(name, experiments.SWEEPS, f"no sweep {name!r}")
    names = arguments.names or list(experiments.SWEEPS)
    runs = select(names, arguments.only, arguments.seed)
    if arguments.list:
        for run in runs:
            print(f"{'done   ' if run.record_path.is_file() else 'missing'}  {run_name(run)}")
        return 0
    if len(runs) == 1 and arguments.only is not None and arguments.seed is not None:
        return make(runs[0], arguments.fresh)
    with runner.Engine(arguments.scheduler, arguments.workers) as engine:
        outcomes = engine.run([task(run, arguments.fresh) for run in runs], arguments.fresh, title="runs")
    print(runner.summary(outcomes))
    return int(any(outcome.status == "failed" for outcome in outcomes))


def select(names: list[str], variant: str | None, seed: int | None) -> list:
    """The runs of the sweeps, of one variant or seed where it is given; a run that two sweeps share comes once."""
    from sstlib import experiments, runner

    runs = {run.record_path: run for name in names for run in experiments.SWEEPS[name].runs()}
    if variant is not None:
        runner.require_known(variant, sorted({run.variant for run in runs.values()}), f"no variant {variant!r} in {', '.join(names)}")
    if seed is not None:
        runner.require_known(seed, sorted({run.seed for run in runs.values()}), f"no seed {seed} in {', '.join(names)}")
    return [run for run in runs.values() if variant in (None, run.variant) and seed in (None, run.seed)]


def run_name(run) -> str:
    return f"{run.experiment}/{run.variant}-seed{run.seed}"


def task(run, fresh: bool = False):
    """The run as a task: this command again, for this run alone, in a process of its own."""
    from sstlib import runner

    command = ("sstlib", "sweep", run.experiment, "--only", run.variant, "--seed", str(run.seed), *(["--fresh"] if fresh else []))
    return runner.Task(run_name(run), command, output=run.record_path, record=run.record_path,
                       log=paths.EXECUTED / "logs" / f"{run_name(run).replace('/', '-')}.log", environment={"SSTVOS_HOME": str(paths.ROOT)})


def make(run, fresh: bool) -> int:
    """Makes one run in this process."""
    from sstlib import experiments

    if run.record_path.is_file() and not fresh:
        print(f"{run_name(run)} is done: {run.record_path}; --fresh makes it again")
        return 0
    experiments.execute(run)
    return 0
