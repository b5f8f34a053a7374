"""One training loop for SST, its variants and its rivals: resumable to the bit, on one process or on many."""

from sstlib.training.loop import Diverged, Stopped, train

__all__ = ["Diverged", "Stopped", "train"]
