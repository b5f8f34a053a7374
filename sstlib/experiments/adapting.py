"""What is won by adapting a network to each video from the mask of its first frame (`sst adapt`): J&F without and with.

On the sequences of DAVIS 2016 that are kept from training to choose by, and, once, on validation.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sstlib import paths, weights
from sstlib.config.presets import HELD_OUT, adaptation
from sstlib.datasets import open_dataset, stills
from sstlib.evaluation import evaluate_on
from sstlib.experiments import records, trials, validation
from sstlib.experiments.knockouts import spoken, spread
from sstlib.model import Propagator
from sstlib.paths.digests import sha256
from sstlib.training import train
from sstlib.video import Sequence

EXPERIMENT, DATASET = "adapting", "davis2016"
SPLITS = ("train", "val")  # of the first, what is held out
DATA = f"{DATASET}, held out of train: {', '.join(HELD_OUT)}; and val"
RELEASED, ADAPTED = "as released", "adapted"


def measure(network: Propagator) -> dict[str, Any]:
    """J, F and J&F of every sequence, and J of every tenth of them, by split, as released and adapted. A sequence that
    is done stays in results/training, so that a stopped measurement goes on.

    Raises:
        FileNotFoundError: DAVIS is not there.
    """
    root = paths.RESULTS / "training" / EXPERIMENT
    start = weights.save(network, root / "start.safetensors")
    folder, result = root / sha256(start)[:16], {}
    for split in SPLITS:
        sequences = [one for one in open_dataset(DATASET, split) if split != "train" or one.name in HELD_OUT]
        for sequence in sequences:
            validation.predict(network, [sequence], folder / RELEASED)
            if not (folder / ADAPTED / f"{sequence.name}.json").exists():
                own = adapted(network, start, sequence, folder / "runs" / sequence.name)
                validation.predict(own, [sequence], folder / ADAPTED)
        result[split] = {way: _scores(folder / way, split, sequences) for way in (RELEASED, ADAPTED)}
    return result


def adapted(network: Propagator, start: Path, sequence: Sequence, folder: Path) -> Propagator:
    """The network, whose weights are in the file `start`, adapted to a sequence's first frame by a run in `folder`."""
    frame, labels = sequence.frame(0), np.asarray(sequence.label(0))
    stills.write(folder / "stills", sequence.name, {sequence.frame_names[0]: (frame, labels)},
                 network.longest or max(labels.shape))
    config = adaptation(network.config, str(start), folder / "stills", labels.shape, len(stills.objects(labels)))
    return train(config, folder, quiet=True)


def _scores(folder: Path, split: str, sequences: list[Sequence]) -> dict[str, Any]:
    evaluation = evaluate_on(DATASET, folder, split, sequences=[sequence.name for sequence in sequences])
    measured = validation.measured(evaluation)
    return {"sequences": measured["sequences"],
            "tenths": trials.tenths(100 * np.array(frames["J"]) for frames in measured["frames"].values())}


def gained(record: records.RunRecord, split: str, measure: str = "J&F") -> np.ndarray:
    """Points that each sequence gains."""
    ways = record.metrics[split]
    return 100 * np.array([[ways[ADAPTED]["sequences"][name][measure] - means[measure]
                            for name, means in ways[RELEASED]["sequences"].items()]])


def sentences(record: records.RunRecord) -> list[str]:
    """What was seen, a Markdown line each."""
    lines = []
    for split, words in (("train", "held-out sequences"), ("val", "sequences of validation")):
        ways, gain = record.metrics[split], gained(record, split)
        mean = {way: 100 * np.mean([means["J&F"] for means in ways[way]["sequences"].values()]) for way in ways}
        change = spoken(pd.Series(spread(gain).to_dict()))
        lines.append(f"- **Adapted** to each video from its first mask (`sst adapt`), {gain.size} {words}: J&F "
                     f"{mean[ADAPTED]:.1f}, {mean[RELEASED]:.1f} without, {change}; J in the last tenth "
                     f"{ways[ADAPTED]['tenths'][-1]:.1f}, {ways[RELEASED]['tenths'][-1]:.1f} without.")
    return lines
