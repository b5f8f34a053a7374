"""`sst model NAME`: layers, shapes, parameters, multiply-adds and attention pairs of a network, and on request its cost
on this machine.
"""

import argparse
import dataclasses
import functools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sstlib.cli import _arguments
from sstlib.config import MODELS, ModelConfig, named_model

HELP = "show what a network is made of and what a frame costs it"
EXAMPLES = """examples:
  sst model                                                 names of all networks
  sst model sst-small --size 480x854 --objects 1 3 --time   modules, shapes and seconds of each stage
  sst model sst-small --set history=2 --figure small.png
  sst model run/weights.safetensors                         what a file of weights is, and holds
  sst model sst-small --stream 2000 --json memory.json      memory along 2,000 frames
"""
EVERY = 200  # frames of a stream between two reports of memory


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?",
                        help="a model configuration, or weights: a released name, a file, or the folder of a run; "
                             "without it, the list of configurations")
    _arguments.close_with(parser, EXAMPLES)
    network = parser.add_argument_group("network")
    network.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
                         help="change one field, for example history=2 (values as JSON)")
    network.add_argument("--size", default="480x854", metavar="HxW", help="frame size in pixels (default 480x854)")
    network.add_argument("--objects", type=_arguments.whole(1, 254), nargs="+", default=[1], metavar="N",
                         help="objects besides the background (default 1); the table is for the first number, --time "
                              "measures each")
    network.add_argument("--depth", type=_arguments.whole(1), default=2, metavar="N",
                         help="how deep modules are listed (default 2)")
    measured = parser.add_argument_group("measurement", "on this machine")
    measured.add_argument("--time", action="store_true", help="also measure seconds of each stage on this machine")
    measured.add_argument("--beside", action="append", default=[], metavar="KEY=VALUE",
                          help="--time the network with one field changed, too, with the first number of objects and "
                               "of threads")
    measured.add_argument("--clock", choices=["wall", "processor"], default="wall",
                          help="--time by the clock on the wall (default), or by the processor's, which leaves out "
                               "what other programs take")
    measured.add_argument("--threads", type=_arguments.threads, nargs="+", metavar="N",
                          help="threads to measure with (default: PyTorch's choice)")
    measured.add_argument("--stream", type=_arguments.whole(1), metavar="FRAMES",
                          help="also segment so many frames of a generated video and watch the memory of this process "
                               "(Linux)")
    results = parser.add_argument_group("results", "beside the table on the screen")
    results.add_argument("--figure", metavar="FILE.png", help="also draw it (needs matplotlib)")
    results.add_argument("--json", nargs="?", const="-", metavar="FILE",
                         help="print everything as JSON, or write it to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table and what was measured, or writes both as JSON."""
    if arguments.name is None:
        _require_nothing(arguments)
        print(*_listed(), sep="\n")
        return 0
    from sstlib.benchmarks.anatomy import anatomy
    from sstlib.model import build
    from sstlib.provenance import processor, provenance
    from sstlib.weights import find

    network = trained(arguments.name)
    _check(arguments, [find(arguments.name)] if network else [])
    config = (network.config if network else named_model(arguments.name)).with_changes(arguments.changes)
    beside = {change: config.with_changes([change], "--beside") for change in arguments.beside}
    height, width = parse_size(arguments.size)
    rows = anatomy(config, height, width, arguments.objects[0], arguments.depth)
    record = {
        "model": arguments.name, "config": config.to_dict(), "size": [height, width], "objects": arguments.objects[0],
        "provenance": provenance("generated") | processor(), "rows": [dataclasses.asdict(row) for row in rows]
    }
    if arguments.json is None:
        if network:
            print(f"{arguments.name}: {'; '.join(_training(arguments.name))}")
        show(record)
    keep = functools.partial(write, record, arguments.json) if arguments.json not in (None, "-") else lambda: None
    if arguments.figure:
        draw(arguments.figure, config, f"{arguments.name}, {width} × {height} pixels", height, width,
             arguments.objects[0])
    if arguments.time:
        record["seconds"] = timed({"": config} | beside, height, width, arguments)
    if arguments.stream:
        # hours, perhaps: what is known so far is written at every look
        for record["stream"] in watched(build(config) if arguments.changes or not network else network, arguments):
            keep()
    keep()
    if arguments.json == "-":
        print(json.dumps(record))
    return 0


def _require_nothing(arguments: argparse.Namespace) -> None:
    """Raises a ValueError for options of a network if none is named."""
    options = {"--set": arguments.changes, "--time": arguments.time, "--beside": arguments.beside,
               "--threads": arguments.threads, "--stream": arguments.stream, "--figure": arguments.figure,
               "--json": arguments.json}
    if given := [option for option, value in options.items() if value]:
        raise ValueError(f"{given[0]} is of a network, and none is named; name it first, as in sst model sst-small "
                         f"{given[0]}")


def _check(arguments: argparse.Namespace, inputs: list[Path]) -> None:
    """Refuses outputs that cannot be written or are inputs, and options without effect, before anything is computed."""
    from sstlib.config.values import require_place
    from sstlib.paths import refuse_inputs

    if arguments.json not in (None, "-"):
        require_place(arguments.json)
    if arguments.figure:
        require_place(arguments.figure)
        if not arguments.figure.endswith(".png"):
            raise ValueError(f"--figure is {arguments.figure!r}; expected a name that ends with .png")
    refuse_inputs({"--json": None if arguments.json == "-" else arguments.json, "--figure": arguments.figure}, inputs)
    if arguments.beside and not arguments.time:
        raise ValueError("--beside goes with --time; add that, or leave it out")


def trained(name: str) -> Any:
    """The network of released weights or of a file, else None; it is loaded completely, to detect damage.

    Raises:
        ValueError: not weights of sstlib, or damaged.
    """
    from sstlib import weights

    known = name in weights.released() or name.endswith(weights.SUFFIX)
    return weights.load(name) if known or name not in MODELS and Path(name).exists() else None


def _training(name: str) -> Iterator[str]:
    """What a weights file states on its training."""
    from sstlib import weights

    known, words = weights.facts(name), {"trained_on": "trained on {}", "step": "step {}",
                                         "longest": "for frames of up to {} pixels", "terms": "terms: {}"}
    yield "weights"
    yield from (text.format(known[key]) for key, text in words.items() if key in known)


def _listed() -> Iterator[str]:
    """A line for each named model."""
    for name, config in MODELS.items():
        own = ""
        if config.method == "sst":
            own = f", {' then '.join(config.layers)}, history {config.history}, encoding {config.encoding}"
        yield f"{name:<28}{config.method} on {config.backbone}{own}"


def timed(configs: dict[str, ModelConfig], height: int, width: int,
          arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of each stage for each number of objects and threads; changed networks are timed with the first of both.
    """
    import torch

    from sstlib.benchmarks.frames import stage_seconds
    from sstlib.model import build

    before, rows = torch.get_num_threads(), []
    numbers = arguments.threads or [before]
    cases = [(number, count, "") for number in numbers for count in arguments.objects]
    for number, count, change in cases + [(numbers[0], arguments.objects[0], change) for change in configs if change]:
        torch.set_num_threads(number)
        network = build(configs[change]).eval()
        seconds = stage_seconds(network, height, width, count, clock=arguments.clock)
        rows.append({"threads": number, "objects": count, "changed": change, "clock": arguments.clock, **seconds})
        stages = ", ".join(f"{stage} {value * 1000:.1f} ms" for stage, value in seconds.items())
        print(f"{number} thread(s), {count} object(s){change and f', {change}'}: {stages}; {1 / seconds['step']:.2f} "
              "frames a second", file=sys.stderr)
    torch.set_num_threads(before)
    return rows


def watched(network: Any, arguments: argparse.Namespace) -> Iterator[list[dict[str, float | int]]]:
    """The memory reports so far along a generated video, whenever there is a new one."""
    import torch

    from sstlib.benchmarks.frames import streamed
    from sstlib.inference import Segmenter
    from sstlib.synthetic.endless import endless_video

    if arguments.threads:
        torch.set_num_threads(arguments.threads[0])
    rows = []
    for row in streamed(Segmenter(network), endless_video(*parse_size(arguments.size)), arguments.stream, EVERY):
        rows.append(row)
        print(f"frame {row['frame']}: {row['held_megabytes']:.1f} MB held, {row['peak_megabytes']:.1f} MB at most, "
              f"{row['seconds']:.0f} s",
              file=sys.stderr, flush=True)
        yield rows


def show(record: dict[str, Any]) -> None:
    """Prints the table of modules."""
    from sstlib.config.values import scaled

    height, width = record["size"]
    print(
        f"{record['model']} on {width}x{height} pixels, {record['objects']} object(s) and the background, memory full")
    print(f"{'module':<28}{'kind':<20}{'output':<24}{'parameters':>12}{'mult-adds':>12}{'pairs':>10}")
    for row in record["rows"]:
        shape = " x ".join(map(str, row["output"]))
        print(f"{row['module'] or 'whole':<28}{row['kind']:<20}{shape:<24}{row['parameters']:>12,}"
              f"{scaled(row['multiply_adds']):>12}{scaled(row['pairs']):>10}")


def draw(path: str, config: ModelConfig, title: str, height: int, width: int, objects: int) -> None:
    """Writes the architecture as a figure."""
    from sstlib.benchmarks.anatomy import anatomy
    from sstlib.paths import write_whole
    from sstlib.plots import png
    from sstlib.plots.architecture import architecture

    write_whole(path, png(architecture(config, anatomy(config, height, width, objects), title)))


def write(record: dict[str, Any], path: str) -> None:
    """Writes the record as readable JSON, one row a line."""
    from sstlib.paths import write_whole

    write_whole(path, re.sub(r"\n {2,}|\n (?=[\]}])", " ", json.dumps(record, indent=1)) + "\n")


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from HxW.

    Raises:
        ValueError: another form, or fewer than 16 pixels.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or min(map(int, match.groups())) < 16:
        raise ValueError(f"--size is {text!r}; expected height x width of at least 16 pixels each, for example 480x854")
    return int(match.group(1)), int(match.group(2))
