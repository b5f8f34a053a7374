"""What a segmenter promises is measured rightly: on clips whose answers are known."""

import numpy as np
import pytest
import torch

from sstlib import weights
from sstlib.benchmarks import entered, frames, promises
from sstlib.config import named_model
from sstlib.inference import Prediction, Segmenter
from sstlib.model import build
from sstlib.video import ArraySequence

NETWORK = weights.load("sst-small")


@pytest.fixture
def clip():
    """Thirty frames with a square that moves."""
    frames = np.random.default_rng(0).integers(0, 256, (30, 24, 40, 3), np.uint8)
    labels = np.zeros((30, 24, 40), np.uint8)
    for t in range(30):
        labels[t, 4:12, t // 2:t // 2 + 10] = 1
    return ArraySequence(frames, labels)


class Drifting:
    """A segmenter that loses a row of the object each frame, counted from the latest given mask."""

    def __init__(self, network: object):
        self.mask = None

    def step(self, frame: np.ndarray, labels: np.ndarray | None = None) -> Prediction:
        self.mask = labels.copy() if labels is not None else self.mask
        if labels is None:
            self.mask[np.flatnonzero(self.mask.any(1))[:1]] = 0
        return Prediction(self.mask.copy(), np.zeros((2, 1, 1), np.float32), (0, 1), {}, {}, {})


def test_a_correction_that_lasts_is_a_start(clip, monkeypatch):
    monkeypatch.setattr(promises, "Segmenter", Drifting)
    [row] = promises.corrections(NETWORK, [clip])
    assert row["frame"] == 15 and row["J before"] == 0.0  # fourteen steps took all rows
    assert row["J corrected"] == row["J started"] and row["area corrected"] == row["area started"] == 10 * np.mean(
        [max(8 - k, 0) for k in range(1, 11)])


def test_a_correction_that_is_forgotten_is_seen(clip, monkeypatch):
    class Stubborn(Drifting):
        def step(self, frame: np.ndarray, labels: np.ndarray | None = None) -> Prediction:
            return super().step(frame, labels if self.mask is None else None)

    monkeypatch.setattr(promises, "Segmenter", Stubborn)
    rows = promises.corrections(NETWORK, [clip])
    assert rows[0]["J corrected"] < rows[0]["J started"]
    assert "differ by at most 0" in entered.corrections_summary({"rows": rows}) and "0.0000 to" in (
        entered.corrections_summary({"rows": rows}))


def test_short_clips_are_left_out(clip):
    assert promises.corrections(NETWORK, [ArraySequence(clip.frames[:12], clip.label(0))]) == []


def test_threads_and_sizes_are_measured_in_turns(clip):
    rows = promises.sizes(NETWORK, [clip], 3)
    assert set(rows[0]) == {"clip", "J", "J at 1080p", "seconds", "seconds at 1080p"} and rows[0]["seconds"] > 0
    record = {"rows": [{"busy cores": busy, "threads": 2, "seconds with 1": 2.0, "seconds with all": seconds}
                       for busy, seconds in ((0, 1.0), (0, 1.2), (1, 2.0), (1, 2.2))]}
    assert entered.threads_summary(record) == ("0 cores busy: all threads take 0.55 times as long as one\n"
                                               "1 cores busy: all threads take 1.05 times as long as one")


def test_two_networks_take_turns_with_full_memories(monkeypatch):
    """Each round is timed apart; landmarks and history are there in the first of them."""
    torch.manual_seed(0)
    other = build(named_model("sst-tiny").replace(matching="centered", landmarks=2, landmark_every=2)).eval()
    stepped, step = [], Segmenter.step

    def watched(self, *arguments):
        stepped.append((self.network.config, self.memories[0]))
        return step(self, *arguments)

    monkeypatch.setattr(Segmenter, "step", watched)
    rows = frames.steps_in_turns([NETWORK, other], 2, 3, 48, 64)
    assert len(rows) == 3 and all(len(row) == 2 and min(row) > 0 for row in rows)
    assert [config.landmarks for config, _ in stepped] == [0, 2] * (len(stepped) // 2)
    for config, memory in stepped[-6:]:
        assert (len(memory.recent), len(memory.landmarks)) == (config.history, config.landmarks) and memory.objects == 3
    message = entered.steps_of_summary({"weights": "new", "against": "old", "rows": [
        {"objects": 3, "seconds": [[0.2, 0.1], [0.3, 0.2], [0.44, 0.2]]}]})
    assert message.startswith("3 objects: 300 ms a step of new, 200 of old: 1.50 times")
