"""What programs ask of the system's memory."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from sstlib.native import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(20):  # the heap finds its shape in a few rounds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a = torch.ones(1 << 24)
    b = a + a
    del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it takes effect with glibc")
def test_freed_memory_is_used_again():
    repeated, fresh = (int(
        subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
                       for how in ("keep", "return"))
    assert repeated < fresh / 10, "tensors take the pages of those before them"
