"""Data sets as lists of sequences: `open_dataset("davis2016", "val")`, or a folder of one's own; and clips to learn
from.

>>> sequence = open_dataset("sst-occlusion", "mini")[0]
>>> sequence.name, sequence.frame(0).shape, sequence.label(0).shape
('mini-length-0-0', (120, 216, 3), (120, 216))
"""

from typing import Any

from sstlib.datasets.registry import DATASETS, Absent, Benchmark, DataSet, open_dataset

__all__ = ["DATASETS", "Absent", "Benchmark", "DataSet", "open_dataset"]
SAMPLES = ("training_batch", "training_sample")  # of a module that brings PyTorch along, as names of data sets do not


def __getattr__(name: str) -> Any:
    if name not in SAMPLES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sstlib.datasets import samples

    return getattr(samples, name)
