"""Carries out one run: train, segment the test clips from its own masks, score them, write the record."""

import resource
import shutil
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from sstlib import paths
from sstlib.datasets import open_dataset
from sstlib.experiments import records
from sstlib.experiments.sweeps import Run
from sstlib.inference import Segmenter
from sstlib.metrics import PROTOCOLS, Protocol, SequenceScore, SequenceScorer
from sstlib.metrics.scores import averaged
from sstlib.model import Propagator
from sstlib.training import train
from sstlib.video import Sequence

TEST = ("sst-occlusion", "test")


def execute(run: Run, *, quiet: bool = False) -> records.RunRecord:
    """Trains and scores one run and writes its record; stopped, it goes on from its last checkpoint.

    The working folder (checkpoint, curve, weights) is results/training/EXPERIMENT/VARIANT-seedN, which git ignores; only the
    checkpoint is removed when the record is written.
    """
    folder = paths.RESULTS / "training" / run.experiment / f"{run.variant}-seed{run.seed}"
    network = train(run.config, folder, quiet=quiet)
    curve = np.genfromtxt(folder / "curve.csv", delimiter=",", names=True)
    metrics, seconds, frames = score(network, open_dataset(*TEST))
    cost = {"training_seconds": float(curve["seconds"][-1]), "frames_per_second": frames / seconds,
            "parameters": sum(p.numel() for p in network.parameters()), "peak_megabytes": peak_megabytes()}
    record = records.RunRecord(run.experiment, run.variant, run.seed, run.config.to_dict(), metrics, cost,
                               records.provenance(" ".join(TEST)))
    record.write(run.record_path)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return record


def score(network: Propagator, sequences: Iterable[Sequence], protocol: Protocol = PROTOCOLS["davis2017"]
          ) -> tuple[dict[str, Any], float, int]:
    """Segments each sequence from its first mask alone and scores it frame by frame.

    Returns:
        Metrics (J, F, J&F in 0..1 averaged over objects, and the same a sequence), seconds of segmentation, frames segmented.
    """
    scores: list[SequenceScore] = []
    seconds, frames = 0.0, 0
    for sequence in sequences:
        segmenter, scorer = Segmenter(network), SequenceScorer(protocol, sequence.name)
        for t in range(len(sequence)):
            frame, truth = sequence.frame(t), sequence.label(t)
            if protocol.single_object and truth is not None:
                truth = (truth > 0).astype(np.uint8)
            started = time.perf_counter()
            prediction = segmenter.step(frame, truth if t == 0 else None)
            seconds += time.perf_counter() - started
            frames += t > 0
            if truth is not None:
                scorer.update(prediction.labels, truth, sequence.frame_names[t])
        scores.append(scorer.result())
    return summary(scores), seconds, frames


def summary(scores: list[SequenceScore]) -> dict[str, Any]:
    """Global J, F, J&F (mean over objects) and those of each sequence, as a run record keeps them."""
    overall = averaged(row for score in scores for row in score.per_object().values())
    sequences = {score.name: {key: value.mean for key, value in score.overall().items()} for score in scores}
    return {key: value.mean for key, value in overall.items()} | {
        "recall": {key: value.recall for key, value in overall.items()},
        "decay": {key: value.decay for key, value in overall.items()}, "sequences": sequences}


def peak_megabytes() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
