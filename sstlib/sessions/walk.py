"""The order in which the frames of a clip are segmented, and the hands that their masks go through."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from sstlib.inference import Prediction, Segmenter
from sstlib.model import Propagator
from sstlib.sessions.clip import Clip
from sstlib.sessions.sinks import Sink
from sstlib.shapes import UInt8

Step = tuple[int, Prediction, UInt8[np.ndarray, "height width 3"]]


def walk(network: Propagator, clip: Clip, **options: object) -> Iterator[Step]:
    """Number, prediction and picture of each frame: from the first given mask with an object to the end, then from it
    backward, then the frames of which the given masks say that nothing is in them.

    Args:
        network: trained weights.
        clip: what is segmented.
        **options: of `Segmenter`.

    Raises:
        ValueError: a frame that does not fit, by its name.
    """
    frames, before = clip.frames, clip.before
    start = min(t for t in clip.given if t >= before)
    for direction in (range(start, len(frames)), range(start, before - 1, -1)):
        if direction.step < 0 and start == before:
            continue
        segmenter = Segmenter(network, **options)
        for t in direction:
            frame, labels = frames.frame(t), clip.given.get(t)
            try:
                prediction = segmenter.step(frame, labels)
            except ValueError as error:
                raise ValueError(f"{frames.name}, frame {frames.frame_names[t]}: {error}") from error
            if direction.step > 0 or t < start:
                yield t, prediction, frame
    for t in range(before):
        yield t, nothing(clip.size), frames.frame(t)


def nothing(size: tuple[int, int]) -> Prediction:
    """The prediction of a frame without objects."""
    background = torch.ones(1, 1, 1).expand(1, *size).numpy()
    return Prediction(np.zeros(size, np.uint8), background, (0,), {}, {}, {})


def carry(steps: Iterable[Step], sinks: Iterable[Sink]) -> Iterator[Step]:
    """Hands every frame to all sinks, then passes it on; closes them after the last, or has them discard what they
    hold.
    """
    sinks = list(sinks)
    try:
        for t, prediction, frame in steps:
            for sink in sinks:
                sink.write(t, frame, prediction)
            yield t, prediction, frame
        for sink in sinks:
            sink.close()
    except BaseException:
        for sink in sinks:
            sink.discard()
        raise
