"""The measurement behind each entry of `BENCHMARKS`, from the options of `sst bench`, and the summary of its record."""

import statistics
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sstlib import weights
from sstlib.benchmarks import Record, promises, prompting, rendering
from sstlib.benchmarks import attention as attentions
from sstlib.benchmarks import frames as stages
from sstlib.benchmarks import scoring as scorers
from sstlib.benchmarks import training as steps
from sstlib.config import named_model
from sstlib.config.presets import read_config
from sstlib.config.values import Fields, read_json, shown
from sstlib.connectivity import parse
from sstlib.datasets import open_dataset
from sstlib.model import build
from sstlib.native import keep_freed_memory
from sstlib.provenance import provenance

# Keys that each row of a record to merge with must have
ROW = ("part", "size", "pattern", "implementation", "direction", "milliseconds", "ratio_to_dense")


def attention(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """The benchmark of attention.

    Raises:
        ValueError: an unknown size or pattern, or a record that cannot be merged with.
    """
    # Otherwise pages of large outputs are cleared in some rounds only; peak memory is measured in other processes
    keep_freed_memory()
    unknown = [name for name in options.sizes if name not in attentions.PARTS]
    if unknown:
        raise ValueError(f"no size {unknown[0]!r}; known sizes: {', '.join(attentions.PARTS)}")
    patterns = attentions.PUBLISHED if options.patterns is None else tuple(map(parse, options.patterns))
    earlier = _read_earlier(options.json) if options.merge and options.json.is_file() else None
    return attentions.measure(options.sizes, options.quick, options.flex, options.report, options.device, options.dtype,
                              earlier, keep, patterns)


def attention_summary(record: Record) -> str:
    rows = [f"{row['size']:4} {row['pattern']:32} {row['implementation']:34} {row['milliseconds']:10.1f} ms "
            f"{row['ratio_to_dense']:8.1f} x dense"
            for row in record["rows"] if row["ratio_to_dense"] and row["direction"] == attentions.FORWARD]
    return "\n".join([*rows, f"{len(record['rows'])} rows"])


def _read_earlier(path: Path) -> dict[str, Any]:
    """The record to merge with.

    Raises:
        ValueError: it is not a record of this benchmark.
    """
    record = read_json(path)
    try:
        for field in ("parts", "left_out"):
            Fields().check(record.get(field), field)
        rows = record.get("rows")
        if not isinstance(rows, list):
            raise ValueError(f"rows is {shown(rows)}; expected a list")
        for row in rows:
            Fields().check(row, "a row")
            for key in ROW:
                if key not in row:
                    raise ValueError(f"a row lacks {key}")
    except ValueError as error:
        raise ValueError(
            f"{path} is no record that can be merged with ({error}); leave --merge out to write it anew") from error
    return record


def frames(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """Stages of a frame of a named model with random weights."""
    config = named_model(options.model)
    seconds = stages.stage_seconds(build(config).eval(), options.height, options.width, options.objects, options.rounds)
    return _record("frames", seconds=seconds, model=options.model, config=config.to_dict(),
                   size=[options.height, options.width], objects=options.objects)


def frames_summary(record: Record) -> str:
    return "\n".join(f"{stage:8} {1000 * seconds:8.1f} ms" for stage, seconds in record["seconds"].items())


def training(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """Stages of a training step of a preset, or of a file."""
    return steps.profile_steps(read_config(options.preset), options.steps, options.workers)


def training_summary(record: Record) -> str:
    return steps.summary(record)


def clips(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """The speed of the generator of clips."""
    return rendering.measure(read_config(options.preset), options.device, options.clips)


def clips_summary(record: Record) -> str:
    return "\n".join(f"{name:8} {value:8.1f} frames a second" for name, value in record["frames_per_second"].items())


def scoring(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """The speed of scoring, on made clips."""
    return _record("scoring", milliseconds=scorers.benchmark(rounds=options.rounds, processes=options.processes))


def scoring_summary(record: Record) -> str:
    return scorers.report(record["milliseconds"])


def corrections(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """Corrections on all sequences that are long enough."""
    rows = promises.corrections(weights.load(options.weights), open_dataset("davis2016", "train"))
    return _record("corrections", "davis2016 train", weights=options.weights, rows=rows)


def corrections_summary(record: Record) -> str:
    rows = record["rows"]
    apart = max(abs(row["J corrected"] - row["J started"]) for row in rows)
    ratios = [row["area corrected"] / row["area started"] for row in rows if row["area started"]]
    return (f"{len(rows)} clips; J of a corrected segmenter and of one that starts there differ by at most "
            f"{apart:.4f}, their areas by a factor of {min(ratios):.4f} to {max(ratios):.4f}")


def sizes(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """Large frames, after the memory of the largest, which is measured first while the process has freed little."""
    network = weights.load(options.weights)
    torch.set_num_threads(1)
    memory = promises.largest_frames(network)
    rows = promises.sizes(network, open_dataset("davis2016", "val"), options.frames)
    return _record("sizes", "davis2016 val, enlarged by bicubic interpolation, and reduced again by Lanczos'",
                   weights=options.weights, rows=rows, **memory)


def sizes_summary(record: Record) -> str:
    rows = record["rows"]
    points = [100 * (row["J at 1080p"] - row["J"]) for row in rows]
    ratio = statistics.median(row["seconds at 1080p"] / row["seconds"] for row in rows)
    return (f"1080p against 480p, {len(rows)} clips: {statistics.mean(points):+.2f} points of J ({min(points):+.2f} to "
            f"{max(points):+.2f}), {ratio:.2f} times the time; at 4K {record['megabytes at most']:.0f} MB at most")


def threads(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """What more threads gain, and what they cost if a core is busy."""
    rows = promises.threads(weights.load(options.weights), options.rounds, options.frames)
    return _record("threads", weights=options.weights, rows=rows)


def threads_summary(record: Record) -> str:
    ratios: dict[int, list[float]] = {}
    for row in record["rows"]:
        ratios.setdefault(row["busy cores"], []).append(row["seconds with all"] / row["seconds with 1"])
    return "\n".join(f"{busy} cores busy: all threads take {statistics.median(values):.2f} times as long as one"
                     for busy, values in ratios.items())


def prompts(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """Prompts on photographs and on first frames."""
    return _record("prompts", f"{prompting.PHOTOGRAPHS} photographs with masks, davis2016 val",
                   seed=prompting.SEED, rows=prompting.measure(prompting.pictures()))


def prompts_summary(record: Record) -> str:
    return prompting.summary(record["rows"])


def steps_of(options: Namespace, keep: Callable[[Record], None]) -> Record:
    """Steps of two released networks in turns, on one thread."""
    torch.set_num_threads(1)
    networks = [weights.load(name) for name in (options.weights, options.against)]
    size = [options.height, options.width]
    rows = [{"objects": objects, "seconds": stages.steps_in_turns(networks, objects, options.rounds, *size)}
            for objects in options.objects]
    return _record("steps", weights=options.weights, against=options.against, size=size, rows=rows)


def steps_of_summary(record: Record) -> str:
    lines = []
    for row in record["rows"]:
        own, other = (statistics.median(seconds) for seconds in zip(*row["seconds"]))
        low, _, high = statistics.quantiles([a / b for a, b in row["seconds"]], n=4)
        lines.append(f"{row['objects']} objects: {1000 * own:.0f} ms a step of {record['weights']}, {1000 * other:.0f} "
                     f"of {record['against']}: {own / other:.2f} times (quartiles of the rounds {low:.2f} to "
                     f"{high:.2f})")
    return "\n".join(lines)


def _record(name: str, data: str = "generated", **facts: Any) -> Record:
    return {"kind": "benchmark", "name": name, **facts, "provenance": provenance(data)}
