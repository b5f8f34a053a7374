"""Sparse Spatiotemporal Transformers for Video Object Segmentation (SSTVOS, CVPR 2021)."""

__version__ = "0.1.0"
