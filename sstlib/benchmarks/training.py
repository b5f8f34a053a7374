"""Where the time of a training step goes: the loop's own step, timed alone and then under PyTorch's profiler."""

import contextlib
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from sstlib import clocks
from sstlib.config import RunConfig
from sstlib.model.matching import ReferenceMatching
from sstlib.model.sst import EncoderLayer
from sstlib.provenance import provenance
from sstlib.training.loop import _Run
from sstlib.training.processes import joined

BESIDE = "attention's projections, matching"  # what runs in the methods of AROUND, except the attention operator
# An operation belongs to the first stage that its outermost named caller matches: a copy within a convolution counts as
# convolution.
STAGES = {
    "data (waiting for clips)": r"data$",
    "optimizer, clipping, average": r"Optimizer|aten::_foreach",
    "convolution": r"aten::_?conv",
    "attention, forward": r"sstlib::attend$",
    "attention, backward": r"sstlib::(attend|affinity)_backward$",
    BESIDE: r"$^",  # not recognized by the names of operations
    "matrix products": r"(aten|mkldnn)::(linear|_linear_pointwise|matmul|einsum|addmm|bmm|mm|baddbmm)(_backward)?$",
    "normalization": r"(aten|sstlib)::\w*(group|layer|response)_norm",
    "resampling": r"aten::_?(upsample|interpolate|avg_pool|adaptive|pad$|replication_pad|constant_pad)",
    "softmax, maxima, loss": r"aten::(_?(log_)?softmax|cross_entropy|nll_loss|topk|amax|max|argmax|sort)",
    "elementwise, sums, copies": r"(aten|sstlib)::",
}
REST = "Python and dispatch"
HEADLINE = ("convolution", "attention, forward", "attention, backward", BESIDE)
# Multi-head attention beside its operator, and the dense attention to reference frames: whatever runs in these methods
# or differentiates it.
AROUND = ((EncoderLayer, "keys_and_values"), (EncoderLayer, "attend"), (ReferenceMatching, "forward"))
RANGE, NODE = "attention", "autograd::engine::evaluate_function"


def profile_steps(config: RunConfig, steps: int, workers: int) -> dict[str, Any]:
    """Runs `steps` training steps without the profiler, for speed, and as many with it, for shares; keeps nothing.

    Both halves of a run (true and own masks) cost the same but for a softmax, so the first steps stand for all.

    Returns:
        A record: `frames_per_second` and `seconds_a_step` (median, wall clock, no profiler), and `stages`, seconds a
        step that add up to that of the profiled ones.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps to profile; give at least 1")
    with tempfile.TemporaryDirectory() as folder, joined() as place:
        run = _Run(config.replace(training=config.training.replace(steps=max(config.training.steps, 2 * steps + 1))),
                   Path(folder), place)
        clips = _named(run._loader(workers, 2 * steps + 1))
        times = [_timed(run, clips) for _ in range(steps + 1)][1:]  # the first compiles kernels and starts workers
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (place.device.type == "cuda")
        with _ranges(), profile(activities=activities, acc_events=True) as profiler:  # else torch 2.11 warns
            started = clocks.now()
            for _ in range(steps):
                _timed(run, clips)
            profiled = (clocks.now() - started) / steps
        data, batch = config.data, config.training.batch
        stages = {
            stage: seconds / steps for stage, seconds in stage_seconds(profiler.events(), place.device.type).items()
        }
        stages[REST] = max(0.0, profiled - sum(stages.values()))
        return {
            "kind": "benchmark", "name": "training", "config": config.to_dict(), "steps": steps,
            "threads": torch.get_num_threads(), "workers": workers, "seconds_a_step": statistics.median(times),
            "frames_per_second": batch * data.frames / statistics.median(times), "seconds_a_profiled_step": profiled,
            "stages": stages, "provenance": provenance(data.real or "generated")
        }


def _named(clips: Iterator) -> Iterator:
    while True:
        with record_function("data"):
            batch = next(clips)
        yield batch


def _timed(run: _Run, clips: Iterator) -> float:
    started = clocks.now()
    run._learn(clips)
    run.step += 1
    return clocks.now() - started


@contextlib.contextmanager
def _ranges() -> Iterator[None]:
    """Marks the methods of AROUND for the profiler."""
    methods = [(owner, name, getattr(owner, name)) for owner, name in AROUND]
    try:
        for owner, name, method in methods:
            setattr(owner, name, record_function(RANGE)(method))
        yield
    finally:
        for owner, name, method in methods:
            setattr(owner, name, method)


def stage_seconds(events: Iterable[Any], device: str = "cpu") -> dict[str, float]:
    """Seconds of each of STAGES: the own time of every operation, given to the stage of its outermost named caller.

    Operations within AROUND that are neither convolution nor the attention operator form a stage; their backward passes
    are recognized by sequence numbers, which autograd gives to an operation and to the node that differentiates it.

    Args:
        events: of a profiler (torch.autograd.profiler_util.FunctionEvent).
        device: whose time is counted, cpu or cuda.
    """
    events = list(events)
    callers = [_callers(event) for event in events]
    numbers = {e.sequence_nr for e, chain in zip(events, callers, strict=True) if any(c.name == RANGE for c in chain)
               } - {-1}
    seconds: dict[str, float] = defaultdict(float)
    for event, chain in zip(events, callers, strict=True):
        own = event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
        if stage := next((name for caller in reversed(chain) if (name := stage_of(caller.name))), None):
            around = any(c.name == RANGE or (c.name.startswith(NODE) and c.sequence_nr in numbers) for c in chain)
            seconds[BESIDE if around and stage not in HEADLINE else stage] += own / 1e6
    return {stage: seconds[stage] for stage in STAGES}


def _callers(event: Any) -> list[Any]:
    """An event and what called it, from the inside out."""
    chain = []
    while event is not None:
        chain.append(event)
        event = event.cpu_parent
    return chain


def stage_of(operation: str) -> str | None:
    """The stage of an operation by its name; None for autograd's nodes, which only call others."""
    return next((stage for stage, pattern in STAGES.items() if re.match(pattern, operation)), None)


def table(record: dict[str, Any]) -> pd.DataFrame:
    """Stages of a record with seconds and percent of a step, the costliest first."""
    rows = pd.DataFrame(record["stages"].items(), columns=["stage", "seconds a step"])
    rows["share (%)"] = 100 * rows["seconds a step"] / rows["seconds a step"].sum()
    return rows.sort_values("seconds a step", ascending=False, ignore_index=True)


def summary(record: dict[str, Any]) -> str:
    """The table, rounded, and the `speed` below it."""
    rows = table(record).round({"seconds a step": 3, "share (%)": 1})
    return f"{rows.to_string(index=False)}\n{speed(record)}"


def speed(record: dict[str, Any]) -> str:
    """Frames a second and the share of convolution and attention, in a line."""
    whole = sum(record["stages"].values())
    share, operator = (sum(record["stages"][stage] for stage in stages) / whole for stages in (HEADLINE, HEADLINE[:3]))
    data, training = record["config"]["data"], record["config"]["training"]
    return (f"{record['frames_per_second']:.1f} frames a second ({training['batch']} clips of {data['frames']} "
            f"frames, {data['width']}x{data['height']}, {training['precision']}) on {record['provenance']['device']} "
            f"and {record['workers']} worker(s); {share:.0%} of a step in convolution and attention, {operator:.0%} "
            "without attention's projections and the matching")
