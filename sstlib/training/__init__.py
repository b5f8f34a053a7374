"""One training loop for SST, its variants and its rivals: resumable to the bit, on one process or on many.

>>> import tempfile
>>> from sstlib.config.presets import read_config
>>> config = read_config("tiny").with_changes(["training.steps=1", "training.batch=1", "data.frames=2"])
>>> with tempfile.TemporaryDirectory() as folder:
...     train(config, folder, quiet=True).config.method
'sst'
"""

from sstlib.training.loop import Diverged, Stopped, train

__all__ = ["Diverged", "Stopped", "train"]
