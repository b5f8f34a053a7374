"""A GPU's clock, memory and limits, for measuring operators on it."""

import platform
from collections.abc import Callable
from typing import Any

import torch

QUEUE = 10  # calls between two events: a queue hides the start of a kernel where the kernel takes longer than starting it


def seconds(run: Callable[[], Any]) -> float:
    """Seconds of one call in a queue of calls, by the device's own clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    run()
    torch.cuda.synchronize()
    start.record()
    for _ in range(QUEUE):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / QUEUE / 1e3


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
            "clock": f"the device's, one call in a queue of {QUEUE}", "limits": limits}
