"""Promises of the segmenter, measured on clips: a correction lasts, large frames lose no quality, more threads are
never slower.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from sstlib import clocks
from sstlib.inference import Segmenter
from sstlib.metrics import region_similarity
from sstlib.model import Propagator
from sstlib.synthetic import ClipSpec, render
from sstlib.video import Sequence

AFTER = 10  # frames that are scored after a correction
ENLARGED = (1920, 1080)
LARGEST = (3840, 2160)
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.NEAREST)  # of frames, of labels
REDUCING = Image.Resampling.LANCZOS  # as other programs make a small clip of a large one
SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def corrections(network: Propagator, sequences: Iterable[Sequence]) -> list[dict[str, Any]]:
    """A row a clip: the true mask is given again in the middle, and J and area over the next frames are compared with
    those of a segmenter that starts there.
    """
    rows = []
    for sequence in tqdm(list(sequences), unit="clip", ascii=True, mininterval=5):
        middle = len(sequence) // 2
        if middle + AFTER >= len(sequence) or not sequence.label(middle).any():
            continue
        corrected, started, scores, areas = Segmenter(network), Segmenter(network), [], []
        for t in range(middle + AFTER + 1):
            truth = sequence.label(t)
            masks = [corrected.step(sequence.frame(t), truth if t in (0, middle) else None).labels]
            if t == middle - 1:
                before = float(region_similarity(masks[0] > 0, truth > 0))
            if t >= middle:
                masks.append(started.step(sequence.frame(t), truth if t == middle else None).labels)
            if t > middle:
                scores.append([float(region_similarity(mask > 0, truth > 0)) for mask in masks])
                areas.append([int((mask > 0).sum()) for mask in masks])
        (own, fresh), (area, fresh_area) = np.mean(scores, 0), np.mean(areas, 0)
        rows.append({"clip": sequence.name, "frame": middle, "J before": before, "J corrected": float(own),
                     "J started": float(fresh), "area corrected": float(area), "area started": float(fresh_area)})
    return rows


def sizes(network: Propagator, sequences: Iterable[Sequence], frames: int = 20) -> list[dict[str, Any]]:
    """A row a clip, enlarged to 1080p: mean J and median seconds of a step (one thread, processor time) at that size,
    and if it is first reduced to its original size, in turns.
    """
    rows = []
    for sequence in tqdm(list(sequences), unit="clip", ascii=True, mininterval=5):
        segmenters, scores, seconds = (Segmenter(network), Segmenter(network)), ([], []), ([], [])
        for t in range(min(frames, len(sequence))):
            frame, truth = sequence.frame(t), sequence.label(t)
            large_frame, large_truth = (_resized(x, how) for x, how in zip((frame, truth), FILTERS))
            small_frame = _resized(large_frame, REDUCING, (frame.shape[1], frame.shape[0]))
            views = ((small_frame, truth), (large_frame, large_truth))
            for segmenter, (picture, labels), own, spent in zip(segmenters, views, scores, seconds):
                start = clocks.now("processor")
                mask = segmenter.step(picture, labels if t == 0 else None).labels
                spent.append(clocks.now("processor") - start)
                if t:
                    own.append(float(region_similarity(mask > 0, labels > 0)))
        (plain, large), (time, large_time) = map(np.mean, scores), (statistics.median(x[2:]) for x in seconds)
        rows.append({"clip": sequence.name, "J": float(plain), "J at 1080p": float(large), "seconds": time,
                     "seconds at 1080p": large_time})
    return rows


def largest_frames(network: Propagator) -> dict[str, float]:
    """Peak of the process's memory over six frames of 3840x2160, in megabytes, and what it was before."""
    clip = render(ClipSpec(frames=6, height=120, width=213), 0)
    before = clocks.resident_megabytes()
    clocks.forget_peak()
    segmenter = Segmenter(network)
    for t in range(len(clip.frames)):
        labels = _resized(clip.labels[t], Image.Resampling.NEAREST, LARGEST) if t == 0 else None
        segmenter.step(_resized(clip.frames[t], Image.Resampling.BICUBIC, LARGEST), labels)
    return {"megabytes before": before, "megabytes at most": clocks.resident_megabytes("VmHWM")}


def threads(network: Propagator, pairs: int = 4, frames: int = 30) -> list[dict[str, Any]]:
    """A row a pair of runs: seconds of a generated clip at 854x480 with one thread and with as many as there are cores,
    first while the cores are free, then while another program keeps one of them busy.
    """
    clip = render(ClipSpec(frames=frames, height=480, width=854), 0)
    most, before, rows = len(os.sched_getaffinity(0)), torch.get_num_threads(), []

    def seconds(count: int) -> float:
        torch.set_num_threads(count)
        segmenter, start = Segmenter(network), clocks.now()
        for t in range(frames):
            segmenter.step(clip.frames[t], clip.labels[t] if t == 0 else None)
        return clocks.now() - start

    try:
        for busy in (0, 1):
            with _busy_cores(busy):
                seconds(most)
                rows += [{"busy cores": busy, "threads": most, "seconds with 1": seconds(1),
                          "seconds with all": seconds(most)} for _ in range(pairs)]
    finally:
        torch.set_num_threads(before)
    return rows


@contextmanager
def _busy_cores(number: int) -> Iterator[None]:
    """Keeps the last cores busy with other programs."""
    cores = sorted(os.sched_getaffinity(0))[::-1][:number]
    programs = [subprocess.Popen([sys.executable, "-c", SPIN, str(core)]) for core in cores]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _resized(picture: np.ndarray, mode: Image.Resampling, size: tuple[int, int] = ENLARGED) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, mode))
