"""Measuring: region similarity J and contour accuracy F exactly as the official evaluators, on arrays.

Every number is the official DAVIS evaluator's to the last bit, with these differences, all outside of what it gets right:
- decay: its frame numbers overflow above 256 scored frames; here they do not;
- predicted ids that the truth does not have: it stops; here they count as background, with a note;
- ids that are nowhere in the truth but below its largest: it scores them as perfect objects; here there is no row for them;
- F within a tolerance of more than 63 pixels (frames of 8K) is counted in NumPy alone, more slowly.
The mean of J and F in each sequence (J&F recall and decay) is this project's; the official table has only its mean.
"""

from sstlib.metrics.counts import boundary, boundary_agreement, frame_counts, tolerance_radius
from sstlib.metrics.occlusion import OcclusionScore, score_occlusion, summarize_occlusion
from sstlib.metrics.scores import (PROTOCOLS, Protocol, SequenceScore, SequenceScorer, Statistics, contour_accuracy,
                                   region_similarity, score_sequence)
from sstlib.metrics.uncertainty import Comparison, Interval, bootstrap, paired_comparison

__all__ = ["PROTOCOLS", "Comparison", "Interval", "OcclusionScore", "Protocol", "SequenceScore", "SequenceScorer",
           "Statistics", "bootstrap", "boundary", "boundary_agreement", "contour_accuracy", "frame_counts",
           "paired_comparison", "region_similarity", "score_occlusion", "score_sequence", "summarize_occlusion",
           "tolerance_radius"]
