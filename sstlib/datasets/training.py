"""Clips to learn from: each sample is drawn from its own seed, so workers and restarts do not change what is drawn."""

import numpy as np
import torch
from torch import Tensor

from sstlib.config import DataConfig
from sstlib.shapes import Float, Int
from sstlib.synthetic import random_spec, render

LEAST_VISIBLE = 0.0008  # share of the reference frame that an object must cover to be asked for
TRIES = 8


def training_batch(
    data: DataConfig, seed: int, batch: int, first: int = 0
) -> tuple[Float[Tensor, "batch time 3 height width"], Int[Tensor, "batch time height width"]]:
    """Frames in [0, 1] and labels of `batch` clips, the samples `first`, `first` + 1, ... of step `seed`.

    Sample i of a step is the same whoever draws it and whatever else is drawn: a process of several takes its part by `first`.
    """
    samples = [training_sample(data, seed, first + i) for i in range(batch)]
    frames = torch.from_numpy(np.stack([frames for frames, _ in samples])).permute(0, 1, 4, 2, 3).float().div_(255)
    return frames.contiguous(), torch.from_numpy(np.stack([labels for _, labels in samples])).long()


def training_sample(data: DataConfig, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """One clip, uint8 (time, height, width, 3), and its labels, whose objects 1..n all show in the first frame."""
    for attempt in range(TRIES):
        rng = np.random.default_rng((seed, index, attempt))
        spec = random_spec(data.difficulty, rng, frames=data.frames, height=data.height, width=data.width,
                           objects=int(rng.integers(1, data.objects + 1)))
        clip = render(spec, (seed, index, attempt, 1))
        labels = _shown_first(clip.labels)
        if labels.any():
            break
    return clip.frames, labels


def _shown_first(labels: np.ndarray) -> np.ndarray:
    """Labels 1..n of the objects that show in the first frame; the others become background."""
    counts = np.bincount(labels[0].ravel(), minlength=256)
    counts[0] = counts[255] = 0
    kept = np.flatnonzero(counts >= max(LEAST_VISIBLE * labels[0].size, 1))
    relabel = np.zeros(256, np.uint8)
    relabel[kept] = np.arange(1, len(kept) + 1)
    relabel[255] = 255
    return relabel[labels]
