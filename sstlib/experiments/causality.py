"""The effect of causal mode on masks: the same weights with cached keys, and with every buffer recomputed in full."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from sstlib import weights
from sstlib.benchmarks.anatomy import anatomy
from sstlib.datasets import open_dataset
from sstlib.experiments import records, tables
from sstlib.experiments.trials import summary
from sstlib.experiments.validation import fingerprint
from sstlib.inference import Segmenter, sharing_weights
from sstlib.metrics import SequenceScorer, region_similarity
from sstlib.provenance import provenance
from sstlib.statistics.uncertainty import paired_comparison
from sstlib.video import Sequence

EXPERIMENT = "causality"
MODES = {"causal": True, "full": False}


def compare(name: str = "sst-small", split: str = "val") -> Path:
    """Writes the record of both modes on a split of SST-Occlusion, unless there is one of exactly these weights.

    Half an hour of one processor core for the 27 clips of `val`.
    """
    variant = f"{name}-both-modes"
    known, config = records.find(EXPERIMENT, variant), {"weights": fingerprint(name), "split": split}
    if known and known.config == config:
        return known.path
    metrics = side_by_side(name, open_dataset("sst-occlusion", split))
    model = weights.load(name).config
    cost = {mode: anatomy(model.replace(causal=causal))[-1].multiply_adds for mode, causal in MODES.items()}
    return records.RunRecord(EXPERIMENT, variant, 0, config, metrics, {"multiply_adds_480p": cost},
                             provenance(f"sst-occlusion {split}")).write()


def side_by_side(name: str, sequences: Iterable[Sequence]) -> dict[str, object]:
    """Metrics of each mode against the truth, `agreement` (mean J of one mode's masks against the other's), and
    `full_minus_causal`: the difference of J by object, with its interval over sequences.
    """
    scores, agreement = {mode: [] for mode in MODES}, []
    for sequence in tqdm(list(sequences), unit="clip", ascii=True, disable=None):
        segmenters = {}
        for mode, causal in MODES.items():
            network = sharing_weights(weights.load(name), causal=causal)
            segmenters[mode] = Segmenter(network), SequenceScorer(name=sequence.name)
        for t in range(len(sequence)):
            frame, truth, predictions = sequence.frame(t), sequence.label(t), []
            for segmenter, scorer in segmenters.values():
                predictions.append(segmenter.step(frame, truth if t == 0 else None).labels)
                scorer.update(predictions[-1], truth)
            agreement += [region_similarity(*(labels == identity for labels in predictions))
                          for identity in segmenter.ids[1:] if t > 0]
        for mode, (_, scorer) in segmenters.items():
            scores[mode].append(scorer.result())
    by_sequence = [
        {score.name: [row["J"].mean for row in score.per_object().values()] for score in scores[mode]} for mode in MODES
    ]
    return {mode: summary(scores[mode]) for mode in MODES} | {
        "agreement": float(np.mean(agreement)), "full_minus_causal": paired_comparison(*by_sequence).to_dict()}


def table(record: records.RunRecord) -> pd.DataFrame:
    """Both modes of a record: scores in percent, and multiply-adds of a 480p frame in billions."""
    work = record.cost["multiply_adds_480p"]
    return pd.DataFrame([{
        "mode": mode, **{
            score: 100 * record.metrics[mode][score] for score in tables.scores()
        }, "multiply-adds (10^9)": work[mode] / 1e9
    } for mode in MODES])


def said(record: records.RunRecord) -> str:
    """A sentence on how much the masks of both modes agree, and whether one mode is better."""
    difference = record.metrics["full_minus_causal"]
    low, mean, high = (100 * difference["difference"][part] for part in ("low", "mean", "high"))
    verdict = "undecided" if low <= 0 <= high else "full is better" if low > 0 else "causal is better"
    return (f"The masks agree to J {100 * record.metrics['agreement']:.1f}. Full minus causal: {mean:z.1f} points of J "
            f"({low:z.1f} to {high:z.1f} with 95%, {difference['better']} clips for full and {difference['worse']} "
            f"against): {verdict}.")
