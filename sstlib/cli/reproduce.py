"""Everything from records to report: missing runs, the DAVIS row, all notebooks, tables, one HTML page."""

import argparse
import importlib.util
import time

from sstlib import paths

HELP = "run what is missing of the sweeps, then every notebook, and write tables and the HTML report into results/"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK", help="these notebooks alone, no sweeps and no tables")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NOTEBOOK:NAME=VALUE",
                        help="a notebook's parameter; may be given several times")
    parser.add_argument("--in-place", action="store_true", help="put the executions back into notebooks/, ready to commit")
    parser.add_argument("--fresh", action="store_true", help="execute notebooks again that are done (runs: sst sweep --fresh)")
    add_cluster_arguments(parser)


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Where tasks run: also the sweep's arguments."""
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler; default: a cluster on this machine")
    parser.add_argument("--workers", type=int, metavar="N", help="tasks at a time on this machine; default: one a core")


def run(arguments: argparse.Namespace) -> int:
    from sstlib import report, runner

    began = time.monotonic()
    parameters = runner.parse_parameters(arguments.parameter)
    if arguments.in_place and parameters:
        raise ValueError("--in-place writes notebooks as they are committed, with their defaults; leave -p out")
    chosen = runner.choose(arguments.only)
    outcomes = []
    with runner.Engine(arguments.scheduler, arguments.workers) as engine:
        if not arguments.only:
            outcomes += records(engine)
        tasks = runner.notebook_tasks(chosen, parameters)
        executed = engine.run(tasks, arguments.fresh, title="notebooks")
    if arguments.in_place:
        for task, outcome in zip(tasks, executed):
            if outcome.status in ("ran", "reused"):
                runner.write_in_place(task, chosen[task.name])
    page = report.write(runner.notebook_tasks(runner.choose([]), parameters), executed)
    print(f"\n{runner.summary(outcomes + executed)}\n  {time.monotonic() - began:.0f} s in all; report: {page}")
    return int(any(outcome.status == "failed" for outcome in outcomes + executed))


def records(engine) -> list:
    """Runs what the sweeps miss, scores DAVIS where there is one, and writes the tables."""
    if not importlib.util.find_spec("sstlib.experiments"):
        return []
    from sstlib import experiments
    from sstlib.cli import sweep

    outcomes = engine.run([sweep.task(run) for run in sweep.select(list(experiments.SWEEPS), None, None)], title="runs")
    if paths.davis():
        experiments.davis_row()
    else:
        print("no DAVIS: neither SST_DAVIS nor data/DAVIS names a folder, so its row is left out (data/README.md says how to get one)")
    experiments.write_tables()
    return outcomes
