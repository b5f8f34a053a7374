"""`sst bench`: measures the attention operators and writes a record."""

import argparse
import sys
from pathlib import Path

HELP = "measure attention: every pattern and implementation beside dense attention, time and memory, as a record"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("what", choices=["attention"], help="what to measure")
    parser.add_argument("--json", metavar="FILE", type=Path, required=True, help="where the record goes; written whole, at the end")
    parser.add_argument("--sizes", metavar="SIZE", nargs="+", default=["S1", "S2", "S3", "S4"], help="which of S1 S2 S3 S4 (default: all)")
    parser.add_argument("--flex", action="store_true", help="FlexAttention, too: it compiles for a minute")
    parser.add_argument("--quick", action="store_true", help="one round and small buffers: a minute, to see that it works")


def run(arguments: argparse.Namespace) -> int:
    """Measures, writes the record, prints what was fastest.

    Raises:
        ValueError: an unknown size.
    """
    from sstlib import benchmarks
    from sstlib.files import written_aside

    unknown = [name for name in arguments.sizes if name not in benchmarks.SIZES]
    if unknown:
        raise ValueError(f"no size {unknown[0]!r}; known sizes: {', '.join(benchmarks.SIZES)}")
    record = benchmarks.measure(arguments.sizes, arguments.quick, arguments.flex, lambda line: print(line, file=sys.stderr, flush=True))
    with written_aside(arguments.json, "w") as file:
        file.write(benchmarks.text(record))
    for row in record["rows"]:
        if row["ratio_to_dense"] and row["direction"] == benchmarks.FORWARD:
            print(f"{row['size']:4} {row['pattern']:32} {row['implementation']:34} {row['milliseconds']:10.1f} ms "
                  f"{row['ratio_to_dense']:8.1f} x dense")
    print(f"{len(record['rows'])} rows: {arguments.json}")
    return 0
