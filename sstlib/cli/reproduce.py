"""Everything from records to report: missing runs, the DAVIS row, all notebooks, tables, one HTML page."""

import argparse
import time
from typing import Any

from sstlib import paths
from sstlib.cli import _arguments
from sstlib.cli._cluster import add_cluster_arguments

HELP = "run what is missing of the sweeps, then every notebook, and write tables and the HTML report into results/"
EXAMPLES = """examples:
  sst reproduce                                             what is missing of everything; minutes to hours
  sst reproduce --only 01_connectivity -p 01_connectivity:frames=3                    one notebook, one number changed
  sst reproduce --only 03_training --in-place --fresh       executed again, ready to commit
  sst reproduce --scheduler tcp://HOST:8786                 on a Dask cluster that shares this folder
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_cluster_arguments(parser)
    _arguments.close_with(parser, EXAMPLES)
    which = parser.add_argument_group("notebooks", "by default all, after the runs that are missing")
    which.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK",
                       help="these notebooks alone, no sweeps and no tables")
    which.add_argument("-p", "--parameter", action="append", default=[], metavar="NOTEBOOK:NAME=VALUE",
                       help="a notebook's parameter; may be given several times; its figures then go beside its "
                            "executed copy")
    which.add_argument("--in-place", action="store_true",
                       help="put the executions back into notebooks/, ready to commit")
    which.add_argument("--fresh", action="store_true",
                       help="execute notebooks again that are done (for runs there is sst sweep --fresh)")


def run(arguments: argparse.Namespace) -> int:
    from sstlib import reproduction
    from sstlib.reproduction import docstrings, report

    began = time.monotonic()
    paths.davis()  # a wrong SST_DAVIS is found before anything runs
    parameters = reproduction.parse_parameters(arguments.parameter)
    if arguments.in_place and parameters:
        raise ValueError("--in-place writes notebooks as they are committed, with their defaults; leave -p out")
    chosen = reproduction.choose(arguments.only)
    if stray := [name for name in parameters if name not in chosen]:
        raise ValueError(f"-p {stray[0]}:... is for a notebook that --only leaves out; name it there, or leave -p out")
    outcomes = []
    with reproduction.Engine(arguments.scheduler, arguments.workers) as engine:
        if not arguments.only:
            outcomes += records(engine)
        tasks = reproduction.notebook_tasks(chosen, parameters)
        executed = engine.run(tasks, arguments.fresh, title="notebooks")
    if arguments.in_place:
        for task, outcome in zip(tasks, executed):
            if outcome.status in ("ran", "reused"):
                reproduction.write_in_place(task, chosen[task.name])
    if not arguments.only:
        print(docstrings.make(paths.REPORT / "api"))
    page = report.write(reproduction.notebook_tasks(reproduction.choose([]), parameters), executed)
    print(f"\n{reproduction.summary(outcomes + executed)}\n  {time.monotonic() - began:.0f} s in all; report: {page}")
    return int(any(outcome.status == "failed" for outcome in outcomes + executed))


def records(engine: Any) -> list:
    """Makes the runs that the sweeps miss, scores DAVIS where there is one, and writes the tables."""
    from sstlib import experiments
    from sstlib.experiments.table_files import write_tables
    from sstlib.reproduction import runs

    outcomes = engine.run([runs.task(name, run) for name, run in runs.select(list(experiments.SWEEPS))], title="runs")
    outcomes += davis_rows()
    write_tables(paths.TABLES)
    return outcomes


def davis_rows() -> list:
    """Scores the released networks on real frames where there are any."""
    from sstlib import reproduction

    if paths.davis() is None:
        print("no DAVIS folder (SST_DAVIS or data/DAVIS): the rows on real frames stay as they are recorded")
        return []
    from sstlib.experiments import records
    from sstlib.provenance import made_by
    from sstlib.releasing import real_frames

    began, outcomes = time.time(), []
    for path in real_frames.davis_rows():
        ran = path.stat().st_mtime >= began
        outcomes.append(reproduction.Outcome(f"davis2016/{path.stem}", "ran" if ran else "reused",
                                       note="" if ran else made_by(records.read(path).provenance)))
    return outcomes
