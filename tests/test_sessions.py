"""Sessions: in which order frames are segmented, which frames are wanted, and what sinks are handed."""

import numpy as np
import pytest
import torch

from sstlib.config import named_model
from sstlib.inference import segment_sequence
from sstlib.model import build
from sstlib.sessions import Clip, MaskFolder, Part, Sink, carry, walk
from sstlib.video import ArraySequence, read_mask

SIZE = (41, 67)
FRAMES = np.random.default_rng(3).integers(0, 256, (6, *SIZE, 3), dtype=np.uint8)


def square(identity=7, row=3, column=5):
    labels = np.zeros(SIZE, np.uint8)
    labels[row:row + 15, column:column + 15] = identity
    return labels


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(named_model("sst-tiny").replace(matching="reference")).eval()


def test_frames_come_forward_and_then_backward_each_with_its_picture(network):
    clip = Clip(ArraySequence(FRAMES), {0: 0 * square(), 3: square()})
    steps = list(walk(network, clip))
    assert [t for t, *_ in steps] == [3, 4, 5, 2, 1, 0]
    expected = dict(segment_sequence(network, ArraySequence(FRAMES), {3: square()}))
    for t, prediction, frame in steps:
        np.testing.assert_array_equal(frame, FRAMES[t])
        np.testing.assert_array_equal(prediction.labels, expected[t].labels if t else 0 * square())
    assert steps[-1][1].ids == (0,) and steps[-1][1].probabilities.shape == (1, *SIZE)


class Listening(Sink):
    """A sink that keeps what it is told."""

    def __init__(self, fails_at=None):
        self.told, self.fails_at = [], fails_at

    def write(self, t, frame, prediction):
        if t == self.fails_at:
            raise OSError(28, "No space left on device")
        self.told.append(t)

    def close(self):
        self.told.append("closed")

    def discard(self):
        self.told.append("discarded")


def test_every_sink_gets_every_frame_and_hears_of_the_end(network):
    sinks = [Listening(), Listening()]
    assert len(list(carry(walk(network, Clip(ArraySequence(FRAMES), {2: square()})), sinks))) == 6
    assert [sink.told for sink in sinks] == [[2, 3, 4, 5, 1, 0, "closed"]] * 2
    failing = [Listening(), Listening(4)]
    with pytest.raises(OSError, match="No space left"):
        list(carry(walk(network, Clip(ArraySequence(FRAMES), {2: square()})), failing))
    assert [sink.told for sink in failing] == [[2, 3, 4, "discarded"], [2, 3, "discarded"]]


def test_what_was_written_stays_valid_when_the_video_ends_early(network, tmp_path):
    class Broken(ArraySequence):
        def frame(self, t):
            if t == 3:
                raise ValueError("frame 3 cannot be decoded")
            return super().frame(t)

    clip, written = Clip(Broken(FRAMES), {0: square()}), []
    with pytest.raises(ValueError, match="frame 3"):
        for t, prediction, _ in carry(walk(network, clip), [MaskFolder(clip, tmp_path, [])]):
            np.testing.assert_array_equal(read_mask(tmp_path / f"{t:05d}.png"), prediction.labels)
            written.append(t)
    assert written == [0, 1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000.png", "00001.png", "00002.png"]


def test_a_part_of_a_sequence_keeps_the_names_of_its_frames():
    part = Part(ArraySequence(FRAMES, {5: square()}), range(1, 6, 2))
    assert len(part) == 3 and part.frame_names == ["00001", "00003", "00005"] and part.label(0) is None
    np.testing.assert_array_equal(part.frame(-1), FRAMES[5])
    np.testing.assert_array_equal(part.label(2), square())
    with pytest.raises(IndexError):
        part.frame(3)
