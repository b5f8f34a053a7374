"""`sst segment VIDEO --mask FIRST.png --out DIR`: masks for every frame of video files or folders of frames."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from sstlib.cli import _arguments, _devices, _masks, _outputs, _prompts, _runs, _streams, _videos
from sstlib.cli._status import DOUBTFUL
from sstlib.paths import alone

HELP = "carry the mask of one frame, or of several, through a whole video"
EXAMPLES = """examples:
  sst segment dog.mp4 --mask dog_00000.png --out masks --overlay
  sst segment dog.mp4 --box dog=40,60,200,150 --preview first.png             what would be followed
  sst segment dog.mp4 --box dog=40,60,200,150 --at 100 --out masks            both ways from frame 100
  sst segment dog.mp4 --mask 00000.png --start 100 --stop 200 --at 100 --out masks
  sst segment 'clips/*.mp4' --mask first_masks --out masks                    first_masks/NAME.png for clips/NAME.mp4
  sst segment dog.mp4 --mask 00000.png --out masks --corrections fixed --watch --confidence dog.csv --exit-doubt 0.2
  ffmpeg -i dog.mp4 -f rawvideo -pix_fmt rgb24 - | sst segment - --size 854x480 --mask 00000.png --out masks
  sst segment camera:0 --mask first.png --out masks --export overlay          until Ctrl-C

An interrupted run goes on where it was when the same command is given again.
exit status: 0 done, 1 a fault of this program, 2 bad input, 3 doubtful (--exit-doubt), 130 interrupted,
             141 nobody reads the output any more (as with | head); the same command goes on from there
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    _arguments.close_with(parser, f"{_outputs.listed()}\n\n{EXAMPLES}")
    parser.usage = "sst segment VIDEO [VIDEO ...] (--mask FILE | --box | --points | --polygon ...) --out DIR [options]"
    parser.add_argument("video", nargs="+", metavar="VIDEO",
                        help="a video file or a folder of frames; several, or a pattern in quotes, go one after "
                             "another, each into a folder of its name in --out; or - for frames from standard input, "
                             "camera:N for a camera, whose masks are written as they come (--out - writes ids to "
                             "standard output, a byte a pixel)")
    _masks.configure(parser)
    _runs.configure(parser)
    _outputs.configure(parser)
    network = parser.add_argument_group("network")
    network.add_argument("--weights", default="sst-small", metavar="NAME",
                         help="released weights by name, or a file (default sst-small)")
    network.add_argument("--longest", type=_arguments.whole(), metavar="PIXELS",
                         help="work on frames of at most this long a side, 0 for any; masks keep the full size "
                              "(default: what the weights were trained for)")
    network.add_argument("--flip", action="store_true", help="average with the mirrored frame: twice the time")
    network.add_argument("--scales", type=_arguments.number(0, 8, above=True), nargs="+", default=[1.0], metavar="S",
                         help="average over these sizes (default 1)")
    network.add_argument("--aggregation", choices=["naive", "hard", "soft"], default="naive",
                         help="the largest probability wins and probabilities go on to later frames (naive, the "
                              "default); the winner alone goes on (hard, as CFBI); objects compete as if independent "
                              "(soft, as STM)")
    network.add_argument("--keep-reference", action="store_true", help="let every frame also attend to the given ones")
    network.add_argument("--history", type=_arguments.whole(1, 1000), metavar="N",
                         help="let every frame attend to so many before it (default: as the weights were trained)")
    _devices.configure(parser)
    _streams.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segments the videos and prints where the masks are."""
    import torch

    from sstlib.movies import is_stream

    _videos.check(arguments)
    device = _devices.usable(arguments)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if len(arguments.video) == 1 and is_stream(arguments.video[0]):
        return _streams.run(arguments, arguments.video[0], device)
    _streams.refuse_options(arguments)
    videos = _videos.expanded(arguments.video)
    _videos.require_packages(arguments, videos)
    with _runs.stopped_as_by_hand(), _runs.noting():
        if len(videos) == 1 and not _videos.by_name(arguments):
            arguments.video = videos[0]
            return segment(arguments, device).status
        return _videos.one_after_another(arguments, videos, lambda own: segment(own, device, several=True))


def segment(arguments: argparse.Namespace, device: str, several: bool = False) -> _videos.Outcome:
    """Segments one video, with its folder locked; with several, finished ones are remembered until all are done."""
    with alone(arguments.out) as keep:
        return followed(arguments, device, several, keep)


def followed(arguments: argparse.Namespace, device: str, several: bool, keep: Callable[[], None]) -> _videos.Outcome:
    """Reads and checks all inputs, and segments; `keep` locks the output folder once it exists."""
    from sstlib.movies import open_clip

    sequence = open_clip(arguments.video, progress=not arguments.quiet)
    frames = _runs.chosen(sequence, arguments)
    files = _masks.named_files(arguments, sequence, frames)
    before = _runs.interrupted_state(arguments.out, arguments.resume, device) if arguments.out else None
    sources = [arguments.video, arguments.weights, arguments.mask, arguments.corrections, *files.values()]
    stale = _outputs.checked(_videos.replacing(arguments, before), frames, sources)
    clip, notes = _masks.read(arguments, sequence, frames, files)
    print(*notes, sep="\n", flush=True)
    if arguments.preview:
        t = clip.first
        _prompts.write_preview(arguments.preview, clip.frames.frame(t), clip.given[t], dict(clip.names))
        print(f"{arguments.preview} shows frame {clip.frames.frame_names[t]}")
    if not arguments.out:
        return _videos.Outcome(clip, {})
    sinks = _outputs.sinks(arguments, clip, stale)
    corrections = _masks.corrections(arguments, clip, files)
    session = prepared(arguments, clip, corrections, device, before, any(sink.needs_all for sink in sinks), keep)
    if session.ended:
        sinks[0].close()  # says where the masks are, or that some are there no more
    else:
        walked(arguments, session, sinks)
    outcome = finished(arguments, session)
    if several:
        session.write_ended()
    else:
        (arguments.out / _runs.STATE).unlink(missing_ok=True)
    return outcome


def prepared(arguments: argparse.Namespace, clip: Any, corrections: Any, device: str, before: dict[str, Any] | None,
             anew: bool, keep: Callable[[], None]) -> Any:
    """The session, which resumes an interrupted one if that is possible."""
    from sstlib import weights
    from sstlib.sessions import Session, precision

    network = weights.load(arguments.weights, device)
    report_size(clip.size, network.longest, arguments.longest)
    options = _runs.segmenter_options(arguments)
    chosen = _devices.precision_of(arguments, network, device, clip, options, before)
    session = Session(network, clip, options, corrections, arguments.watch, precision.within(chosen, device))
    facts = _runs.facts(arguments, clip, weights.find(arguments.weights), {"device": device, "precision": chosen})
    if before is not None:
        _runs.require_same(arguments.out, before["facts"], facts)
        why = _runs.must_begin_anew(before, clip, arguments.out, anew)
        if not why:
            session.go_on_from(before)
        how = "was done before" if session.ended else "goes on with the run that was interrupted"
        print(f"{how} in {arguments.out}: {session.finished} of {len(clip.frames)} frames are done{why}", flush=True)
    _runs.claim(arguments, keep)
    session.keep_state(arguments.out / _runs.STATE, facts)
    return session


def walked(arguments: argparse.Namespace, session: Any, sinks: list[Any]) -> None:
    """Takes every step, with a progress line, and keeps the state until all outputs are complete."""
    from tqdm import tqdm

    from sstlib.sessions import carry

    total = len(session.clip.frames)
    for sink in sinks:
        sink.done_before({t: set(rows) for t, rows in session.judgments.items()})
    with tqdm(total=total, initial=session.finished, unit="frame", ascii=True, desc=session.clip.frames.name,
              disable=True if arguments.quiet else None) as progress:
        try:
            for _ in carry(session, sinks):
                progress.update(session.finished - progress.n)
        except KeyboardInterrupt:
            session.write_state()
            print(f"\n{session.finished} of {total} frames are done; the same command goes on from there",
                  file=sys.stderr)
            raise


def finished(arguments: argparse.Namespace, session: Any) -> _videos.Outcome:
    """Writes the table of confidences and prints a summary of the objects."""
    from sstlib.paths import write_whole
    from sstlib.sessions import confidence_table, object_lines, worst_share

    if arguments.confidence:
        write_whole(arguments.confidence, confidence_table(session.clip, session.judgments))
        print(f"and {arguments.confidence}")
    print(*object_lines(session.clip, session.judgments), sep="\n")
    share = worst_share(session.judgments)
    doubtful = arguments.exit_doubt is not None and share > arguments.exit_doubt
    if doubtful:
        print(f"an object was lost or doubtful in {share:.0%} of its frames, more than --exit-doubt "
              f"{arguments.exit_doubt:g} allows", file=sys.stderr)
    return _videos.Outcome(session.clip, session.judgments, DOUBTFUL if doubtful else 0, session.ended)


def report_size(size: tuple[int, int], trained: int | None, longest: int | None) -> None:
    """Prints the working size of frames, if it is not their own."""
    from sstlib.inference import working_size

    height, width = working_size(size, trained if longest is None else longest)
    if (height, width) != size:
        why = "the size that the weights are for; --longest 0 takes them in full" if longest is None else \
            "as --longest says"
        print(f"frames of {size[1]}x{size[0]} are worked on at {width}x{height}, {why}", flush=True)
