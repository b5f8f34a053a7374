"""Sparse Spatiotemporal Transformers for Video Object Segmentation (SSTVOS, CVPR 2021).

To carry a mask through a video: `weights.load`, `inference.Segmenter`, `movies.open_clip`. To attend sparsely in a
network of one's own: `attention.sparse_attention`, with the patterns of `connectivity`.
"""

import os

# Threads that wait for one another sleep after some microseconds, not milliseconds: spinning takes the core from those
# that they wait for where other programs run too (model/fast/threads.py). libgomp reads this when PyTorch is imported,
# so it counts where sstlib comes first.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
