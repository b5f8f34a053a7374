"""Scoring folders of masks: `evaluate(predictions, annotations)`, its result as table and record, and comparisons."""

from sstlib.evaluation.folders import dataset_masks, evaluate, youtube_groups
from sstlib.evaluation.generated import evaluate_clips, evaluate_on
from sstlib.evaluation.pairing import MISSING
from sstlib.evaluation.result import Evaluation, compare

__all__ = ["MISSING", "Evaluation", "compare", "dataset_masks", "evaluate", "evaluate_clips", "evaluate_on",
           "youtube_groups"]
