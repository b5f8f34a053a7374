"""Carries out one run: trains, segments and scores the test clips, writes the record and the curve."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from sstlib import clocks, paths
from sstlib.evaluation.occlusion import score_occlusion, summarize_occlusion
from sstlib.experiments import records, trials
from sstlib.experiments.sweeps import BASE, EXPERIMENT, Run
from sstlib.experiments.trials import summary
from sstlib.metrics import score_sequence
from sstlib.model import Propagator
from sstlib.provenance import computed_by, provenance
from sstlib.sessions import segment_sequence
from sstlib.shapes import UInt8
from sstlib.synthetic import Clip, random_spec, render
from sstlib.synthetic.spec import AROUND_OCCLUSION
from sstlib.training import train
from sstlib.video import ArraySequence

LENGTHS = (0, 2, 4, 8)  # frames for which the target of a test clip is hidden in full
CLIPS_A_LENGTH = 6
TEST = f"generated clips after the preset easy, an occlusion of {LENGTHS} frames, {CLIPS_A_LENGTH} a length"
TEST_SEED = 2**30  # far from the seeds of training and of its probes
WORKERS = 2  # processes that render clips for a GPU; on a CPU they would take cores from other runs
AFTER = 4  # last frames of a clip, in which the target is fully visible again


def execute(run: Run) -> records.RunRecord:
    """Trains and scores one run and writes its record and curve; if interrupted, it resumes from its last checkpoint.

    The working folder (checkpoint, curve, weights) is results/training/EXPERIMENT/VARIANT-seedN, which git ignores;
    only the checkpoint is removed when the record is written.
    """
    short = run.experiment == EXPERIMENT
    if not short:
        trials.require_data(run.config)
    folder = paths.RESULTS / "training" / run.experiment / f"{run.variant}-seed{run.seed}"
    network = train(run.config, folder, workers=WORKERS if torch.cuda.is_available() else 0)
    curve = pd.read_csv(folder / "curve.csv")
    metrics, seconds, frames = score_occlusions(network, test_clips()) if short else trials.measured(
        network, run.config)
    cost = {"training_seconds": float(curve["seconds"].iloc[-1]), "frames_per_second": frames / seconds,
            "parameters": sum(p.numel() for p in network.parameters()), "peak_megabytes": clocks.peak_megabytes()}
    made_by = provenance(TEST if short else trials.data_summary(run.config)) | {"computed_by": computed_by()}
    record = records.RunRecord(run.experiment, run.variant, run.seed, run.config.to_dict(), metrics, cost, made_by)
    records.write_curve(curve, record.write())
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return record


def test_clips() -> Iterator[tuple[int, Clip]]:
    """The clips that short runs are scored on, rendered one by one at the size of training: (frames of full occlusion,
    clip).

    SST-Occlusion itself is too hard after a minute of training: all methods lose all targets.
    """
    data = BASE.data
    for length in LENGTHS:
        for number in range(CLIPS_A_LENGTH):
            seed = (TEST_SEED, length, number)
            yield length, render(
                random_spec("easy", np.random.default_rng(seed), frames=length + AROUND_OCCLUSION + AFTER,
                            height=data.height, width=data.width, objects=data.objects, occlusion=length), seed)


def score_occlusions(network: Propagator, clips: Iterable[tuple[int, Clip]]) -> tuple[dict[str, Any], float, int]:
    """Segments each clip from its first mask alone and scores it.

    Returns:
        Metrics (see `summary`, with the measures of occlusion and the target's J after each length of it), seconds of
        segmentation, frames segmented.
    """
    scores, occlusions, after, seconds, frames = [], [], defaultdict(list), 0.0, 0
    for length, clip in clips:
        started = clocks.now()
        labels = segmented(network, clip.frames, clip.labels[0])
        seconds, frames = seconds + clocks.now() - started, frames + len(labels) - 1
        scores.append(score_sequence(labels, clip.labels, name=f"occlusion-{length}-{len(after[str(length)])}"))
        occlusions.append(score_occlusion(labels, clip.labels, clip.visible_share))
        after[str(length)].append(float(occlusions[-1].similarity[0, -AFTER:].mean()))
    metrics = summary(scores) | {
        "occlusion": summarize_occlusion(occlusions), "after": {k: float(np.mean(v)) for k, v in after.items()}
    }
    return metrics, seconds, frames


def segmented(network: Propagator, frames: UInt8[np.ndarray, "time height width 3"],
              first: UInt8[np.ndarray, "height width"], **options: object) -> UInt8[np.ndarray, "time height width"]:
    """Labels of every frame of a clip in memory, from those of its first frame; `options` are those of `Segmenter`."""
    steps = segment_sequence(network, ArraySequence(frames, first), **options)
    return np.stack([prediction.labels for _, prediction in steps])
