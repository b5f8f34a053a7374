"""`sst adapt VIDEO --mask FIRST.png --out DIR`: weights that know one video's objects, learned from the masks that are
given of it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from sstlib.cli import _arguments, _extras, _masks
from sstlib.cli._status import FAILED
from sstlib.config.presets import ADAPTATION
from sstlib.config.values import require_place
from sstlib.paths import refuse_inputs
from sstlib.paths.digests import sha256

HELP = "adapt weights to one video, by the masks that are given of it: minutes, for better masks of it alone"
EXAMPLES = """examples:
  sst adapt dog.mp4 --mask dog_00000.png --weights sst-photo --out dog
  sst segment dog.mp4 --mask dog_00000.png --weights dog/weights.safetensors --out masks

It learns from clips made of the frames that have masks: the camera moves over them, and their objects move. Started
again it goes on where it stopped.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    _arguments.close_with(parser, EXAMPLES)
    parser.usage = "sst adapt VIDEO (--mask FILE | --box | --points | --polygon ...) --out DIR [options]"
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of frames")
    _masks.configure(parser)
    run = parser.add_argument_group("run", "the same command goes on with one that was interrupted")
    run.add_argument("--out", type=Path, metavar="DIR", required=True,
                     help="folder of weights.safetensors, the curve and what it learns from")
    run.add_argument("--weights", default="sst-small", metavar="NAME",
                     help="released weights by name, or a file (default sst-small)")
    run.add_argument("--steps", type=_arguments.whole(1, 100_000), default=ADAPTATION.steps, metavar="N",
                     help=f"steps of training, a clip each (default {ADAPTATION.steps})")
    run.add_argument("--seed", type=_arguments.whole(), default=0, metavar="N", help="of the clips (default 0)")
    run.add_argument("--threads", type=_arguments.threads, metavar="N",
                     help="threads of this process (default: PyTorch's choice)")


def run(arguments: argparse.Namespace) -> int:
    """Adapts the weights and says how to use them."""
    _extras.require(["cv2"])
    import torch

    from sstlib.native import keep_freed_memory
    from sstlib.training import Diverged, Stopped, train

    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = prepared(arguments)
    try:
        train(config, arguments.out, workers=1)
    except (Diverged, Stopped) as error:
        print(f"sst adapt: {error}", file=sys.stderr)
        return FAILED
    print(f"adapted weights are in {arguments.out / 'weights.safetensors'}: give them to sst segment --weights, with "
          "the same video and masks")
    return 0


def prepared(arguments: argparse.Namespace) -> Any:
    """The configuration of the run, once what it learns from is written.

    Raises:
        ValueError: a mask that does not fit, or a folder that holds the run of others.
    """
    import numpy as np

    from sstlib import weights
    from sstlib.config.presets import adaptation
    from sstlib.datasets import stills
    from sstlib.movies import open_clip

    if arguments.absent:
        raise ValueError("--absent is for sst segment; what is learned here is what objects look like")
    file, out = weights.find(arguments.weights), require_place(arguments.out, folder=True)
    refuse_inputs({"--out": out}, [arguments.video, arguments.mask, file])
    sequence = open_clip(arguments.video, progress=True)
    files = _masks.named_files(arguments, sequence, sequence)
    clip, notes = _masks.read(arguments, sequence, sequence, files)
    print(*notes, sep="\n", flush=True)
    network = weights.load(file)
    given = {sequence.frame_names[t]: (sequence.frame(t), np.asarray(labels, np.uint8))
             for t, labels in clip.given.items() if stills.objects(labels)}
    content = sha256(*(part.tobytes() for pair in given.values() for part in pair))[:16]
    folder = out.absolute() / "learned-from" / content
    if folder.parent.is_dir() and any(place != folder for place in folder.parent.iterdir()):
        raise ValueError(f"{out} holds an adaptation to other frames or masks; give another folder, or delete it")
    stills.write(folder, sequence.name, given, network.longest or max(clip.size))
    objects = max(len(stills.objects(labels)) for _, labels in given.values())
    training = ADAPTATION.replace(steps=arguments.steps, seed=arguments.seed,
                                  warmup=min(ADAPTATION.warmup, arguments.steps))
    return adaptation(network.config, str(file.absolute()), folder, clip.size, objects, training)
