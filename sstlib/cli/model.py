"""`sst model NAME`: layers, shapes, parameters, multiply-adds and attention pairs of a network, and on request its speed."""

import argparse
import dataclasses
import json
import re

from sstlib.config import MODELS, ModelConfig, named_model

HELP = "show what a network is made of and what a frame costs it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="a model configuration; without it, their list")
    parser.add_argument("--size", default="480x854", metavar="HxW", help="frame size in pixels (default 480x854)")
    parser.add_argument("--objects", type=int, default=1, help="objects besides the background (default 1)")
    parser.add_argument("--depth", type=int, default=2, help="how deep modules are listed (default 2)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
                        help="change one field, for example history=2 (values as JSON)")
    parser.add_argument("--time", action="store_true", help="also measure seconds of each stage on this machine")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    from sstlib.anatomy import anatomy, stage_seconds
    from sstlib.model import build

    if arguments.name is None:
        for name, config in MODELS.items():
            print(f"{name:<16}{config.method}, {config.backbone}, {len(config.layers)} x {config.layers[0]}, history {config.history}")
        return 0
    config = changed(named_model(arguments.name), arguments.changes)
    height, width = parse_size(arguments.size)
    if arguments.objects < 1 or arguments.depth < 1:
        raise ValueError(f"--objects {arguments.objects} and --depth {arguments.depth} must be at least 1")
    rows = anatomy(config, height, width, arguments.objects, arguments.depth)
    seconds = stage_seconds(build(config).eval(), height, width, arguments.objects) if arguments.time else {}
    if arguments.json:
        print(json.dumps({"config": config.to_dict(), "rows": [dataclasses.asdict(row) for row in rows], "seconds": seconds}))
        return 0
    print(f"{arguments.name} on {width}x{height} pixels, {arguments.objects} object(s) and the background, memory full")
    print(f"{'module':<28}{'kind':<20}{'output':<24}{'parameters':>12}{'mult-adds':>12}{'pairs':>10}")
    for row in rows:
        shape = " x ".join(map(str, row.output))
        print(f"{row.module or 'whole':<28}{row.kind:<20}{shape:<24}{row.parameters:>12,}{scaled(row.multiply_adds):>12}{scaled(row.pairs):>10}")
    for stage, value in seconds.items():
        print(f"{stage:<28}{value * 1000:8.1f} ms")
    return 0


def scaled(count: int) -> str:
    """A count with its unit: 12.3 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return str(count) if count else ""


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from HxW.

    Raises:
        ValueError: anything else.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(map(int, found.groups())) < 16:
        raise ValueError(f"--size is {text!r}; expected height x width of at least 16 pixels each, for example 480x854")
    return int(found.group(1)), int(found.group(2))


def changed(config: ModelConfig, changes: list[str]) -> ModelConfig:
    """The configuration with KEY=VALUE applied in order."""
    values = config.to_dict()
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator:
            raise ValueError(f"--set {change}: expected KEY=VALUE")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return ModelConfig.from_dict(values)
