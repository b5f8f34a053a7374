"""Where tasks run: the arguments that `sst sweep` and `sst reproduce` share."""

import argparse
from typing import Any

from sstlib.cli import _arguments


def add_cluster_arguments(parser: argparse.ArgumentParser) -> Any:
    """Adds where tasks run, and returns the group."""
    group = parser.add_argument_group("where it runs")
    group.add_argument("--scheduler", metavar="ADDRESS",
                       help="a running Dask scheduler; default: a cluster on this machine")
    group.add_argument("--workers", "--jobs", type=_arguments.threads, metavar="N",
                       help="tasks at a time on this machine (also on one GPU); default: one a core")
    return group
