"""Data sets as lists of sequences: `open_dataset("davis2016", "val")`, or a folder of one's own; and clips to learn
from.
"""

from sstlib.datasets.registry import DATASETS, open_dataset
from sstlib.datasets.samples import training_batch, training_sample

__all__ = ["DATASETS", "open_dataset", "training_batch", "training_sample"]
