"""`sst train`: one run, on one process or under torchrun on many."""

import argparse
import json
import os
import sys
from pathlib import Path

from sstlib import paths
from sstlib.cli import FAILED, _arguments
from sstlib.config import RunConfig
from sstlib.files import refuse_inputs
from sstlib.values import read_json

HELP = "train a network from a preset or a JSON configuration; started again it goes on where it stopped"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a preset (small, tiny, cfbi) or a JSON file with the keys model, training, data")
    parser.add_argument("--out", type=Path, help="folder of the run (default: results/training/NAME)")
    parser.add_argument("--set", action="append", default=[], metavar="PART.KEY=VALUE", dest="changes",
                        help="change one field, for example training.steps=500 or model.history=2 (values as JSON)")
    parser.add_argument("--workers", type=_arguments.whole(0, _arguments.MOST), default=1, help="processes that render clips (default 1)")
    parser.add_argument("--threads", type=_arguments.threads, help="threads of this process (default: PyTorch's choice)")
    parser.add_argument("--profile", type=_arguments.whole(1, 100_000), metavar="STEPS", help="train nothing: time so many steps and say where the time goes")
    parser.add_argument("--json", type=_arguments.new_file, metavar="FILE", help="with --profile: write the record there")


def run(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when PyTorch is imported; the profiler would print when it starts and stops
    import torch

    from sstlib.native import keep_freed_memory
    from sstlib.training import Diverged, Stopped, train

    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = read_config(arguments.config).with_changes(arguments.changes)
    refuse_inputs({"--json": arguments.json}, [arguments.config])
    if arguments.profile is not None:
        return _profile(config, arguments)
    if arguments.json:
        raise ValueError("--json is where the record of --profile goes; leave it out, or add --profile STEPS")
    folder = arguments.out or paths.RESULTS / "training" / Path(arguments.config).stem
    try:
        train(config, folder, workers=arguments.workers)
    except (Diverged, Stopped) as error:
        print(f"sst train: {error}", file=sys.stderr)
        return FAILED
    print(f"weights and curve are in {folder}")
    return 0


def _profile(config: RunConfig, arguments: argparse.Namespace) -> int:
    from sstlib.files import written_aside
    from sstlib.training import profiling

    record = profiling.profile_steps(config, arguments.profile, arguments.workers)
    print(profiling.table(record).round({"seconds a step": 3, "share (%)": 1}).to_string(index=False))
    print(profiling.said(record))
    if arguments.json:
        with written_aside(arguments.json, "w") as file:
            json.dump(record, file, indent=1)
    return 0


def read_config(name_or_file: str) -> RunConfig:
    """A preset by name, or a configuration from a JSON file.

    Raises:
        ValueError: neither a preset nor a file, or no JSON, or a key or a value that a run does not take.
    """
    from sstlib.training.presets import PRESETS

    if name_or_file in PRESETS:
        return PRESETS[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise ValueError(f"{name_or_file!r} is neither a preset ({', '.join(PRESETS)}) nor a JSON file")
    return RunConfig.from_dict(read_json(path), f"{path}: ")
