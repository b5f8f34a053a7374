"""Every measurement of speed and memory, with one timer and one reader of memory (`clocks`): attention, frames,
training, clips, scoring.
"""

from sstlib.benchmarks.ratios import against_dense, costs

__all__ = ["against_dense", "costs"]
