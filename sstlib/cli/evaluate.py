"""`sst evaluate PREDICTIONS ANNOTATIONS`: J and F of two folders of masks, on the screen and as JSON and CSV."""

import argparse

from tqdm import tqdm

from sstlib.evaluation import MISSING, evaluate, write_csv, write_json
from sstlib.metrics import PROTOCOLS

HELP = "score predicted masks against annotations: region similarity J and contour accuracy F"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("predictions", metavar="PREDICTIONS", help="folder of SEQUENCE/FRAME.png, label maps")
    parser.add_argument("annotations", metavar="ANNOTATIONS", help="folder of the true masks, the same layout")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS),
                        help="what is scored; by default davis2016 for binary masks, else davis2017")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="score these sequences only")
    parser.add_argument("--missing", choices=MISSING, default="error",
                        help="missing predictions end with an error, or count as empty masks")
    parser.add_argument("--json", metavar="FILE", help="write everything, per frame too, as a JSON record")
    parser.add_argument("--csv", metavar="FILE", help="write the table, a row an object")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates and prints the table."""
    evaluation = evaluate(arguments.predictions, arguments.annotations, protocol=arguments.protocol,
                          sequences=arguments.sequences, missing=arguments.missing,
                          progress=lambda names, total: tqdm(names, total=total, unit="sequence", disable=None))
    print(evaluation.table())
    for note in evaluation.notes:
        print(f"note: {note}")
    if arguments.json:
        write_json(evaluation.to_dict(), arguments.json)
    if arguments.csv:
        write_csv(evaluation.rows(), arguments.csv)
    return 0
