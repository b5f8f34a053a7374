"""The cost of a network on this machine: seconds of each stage of a frame, and resident memory along a video."""

import ctypes
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from sstlib import clocks
from sstlib.benchmarks.anatomy import full_memory
from sstlib.inference import Segmenter
from sstlib.model import Propagator
from sstlib.shapes import UInt8

LabeledFrame = tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"]]


@torch.inference_mode()
def stage_seconds(network: Propagator, height: int = 480, width: int = 854, objects: int = 1, rounds: int = 5,
                  clock: str = "wall") -> dict[str, float]:
    """Least seconds of each stage of a frame over some rounds, with the memory full.

    Args:
        network: any method.
        height, width, objects: of the frame, in pixels, and how many objects beside the background.
        rounds: how often each stage is measured.
        clock: `wall`, or `processor`: the time that all threads of this process compute, without other programs.

    Returns:
        `backbone`, `encoder` (SST: attention with affinity and warped masks, all layers), `decoder` (with the evidence
        it fuses), `memory` (what remembering a frame adds), and `step`: all that `Segmenter.step` does with a frame of
        bytes, its labels and confidences included.
    """
    device = next(network.parameters()).device
    frame = torch.rand(1, 3, height, width, device=device)
    bands = np.arange(height) * (1 + objects) // height  # the objects lie one below the other
    rows = torch.from_numpy(bands == np.arange(1 + objects)[:, None]).float().to(device)
    masks = rows[None, :, :, None].repeat(1, 1, 1, width)
    memory = full_memory(network, frame, masks)
    now = functools.partial(clocks.now, clock, device)
    times = []
    for _ in range(rounds + 1):
        marks = [now()]
        features = network.extract(frame)
        marks.append(now())
        if hasattr(network, "encode"):
            network.encode(features, memory)
        marks.append(now())
        network.segment(features, memory)
        marks.append(now())
        network.remember(memory, features, masks)
        marks.append(now())
        times.append([later - earlier for earlier, later in zip(marks, marks[1:])])
    best = torch.tensor(times[1:]).amin(0).tolist()
    steps = _step_seconds(network, np.repeat(bands[:, None], width, 1).astype(np.uint8), rounds, now)
    return dict(zip(("backbone", "encoder", "decoder", "memory"), best)) | {"step": min(steps)}


def _step_seconds(network: Propagator, labels: np.ndarray, rounds: int, now: Callable[[], float]) -> list[float]:
    """Seconds of each step of a segmenter whose memory is full."""
    segmenter, frame = Segmenter(network), np.random.default_rng(0).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    marks = []
    for t in range(network.config.history + 2 + rounds):
        segmenter.step(frame, labels if t == 0 else None)
        marks.append(now())
    return [later - earlier for earlier, later in zip(marks[-rounds - 1:], marks[-rounds:])]


def steps_in_turns(networks: Sequence[Propagator], objects: int = 1, rounds: int = 10, height: int = 480,
                   width: int = 854) -> list[list[float]]:
    """Seconds of a segmenter's step with each network in every round, one after the other, with all memories full."""
    labels = np.repeat((np.arange(height) * (1 + objects) // height)[:, None], width, 1).astype(np.uint8)
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    segmenters = [Segmenter(network) for network in networks]
    full = max(network.config.history + 2 + network.config.landmarks * network.config.landmark_every
               for network in networks)
    rows = []
    for t in range(full + rounds):
        rows.append([])
        for segmenter in segmenters:
            started = clocks.now()
            segmenter.step(frame, labels if t == 0 else None)
            rows[-1].append(clocks.now() - started)
    return rows[full:]


def streamed(segmenter: Segmenter, video: Iterable[LabeledFrame], frames: int,
             every: int) -> Iterator[dict[str, float | int]]:
    """Segments `frames` frames of a video from the mask of its first, and reports memory after every `every` frames and
    at the end.

    Yields:
        `frame` (how many were segmented), `held_megabytes` (resident size of the process, after the allocator has
        returned free memory), `peak_megabytes` (the largest resident size since the last report) and `seconds` since
        the start. Free memory varies by several percent within and between frames; held memory tells whether any leaks.

    Raises:
        OSError: a system without /proc, from which the resident size is read.
    """
    started = clocks.now()
    for t, (frame, labels) in enumerate(itertools.islice(video, frames), 1):
        segmenter.step(frame, labels if t == 1 else None)
        if t % every == 0 or t == frames:
            peak = clocks.resident_megabytes("VmHWM")
            if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
                trim(0)
            yield {"frame": t, "held_megabytes": clocks.resident_megabytes(), "peak_megabytes": peak,
                   "seconds": clocks.now() - started}
            clocks.forget_peak()
