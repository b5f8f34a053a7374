"""How fast and how large attention is: every pattern and implementation beside dense, gathered and fused attention.

One thread, interleaved: each round runs every contender once, so that a busy machine slows all of them alike, and
medians over rounds are compared. Times are processor time, which excludes other programs; on a GPU they are device time
of recorded and replayed calls, beside the time of a call from Python. Peak memory is measured in a separate process for
each contender, as the growth of the largest resident size (on a GPU: of allocated memory) during the call.
"""

import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sstlib import clocks
from sstlib.attention import sparse_attention
from sstlib.benchmarks import machine
from sstlib.benchmarks.contenders import (
    BOTH,
    FORWARD,
    LAST,
    PUBLISHED,
    SIZES,
    Buffer,
    Contender,
    both,
    contenders,
    names_of,
    tensors_of,
)
from sstlib.connectivity import Connectivity, Dense, Local, pairs_of_last, parse

PARTS = (*SIZES, "growth", "memory")
HISTORY = "480p history"  # of one pattern, whichever others are measured
ROUNDS = 9
ENOUGH = 8.0  # seconds of one contender at one size, after which it skips the remaining rounds


def measure(parts: list[str], quick: bool, flex: bool, report: Callable[[str], None], device: str = "cpu",
            dtype: str = "float32", earlier: dict[str, Any] | None = None,
            keep: Callable[[dict[str, Any]], None] = lambda record: None,
            patterns: Sequence[Connectivity] = PUBLISHED) -> dict[str, Any]:
    """Measures some patterns and returns a record: the named parts, and the other parts of an earlier record.

    `report` receives a line for each step, `keep` the record after each part; `flex` also compiles FlexAttention. Names
    of parts measured on a GPU include device and precision, so that a record holds them beside the processor's; the
    record's `parts` say which machine measured which.

    Raises:
        ValueError: the earlier record has other patterns in these parts, which would be lost.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    where = {"device": device, "dtype": dtype}
    labels = {part: part if device == "cpu" else f"{part} {device} {dtype}" for part in parts}
    record = _begun(earlier, set(labels.values()), patterns)
    try:
        _warm(where, patterns)
        report("machine limits")
        device_limits = machine.limits(device)
        if device != "cpu":
            report("compiling with all processors")
            _compile([SIZES[part]._replace(**where) for part in parts if part in SIZES], patterns, quick, flex)
        for part, label in labels.items():
            record["parts"][label] = device_limits
            if part in SIZES:
                rows, record["left_out"][label] = _compare(SIZES[part]._replace(**where), patterns,
                                                           1 if quick else ROUNDS, quick, flex, report)
            else:
                rows = (_growth if part == "growth" else _memory)(patterns, quick, where, report)
            exponentials = device_limits["limits"]["exp_giga"]
            record["rows"] += [{"part": label, **row, "exp_bound_milliseconds": 1e-6 * _pairs(row) / exponentials}
                               for row in rows]
            record["rows"].sort(key=lambda row: (row["device"], row["dtype"], PARTS.index(row["part"].split()[0])))
            keep(record)
    finally:
        torch.set_num_threads(threads)
    return record


def _begun(earlier: dict[str, Any] | None, again: set[str], patterns: Sequence[Connectivity]) -> dict[str, Any]:
    """A record that begins with the parts of an earlier one that are not measured again."""
    record = {"kind": "benchmark", "name": "attention", "parts": {}, "left_out": {}, "rows": []}
    if earlier:
        known = {row["pattern"] for row in earlier["rows"] if row["part"] in again and row["size"] != HISTORY}
        if lost := sorted(known - {str(pattern) for pattern in (Dense(), *patterns)}):
            raise ValueError(f"the rows of {', '.join(lost)} in {', '.join(sorted(again))} would be lost: what is "
                             "compared is measured in turns; name all their patterns")
        for field in ("parts", "left_out"):
            record[field] = {part: value for part, value in earlier[field].items() if part not in again}
        record["rows"] = [row for row in earlier["rows"] if row["part"] not in again]
    return record


def _pairs(row: dict[str, Any]) -> int:
    """Query-key pairs over all heads. Each needs an exponential, which bounds the speed of any forward kernel."""
    return row["heads"] * parse(row["pattern"]).pairs((row["time"], row["height"], row["width"]))


def _warm(where: dict[str, str], patterns: Sequence[Connectivity]) -> None:
    """Does what only a first call does: compiling, loading, importing."""
    size = Buffer("", 2, 8, 8, 1, 8, **where)
    small = tensors_of(size)
    labels = torch.zeros(1, 2, 8, 8, dtype=torch.long, device=size.device)
    for pattern in patterns:
        for name in names_of(pattern, size, affinity=True):
            both(lambda q, k, v, p=pattern, n=name: sparse_attention(q, k, v, p, implementation=n).output, small)()
            sparse_attention(*small, pattern, labels=labels, objects=1, implementation=name)


def _compile(sizes: list[Buffer], patterns: Sequence[Connectivity], quick: bool, flex: bool) -> None:
    """Fills the caches of compiled kernels: a GPU needs dozens for each size, each of which takes seconds to compile.
    """
    texts = [str(pattern) for pattern in patterns]
    jobs = [(size, texts, quick, flex, number) for size in sizes
            for number in range(sum(1 for _ in contenders(size, patterns, quick, flex)))]
    with multiprocessing.get_context("spawn").Pool(min(len(jobs), os.cpu_count() or 1)) as pool:
        pool.starmap(_run_once, jobs, chunksize=1)


def _run_once(size: Buffer, patterns: list[str], quick: bool, flex: bool, number: int) -> None:
    """Runs one contender. An error here occurs again when it is measured, and is reported then."""
    contender = next(itertools.islice(contenders(size, [parse(text) for text in patterns], quick, flex), number, None))
    with contextlib.suppress(Exception), torch.set_grad_enabled(contender.direction == BOTH):
        contender.run()


def _row(size: Buffer, contender: Contender, times: list[float]) -> dict[str, Any]:
    pattern, implementation, direction, _, factor = contender
    return {"size": size.name, **dict(zip(size._fields[1:], size[1:])), "pattern": str(pattern),
            "implementation": implementation, "direction": direction,
            "milliseconds": 1e3 * factor * statistics.median(times), "repeats": len(times),
            "measured_heads": size.heads // factor, "peak_megabytes": None, "ratio_to_dense": None}


def _compare(size: Buffer, patterns: Sequence[Connectivity], rounds: int, quick: bool, flex: bool,
             report: Callable[[str], None]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measures all contenders at one size, round by round; contenders that have taken ENOUGH seconds stop. Returns
    their rows, and why some rivals were left out.
    """
    report(f"{size.name}: preparing")
    entered, left_out = [], {}
    for contender in contenders(size, patterns, quick, flex):
        # Optional: rivals that cannot be imported, compiled or run on this machine are left out, with the reason
        if contender.implementation in ("natten", "flex"):
            try:
                with torch.set_grad_enabled(contender.direction == BOTH):
                    contender.run()
            except Exception as error:
                first = next(iter(str(error).splitlines()), "")
                left_out[contender.implementation] = f"{type(error).__name__}: {first}"
                continue
        entered.append(contender)
    timers = [_timer(contender, size.device, left_out) for contender in entered]
    times: dict[int, list[float]] = {i: [] for i in range(len(entered))}
    for turn in range(rounds):
        report(f"{size.name}: round {turn + 1} of {rounds}")
        for i, contender in enumerate(entered):
            if sum(times[i]) > ENOUGH:
                continue
            with torch.set_grad_enabled(contender.direction == BOTH):
                times[i].append(timers[i]())
    rows = [_row(size, contender, times[i]) for i, contender in enumerate(entered)]
    for contender, row in zip(entered, rows):
        if size.device != "cpu":
            with torch.set_grad_enabled(contender.direction == BOTH):
                row["call_milliseconds"] = 1e3 * clocks.called(contender.run)
        _relate(contender, row, {(r["pattern"], r["implementation"], r["direction"]): r["milliseconds"] for r in rows},
                size[1:4])
    return rows, left_out


def _timer(contender: Contender, device: str, left_out: dict[str, str]) -> Callable[[], float]:
    """The timer of one call; if a GPU call cannot be recorded, it is timed from Python, and `left_out` says so."""
    if device == "cpu":
        return functools.partial(clocks.seconds, contender.run)
    with torch.set_grad_enabled(contender.direction == BOTH):
        try:
            return clocks.recorded(contender.run)
        except RuntimeError as error:
            left_out[f"recording of {contender.implementation}, {contender.pattern}, {contender.direction}"] = str(
                error).splitlines()[0]
            return functools.partial(clocks.called, contender.run)


def _relate(contender: Contender, row: dict[str, Any], times: dict[tuple[str, str, str], float],
            size: tuple[int, int, int]) -> None:
    """Adds ratios of a time to others: to dense, masked dense, the forward pass alone, attention without affinity, and
    its share of the pairs.
    """
    spent, pattern, direction = row["milliseconds"], row["pattern"], row["direction"]
    plain = row["implementation"].removesuffix(LAST)
    others = {"ratio_to_dense": times.get((str(Dense()), "sdpa", direction)),
              "ratio_to_masked_dense": times.get((pattern, "sdpa, masked", direction))}
    row |= {name: other / spent for name, other in others.items() if other}
    if direction == BOTH:
        row["times_forward"] = spent / times[pattern, plain, FORWARD]
    if "affinity" in plain:
        row["times_without_affinity"] = spent / times[
            pattern, row["implementation"].replace(" scattered", "").replace(", affinity of 3", ""), direction]
    if plain != row["implementation"]:
        whole, last = contender.pattern.pairs(size), pairs_of_last(1, contender.pattern, size)
        row["times_share_of_pairs"] = spent / times[pattern, plain, direction] * whole / last


def _growth(patterns: Sequence[Connectivity], quick: bool, where: dict[str, str],
            report: Callable[[str], None]) -> list[dict[str, Any]]:
    """The fastest implementation of each pattern while one axis grows and the others stay."""
    rows = []
    frames, sides = ((2, 4), (16, 32)) if quick else ((2, 4, 8, 16), (16, 32, 64, 96))
    buffers = [Buffer("growing frames", t, 32, 32, 1, 16) for t in frames]
    buffers += [Buffer("growing height", 4, n, 32, 1, 16) for n in sides]
    buffers += [Buffer("growing width", 4, 32, n, 1, 16) for n in sides]
    for size in (buffer._replace(**where) for buffer in buffers):
        report(f"{size.name}: {size.time} x {size.height} x {size.width}")
        for pattern in (Dense(), *patterns):
            tensors = tensors_of(size)
            run = lambda p=pattern, t=tensors: sparse_attention(*t, p)
            name = names_of(pattern, size)[0]
            rows.append(_row(size, Contender(pattern, name, FORWARD, run),
                             [clocks.seconds(run, size.device) for _ in range(5)]))
    return rows


def _memory(patterns: Sequence[Connectivity], quick: bool, where: dict[str, str],
            report: Callable[[str], None]) -> list[dict[str, Any]]:
    """Peaks: forward and backward at S2, and a long history of 480p frames at stride 8 (60 x 107)."""
    rows = []
    size = SIZES["S1" if quick else "S2"]._replace(**where)
    jobs = [(size, pattern, name, BOTH) for pattern in patterns for name in names_of(pattern, size)]
    jobs += [(Buffer(HISTORY, t, 60, 107, 8, 8, **where), Local(7), names_of(Local(7), size)[0], FORWARD)
             for t in ((2,) if quick else (2, 8, 32))]
    for size, pattern, name, direction in jobs:
        report(f"peak memory: {pattern.name}, {name}, {direction}, {size.name} of {size.time} frames")
        seconds, peak = _aside(size, str(pattern), name, direction)
        row = _row(size, Contender(pattern, name, direction, _aside), [seconds])
        cells, count = size.time * size.height * size.width, pattern.pairs(size[1:4])
        row |= {
            "peak_megabytes": None if peak is None else peak / 1e6,
            "output_megabytes": 4 * size.heads * cells * size.dim / 1e6,
            "stored_map_megabytes": 4 * size.heads * count / 1e6, "dense_map_megabytes": 4 * size.heads * cells**2 / 1e6
        }
        rows.append(row)
    return rows


def _aside(*job: Any) -> tuple[float, float | None]:
    """Runs one call in a fresh process; its seconds, and the growth of its peak resident size in bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, job)


def _peak(size: Buffer, pattern: str, implementation: str, direction: str) -> tuple[float, float | None]:
    torch.set_num_threads(1)
    attend = lambda q, k, v: sparse_attention(q, k, v, parse(pattern), implementation=implementation).output
    small = tensors_of(size._replace(time=1, height=8, width=8), 1)
    both(attend, small)()  # compiles, loads and allocates what only the first call does
    tensors = tensors_of(size)
    run = both(attend, tensors) if direction == BOTH else lambda: attend(*tensors)
    with torch.set_grad_enabled(direction == BOTH):
        return clocks.peak(run, size.device)


def text(record: dict[str, Any]) -> str:
    """The record as JSON, numbers to six digits."""
    return json.dumps(json.loads(json.dumps(record), parse_float=lambda number: float(f"{float(number):.6g}")),
                      indent=1) + "\n"
