"""Measuring: region similarity J and contour accuracy F exactly as the official evaluators, on arrays."""

from sstlib.metrics.counts import boundary, frame_counts, tolerance_radius
from sstlib.metrics.scores import (PROTOCOLS, Protocol, SequenceScore, SequenceScorer, Statistics, contour_accuracy,
                                   region_similarity, score_sequence)

__all__ = ["PROTOCOLS", "Protocol", "SequenceScore", "SequenceScorer", "Statistics", "boundary", "contour_accuracy",
           "frame_counts", "region_similarity", "score_sequence", "tolerance_radius"]
