"""A GPU's clock, memory and limits, for measuring operators on it."""

import platform
from collections.abc import Callable
from typing import Any

import torch

QUEUE = 10  # calls between two events, which hide what comes before the first and after the last
ENOUGH = 2e-3  # seconds between two events that need no more calls


def called(run: Callable[[], Any], calls: int = QUEUE) -> float:
    """Seconds of one call from Python in a queue of calls: the device's time or, where that is shorter, the time to start it."""
    def queue() -> None:
        for _ in range(calls):  # one after the other gives its results back, so that memory is asked for once
            run()

    run()
    torch.cuda.synchronize()
    return _between(queue) / calls


def recorded(run: Callable[[], Any]) -> Callable[[], float]:
    """What measures the seconds that one call takes on the device alone: calls are recorded as a CUDA graph and replayed."""
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


def seconds(run: Callable[[], Any]) -> float:
    """Seconds of one call on the device alone."""
    return recorded(run)()


def _between(work: Callable[[], Any]) -> float:
    """Seconds between two events around some work."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def peak(run: Callable[[], Any]) -> float:
    """Bytes by which one call makes the allocator's peak grow."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def machine(device: str) -> dict[str, Any]:
    """Which GPU it is and its limits: matrix products in bfloat16, exponentials of numbers in registers, copies."""
    from sstlib.attention.tiles import exponentials

    best = lambda run: min(seconds(run) for _ in range(5))
    matrix, large = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16), torch.empty(1 << 28, device=device)
    limits = {"matmul_gflops": 2 * 8192**3 / best(lambda: matrix @ matrix) / 1e9,
              "exp_giga": exponentials(device) / best(lambda: exponentials(device)) / 1e9,
              "copy_gigabytes": 8 * large.numel() / 2 / best(lambda: large[:1 << 27].copy_(large[1 << 27:])) / 1e9}
    return {"processor": torch.cuda.get_device_name(device), "torch": torch.__version__, "python": platform.python_version(),
            "clock": f"the device's: up to {QUEUE} calls recorded as a CUDA graph and replayed; call_milliseconds are of {QUEUE} calls from Python",
            "limits": limits}
