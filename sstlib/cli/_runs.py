"""How `sst segment` runs: which frames are segmented, how an interrupted run is resumed, and how signals are handled.
"""

import argparse
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sstlib.cli import _arguments, _outputs
from sstlib.paths import ADVICE, BEFORE, naming_place
from sstlib.paths.digests import sha256
from sstlib.video import FolderSequence, Sequence

STATE = ".sst-segment.safetensors"  # in the folder of masks, while a run is not finished
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # not all systems have both
# Options that do not change what lies in the folder when a run is finished
FREE = ("command", "confidence", "corrections", "device", "exit_doubt", "fail_fast", "mask", "out", "overwrite",
        "preview", "quiet", "resume", "run", "sheet", "threads", "video", "watch")


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the frames and of the run."""
    frames = parser.add_argument_group("frames", "numbered from 0, here and everywhere; masks keep the names that they "
                                                 "have in the whole video")
    frames.add_argument("--start", type=_arguments.whole(), default=0, metavar="FRAME",
                        help="number of the first frame that is segmented")
    frames.add_argument("--stop", type=_arguments.whole(1), metavar="FRAME",
                        help="number of the first frame that is not segmented any more (default: to the end)")
    frames.add_argument("--stride", type=_arguments.whole(1), default=1, metavar="N",
                        help="take every Nth frame from --start on (default 1)")
    run = parser.add_argument_group("run", "an interrupted one goes on when the same command is given again")
    run.add_argument("--corrections", type=Path, metavar="DIR",
                     help="folder of masks named as their frames, which may grow meanwhile: objects in one are as it "
                          "says from its frame on; where it comes late, the run goes back")
    run.add_argument("--watch", action="store_true",
                     help="with --corrections: wait for more of them when all frames are done, until Ctrl-C")
    run.add_argument("--exit-doubt", type=_arguments.number(0, 1), metavar="SHARE",
                     help="end with exit status 3 where an object was lost or doubtful in more than this share of its "
                          "frames (0..1)")
    run.add_argument("--no-resume", dest="resume", action="store_false",
                     help="start anew in a folder with --overwrite, instead of going on where a run of the same "
                          "arguments was interrupted")
    run.add_argument("--fail-fast", action="store_true",
                     help="of several videos, stop at the first that fails (default: go on; the exit status is 2)")
    run.add_argument("--quiet", action="store_true",
                     help="no progress line (there is none either where standard error is no terminal)")


def segmenter_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of `Segmenter`."""
    return {"longest": arguments.longest, "flip": arguments.flip, "scales": tuple(arguments.scales),
            "aggregation": arguments.aggregation, "keep_reference": arguments.keep_reference or None,
            "history": arguments.history}


def chosen(sequence: Sequence, arguments: argparse.Namespace) -> Sequence:
    """The frames of a video that the options select.

    Raises:
        ValueError: none, or frames beyond the end.
    """
    from sstlib.sessions import Part

    count = len(sequence)
    stop = count if arguments.stop is None else arguments.stop
    times = range(arguments.start, min(stop, count), arguments.stride)
    if stop > count:
        raise ValueError(f"--stop {stop}: {sequence.name} has {count} frames, 0..{count - 1}; leave --stop out to go "
                         "to the end")
    if not times:
        raise ValueError(f"--start {arguments.start} --stop {stop}: no frame is left; {sequence.name} has frames "
                         f"0..{count - 1}, and --stop is the first that is not segmented")
    return sequence if times == range(count) else Part(sequence, times)


def facts(arguments: argparse.Namespace, clip: Any, network_file: Path, rest: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for an interrupted run to be resumed: options, and the content of all files that are read."""
    options = {name: repr(value) for name, value in sorted(vars(arguments).items()) if name not in FREE}
    masks = [f"{t} {labels.shape} {sha256(labels.tobytes())} " for t, labels in sorted(clip.given.items())]
    masks += [f"{t} without {sorted(ids)} " for t, ids in clip.absent.items()]
    frames = getattr(clip.frames, "sequence", clip.frames)
    return {"options": options | {name: repr(value) for name, value in rest.items()},
            "given masks": sha256(*masks), "frames": _content(frames), "weights": _digest([network_file]),
            "names": {str(identity): name for identity, name in clip.names.items()}}


def _content(sequence: Sequence) -> str:
    """A digest of the files of a video."""
    return _digest(sequence.paths if isinstance(sequence, FolderSequence) else [sequence.path])


def _digest(paths: list[Path]) -> str:
    return sha256(*(f"{path.name}\0{sha256(path)}" for path in paths))


def interrupted_state(out: Path, resume: bool, device: str) -> dict[str, Any] | None:
    """The state that an interrupted run left in the folder of masks, if any, with its tensors on the device.

    Raises:
        ValueError: it is damaged.
    """
    from sstlib.sessions import state

    return state.read(out / STATE, device) if resume and (out / STATE).is_file() else None


def require_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to resume a run of other inputs.

    Raises:
        ValueError: names what is different.
    """
    different = [field for field in now if field != "options" and before.get(field) != now[field]]
    old, new = before.get("options", {}), now["options"]
    different += [f"--{name.replace('_', '-')} (was {old.get(name)}, is {new.get(name)})"
                  for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if different:
        raise ValueError(f"{out} holds an interrupted run that differs in: {', '.join(different)}; give the same to go "
                         "on with it, another folder, or --no-resume --overwrite to start anew")


def must_begin_anew(before: Mapping[str, Any], clip: Any, out: Path, needs_all: bool) -> str:
    """Why an interrupted run cannot be resumed but begins anew, to end a line with; empty if it can, or was complete.

    Args:
        before: its state.
        needs_all: whether an output needs every prediction.
    """
    names = clip.frames.frame_names
    if before["ended"]:
        return ""
    if not all((out / f"{names[int(t)]}.png").is_file() for t in before["told"]):
        return ", of whose masks some were removed; all are computed anew"
    return ", whose soft masks must be computed anew" if needs_all else ""


def claim(arguments: argparse.Namespace, keep: Callable[[], None]) -> None:
    """Makes the folder of masks, locks it for this run, and removes what another run left half-written."""
    with naming_place(arguments.out, ADVICE | BEFORE):
        arguments.out.mkdir(parents=True, exist_ok=True)
    keep()
    clear_parts(arguments)


def clear_parts(arguments: argparse.Namespace) -> None:
    """Removes what a run that was killed left half-written: hidden files and folders that never got their names."""
    from sstlib.sessions.exports import FORMATS

    names = {Path(kind.where(codec)).name for kind in FORMATS.values() for codec in _outputs.CODECS}
    known = "|".join(map(re.escape, sorted({*names, STATE, "alpha"})))
    places = [(arguments.out, rf"{known}|.+\.png")]
    places += [(path.parent, re.escape(path.name)) for path in (arguments.sheet, arguments.confidence) if path]
    for folder, name in places:
        part = re.compile(rf"\.(?:{name})(?:\.[a-z0-9_]{{8}})?\.part")
        for path in folder.iterdir() if folder.is_dir() else ():
            if part.fullmatch(path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def stopped_as_by_hand() -> Iterator[None]:
    """SIGTERM, and SIGHUP of a terminal that is closed, interrupt within as Ctrl-C does."""
    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with handled(interrupt, *ENDING):
        yield


@contextmanager
def handled(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """Handles signals within, in the main thread only; SIGHUP stays ignored where it is, as under nohup."""
    before: dict[int, Any] = {}
    try:
        for number in numbers:
            if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread
        pass
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


@contextmanager
def noting() -> Iterator[None]:
    """Prints warnings of readers within as lines on standard error."""
    from sstlib.movies import Incomplete

    with warnings.catch_warnings():
        warnings.simplefilter("always", Incomplete)
        warnings.showwarning = lambda message, *rest, **more: print(f"note: {message}", file=sys.stderr)
        yield
