"""Choices for a release after training: its working size, and its gate on presence.

Measured on data that are held out from training: sequences of DAVIS 2016, and validation scenes of DAVIS-Occlusion.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sstlib.datasets import DATASETS
from sstlib.evaluation.occlusion_windows import PassageTable
from sstlib.evaluation.passages import labels_of, segment_scenes
from sstlib.experiments import evidence, records
from sstlib.experiments.execute import segmented
from sstlib.experiments.knockouts import HELD_OUT_DATA, held_out, means_of, spoken, spread
from sstlib.inference import sharing_weights
from sstlib.metrics import region_similarity
from sstlib.model import Propagator
from sstlib.shapes import UInt8
from sstlib.statistics.uncertainty import Interval
from sstlib.video import Sequence

EXPERIMENT = "choices"
ENLARGED = (854, 480)  # a usual size of frames; DAVIS's training sequences may be available at 360p only
SIZES = (512, 640, 854)  # pixels of the longer side inside the network
GATES = (0.0, 0.1, 0.2, 0.3, 0.4)
LENGTHS = (4, 16, 32)  # frames for which the object is hidden
CLAIMED = 0.1  # share of its area that an object may be given while it is hidden
DATA = (f"{HELD_OUT_DATA}, enlarged to {'x'.join(map(str, ENLARGED))}; davis-occlusion val, "
        f"{', '.join(map(str, LENGTHS))} frames hidden")


def measure(network: Propagator) -> dict[str, Any]:
    """J of every predicted frame by sequence and working size; with a presence head, the cost of occlusions by gate.

    Raises:
        FileNotFoundError: DAVIS is not there.
    """
    result: dict[str, Any] = {"sequences": {
        sequence.name: {str(size): scores(network, sequence, size) for size in SIZES} for sequence in held_out()}}
    if network.config.presence:
        scenes = [tuple(clip for clip in scene if clip.length in (0, *LENGTHS))
                  for scene in DATASETS.find("davis-occlusion").scenes("val", None)]
        result["hidden"] = list(LENGTHS)
        result["gates"] = {gate: table.to_dict() for gate, table in passages(network, scenes, GATES).items()}
    return result


def scores(network: Propagator, sequence: Sequence, size: int) -> list[float]:
    """J of the object in each predicted frame, all frames enlarged."""
    frames = np.stack([_enlarged(sequence.frame(t), Image.Resampling.BICUBIC) for t in range(len(sequence))])
    truth = np.stack([_enlarged((labels > 0).astype(np.uint8), Image.Resampling.NEAREST)
                      for labels in labels_of(sequence)])
    predicted = segmented(network, frames, truth[0], longest=size)
    return [float(region_similarity(*pair)) for pair in zip(predicted[1:] == 1, truth[1:] == 1, strict=True)]


def passages(network: Propagator, scenes: list[tuple], gates: tuple[float, ...]) -> dict[str, PassageTable]:
    """The cost of the scenes' occlusions with each gate."""
    gated = {str(gate): sharing_weights(network, presence_gate=gate) for gate in gates}
    return segment_scenes(scenes, {gate: lambda frames, labels, one=one: segmented(one, frames, labels[0])
                                   for gate, one in gated.items()})


def _enlarged(picture: UInt8[np.ndarray, "height width *channels"],
              by: Image.Resampling) -> UInt8[np.ndarray, "enlarged_height enlarged_width *channels"]:
    return np.asarray(Image.fromarray(picture).resize(ENLARGED, by))


def sentences(record: records.RunRecord) -> list[str]:
    """A Markdown line of measurements for each choice; differences are from the largest size."""
    largest = str(max(SIZES))
    whole, texts = means_of([record], largest), []
    for size in map(str, SIZES):
        values = means_of([record], size)
        difference = pd.Series(spread(values - whole).to_dict())
        texts.append(f"{size} pixels {values.mean():.1f}" + (f", {spoken(difference)}" if size != largest else ""))
    lines = [f"- **Working size**, J on {whole.shape[1]} sequences held out, enlarged to "
             f"{'x'.join(map(str, ENLARGED))} (which favors the smaller), with the difference from {largest}: "
             f"{'; '.join(texts)}."]
    if gates := record.metrics.get("gates"):
        hidden, texts = [str(length) for length in record.metrics.get("hidden", [16])], []  # the first records lack it
        for gate, table in gates.items():
            returning, before = (np.nanmean(np.array(table[name], float)) for name in ("returning", "before"))
            claims = ", ".join(f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})" for one in claimed(table))
            texts.append(f"at {gate} claimed {claims}, J returning {100 * returning:.1f}, J&F before "
                         f"{100 * before:.1f}")
        chosen = smallest_gate(gates)
        lines.append(f"- **Presence gate** (an object whose presence falls below this share of its usual one gets no "
                     f"mask; 0: no gate), means over {len(table['claimed'])} validation scenes, claims after "
                     f"{', '.join(hidden)} frames hidden each with its interval: {'; '.join(texts)}. The smallest gate "
                     f"whose intervals all end at or below {CLAIMED}: {'none' if chosen is None else chosen}.")
    return lines


def claimed(table: Mapping[str, list[list[float | None]]]) -> list[Interval]:
    """Share of an object's area claimed while it is hidden, with its interval over scenes, at each length."""
    columns = np.array(table["claimed"], float).T
    return [evidence.interval(column[~np.isnan(column)][None]) for column in columns]


def smallest_gate(gates: Mapping[str, Mapping[str, list[list[float | None]]]]) -> str | None:
    """The gate to release with: the smallest whose claims stay within CLAIMED by all of their intervals, if any does.

    Args:
        gates: the table of passages of each gate, as in a record.
    """
    fitting = [gate for gate, table in gates.items() if all(one.high <= CLAIMED for one in claimed(table))]
    return min(fitting, key=float, default=None)
