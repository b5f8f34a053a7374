"""The precision of steps: float32, or half precision by autocast, if it is requested or measured to be faster."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch

from sstlib import clocks
from sstlib.inference import Segmenter
from sstlib.model import Propagator
from sstlib.sessions.clip import Clip

PRECISIONS = ("float32", "bfloat16", "float16")
FASTER = 1.2  # how many times as fast bfloat16 must be to be chosen automatically, as a few labels differ
TURNS = 3


def within(precision: str, device: str) -> Callable[[], AbstractContextManager]:
    """A function that makes the context of each step.

    Args:
        precision: one of `PRECISIONS`.
        device: the name of PyTorch's, such as cuda:1.

    Raises:
        ValueError: the device does not support it.
    """
    if precision == "float32":
        return nullcontext
    kind, dtype = device.partition(":")[0], getattr(torch, precision)
    context = partial(torch.autocast, kind, dtype)
    if (kind, precision) == ("cpu", "float16") or not _takes_effect(context, kind):
        others = "float32 or bfloat16" if precision == "float16" else "float32"
        raise ValueError(f"precision is {precision!r}, in which {device} does not compute; take {others}")
    return context


def _takes_effect(context: Callable[[], AbstractContextManager], kind: str) -> bool:
    """Whether autocast is really on: if unsupported, it warns and computes in float32, or raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with context():
                return torch.is_autocast_enabled(kind)
    except RuntimeError:
        return False


def faster(network: Propagator, device: str, clip: Clip, options: dict[str, Any]) -> tuple[str, str]:
    """The precision to use, float32 or bfloat16, and why: the fastest of a few steps in each, in turns, on the clip's
    first frame with an object, with separate segmenters.

    Args:
        network: trained weights.
        device: where they are.
        clip: what is to be segmented.
        options: of `Segmenter`.
    """
    try:
        contexts = {precision: within(precision, device) for precision in ("float32", "bfloat16")}
    except ValueError:
        return "float32", f"{device} does not compute in bfloat16"
    segmenters = {precision: Segmenter(network, **options) for precision in contexts}
    frame, seconds = clip.frames.frame(clip.first), dict.fromkeys(contexts, float("inf"))
    for turn in range(1 + TURNS):  # the given mask needs less work, and counts for nothing
        for precision, segmenter in segmenters.items():
            started = clocks.now()
            with contexts[precision]():
                segmenter.step(frame, None if turn else clip.given[clip.first])
            if turn:
                seconds[precision] = min(seconds[precision], clocks.now() - started)
    choice = "bfloat16" if seconds["float32"] >= FASTER * seconds["bfloat16"] else "float32"
    return choice, (f"a step takes {seconds['float32']:.3g} s in float32, {seconds['bfloat16']:.3g} s in bfloat16, "
                    f"which is taken where {FASTER:g} times as fast")
