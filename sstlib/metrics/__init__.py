"""Measuring: region similarity J and contour accuracy F exactly as the official evaluators, on arrays.

Every number is the official DAVIS evaluator's to the last bit, but for these, where it is wrong:
- decay: its frame numbers overflow above 256 scored frames; here they do not;
- predicted ids that the truth does not have: it stops; here they count as background, with a note;
- ids nowhere in the truth but below its largest: it scores them as perfect objects; here they have no row;
Of J&F the official table has only the mean; its recall and decay here are the means of those of J and F.

>>> prediction, truth = (np.arange(7) < end for end in (4, 5))
>>> masks = [np.tile(mask, (5, 1)) for mask in (prediction, truth)]
>>> round(region_similarity(*masks), 3), round(contour_accuracy(*masks), 3)
(0.8, 1.0)
"""

from sstlib.metrics.counts import boundary, boundary_agreement, frame_counts, tolerance_radius
from sstlib.metrics.scores import (
                                   METRICS,
                                   PROTOCOLS,
                                   Metric,
                                   Protocol,
                                   SequenceScore,
                                   SequenceScorer,
                                   Statistics,
                                   contour_accuracy,
                                   region_similarity,
                                   score_sequence,
)

__all__ = [
    "METRICS", "PROTOCOLS", "Metric", "Protocol", "SequenceScore", "SequenceScorer", "Statistics", "boundary",
    "boundary_agreement", "contour_accuracy", "frame_counts", "region_similarity", "score_sequence", "tolerance_radius",
]
