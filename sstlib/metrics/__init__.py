"""Measuring: region similarity J and contour accuracy F exactly as the official evaluators, on arrays."""

from sstlib.metrics.counts import boundary, boundary_agreement, frame_counts, tolerance_radius
from sstlib.metrics.occlusion import OcclusionScore, score_occlusion, summarize_occlusion
from sstlib.metrics.scores import (PROTOCOLS, Protocol, SequenceScore, SequenceScorer, Statistics, contour_accuracy,
                                   region_similarity, score_sequence)
from sstlib.metrics.uncertainty import Comparison, Interval, bootstrap, paired_comparison

__all__ = ["PROTOCOLS", "Comparison", "Interval", "OcclusionScore", "Protocol", "SequenceScore", "SequenceScorer",
           "Statistics", "bootstrap", "boundary", "boundary_agreement", "contour_accuracy", "frame_counts",
           "paired_comparison", "region_similarity", "score_occlusion", "score_sequence", "summarize_occlusion",
           "tolerance_radius"]
