"""The one timer and the one reader of memory of every measurement, of benchmarks as of runs.

Times are the wall's, the processor's (all threads of this process, which leaves out what other programs take), or a
GPU's own.
"""

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
QUEUE = 10  # calls between two events, which hide what comes before the first and after the last
ENOUGH = 2e-3  # seconds between two events that need no more calls


def now(clock: str = "wall", device: str | torch.device = "cpu") -> float:
    """Seconds on a clock of CLOCKS, once the device has done all that it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCKS[clock]()


def seconds(run: Callable[[], Any], device: str | torch.device = "cpu", clock: str = "processor") -> float:
    """Seconds of one call: by a clock while no garbage is collected, as timeit does; on a GPU of the device alone
    (see `recorded`).
    """
    if torch.device(device).type != "cpu":
        return recorded(run)()
    gc.disable()
    try:
        start = now(clock)
        run()
        return now(clock) - start
    finally:
        gc.enable()


def least(run: Callable[[], Any], device: str | torch.device = "cpu", rounds: int = 7,
          clock: str = "processor") -> float:
    """Least seconds of one call over some rounds."""
    return min(seconds(run, device, clock) for _ in range(rounds))


def called(run: Callable[[], Any], calls: int = QUEUE) -> float:
    """Seconds of one call from Python in a queue of calls on a GPU: the device's time or, where that is shorter, the
    time to start it.
    """
    def queue() -> None:
        for _ in range(calls):  # one after the other gives its results back, so that memory is asked for once
            run()

    run()
    torch.cuda.synchronize()
    return _between(queue) / calls


def recorded(run: Callable[[], Any]) -> Callable[[], float]:
    """What measures the seconds that one call takes on a GPU alone: calls are recorded as a CUDA graph and replayed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm, as recording demands
        run()
    torch.cuda.current_stream().wait_stream(side)
    calls = max(1, min(QUEUE, int(ENOUGH / called(run, 1))))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    return lambda: _between(graph.replay) / calls


def _between(work: Callable[[], Any]) -> float:
    """Seconds between two events around some work."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def peak(run: Callable[[], Any], device: str | torch.device = "cpu") -> tuple[float, float | None]:
    """Seconds of one call, and the bytes by which it makes the peak grow: of the allocator on a GPU, else of what is
    resident.

    None where the system does not tell (no Linux). On a CPU the process should be young: what was freed before is used
    again.
    """
    if torch.device(device).type != "cpu":
        spent = seconds(run, device)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return spent, torch.cuda.max_memory_allocated() - before
    try:
        forget_peak()
    except OSError:
        return seconds(run), None
    before = resident_megabytes()
    return seconds(run), (resident_megabytes("VmHWM") - before) * 1e6


def resident_megabytes(field: str = "VmRSS") -> float:
    """Memory of this process that is in use now, or VmHWM, the most that ever was since `forget_peak`, as Linux
    counts it.
    """
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith(field))


def peak_megabytes() -> float:
    """Largest resident size of this process so far, in units of 2^20 bytes, as run records have it."""
    import resource  # of Unix alone

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak() -> None:
    """Lets the peak of resident memory start anew.

    Raises:
        OSError: the system has no such file.
    """
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
