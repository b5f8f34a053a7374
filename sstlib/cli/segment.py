"""`sst segment VIDEO --mask FIRST.png --out DIR`: masks for every frame of a video file or a folder of frames."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sstlib.files import written_aside
from sstlib.video import Sequence, are_binary, images, overlay, read_mask

HELP = "carry the mask of one frame, or of several, through a whole video"
SHEET = 24  # frames on a contact sheet


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of frames")
    parser.add_argument("--mask", required=True, metavar="FILE", help="palette or grey PNG with an id for each object; "
                        "or a folder of such, named as their frames, when several frames are given")
    parser.add_argument("--at", type=int, default=0, metavar="FRAME",
                        help="number of the frame that the mask belongs to (default 0, the first); earlier frames are segmented backward from it")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for FRAME.png, written as they come")
    parser.add_argument("--weights", default="sst-small", metavar="NAME", help="released weights by name, or a file (default sst-small)")
    parser.add_argument("--overlay", action="store_true", help="also write overlay.mp4, the video tinted with its masks")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="also write a contact sheet: two dozen such frames side by side")
    parser.add_argument("--longest", type=int, metavar="PIXELS", help="work on frames of at most this long a side; masks keep the full size")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored frame: twice the time")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="S", help="average over these sizes (default 1)")
    parser.add_argument("--aggregation", choices=["naive", "hard", "soft"], default="naive",
                        help="the largest probability wins and probabilities go on to later frames (naive, the default); the winner alone goes on "
                        "(hard, as CFBI); objects compete as if independent (soft, as STM)")
    parser.add_argument("--keep-reference", action="store_true", help="let every frame also attend to the given ones")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")


def run(arguments: argparse.Namespace) -> int:
    """Segments the video and says where the masks are."""
    import torch

    from sstlib import weights
    from sstlib.inference import segment_to_folder
    from sstlib.movies import open_clip

    sequence = open_clip(arguments.video)
    given = given_masks(Path(arguments.mask), arguments.at, sequence)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"no device {device!r} here; leave --device out to segment on the processor")
    network = weights.load(arguments.weights, device)
    options = {"longest": arguments.longest, "flip": arguments.flip, "scales": tuple(arguments.scales),
               "aggregation": arguments.aggregation, "keep_reference": arguments.keep_reference or None}
    predictions = segment_to_folder(network, sequence, arguments.out, given, **options)
    count = sum(1 for _ in tqdm(predictions, total=len(sequence), unit="frame", ascii=True, desc=sequence.name, disable=None))
    print(f"{count} masks are in {arguments.out}")
    if arguments.overlay:
        write_overlay(sequence, arguments.out)
        print(f"and {arguments.out / 'overlay.mp4'}")
    if arguments.sheet:
        write_sheet(sequence, arguments.out, arguments.sheet)
        print(f"and {arguments.sheet}")
    return 0


def given_masks(path: Path, at: int, sequence: Sequence) -> dict[int, np.ndarray]:
    """Masks by frame number, from one file or from a folder of files named as their frames.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a mask in the folder that belongs to no frame; a folder with `at`.
    """
    if not path.is_dir():
        return {at: read_mask(path)}
    if at:
        raise ValueError(f"--at {at} goes with a single mask; {path} is a folder, whose masks are named as their frames: leave --at out")
    numbers = {name: t for t, name in enumerate(sequence.frame_names)}
    found = images(path, "masks")
    stray = [name for name in found if name not in numbers]
    if stray:
        raise ValueError(f"{found[stray[0]]}: {sequence.name} has no frame {stray[0]!r}; masks are named as their frames")
    binary = are_binary(found.values())
    return {numbers[name]: read_mask(file, binary) for name, file in found.items()}


def tinted(sequence: Sequence, folder: Path, times: Iterable[int]) -> Iterator[np.ndarray]:
    """Frames tinted with their masks in a folder."""
    for t in times:
        yield overlay(sequence.frame(t), read_mask(folder / f"{sequence.frame_names[t]}.png"))


def write_overlay(sequence: Sequence, folder: Path) -> None:
    """The video tinted with the masks in a folder, as overlay.mp4 beside them."""
    from sstlib.movies import write_video

    steps = tqdm(range(len(sequence)), unit="frame", ascii=True, desc="overlay", disable=None)
    write_video(folder / "overlay.mp4", tinted(sequence, folder, steps), getattr(sequence, "rate", 24.0))


def write_sheet(sequence: Sequence, folder: Path, path: Path) -> None:
    """Tinted frames of the whole video on one sheet; not beside the masks, which are all images of their folder."""
    from sstlib.movies import contact_sheet

    times = sorted({round(t) for t in np.linspace(0, len(sequence) - 1, SHEET)})
    with written_aside(path) as file:
        Image.fromarray(contact_sheet(tinted(sequence, folder, times))).save(file, format="PNG")
