"""Where tasks run: the arguments that `sst sweep` and `sst reproduce` share."""

import argparse

from sstlib.cli import _arguments


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Where tasks run: also the sweep's arguments."""
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="a running Dask scheduler; default: a cluster on this machine")
    parser.add_argument("--workers", "--jobs", type=_arguments.threads, metavar="N",
                        help="tasks at a time on this machine (also on one GPU); default: one a core")
