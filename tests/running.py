"""A command as a process of its own that need not import everything anew: what `multiprocessing` forks can call."""

import os
import sys
from pathlib import Path

PRELOADED = ["running", "av", "torch", "tqdm", "sstlib.weights", "sstlib.movies", "sstlib.sessions",
             "sstlib.sessions.exports", "sstlib.cli.segment"]


def command(folder: Path, arguments: list[str]) -> None:
    """Runs `sst` with these arguments in a folder, without a word on standard output, and ends with its status."""
    from sstlib.cli import main

    os.chdir(folder)
    sys.stdout = open(os.devnull, "w")
    sys.exit(main(arguments))
