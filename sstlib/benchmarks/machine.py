"""A machine and its limits: multiply-adds, matrix products, exponentials, copies."""

import ctypes
import platform
from typing import Any

import torch

from sstlib import clocks, native
from sstlib.attention.kernels import FOLDER
from sstlib.provenance import processor


def limits(device: str = "cpu") -> dict[str, Any]:
    """The machine, its load, and its limits on one thread, or those of the GPU."""
    return _of_gpu(device) if device != "cpu" else _of_processor()


def _of_processor() -> dict[str, Any]:
    matrix, vector, large = torch.randn(1024, 1024), torch.randn(1 << 16), torch.empty(1 << 26)
    rates = {
        "matmul_gflops": 2 * 1024**3 / clocks.least(lambda: matrix @ matrix) / 1e9,
        "exp_giga": vector.numel() / clocks.least(lambda: vector.exp()) / 1e9,
        "copy_gigabytes": 8 * large.numel() / 2 / clocks.least(lambda: large[:1 << 25].copy_(large[1 << 25:])) / 1e9
    }
    if library := native.load(FOLDER / "limits.cpp"):  # whose exponential is faster than PyTorch's
        result, rounds = ctypes.c_float(), 2_000_000
        for limit, function in (("fma_gflops", library.multiply_add), ("exp_giga", library.exponentiate)):
            function.restype = ctypes.c_int64
            run = lambda function=function: function(ctypes.c_int64(rounds), ctypes.byref(result))
            rates[limit] = run() * rounds / clocks.least(run) / 1e9
    return {**processor(), "threads": 1, "torch": torch.__version__, "python": platform.python_version(),
            "clock": "processor time of the process", "limits": rates,
            "note": "load is the number of runnable processes when the run began: above the cores, other programs "
                    "shared the machine"}


def convolution_in_bfloat16() -> float:
    """How many times as long a convolution takes in bfloat16 as in float32 on this processor: tens of times if it has
    no instructions for bfloat16.
    """
    image, weight = torch.randn(1, 32, 48, 64), torch.randn(32, 32, 3, 3)
    wide, half = (clocks.least(lambda dtype=dtype: torch.conv2d(image.to(dtype), weight.to(dtype), padding=1), rounds=3)
                  for dtype in (torch.float32, torch.bfloat16))
    return half / wide


def _of_gpu(device: str) -> dict[str, Any]:
    from sstlib.attention.triton.tiles import exponentials

    best = lambda run: clocks.least(run, device, rounds=5)
    matrix, large = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16), torch.empty(1 << 28, device=device)
    rates = {"matmul_gflops": 2 * 8192**3 / best(lambda: matrix @ matrix) / 1e9,
             "exp_giga": exponentials(device) / best(lambda: exponentials(device)) / 1e9,
             "copy_gigabytes": 8 * large.numel() / 2 / best(lambda: large[:1 << 27].copy_(large[1 << 27:])) / 1e9}
    return {
        "processor": torch.cuda.get_device_name(device), "torch": torch.__version__,
        "python": platform.python_version(),
        "clock": f"the device's: up to {clocks.QUEUE} calls recorded as a CUDA graph and replayed; "
        "call_milliseconds are of "
        f"{clocks.QUEUE} calls from Python", "limits": rates
    }
