"""What carries the mask: J with one of the decoder's inputs neutral, and with true masks in memory, frame by frame.

On the sequences of DAVIS 2016 that are held out from training; nothing here uses the validation split.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib.config.presets import HELD_OUT
from sstlib.datasets import open_dataset
from sstlib.evaluation.interventions import ENCODER, POOLED, parts, without
from sstlib.experiments import records
from sstlib.metrics import region_similarity
from sstlib.model import Features, Propagator
from sstlib.model.propagator import own_memberships
from sstlib.shapes import Bool, Float, UInt8
from sstlib.statistics.comparison import Difference
from sstlib.statistics.student import critical
from sstlib.statistics.uncertainty import UNKNOWN, Interval
from sstlib.video import Sequence

EXPERIMENT = "knockouts"
WHOLE, TRUE, COPIED = "nothing", "own masks in memory", "tracking"  # what is taken away
LONGEST, APART, MOST = 320, 3, 20  # pixels; every third frame; predicted frames a sequence
PARTS = 5  # of a sequence, in `drift`
HELD_OUT_DATA = f"davis2016 train, {', '.join(HELD_OUT)}"
DATA = f"{HELD_OUT_DATA}; every third frame, at most {MOST} predicted, longest side {LONGEST}, J at that size"


def measure(network: Propagator) -> dict[str, Any]:
    """J of every predicted frame, by sequence and by what was taken away: nothing, each input of the decoder, own masks
    in memory (replaced by true ones), and all tracking (the first mask is copied).

    Raises:
        FileNotFoundError: DAVIS is not there.
    """
    return {"sequences": {sequence.name: curves(network, *clip(sequence)) for sequence in held_out()}}


def held_out() -> list[Sequence]:
    """The sequences of DAVIS 2016 that are held out from training, to make choices on.

    Raises:
        FileNotFoundError: DAVIS is not there.
    """
    return [sequence for sequence in open_dataset("davis2016", "train") if sequence.name in HELD_OUT]


def clip(sequence: Sequence, longest: int = LONGEST
         ) -> tuple[Float[Tensor, "time 3 height width"], Bool[np.ndarray, "time height width"]]:
    """Frames and masks of the object at the working size."""
    times = range(0, len(sequence), APART)[:MOST + 1]
    frames = shrunk(np.stack([sequence.frame(t) for t in times]), longest)
    labels = torch.from_numpy(np.stack([sequence.label(t) for t in times]) > 0)
    masks = F.interpolate(labels[:, None].float(), frames.shape[2:], mode="nearest-exact")[:, 0] > 0
    return frames, masks.numpy()


def shrunk(frames: UInt8[np.ndarray, "time rows columns 3"], longest: int) -> Float[Tensor, "time 3 height width"]:
    """Frames with `longest` pixels on their longer side, as networks take them (0..1)."""
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2)
    size = tuple(round(side * longest / max(tensor.shape[2:])) for side in tensor.shape[2:])
    return F.interpolate(tensor, size, mode="bicubic", align_corners=False, antialias=True).float() / 255


@torch.inference_mode()
def curves(network: Propagator, frames: Float[Tensor, "time 3 height width"],
           masks: Bool[np.ndarray, "time height width"]) -> dict[str, list[float]]:
    """J of each frame after the first, by what was taken away."""
    features = [network.extract(frame[None]) for frame in frames]
    truth = torch.from_numpy(np.stack([~masks, masks], 1)).float()
    known = parts(network)
    wholes = {WHOLE: network, TRUE: network}
    wholes |= {name: without(network, name) for name in known if known[name] or name in (ENCODER, POOLED)}
    result = {name: [region_similarity(made, true) for made, true in zip(
        _followed(one, features, truth, name == TRUE), masks[1:], strict=True)] for name, one in wholes.items()}
    return result | {COPIED: [region_similarity(masks[0], true) for true in masks[1:]]}


def _followed(network: Propagator, features: list[Features], truth: Float[Tensor, "time object height width"],
              true: bool) -> Iterator[Bool[np.ndarray, "height width"]]:
    """The object's mask in every frame after the first, from own masks in memory or from true ones."""
    memory = network.remember(None, features[0], truth[:1])
    for t in range(1, len(features)):
        logits = network.segment(features[t], memory)
        if t + 1 < len(features):
            memory = network.remember(memory, features[t], truth[t:t + 1] if true else own_memberships(logits))
        yield (logits[0].argmax(0) == 1).numpy()


Grouped = Mapping[str, list[records.RunRecord]]


def means_of(runs: list[records.RunRecord], part: str) -> Float[np.ndarray, "seed sequence"]:
    """Mean J (percent) over the frames of each sequence, by a key of its record."""
    return np.array([[100 * np.mean(one[part]) for one in run.metrics["sequences"].values()] for run in runs])


def spread(values: Float[np.ndarray, "seed sequence"]) -> Interval:
    """The interval of a mean over seeds and sequences; for one seed, by Student's t over sequences alone."""
    if len(values) > 1:
        return Difference.of(values).interval()
    half = critical(0.05, values.shape[1] - 1) * values.std(ddof=1) / values.shape[1]**0.5
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half), 0.95)


def differences(grouped: Grouped) -> pd.DataFrame:
    """A row a network and part taken away: J (percent) without it minus J of the whole network, with the 95% interval
    over sequences (and seeds). Parts that a network does not have are left out.
    """
    rows = []
    for name, runs in grouped.items():
        whole = means_of(runs, WHOLE)
        for taken in next(iter(runs[0].metrics["sequences"].values())):
            if taken == WHOLE:
                continue
            difference = spread(means_of(runs, taken) - whole)
            rows.append({"network": f"{name} (n={len(runs)})" if len(runs) > 1 else name, "taken away": taken,
                         "J whole": whole.mean(), **difference.columns})
    return pd.DataFrame(rows)


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `differences` as a table for readers."""
    return pd.DataFrame({"network": rows["network"], "taken away": rows["taken away"], "J whole": rows["J whole"],
                         "difference of J (95%)": [spoken(row) for _, row in rows.iterrows()]})


def spoken(row: pd.Series) -> str:
    """A difference with its interval, as text."""
    return f"{row['mean']:+z.1f} ({row['low']:+z.1f} to {row['high']:+z.1f})"


def drift(grouped: Grouped) -> pd.DataFrame:
    """A row a network, memory and fifth of the sequence: mean J (percent) over sequences and seeds; for own
    masks also `low` and `high`, which place the 95% interval of the difference from true masks around J with those.
    """
    rows = []
    for name, runs in grouped.items():
        curves = {taken: np.array([[[100 * np.mean(part) for part in np.array_split(one[taken], PARTS)]
                                    for one in run.metrics["sequences"].values()] for run in runs])
                  for taken in (WHOLE, TRUE, COPIED)}
        for taken, memory in ((WHOLE, "own masks"), (TRUE, "true masks"), (COPIED, "first mask copied")):
            for part in range(PARTS):
                values, true = curves[taken][..., part], curves[TRUE][..., part]
                apart = spread(values - true) if taken == WHOLE else UNKNOWN
                rows.append({"network": name, "memory": memory, "part": part + 1, "J": values.mean(),
                             "low": true.mean() + apart.low, "high": true.mean() + apart.high})
    return pd.DataFrame(rows)
