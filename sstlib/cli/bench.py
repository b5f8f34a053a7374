"""`sst bench`: measures the attention operators and writes a record."""

import argparse
import sys
from pathlib import Path
from typing import Any

from sstlib.cli import _arguments
from sstlib.values import Fields, read_json, shown

# What a row must have
ROW = ("part", "size", "pattern", "implementation", "direction", "milliseconds", "ratio_to_dense")
HELP = "measure attention: every pattern and implementation beside dense attention, time and memory, as a record"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("what", choices=["attention"], help="what to measure")
    parser.add_argument("--json", metavar="FILE", type=_arguments.new_file, required=True, help="where the record "
                                                                                                "goes; written whole, "
                                                                                                "after each size")
    parser.add_argument("--sizes", metavar="SIZE", nargs="+", default=["S1", "S2", "S3", "S4", "growth", "memory"],
                        help="which of S1 S2 S3 S4 growth memory (default: all)")
    parser.add_argument("--patterns", metavar="PATTERN", nargs="+", help="which patterns, such as 'local(radius=7)' "
                                                                         "(default: those of the published "
                        "record); one's own, too, if SST_PATTERNS names the Python file that defines it")
    parser.add_argument("--merge", action="store_true", help="keep what FILE has of the other sizes: a long benchmark "
                                                             "in pieces")
    parser.add_argument("--flex", action="store_true", help="FlexAttention, too: it compiles for half a minute a "
                                                            "pattern, size and direction")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu, on one thread)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="precision of the tensors "
                                                                                            "(default: float32)")
    parser.add_argument("--quick", action="store_true", help="one round and small buffers: a minute, to see that it "
                                                             "works")


def _read_earlier(path: Path) -> dict[str, Any]:
    """The record to merge with.

    Raises:
        ValueError: it is none of this benchmark.
    """
    record = read_json(path)
    try:
        for field in ("parts", "left_out"):
            Fields().check(record.get(field), field)
        rows = record.get("rows")
        if not isinstance(rows, list):
            raise ValueError(f"rows is {shown(rows)}; expected a list")
        for row in rows:
            Fields().check(row, "a row")
            for key in ROW:
                if key not in row:
                    raise ValueError(f"a row lacks {key}")
    except ValueError as error:
        raise ValueError(
            f"{path} is no record that can be merged with ({error}); leave --merge out to write it anew") from error
    return record


def run(arguments: argparse.Namespace) -> int:
    """Measures, writes the record, prints what was fastest.

    Raises:
        ValueError: an unknown size or pattern, a device that this machine lacks, or a record that cannot be merged
            with.
    """
    from sstlib.benchmarks import attention
    from sstlib.connectivity import parse
    from sstlib.native import keep_freed_memory
    from sstlib.paths import atomic_write

    # Else the pages of large outputs are cleared in some rounds and not in others; peaks have processes of their own
    keep_freed_memory()
    unknown = [name for name in arguments.sizes if name not in attention.PARTS]
    if unknown:
        raise ValueError(f"no size {unknown[0]!r}; known sizes: {', '.join(attention.PARTS)}")
    _arguments.usable_device(arguments.device)
    patterns = attention.PUBLISHED if arguments.patterns is None else tuple(map(parse, arguments.patterns))
    earlier = _read_earlier(arguments.json) if arguments.merge and arguments.json.exists() else None

    def keep(record: dict[str, Any]) -> None:
        with atomic_write(arguments.json, "w") as file:
            file.write(attention.text(record))

    record = attention.measure(arguments.sizes, arguments.quick, arguments.flex,
                               lambda line: print(line, file=sys.stderr, flush=True), arguments.device, arguments.dtype,
                               earlier, keep, patterns)
    for row in record["rows"]:
        if row["ratio_to_dense"] and row["direction"] == attention.FORWARD:
            print(f"{row['size']:4} {row['pattern']:32} {row['implementation']:34} {row['milliseconds']:10.1f} ms "
                  f"{row['ratio_to_dense']:8.1f} x dense")
    print(f"{len(record['rows'])} rows: {arguments.json}")
    return 0
