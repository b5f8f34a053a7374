"""How fast clips are rendered: in frames a second, and a training batch in seconds beside which a step may be put."""

from collections.abc import Callable
from typing import Any

import torch

from sstlib import clocks
from sstlib.config import RunConfig
from sstlib.datasets import training_batch
from sstlib.provenance import provenance
from sstlib.synthetic import ClipSpec, random_spec, render_batch

OBJECTS = 4


def measure(config: RunConfig, device: str = "cpu", clips: int = 4, rounds: int = 2, **size: int) -> dict[str, Any]:
    """A record of the speed on one device: on a CPU on one thread by the processor's time, else by the wall's.

    Args:
        config: a training run, whose batches are made, too.
        clips: rendered in one call; the default's difficulty and the preset "mixed", each with 4 objects at 240x432.
        rounds: of which the fastest counts, after one that warms up.
        size: other fields of the clips than these.
    """
    on_cpu = torch.device(device).type == "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if on_cpu else threads)
    clock = "processor" if on_cpu else "wall"
    try:
        fastest = {}
        for name in ("default", "mixed"):
            specs = [ClipSpec(objects=OBJECTS, **size) if name == "default" else
                     random_spec(name, n, objects=OBJECTS, **size) for n in range(clips)]
            seconds = _fastest(clock, rounds, lambda specs=specs: render_batch(specs, list(range(clips)), device))
            fastest[name] = sum(spec.frames for spec in specs) / seconds
        batch = config.training.batch
        step = _fastest(clock, rounds, lambda: training_batch(config.data, 0, batch, device=device))
    finally:
        torch.set_num_threads(threads)
    return {
        "kind": "benchmark", "name": "clips", "frames_per_second": fastest, "objects": OBJECTS, "clips_a_call": clips,
        "seconds_a_training_batch": step, "training_batch": batch, "data": config.data.to_dict(), "device": device,
        "clock": clock, "provenance": provenance("generated")
    }


def _fastest(clock: str, rounds: int, make: Callable[[], Any]) -> float:
    make()
    return clocks.least(make, rounds=rounds, clock=clock)
