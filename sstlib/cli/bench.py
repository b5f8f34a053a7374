"""`sst bench NAME`: measures attention, frames, training, clips or scoring, and writes a record."""

import argparse
import sys
from typing import Any

from sstlib.benchmarks import BENCHMARKS
from sstlib.cli import _arguments

HELP = "measure speed and memory, as a record: " + ", ".join(BENCHMARKS)
EXAMPLES = """examples:
  sst bench attention --help                                what it takes
  sst bench attention --json attention.json                 every pattern, implementation and size
  sst bench prompts --json prompts.json                     masks from boxes, clicks and outlines against true ones
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command, and of each benchmark those that its entry says."""
    _arguments.close_with(parser, EXAMPLES)
    names = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    for benchmark in BENCHMARKS.values():
        one = names.add_parser(benchmark.name, help=benchmark.title, description=benchmark.title)
        _arguments.close_with(one, f"example:\n  sst bench {benchmark.name} --json {benchmark.name}.json\n")
        record = one.add_argument_group("record")
        record.add_argument("--json", metavar="FILE", type=_arguments.new_file, required=True,
                            help="where the record goes; written whole, and of a long benchmark after each part")
        measured = one.add_argument_group("what is measured") if benchmark.options else None
        for flag, option in (benchmark.options or {}).items():
            how = {key: value for key, value in option.items() if key != "kind"}
            measured.add_argument(flag, **how, **({"type": _arguments.of(option["kind"])} if "kind" in option else {}))


def run(arguments: argparse.Namespace) -> int:
    """Measures, writes the record, prints what it says.

    Raises:
        ValueError: options that the benchmark does not take, or a device that this machine lacks.
    """
    from sstlib.paths import write_whole

    if "device" in arguments:
        _arguments.usable_device(arguments.device)
    arguments.report = lambda line: print(line, file=sys.stderr, flush=True)

    def keep(record: dict[str, Any]) -> None:
        from sstlib.benchmarks.attention import text

        write_whole(arguments.json, text(record))

    benchmark = BENCHMARKS.find(arguments.what)
    record = benchmark.measure(arguments, keep)
    keep(record)
    print("\n".join(filter(None, [benchmark.summary(record), f"record: {arguments.json}"])))
    return 0
