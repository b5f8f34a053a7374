"""Scoring folders of masks: `evaluate(predictions, annotations)`, its result as table and record, and comparisons.

>>> import tempfile
>>> import numpy as np
>>> from sstlib.video import write_mask
>>> masks = np.zeros((3, 20, 30), np.uint8)
>>> masks[:, 5:15, 10:20] = 1
>>> with tempfile.TemporaryDirectory() as folder:
...     for t, mask in enumerate(masks):
...         _ = write_mask(f"{folder}/true/dog/{t:05d}.png", mask)
...         _ = write_mask(f"{folder}/own/dog/{t:05d}.png", np.where(np.arange(30) < 15, mask, 0))
...     result = evaluate(f"{folder}/own", f"{folder}/true", protocol="davis2016")
>>> result.overall()["J"].mean
0.5
"""

from sstlib.evaluation.folders import dataset_masks, evaluate, youtube_groups
from sstlib.evaluation.generated import evaluate_clips, evaluate_on
from sstlib.evaluation.pairing import MISSING
from sstlib.evaluation.result import Evaluation, compare

__all__ = ["MISSING", "Evaluation", "compare", "dataset_masks", "evaluate", "evaluate_clips", "evaluate_on",
           "youtube_groups"]
