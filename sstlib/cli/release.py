"""`sst release`: the weights of a finished run, with a card, for others to load by name."""

import argparse
from pathlib import Path

HELP = "put the weights of a finished run into results/weights, with their terms and a card made from records"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a finished `sst train`")
    parser.add_argument("name", help="name to load it by, for example sst-small")
    parser.add_argument("--data", required=True, help="what it was trained on: generated or davis2016; decides its terms")


def run(arguments: argparse.Namespace) -> int:
    from sstlib.experiments.release import release

    for path in release(arguments.folder, arguments.name, arguments.data):
        print(path)
    return 0
