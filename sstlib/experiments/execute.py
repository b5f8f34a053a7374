"""Carries out one run: train, segment the test clips from its own masks, score them, write the record."""

import resource
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from sstlib import paths
from sstlib.datasets import open_dataset
from sstlib.datasets.occlusion import OcclusionSequence
from sstlib.experiments import records
from sstlib.experiments.sweeps import Run
from sstlib.inference import Segmenter, segment_sequence
from sstlib.metrics import PROTOCOLS, Protocol, SequenceScore, SequenceScorer, score_occlusion, score_sequence, summarize_occlusion
from sstlib.metrics.scores import averaged
from sstlib.model import Propagator
from sstlib.training import train
from sstlib.video import Sequence

CLIPS_A_LENGTH = 2  # of the six that the test split has for each length of occlusion, to keep short runs short
LONGEST = 216  # pixels of the longer side inside the network: near the size that short runs are trained at
TEST = f"sst-occlusion test, axis length, {CLIPS_A_LENGTH} clips a value, longest side {LONGEST}"
AFTER = 4  # last frames of a clip, in which the target is whole again


def execute(run: Run, *, quiet: bool = False) -> records.RunRecord:
    """Trains and scores one run and writes its record; stopped, it goes on from its last checkpoint.

    The working folder (checkpoint, curve, weights) is results/training/EXPERIMENT/VARIANT-seedN, which git ignores; only the
    checkpoint is removed when the record is written.
    """
    folder = paths.RESULTS / "training" / run.experiment / f"{run.variant}-seed{run.seed}"
    network = train(run.config, folder, quiet=quiet)
    curve = np.genfromtxt(folder / "curve.csv", delimiter=",", names=True)
    metrics, seconds, frames = score_occlusions(network, test_clips(), longest=LONGEST)
    cost = {"training_seconds": float(curve["seconds"][-1]), "frames_per_second": frames / seconds,
            "parameters": sum(p.numel() for p in network.parameters()), "peak_megabytes": peak_megabytes()}
    record = records.RunRecord(run.experiment, run.variant, run.seed, run.config.to_dict(), metrics, cost,
                               records.provenance(TEST))
    record.write(run.record_path)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return record


def test_clips() -> list[OcclusionSequence]:
    """The clips that short runs are scored on: the length axis of SST-Occlusion's test split, the first clips of each value."""
    taken: Counter[float] = Counter()
    chosen = []
    for clip in open_dataset("sst-occlusion", "test"):
        if clip.axis == "length" and taken[clip.value] < CLIPS_A_LENGTH:
            taken[clip.value] += 1
            chosen.append(clip)
    return chosen


def score_occlusions(network: Propagator, clips: Iterable[OcclusionSequence], **options: Any) -> tuple[dict[str, Any], float, int]:
    """As `score`, on clips with known visibility: adds the measures of occlusion, and J of the target after each length of it."""
    scores, occlusions, after, seconds, frames = [], [], defaultdict(list), 0.0, 0
    for clip in clips:
        truth = clip.clip.labels
        started = time.perf_counter()
        labels = np.stack([p.labels for _, p in segment_sequence(network, clip, {0: truth[0]}, **options)])
        seconds, frames = seconds + time.perf_counter() - started, frames + len(clip) - 1
        scores.append(score_sequence(labels, truth, name=clip.name))
        occlusions.append(score_occlusion(labels, truth, clip.clip.visible_share))
        after[f"{clip.value:g}"].append(float(occlusions[-1].similarity[0, -AFTER:].mean()))
    metrics = summary(scores) | {"occlusion": summarize_occlusion(occlusions), "after": {k: float(np.mean(v)) for k, v in after.items()}}
    return metrics, seconds, frames


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
