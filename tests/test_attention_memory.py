"""The C++ kernels under the address sanitizer: a write past a buffer may change nothing that another test sees."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import torch
from sstlib.attention import sparse_attention
from sstlib.connectivity import Dense, Grid, Local, Strided

torch.set_num_threads(1)
for pattern in (Grid(), Grid(causal=True), Local((1, 40)), Local(7, causal=True), Local(2), Strided(3),
                Strided((1, 2), causal=True), Dense()):
    for size, dim, dim_v in (((3, 5, 37), 8, 8), ((2, 3, 90), 5, 3), ((75, 2, 18), 16, 16), ((1, 4, 9), 4, 8)):
        for queried in {1, size[0]}:
            for labels in (None, torch.randint(-1, 2, (1, *size)), torch.rand(1, 2, *size)):
                query, key, value = (torch.randn(1, 2, *shape, requires_grad=True)
                                     for shape in ((queried, *size[1:], dim), (*size, dim), (*size, dim_v)))
                for kind in ("weight", "distance"):
                    asked = {} if labels is None else {"labels": labels, "objects": 2, "affinity": kind}
                    found = sparse_attention(query, key, value, pattern, implementation="native", **asked)
                    sum(part.sum() for part in found if part is not None).backward()
print("nothing was found")
"""


@pytest.mark.slow
def test_kernels_keep_to_their_memory():
    compiler = shutil.which("g++")
    runtime = compiler and subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True,
                                          text=True).stdout.strip()
    if not runtime or not Path(runtime).is_absolute():
        pytest.skip("there is no g++ with an address sanitizer")
    environment = {
        **os.environ, "CXX": compiler, "SST_CXXFLAGS": "-g -O1 -fsanitize=address", "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0"
    }
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.strip() == "nothing was found", run.stderr[-4000:]
