"""How many past frames a trained network can use: J with other histories at test time than it was trained with.

The paper stopped at three frames for lack of GPU memory (Table 4). This is measured on the sequences of DAVIS 2016 that
are held out from training.
"""

from typing import Any

import numpy as np
import pandas as pd

from sstlib.experiments import records
from sstlib.experiments.knockouts import HELD_OUT_DATA, Grouped, held_out, means_of, spoken, spread
from sstlib.inference import Segmenter
from sstlib.metrics import region_similarity
from sstlib.model import Propagator
from sstlib.video import Sequence

EXPERIMENT = "histories"
HISTORIES = (1, 2, 3, 8, 32)  # beside that of training
LONGEST, APART, MOST = 320, 2, 40  # pixels inside the network; every second frame; predicted frames a sequence
DATA = f"{HELD_OUT_DATA}; every second frame, at most {MOST} predicted, longest side {LONGEST} inside the network"


def measure(network: Propagator) -> dict[str, Any]:
    """J of every predicted frame by sequence and by the number of past frames in the buffer.

    Raises:
        ValueError: a method whose memory is no history of frames.
        FileNotFoundError: DAVIS is not there.
    """
    if network.config.method != "sst":
        raise ValueError(f"the method {network.config.method} has no history of frames to change; give weights of sst")
    return {"sequences": {
        sequence.name: {str(history): scores(network, sequence, history)
                        for history in sorted({*HISTORIES, network.config.history})}
        for sequence in held_out()}}


def scores(network: Propagator, sequence: Sequence, history: int) -> list[float]:
    """J of the object in each predicted frame."""
    segmenter, result = Segmenter(network, longest=LONGEST, history=history), []
    for number, t in enumerate(range(0, len(sequence), APART)[:MOST + 1]):
        truth = (sequence.label(t) > 0).astype(np.uint8)
        labels = segmenter.step(sequence.frame(t), None if number else truth).labels
        if number:
            result.append(region_similarity(labels == 1, truth == 1))
    return result


def rows(grouped: Grouped) -> pd.DataFrame:
    """A row a network and history: J (percent), and its difference from J with the history used in training, with the
    95% interval over sequences (and seeds).
    """
    lines = []
    for name, runs in grouped.items():
        trained = runs[0].config["model"]["history"]
        [curves, *_] = runs[0].metrics["sequences"].values()
        means = {history: means_of(runs, str(history)) for history in sorted(map(int, curves))}
        for history, values in means.items():
            difference = spread(values - means[trained])
            lines.append({"network": f"{name} (n={len(runs)})" if len(runs) > 1 else name, "trained with": trained,
                          "history": history, "J": values.mean(), **difference.columns})
    return pd.DataFrame(lines)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `rows` as a table for readers."""
    return pd.DataFrame({
        "network": table["network"], "history": table["history"], "J": table["J"].map("{:.1f}".format),
        "difference from the history of training (95%)": [
            "as trained" if row["history"] == row["trained with"] else spoken(row) for _, row in table.iterrows()]})


def swept() -> pd.DataFrame:
    """The rows of all records; empty if there are none."""
    return rows(records.by_variant(EXPERIMENT))
