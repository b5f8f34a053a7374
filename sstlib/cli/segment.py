"""`sst segment VIDEO --mask FIRST.png --out DIR`: masks for every frame of a video file or a folder of frames."""

import argparse
import sys
import warnings
from pathlib import Path

from tqdm import tqdm

from sstlib.cli import _arguments, _masks, _outputs
from sstlib.video import Sequence, reading_of

HELP = "carry the mask of one frame, or of several, through a whole video"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of frames")
    _masks.configure(parser)
    _outputs.configure(parser)
    parser.add_argument("--weights", default="sst-small", metavar="NAME",
                        help="released weights by name, or a file (default sst-small)")
    parser.add_argument("--longest", type=int, metavar="PIXELS",
                        help="work on frames of at most this long a side, 0 for any; masks keep the full size "
                             "(default: what the weights were trained for)")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored frame: twice the time")
    parser.add_argument("--scales", type=_arguments.number(0, 8, above=True), nargs="+", default=[1.0], metavar="S",
                        help="average over these sizes (default 1)")
    parser.add_argument("--aggregation", choices=["naive", "hard", "soft"], default="naive",
                        help="the largest probability wins and probabilities go on to later frames (naive, the "
                             "default); the winner alone goes on (hard, as CFBI); objects compete as if independent "
                             "(soft, as STM)")
    parser.add_argument("--keep-reference", action="store_true", help="let every frame also attend to the given ones")
    parser.add_argument("--threads", type=_arguments.threads, metavar="N",
                        help="take at most so many threads (default: all cores), and one while other programs use the "
                             "cores; results are equal to the bit with 1 only")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")


def run(arguments: argparse.Namespace) -> int:
    """Segments the video and says where the masks are."""
    import torch

    from sstlib import weights
    from sstlib.model.presence import sentences
    from sstlib.sessions import Clip, carry, walk

    device = _arguments.usable_device(arguments.device)
    sequence = opened(arguments.video)
    files = _masks.mask_files(Path(arguments.mask), arguments.at, sequence)
    stale = _outputs.checked(arguments, sequence, [arguments.video, arguments.mask, arguments.weights, *files.values()])
    reading = reading_of(files.values(), arguments.threshold)
    clip = Clip(sequence, _masks.given_masks(files, sequence, reading))
    _masks.report(arguments.video, sequence, files, clip.given, reading)
    network = weights.load(arguments.weights, device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    report_size(clip.size, network.longest, arguments.longest)
    options = {"longest": arguments.longest, "flip": arguments.flip, "scales": tuple(arguments.scales),
               "aggregation": arguments.aggregation, "keep_reference": arguments.keep_reference or None}
    steps = carry(walk(network, clip, **options), _outputs.sinks(arguments, clip, stale))
    told = {}
    for t, prediction, _ in tqdm(steps, total=len(sequence), unit="frame", ascii=True, desc=sequence.name,
                                 disable=None):
        told[t] = prediction.presence, prediction.doubt
    print(*sentences(sequence.frame_names, told), sep="\n")
    return 0


def report_size(size: tuple[int, int], trained: int | None, longest: int | None) -> None:
    """Says at which size frames are worked on, where that is not their own."""
    from sstlib.inference import working_size

    height, width = working_size(size, trained if longest is None else longest)
    if (height, width) != size:
        why = "the size that the weights are for; --longest 0 takes them in full" if longest is None else \
            "as --longest says"
        print(f"frames of {size[1]}x{size[0]} are worked on at {width}x{height}, {why}")


def opened(path: str) -> Sequence:
    """The video or folder of frames; what its reader warns of is printed in a line."""
    from sstlib.movies import open_clip

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        sequence = open_clip(path)
    for warning in warned:
        print(f"note: {warning.message}", file=sys.stderr)
    return sequence
