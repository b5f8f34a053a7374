"""`sst segment - ...` and `sst segment camera:0 ...`: frames that come once are followed as they come."""

import argparse
import itertools
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from sstlib.cli import _absent, _arguments, _devices, _masks, _outputs, _runs
from sstlib.metrics.scores import object_ids
from sstlib.paths import alone
from sstlib.video import ArraySequence, areas, reading_of

# Options that need to know all frames, and their values when they are not given
WHOLE = {"at": (None, 0), "start": (None, 0), "stride": (None, 1), "corrections": (None,), "watch": (None, False),
         "sheet": (None,), "confidence": (None,), "exit_doubt": (None,), "preview": (None,)}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of streams."""
    group = parser.add_argument_group("streams", "frames from standard input (-) or a camera (camera:N)")
    group.add_argument("--size", type=size, metavar="WxH",
                       help="with - as VIDEO: frames come raw, 3 bytes a pixel, as ffmpeg -f rawvideo -pix_fmt rgb24 "
                            "writes them (default: a video that can be piped, such as Matroska, Y4M, MPEG-TS)")
    group.add_argument("--rate", type=_arguments.number(0, 1000, above=True), metavar="R",
                       help="frames a second of raw frames or a camera (default: what it says, or 24)")


def size(text: str) -> tuple[int, int]:
    """The type of --size: height and width of WIDTHxHEIGHT."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 65536 and 0 < int(height) <= 65536):
        raise argparse.ArgumentTypeError(f"it is {text!r}; expected WIDTHxHEIGHT in pixels, such as 854x480")
    return int(height), int(width)


def run(arguments: argparse.Namespace, name: str, device: str) -> int:
    """Follows a stream to its end, or until Ctrl-C, and says where the masks are."""
    raw = sys.stdout.buffer if str(arguments.out) == "-" else None
    with (redirect_stdout(sys.stderr) if raw else nullcontext(), _runs.noting(),
          alone(None if raw else arguments.out) as keep):
        return _followed(arguments, name, device, raw, keep)


def refuse_options(arguments: argparse.Namespace) -> None:
    """Raises a ValueError for options of streams if the input is a file."""
    for option in ("size", "rate"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"--{option} goes with frames from standard input (-) or a camera; {arguments.video[0]} "
                             "has its own")
    if str(arguments.out) == "-":
        raise ValueError("--out - goes with frames from standard input (-) or a camera; name a folder")


def _followed(arguments: argparse.Namespace, name: str, device: str, raw: Any, keep: Callable[[], None]) -> int:
    from sstlib import weights
    from sstlib.inference import Segmenter
    from sstlib.movies import Stream, Timing
    from sstlib.sessions import Clip, carry, precision

    _check(arguments, name, raw)
    stream = Stream(name, sys.stdin.buffer if name == "-" else None, arguments.size, arguments.rate)
    with closing(stream), _interruptible() as ending:
        frames = iter(stream)
        first = next(frames, None)
        ending.waiting = False
        if first is None:
            raise ValueError(f"{stream.name} ended before a frame came")
        labels, names, sources = _given(arguments, first)
        absences = _absent.resolved(arguments.absent, object_ids(labels), names)
        _absent.by_frame([absence for absence in absences if not absence.first], {0: labels}, range(1))
        sequence = ArraySequence(first[None], name=stream.name)
        timing = Timing(stream.rate, aspect=stream.aspect)
        sinks = _sinks(arguments, sequence, labels, names, timing, sources, raw)
        print(f"{stream.name}: frames of {first.shape[1]}x{first.shape[0]}, {float(stream.rate):g} a second; "
              f"the first has {areas(labels)}", flush=True)
        network = weights.load(arguments.weights, device)
        options = _runs.segmenter_options(arguments)
        chosen = _devices.precision_of(arguments, network, device, Clip(sequence, {0: labels}), options)
        segmenter, within = Segmenter(network, **options), precision.within(chosen, device)
        arriving = itertools.islice(itertools.chain([first], _until(frames, ending, name == "-")),
                                    getattr(arguments, "stop", None))
        steps = _steps(segmenter, within, arriving, labels, absences, stream.name)
        if not raw:
            _runs.claim(arguments, keep)
        count = sum(1 for _ in carry(steps, sinks))
    if raw:
        print(f"{count} masks were written, a byte a pixel")
    return 0


def _check(arguments: argparse.Namespace, name: str, raw: Any) -> None:
    """Raises a ValueError for what does not go with a stream."""
    for option, unset in WHOLE.items():
        if getattr(arguments, option, None) not in unset:
            raise ValueError(f"--{option.replace('_', '-')} needs all frames, and {name} gives each once; leave it out")
    if arguments.out is None:
        raise ValueError("give --out DIR for the masks, or --out - for raw ones on standard output")
    if raw and arguments.export:
        raise ValueError("--export writes beside the masks in a folder, and --out - has none; name a folder")
    if name == "-" and sys.stdin.isatty():
        raise ValueError("standard input is a terminal; pipe frames into it, as: ffmpeg -i dog.mp4 -f matroska - | sst "
                         "segment - ...")


def _given(arguments: argparse.Namespace, first: np.ndarray) -> tuple[np.ndarray, dict[int, str], list[Path]]:
    """Labels of the first frame, names of its objects, and files that were read for it."""
    _masks.require_objects(arguments)
    if arguments.prompts:
        from sstlib.cli import _prompts

        labels, names = _prompts.labels_of(first, arguments.prompts)
        return labels, dict(names), []
    if not Path(arguments.mask).is_file():
        raise FileNotFoundError(f"{arguments.mask}: no such file; a stream takes one mask, that of its first frame")
    path, sequence = Path(arguments.mask), ArraySequence(first[None], name="the stream")
    if _masks.from_tool(arguments):
        clip, _ = _masks.labeled(path, None, sequence, sequence)
        return clip.given[0], dict(clip.names), [path]
    return _masks.given_masks({0: path}, sequence, reading_of([path], arguments.threshold))[0], {}, [path]


def _sinks(arguments: argparse.Namespace, sequence: ArraySequence, labels: np.ndarray, names: dict[int, str],
           timing: Any, sources: list[Path], raw: Any) -> list[Any]:
    from sstlib.sessions import Clip, MaskFolder
    from sstlib.sessions.exports import FORMATS, LiveExports

    if raw:
        return [_raw_masks(raw)]
    stale = _outputs.checked(arguments, sequence, [arguments.weights, *sources])
    sequence.frame_names = Numbered()
    clip = Clip(sequence, {0: labels}, names)
    kinds = [FORMATS[name] for name in dict.fromkeys(arguments.export)]
    return [MaskFolder(clip, arguments.out, stale),
            LiveExports(arguments.out, kinds, sequence.name, labels.shape, timing, names, clip.ids, arguments.codec,
                        arguments.crf)]


class Numbered(list):
    """Names of an unknown number of frames: 00000, 00001 and so on."""

    def __getitem__(self, t: int) -> str:
        return f"{t:05d}"


def _raw_masks(target: Any) -> Any:
    """A sink of ids on standard output, a byte a pixel, each frame as soon as it is known."""
    from sstlib.sessions import Sink

    class RawMasks(Sink):
        def write(self, t: int, frame: np.ndarray, prediction: Any) -> None:
            target.write(prediction.labels.tobytes())
            target.flush()

    return RawMasks()


def _steps(segmenter: Any, within: Any, frames: Iterable[np.ndarray], labels: np.ndarray,
           absences: list[_absent.Absence], name: str) -> Iterator[tuple[int, Any, np.ndarray]]:
    for t, frame in enumerate(frames):
        try:
            with within():
                prediction = segmenter.step(frame, None if t else labels, _absent.at(absences, t))
        except ValueError as error:
            raise ValueError(f"{name}, frame {t}: {error}") from error
        yield t, prediction, frame


class _Ending:
    """Whether the end was requested, and whether the next frame is only being waited for."""

    requested, waiting = False, True


def _until(frames: Iterator[np.ndarray], ending: _Ending, piped: bool) -> Iterator[np.ndarray]:
    """Frames until the end is requested; piped ones also while none comes: who sends them may have stopped within one.
    """
    while not ending.requested:
        try:
            ending.waiting = piped
            frame = next(frames, None)
        except KeyboardInterrupt:
            return
        finally:
            ending.waiting = False
        if frame is None:
            return
        yield frame


@contextmanager
def _interruptible() -> Iterator[_Ending]:
    """The first Ctrl-C, or SIGTERM, ends the stream after the current frame, or while the next is waited for in a pipe,
    so that all outputs are complete; before the first frame, and the second time, it interrupts.
    """
    ending = _Ending()

    def end(number: int, frame: Any) -> None:
        again, ending.requested = ending.requested, True
        if again or ending.waiting:
            raise KeyboardInterrupt

    with _runs.handled(end, signal.SIGINT, *_runs.ENDING):
        yield ending
