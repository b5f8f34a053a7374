"""Measuring: region similarity J and contour accuracy F exactly as the official evaluators, on arrays."""

from sstlib.metrics.counts import boundary, frame_counts, tolerance_radius
from sstlib.metrics.scores import (PROTOCOLS, Protocol, SequenceScore, SequenceScorer, Statistics, contour_accuracy,
                                   region_similarity, score_sequence)
from sstlib.metrics.uncertainty import Comparison, Interval, bootstrap, paired_comparison

__all__ = ["PROTOCOLS", "Comparison", "Interval", "Protocol", "SequenceScore", "SequenceScorer", "Statistics", "bootstrap",
           "boundary", "contour_accuracy", "frame_counts", "paired_comparison", "region_similarity", "score_sequence",
           "tolerance_radius"]
