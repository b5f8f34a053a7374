"""How fast and how large attention is: every pattern and implementation beside dense, gathered and fused attention.

One thread, interleaved: each round runs every contender once, so that a busy machine slows all of them alike, and medians
over rounds are compared. Times are the processor's (not the wall's), which leaves out what other programs take; on a GPU
they are the device's, between two events around a queue of calls. Peaks of memory come from a process of their own each, as
the growth of the largest resident size (on a GPU: of what was allocated) during the call.
"""

import ctypes
import gc
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib import native
from sstlib.attention import gpu, rivals, sparse_attention, usable
from sstlib.attention.native import FOLDER
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided, parse
from sstlib.provenance import processor


class Buffer(NamedTuple):
    """A size to measure at."""

    name: str
    time: int
    height: int
    width: int
    heads: int
    dim: int
    device: str = "cpu"
    dtype: str = "float32"


SIZES = {size.name: size for size in (Buffer("S1", 4, 30, 30, 8, 16), Buffer("S2", 8, 64, 64, 8, 16), Buffer("S3", 3, 60, 107, 8, 16),
                                      Buffer("S4", 16, 64, 64, 1, 32))}
PATTERNS = (Grid(), Local(7, causal=True), Strided(8, causal=True))
PARTS = (*SIZES, "growth", "memory")
FORWARD, BOTH = "forward", "forward+backward"
LAST = ", last frame"
LARGEST_GATHER = 80_000_000  # floats that a gathered copy of the keys may have


class Contender(NamedTuple):
    """One row to be: `run` computes it once; `factor` is what its time is multiplied with (dense runs on one head of many)."""

    pattern: Connectivity
    implementation: str
    direction: str
    run: Callable[[], Any]
    factor: int = 1


def measure(parts: list[str], quick: bool, flex: bool, report: Callable[[str], None], device: str = "cpu", dtype: str = "float32",
            earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """The benchmark as a record: the named parts, beside what an earlier record has of the other parts.

    `report` hears one line a step; `flex` compiles FlexAttention, too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    where = {"device": device, "dtype": dtype}
    record = {"kind": "benchmark", "name": "attention", "machine": {}, "parts": {}, "left_out": {}, "rows": []}
    if earlier:
        record |= {field: {part: what for part, what in earlier[field].items() if part not in parts} for field in ("parts", "left_out")}
        record["rows"] = [row for row in earlier["rows"] if row["part"] not in parts]
    try:
        _warm(where)
        record["machine"] = machine(report, device)
        for part in parts:
            record["parts"][part] = record["machine"]
            if part in SIZES:
                rows, record["left_out"][part] = _compare(SIZES[part]._replace(**where), 1 if quick else 5, quick, flex, report)
            else:
                rows = (_growth if part == "growth" else _memory)(quick, where, report)
            for row in rows:  # each pair needs one exponential, so that no kernel is faster forward
                pairs = row["heads"] * parse(row["pattern"]).pairs((row["time"], row["height"], row["width"]))
                row["exp_bound_milliseconds"] = 1e-6 * pairs / record["machine"]["limits"]["exp_giga"]
            record["rows"] += [{"part": part, **row} for row in rows]
    finally:
        torch.set_num_threads(threads)
    record["rows"].sort(key=lambda row: PARTS.index(row["part"]))
    return record


def _names(pattern: Connectivity, size: Buffer, affinity: bool = False) -> list[str]:
    """The implementations that can compute this, the one that `auto` takes first."""
    return usable(pattern, getattr(torch, size.dtype), torch.device(size.device), affinity)


def _warm(where: dict[str, str]) -> None:
    """Compiles, loads and imports what only the first call does."""
    size = Buffer("", 2, 8, 8, 1, 8, **where)
    small = _tensors(size)
    labels = torch.zeros(1, 2, 8, 8, dtype=torch.long, device=size.device)
    for pattern in PATTERNS:
        for name in _names(pattern, size, affinity=True):
            _both(lambda q, k, v, p=pattern, n=name: sparse_attention(q, k, v, p, implementation=n).output, small)()
            sparse_attention(*small, pattern, labels=labels, objects=1, implementation=name)


def machine(report: Callable[[str], None], device: str = "cpu") -> dict[str, Any]:
    """What the machine is, how busy, and its limits on one thread (or the GPU's): multiply-adds, matrix products, exponentials, copies."""
    report("machine limits")
    if device != "cpu":
        return gpu.machine(device)
    matrix, vector, large = torch.randn(1024, 1024), torch.randn(1 << 16), torch.empty(1 << 26)
    limits = {"matmul_gflops": 2 * 1024**3 / _best(lambda: matrix @ matrix) / 1e9,
              "exp_giga": vector.numel() / _best(lambda: vector.exp()) / 1e9,
              "copy_gigabytes": 8 * large.numel() / 2 / _best(lambda: large[:1 << 25].copy_(large[1 << 25:])) / 1e9}
    if library := native.load(FOLDER / "limits.cpp"):  # whose exponential is faster than PyTorch's
        result, rounds = ctypes.c_float(), 2_000_000
        for limit, function in (("fma_gflops", library.multiply_add), ("exp_giga", library.exponentiate)):
            function.restype = ctypes.c_int64
            run = lambda function=function: function(ctypes.c_int64(rounds), ctypes.byref(result))
            limits[limit] = run() * rounds / _best(run) / 1e9
    return {**processor(), "threads": 1, "torch": torch.__version__, "python": platform.python_version(), "clock": "processor time of the process",
            "limits": limits, "note": "load is the number of runnable processes when the run began: above the cores, other programs shared the machine"}


def _best(run: Callable[[], Any], device: str = "cpu", rounds: int = 7) -> float:
    return min(_seconds(run, device) for _ in range(rounds))


def _seconds(run: Callable[[], Any], device: str = "cpu") -> float:
    if device != "cpu":
        return gpu.seconds(run)
    gc.disable()  # as timeit does
    try:
        start = time.process_time()
        run()
        return time.process_time() - start
    finally:
        gc.enable()


def _tensors(size: Buffer, heads: int | None = None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (1, heads or size.heads, size.time, size.height, size.width, size.dim)
    tensors = [torch.randn(shape, generator=generator).mul_(size.dim ** -0.25) for _ in range(3)]
    return [t.to(size.device, getattr(torch, size.dtype)) for t in tensors]


def _both(attend: Callable[..., Tensor], tensors: list[Tensor]) -> Callable[[], None]:
    """Forward and backward of a function of query, key and value."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    upstream = torch.ones_like(tensors[0])

    def run() -> None:
        out = attend(*leaves)
        torch.autograd.grad(out, leaves, upstream.view_as(out))
    return run


def _contenders(size: Buffer, quick: bool, flex: bool) -> Iterator[Contender]:
    tensors = _tensors(size)
    measured = 1 if size.device == "cpu" else size.heads
    factor = size.heads // measured
    one = [t[:, :measured] for t in tensors]
    flat = [t.flatten(2, 4) for t in one]
    dense = functional.scaled_dot_product_attention
    together = [t.flatten(2, 4) for t in tensors]
    yield Contender(Dense(), "sdpa", FORWARD, lambda: dense(*flat), factor)
    cells = size.time * size.height * size.width
    if cells <= 40_000 and not (quick and cells > 4000):
        yield Contender(Dense(), "sdpa", BOTH, _both(dense, flat), factor)
    labels = _objects(size)
    scattered = labels.flatten()[torch.randperm(labels.numel(), generator=torch.Generator().manual_seed(0))].view_as(labels)
    for pattern in PATTERNS:
        for name in _names(pattern, size):
            attend = lambda q, k, v, p=pattern, n=name: sparse_attention(q, k, v, p, implementation=n).output
            yield Contender(pattern, name, FORWARD, lambda f=attend: f(*tensors))
            yield Contender(pattern, name, BOTH, _both(attend, tensors))
            if name not in _names(pattern, size, affinity=True):
                continue
            ranked = lambda q, p=pattern, n=name, which=labels: sparse_attention(q, *tensors[1:], p, labels=which, objects=3, implementation=n)
            yield Contender(pattern, f"{name}, affinity of 3", FORWARD, lambda f=ranked: f(tensors[0]))
            if name == "native":  # the worst case: no two neighbors alike
                yield Contender(pattern, f"{name}, affinity of 3 scattered", FORWARD, lambda f=ranked: f(tensors[0], which=scattered))
            yield Contender(pattern, name + LAST, FORWARD, lambda f=attend: f(tensors[0][:, :, -1:], *tensors[1:]))
            yield Contender(pattern, f"{name}, affinity of 3{LAST}", FORWARD, lambda f=ranked: f(tensors[0][:, :, -1:]))
        if cells <= 4000:
            mask = pattern.mask(*size[1:4]).to(size.device)
            bias = torch.zeros(mask.shape, dtype=tensors[0].dtype, device=size.device).masked_fill_(~mask, -float("inf"))  # made once for all calls
            yield Contender(pattern, "sdpa, masked", FORWARD, lambda m=bias: dense(*together, attn_mask=m))
            if size.device != "cpu":
                continue
            index, valid = rivals.gather_index(mask)
            if index.numel() * size.dim <= LARGEST_GATHER:
                yield Contender(pattern, "gather", FORWARD, lambda i=index, m=valid: rivals.gathered(*flat, i, m), size.heads)
            if isinstance(pattern, Local):
                yield Contender(pattern, "unfold", FORWARD, lambda r=pattern.radii[0]: rivals.unfolded(*(t[0, 0] for t in one), r), size.heads)
                yield Contender(pattern, "natten", FORWARD, rivals.natten(one, pattern), size.heads)
                if flex:
                    yield Contender(pattern, "flex", FORWARD, rivals.flex(flat, mask), size.heads)


def _objects(size: Buffer) -> Tensor:
    """Labels as clips have them: two discs that move over a background."""
    t, y, x = torch.meshgrid(*(torch.arange(n) for n in (size.time, size.height, size.width)), indexing="ij")
    labels = torch.zeros(1, size.time, size.height, size.width, dtype=torch.long)
    for number, (down, across, radius, speed) in enumerate(((0.4, 0.3, 0.2, 1), (0.6, 0.7, 0.15, -1)), start=1):
        labels[0][(y - down * size.height) ** 2 + (x - across * size.width - speed * t) ** 2 < (radius * size.height) ** 2] = number
    return labels.to(size.device)


def _row(size: Buffer, contender: Contender, times: list[float]) -> dict[str, Any]:
    pattern, implementation, direction, _, factor = contender
    return {"size": size.name, **dict(zip(size._fields[1:], size[1:])), "pattern": str(pattern), "implementation": implementation,
            "direction": direction, "milliseconds": 1e3 * factor * statistics.median(times), "repeats": len(times),
            "measured_heads": size.heads // factor, "peak_megabytes": None, "ratio_to_dense": None}


def _compare(size: Buffer, rounds: int, quick: bool, flex: bool, report: Callable[[str], None]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All contenders at one size, round by round, and why some rivals are left out; contenders that take two seconds run once."""
    report(f"{size.name}: preparing")
    contenders, left_out = [], {}
    for contender in _contenders(size, quick, flex):
        if contender.implementation in ("natten", "flex"):  # optional: what does not import, compile or know the machine is left out, by name
            try:
                with torch.no_grad():
                    contender.run()
            except Exception as error:
                left_out[contender.implementation] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                continue
        contenders.append(contender)
    times: dict[int, list[float]] = {i: [] for i in range(len(contenders))}
    for turn in range(rounds):
        report(f"{size.name}: round {turn + 1} of {rounds}")
        for i, contender in enumerate(contenders):
            if times[i] and times[i][0] > 2:
                continue
            with torch.set_grad_enabled(contender.direction == BOTH):
                times[i].append(_seconds(contender.run, size.device))
    rows = [_row(size, contender, times[i]) for i, contender in enumerate(contenders)]
    for contender, row in zip(contenders, rows):
        _relate(contender, row, {(r["pattern"], r["implementation"], r["direction"]): r["milliseconds"] for r in rows}, size[1:4])
    return rows, left_out


def _relate(contender: Contender, row: dict[str, Any], found: dict[tuple[str, str, str], float], size: tuple[int, int, int]) -> None:
    """Adds what a time is compared with: dense, masked dense, the forward pass alone, attention without affinity, its share of the pairs."""
    spent, pattern, direction = row["milliseconds"], row["pattern"], row["direction"]
    plain = row["implementation"].removesuffix(LAST)
    others = {"ratio_to_dense": found.get((str(Dense()), "sdpa", direction)),
              "ratio_to_masked_dense": found.get((pattern, "sdpa, masked", direction))}
    row |= {name: other / spent for name, other in others.items() if other}
    if direction == BOTH:
        row["times_forward"] = spent / found[pattern, plain, FORWARD]
    if "affinity" in plain:
        row["times_without_affinity"] = spent / found[pattern, row["implementation"].replace(" scattered", "").replace(", affinity of 3", ""), direction]
    if plain != row["implementation"]:
        whole = contender.pattern.pairs(size)
        last = whole - contender.pattern.pairs((size[0] - 1, *size[1:])) if contender.pattern.causal else whole / size[0]
        row["times_share_of_pairs"] = spent / found[pattern, plain, direction] * whole / last


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """What else a call may be asked for, from the rows of a record: forward and backward in multiples of forward, affinity of three objects
    in multiples of attention without, and the last frame's queries in multiples of their share of the pairs."""
    asked = {"forward+backward / forward": (BOTH, "", "times_forward"),
             "with affinity / without": (FORWARD, ", affinity of 3", "times_without_affinity"),
             "last frame / its share": (FORWARD, LAST, "times_share_of_pairs")}
    found = {}
    for name, (direction, suffix, column) in asked.items():
        chosen = rows[(rows["direction"] == direction) & rows["implementation"].isin([kind + suffix for kind in ("native", "torch", "sdpa")]) & rows["part"].isin(SIZES)]
        index = [chosen["pattern"], chosen["implementation"].str.removesuffix(suffix), chosen["size"]]
        found[name] = pd.Series(chosen[column].to_numpy(), pd.MultiIndex.from_arrays(index, names=["pattern", "implementation", "size"]))
    return pd.DataFrame(found).unstack("size")


def _growth(quick: bool, where: dict[str, str], report: Callable[[str], None]) -> list[dict[str, Any]]:
    """The fastest implementation of each pattern while one axis grows and the others stay."""
    rows = []
    frames, sides = ((2, 4), (16, 32)) if quick else ((2, 4, 8, 16), (16, 32, 64, 96))
    buffers = [Buffer("growing frames", t, 32, 32, 1, 16) for t in frames]
    buffers += [Buffer("growing height", 4, n, 32, 1, 16) for n in sides] + [Buffer("growing width", 4, 32, n, 1, 16) for n in sides]
    for size in (buffer._replace(**where) for buffer in buffers):
        report(f"{size.name}: {size.time} x {size.height} x {size.width}")
        for pattern in (Dense(), *PATTERNS):
            run = lambda p=pattern, t=_tensors(size): sparse_attention(*t, p)
            name = _names(pattern, size)[0]
            rows.append(_row(size, Contender(pattern, name, FORWARD, run), [_seconds(run, size.device) for _ in range(5)]))
    return rows


def _memory(quick: bool, where: dict[str, str], report: Callable[[str], None]) -> list[dict[str, Any]]:
    """Peaks: forward and backward at S2, and a long history of 480p frames at stride 8 (60 x 107)."""
    rows = []
    size = SIZES["S1" if quick else "S2"]._replace(**where)
    jobs = [(size, pattern, name, BOTH) for pattern in PATTERNS for name in _names(pattern, size)]
    jobs += [(Buffer("480p history", t, 60, 107, 8, 8, **where), Local(7), _names(Local(7), size)[0], FORWARD)
             for t in ((2,) if quick else (2, 8, 32))]
    for size, pattern, name, direction in jobs:
        report(f"peak memory: {pattern.name}, {name}, {direction}, {size.name} of {size.time} frames")
        seconds, peak = _aside(size, str(pattern), name, direction)
        row = _row(size, Contender(pattern, name, direction, _aside), [seconds])
        cells, count = size.time * size.height * size.width, pattern.pairs(size[1:4])
        row |= {"peak_megabytes": None if peak is None else peak / 1e6, "output_megabytes": 4 * size.heads * cells * size.dim / 1e6,
                "stored_map_megabytes": 4 * size.heads * count / 1e6, "dense_map_megabytes": 4 * size.heads * cells**2 / 1e6}
        rows.append(row)
    return rows


def _aside(*job: Any) -> tuple[float, float | None]:
    """Runs one call in a fresh process; its seconds, and the growth of its peak resident size in bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, job)


def _peak(size: Buffer, pattern: str, implementation: str, direction: str) -> tuple[float, float | None]:
    torch.set_num_threads(1)
    attend = lambda q, k, v: sparse_attention(q, k, v, parse(pattern), implementation=implementation).output
    small = _tensors(size._replace(time=1, height=8, width=8), 1)
    _both(attend, small)()  # compiles, loads and allocates what only the first call does
    tensors = _tensors(size)
    run = _both(attend, tensors) if direction == BOTH else lambda: attend(*tensors)
    if size.device != "cpu":
        with torch.set_grad_enabled(direction == BOTH):
            return gpu.seconds(run), gpu.peak(run)
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak starts again here: a new process would inherit its parent's
    except OSError:
        return _seconds(run), None
    before = _status("VmRSS")
    with torch.set_grad_enabled(direction == BOTH):
        seconds = _seconds(run)
    return seconds, _status("VmHWM") - before


def _status(field: str) -> float:
    """A number of bytes that Linux tells about this process."""
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) * 1024 for line in file if line.startswith(field))


def text(record: dict[str, Any]) -> str:
    """The record as JSON, numbers to six digits."""
    return json.dumps(json.loads(json.dumps(record), parse_float=lambda number: float(f"{float(number):.6g}")), indent=1) + "\n"
