"""Sparse Spatiotemporal Transformers for Video Object Segmentation (SSTVOS, CVPR 2021)."""

import os

# Threads that wait for one another sleep after some microseconds, not milliseconds: spinning takes the core from those
# that they wait for where other programs run too (model/fast/threads.py). libgomp reads this when PyTorch is imported,
# so it counts where sstlib comes first.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
