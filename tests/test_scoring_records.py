"""What records keep and tell of a scoring: frames and seconds, measures after an occlusion, the curve over its
lengths, the extremes.
"""

import types

import numpy as np
import pytest

from sstlib import paths, weights
from sstlib.config import named_model
from sstlib.experiments import execute, records, validation
from sstlib.model import build
from sstlib.video import ArraySequence, read_mask

NETWORK = build(named_model("sst-tiny"))
SEQUENCES = {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.6, "e": 0.3}


def record(**metrics):
    return records.RunRecord("davis2016", "sst-test", 0, {}, metrics, {})


def test_best_median_and_worst_and_the_interval_over_sequences():
    scored = record(sequences={name: {"J&F": value} for name, value in SEQUENCES.items()})
    assert validation.extremes(scored) == {"best": "b", "median": "c", "worst": "a"}
    mean, low, high = validation.interval(scored)
    assert 20 <= low < mean < high <= 90 and mean == pytest.approx(50)


def test_masks_and_frames_of_a_scoring_are_counted_once(tmp_path, monkeypatch):
    """The first frame is given and costs nothing; a sequence that is done is not segmented again."""
    sequences = [
        ArraySequence(np.zeros((n, 8, 12, 3), np.uint8), np.ones((8, 12), np.uint8), name=f"clip{n}") for n in (4, 3)
    ]
    names = []

    def segment(network, sequence):
        names.append(sequence.name)
        for t in range(len(sequence)):
            yield t, types.SimpleNamespace(labels=np.full((8, 12), t, np.uint8))

    monkeypatch.setattr(validation, "segment_sequence", segment)
    first, frames = validation.predict(NETWORK, sequences[:1], tmp_path)
    assert frames == 3 and first > 0
    both, frames = validation.predict(NETWORK, sequences, tmp_path)
    assert frames == 5 and both > first and names == ["clip4", "clip3"]
    assert read_mask(tmp_path / "clip4" / f"{sequences[0].frame_names[2]}.png").max() == 2


def test_a_record_is_of_the_very_bytes_of_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path)
    weights.save(NETWORK, tmp_path / "sst-test.safetensors")
    assert validation.record_of("sst-test", "davis2016") is None
    path = records.RunRecord("davis2016", "sst-test", 0, {"weights": validation.fingerprint("sst-test")}, {},
                             {}).write()
    assert validation.record_of("sst-test", "davis2016") == records.read(path)
    weights.save(NETWORK, tmp_path / "sst-test.safetensors", step=1)
    assert validation.record_of("sst-test", "davis2016") is None


def test_what_is_left_after_an_occlusion_is_that_of_the_target_in_the_last_frames(monkeypatch):
    """J of object 1 over the last frames of each clip, averaged over clips of a length; the other object is lost
    throughout.
    """
    rng, predictions, clips = np.random.default_rng(0), [], []
    for length, frames in ((0, 7), (0, 8), (4, 9)):
        truth = np.zeros((frames, 9, 13), np.uint8)
        truth[:, 1:5, 2:8], truth[:, 6:, 3:9] = 1, 2
        predicted = np.where((truth == 1) & (rng.random(truth.shape) < 0.5), 1, 0).astype(np.uint8)
        predicted[0] = truth[0]
        predictions.append(predicted)
        clips.append((length, types.SimpleNamespace(frames=None, labels=truth, visible_share=np.ones((frames, 2)))))
    left = iter(predictions)
    monkeypatch.setattr(execute, "segmented", lambda network, frames, first: next(left))
    metrics, seconds, frames = execute.score_occlusions(NETWORK, iter(clips))
    assert frames == 6 + 7 + 8 and seconds > 0
    each = [np.mean([(p[t] == 1).sum() / 24 for t in range(len(p) - 4, len(p))]) for p in predictions]
    assert metrics["after"] == pytest.approx({"0": (each[0] + each[1]) / 2, "4": each[2]})
