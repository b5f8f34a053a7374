"""Every measurement of speed and memory, with one timer and one reader of memory (`clocks`): attention, frames,
training, clips, scoring.

A benchmark is one entry of `BENCHMARKS`: what `sst bench NAME` measures, its options, and the summary that it prints.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sstlib.config.entries import Registry, lazily
from sstlib.config.values import LARGEST, Whole

Record = dict[str, Any]
SIZES = ["S1", "S2", "S3", "S4", "growth", "memory"]
WEIGHTS = {"--weights": dict(default="sst-small", metavar="NAME", help="a release or a file (default: sst-small)")}
DEVICE = {"--device": dict(default="cpu", help="cpu or cuda (default: cpu, on one thread)")}


def __getattr__(name: str) -> Any:
    if name not in ("against_dense", "costs"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sstlib.benchmarks import ratios  # brings pandas and PyTorch along, which the names of benchmarks do without

    return getattr(ratios, name)


@dataclass(frozen=True)
class Benchmark:
    """A measurement.

    Attributes:
        name: in `sst bench`.
        title: what is measured, in a line.
        measure: makes the record from the options and a function that saves an incomplete one; a record has at least
            `kind`, "benchmark", and `name`.
        summary: the text that is printed for a record.
        options: of the command, by flag: what argparse takes, with a `values.Kind` as `kind`.
    """

    name: str
    title: str
    measure: Callable[[Namespace, Callable[[Record], None]], Record]
    summary: Callable[[Record], str] = lambda record: ""
    options: dict[str, dict[str, Any]] | None = None


def _kind(least: int, default: int, help: str, most: int = LARGEST) -> dict[str, Any]:
    return {"kind": Whole(least, most), "default": default, "metavar": "N", "help": f"{help} (default: {default})"}


def _entry(name: str, title: str, options: dict[str, dict[str, Any]], function: str = "") -> Benchmark:
    place = f"sstlib.benchmarks.entered:{function or name}"
    return Benchmark(name, title, lazily(place), lazily(f"{place}_summary"), options)


BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmark",
    _entry("attention", "every pattern and implementation beside dense attention, time and memory", {
        "--sizes": dict(nargs="+", default=SIZES, metavar="SIZE", help=f"which of {' '.join(SIZES)} (default: all)"),
        "--patterns": dict(nargs="+", metavar="PATTERN", help="which patterns, such as 'local(radius=7)' (default: "
                           "those of the published record); one's own, too, if SST_PATTERNS names the Python file that "
                           "defines it"),
        "--merge": dict(action="store_true", help="keep what FILE has of the other sizes: a long benchmark in pieces"),
        "--flex": dict(action="store_true", help="FlexAttention, too: it compiles for half a minute a pattern, size "
                       "and direction"),
        **DEVICE,
        "--dtype": dict(choices=["float32", "bfloat16"], default="float32",
                        help="precision of the tensors (default: float32)"),
        "--quick": dict(action="store_true", help="one round and small buffers: a minute, to see that it works")}),
    _entry("frames", "seconds of each stage of a frame, with the memory full", {
        "--model": dict(default="sst-small", metavar="NAME", help="a model configuration (default: sst-small)"),
        "--height": _kind(16, 480, "of the frame, in pixels"), "--width": _kind(16, 854, "of the frame, in pixels"),
        "--objects": _kind(1, 1, "beside the background", 254), "--rounds": _kind(1, 5, "the fastest counts")}),
    _entry("steps", "a segmenter's step with one network against another's, in turns, on one thread", {
        "--weights": dict(default="sst-photo", metavar="NAME", help="released weights (default: sst-photo)"),
        "--against": dict(default="sst-small", metavar="NAME", help="others (default: sst-small)"),
        "--objects": dict(nargs="+", kind=Whole(1, 254), default=[1, 3], metavar="N", help="default: 1 3"),
        "--height": _kind(16, 480, "of the frame, in pixels"), "--width": _kind(16, 854, "of the frame, in pixels"),
        "--rounds": _kind(2, 10, "of which the median counts")}, "steps_of"),
    _entry("training", "seconds of a training step by stage", {
        "--preset": dict(default="small", metavar="NAME", help="the run whose steps are timed (default: small)"),
        "--steps": _kind(1, 3, "timed and profiled"), "--workers": _kind(0, 1, "processes that render", 1024)}),
    _entry("clips", "frames of generated clips a second", {
        "--preset": dict(default="small", metavar="NAME", help="the run whose batches are timed, too (default: small)"),
        **DEVICE, "--clips": _kind(1, 4, "rendered in one call", 10_000)}),
    _entry("scoring", "milliseconds of scoring a frame, beside a plain implementation", {
        "--rounds": _kind(1, 5, "of which the median counts"), "--processes": _kind(1, 2, "of the last method", 1024)}),
    _entry("prompts", "masks from a box, from clicks and from a rough outline against the true ones, on 50 photographs "
           "and DAVIS 2016's validation frames", {}),
    _entry("corrections", "a mask given again mid-clip against a start there, on DAVIS 2016's training sequences",
           WEIGHTS),
    _entry("sizes", "J and seconds at 1080p against the same clips reduced to 480p, on DAVIS 2016's validation "
           "sequences, and memory at 4K", {**WEIGHTS, "--frames": _kind(3, 20, "of each clip")}),
    _entry("threads", "one thread against all, with free cores and with a busy one", {
        **WEIGHTS, "--rounds": _kind(1, 4, "of both, in turns"), "--frames": _kind(2, 30, "of the clip")}),
)
