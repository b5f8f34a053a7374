"""Sessions: in which order frames are segmented, which frames are wanted, what sinks are handed, and that an interrupt
or a late correction changes nothing of the result.
"""

import itertools
import os

import numpy as np
import pytest
import torch

from sstlib.config import named_model
from sstlib.inference import Segmenter
from sstlib.model import build
from sstlib.sessions import Clip, Corrections, MaskFolder, Part, Session, Sink, carry, segment_sequence, state
from sstlib.sessions.outcome import worst_share
from sstlib.video import VOID, ArraySequence, read_mask, write_mask

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
    steps = list(Session(network, clip))
    assert [t for t, *_ in steps] == [3, 4, 5, 2, 1, 0]
    expected = {}
    for way in ((3, 2, 1), (3, 4, 5)):
        segmenter = Segmenter(network)
        expected |= {t: segmenter.step(FRAMES[t], square() if t == 3 else None).labels for t in way}
    for t, prediction, frame in steps:
        np.testing.assert_array_equal(frame, FRAMES[t])
        np.testing.assert_array_equal(prediction.labels, expected[t] if t else 0 * square())
    assert steps[-1][1].ids == (0,) and steps[-1][1].probabilities.shape == (1, *SIZE)


def test_a_sequence_is_segmented_as_by_a_session(network):
    given = {0: 0 * square(), 3: square()}
    expected = [(t, prediction.labels) for t, prediction, _ in Session(network, Clip(ArraySequence(FRAMES), given))]
    assert [t for t, _ in expected] == [3, 4, 5, 2, 1, 0]
    for (t, prediction), (number, labels) in zip(segment_sequence(network, ArraySequence(FRAMES), given), expected,
                                                 strict=True):
        assert t == number
        np.testing.assert_array_equal(prediction.labels, labels)
    with pytest.raises(ValueError, match="clip: no given mask holds an object"):
        segment_sequence(network, ArraySequence(FRAMES, given))  # which takes the first mask alone


class Listening(Sink):
    """A sink that keeps what it is told."""

    def __init__(self, fails_at=None):
        self.events, self.fails_at = [], fails_at

    def write(self, t, frame, prediction):
        if t == self.fails_at:
            raise OSError(28, "No space left on device")
        self.events.append(t)

    def close(self):
        self.events.append("closed")

    def discard(self):
        self.events.append("discarded")


def test_every_sink_gets_every_frame_and_hears_of_the_end(network):
    sinks = [Listening(), Listening()]
    assert len(list(carry(Session(network, Clip(ArraySequence(FRAMES), {2: square()})), sinks))) == 6
    assert [sink.events for sink in sinks] == [[2, 3, 4, 5, 1, 0, "closed"]] * 2
    failing = [Listening(), Listening(4)]
    with pytest.raises(OSError, match="No space left"):
        list(carry(Session(network, Clip(ArraySequence(FRAMES), {2: square()})), failing))
    assert [sink.events for sink in failing] == [[2, 3, 4, "discarded"], [2, 3, "discarded"]]


def test_what_was_written_stays_valid_when_the_video_ends_early(network, tmp_path):
    class Broken(ArraySequence):
        def frame(self, t):
            if t == 3:
                raise ValueError("frame 3 cannot be decoded")
            return super().frame(t)

    clip, written = Clip(Broken(FRAMES), {0: square()}), []
    with pytest.raises(ValueError, match="frame 3"):
        for t, prediction, _ in carry(Session(network, clip), [MaskFolder(clip, tmp_path, [])]):
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


@pytest.mark.parametrize("name", ["sst-tiny", "sst-small"])
@pytest.mark.parametrize("after", [1, 3, 4, 6])
def test_an_interrupted_session_goes_on_as_if_nothing_had_been(tmp_path, name, after):
    torch.manual_seed(0)
    network = build(named_model(name)).eval()
    clip = Clip(ArraySequence(FRAMES), {0: 0 * square(), 2: square(), 4: square(9, 20, 40)})
    options = {"flip": after == 3}
    whole = {t: prediction for t, prediction, _ in Session(network, clip, options)}
    broken = Session(network, clip, options)
    broken.keep_state(tmp_path / "state", {"a": 1})
    steps = iter(broken)
    for _ in range(after):
        next(steps)
    if after == 6:
        assert next(steps, None) is None
    broken.write_state()
    known = state.read(tmp_path / "state")
    assert known["facts"] == {"a": 1}
    resumed = Session(network, clip, options)
    resumed.go_on_from(known)
    rest = {t: prediction for t, prediction, _ in resumed}
    assert len(rest) in (6 - after, 7 - after) and len(resumed.judgments) == 6
    for t, prediction in rest.items():
        np.testing.assert_array_equal(prediction.memberships, whole[t].memberships)
        np.testing.assert_array_equal(prediction.labels, whole[t].labels)
        assert prediction.presence == whole[t].presence and prediction.doubt == whole[t].doubt


def test_the_layout_of_tensors_is_as_it_was_and_what_is_shared_is_written_once(tmp_path):
    tensor = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state.write(tmp_path / "state", {"a": tensor, "b": [tensor, (1, "x", None)], "c": torch.arange(3).expand(2, 3)})
    known = state.read(tmp_path / "state")
    assert known["a"].stride() == tensor.stride() and torch.equal(known["a"], tensor)
    assert known["b"][1] == (1, "x", None) and known["b"][0].data_ptr() == known["a"].data_ptr()
    assert torch.equal(known["c"], torch.arange(3).expand(2, 3))


@pytest.mark.parametrize("damage", [lambda data: data[:len(data) // 2], lambda data: b"", lambda data: b"x" * 900])
def test_a_damaged_state_is_named(tmp_path, damage):
    state.write(tmp_path / "state", {"a": torch.zeros(9)})
    (tmp_path / "state").write_bytes(damage((tmp_path / "state").read_bytes()))
    with pytest.raises(ValueError, match="state: the state of an interrupted run is damaged.*--no-resume"):
        state.read(tmp_path / "state")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_correction_counts_from_its_frame_on_whenever_it_comes(network, tmp_path, monkeypatch, late, at):
    monkeypatch.setattr("sstlib.sessions.corrections.SETTLED", 0.0)
    clip = Clip(ArraySequence(FRAMES), {2: square()})
    expected = {t: p.labels for t, p, _ in Session(network, Clip(clip.frames, {2: square(), at: square(7, 20, 40)}))}
    if at < 2:  # the first given mask is where a session starts
        backward = Session(network, Clip(ArraySequence(FRAMES[::-1].copy()), {3: square(), 5 - at: square(7, 20, 40)}))
        backward = {5 - t: p.labels for t, p, _ in backward}
        expected = {t: p.labels for t, p, _ in Session(network, clip)} | {t: backward[t] for t in range(2)}
    corrections, result = Corrections(tmp_path, clip.frames, clip.size), {}
    if not late:
        write_mask(tmp_path / f"{at:05d}.png", square(7, 20, 40))
    for t, prediction, _ in Session(network, clip, {}, corrections):
        if t == (0 if at < 2 else 5) and late:
            write_mask(tmp_path / f"{at:05d}.png", square(7, 20, 40))
            late = False
        result[t] = prediction.labels
    assert {t: labels.tobytes() for t, labels in result.items()} == {
        t: labels.tobytes() for t, labels in expected.items()}
    np.testing.assert_array_equal(result[at] == 7, square(7, 20, 40) == 7)


def test_a_correction_is_a_later_word_than_that_an_object_is_absent(network, tmp_path):
    write_mask(tmp_path / "00002.png", square(row=8))
    clip = Clip(ArraySequence(FRAMES), {0: square()}, absent={t: frozenset({7}) for t in (1, 2)})
    corrections = Corrections(tmp_path, clip.frames, clip.size)
    shown = {t: prediction.labels for t, prediction, _ in Session(network, clip, {}, corrections)}
    assert not shown[1].any() and np.array_equal(shown[2], square(row=8))


@pytest.mark.parametrize("late", [False, True])
def test_a_given_mask_is_corrected_as_a_predicted_one(network, tmp_path, monkeypatch, late):
    """The corrected object is as the correction says, also where it is smaller; void and the others stay."""
    monkeypatch.setattr("sstlib.sessions.corrections.SETTLED", 0.0)
    given, smaller = square(row=1) | square(3, 20, 40), square(row=1)
    smaller[:, 12:] = VOID * (given[:, 12:] == 3)
    smaller[1, 12:20] = VOID
    clip, wanted = Clip(ArraySequence(FRAMES), {0: given}), given.copy()
    wanted[2:16, 12:20] = 0
    corrections, shown = Corrections(tmp_path, clip.frames, clip.size), {}
    if not late:
        write_mask(tmp_path / "00000.png", smaller)
    for t, prediction, _ in Session(network, clip, {}, corrections):
        if t == 5 and late:
            write_mask(tmp_path / "00000.png", smaller)
            late = False
        shown[t] = prediction.labels
    np.testing.assert_array_equal(shown[0], wanted)
    anew = {t: p.labels for t, p, _ in Session(network, Clip(clip.frames, {0: wanted}))}
    assert all(np.array_equal(shown[t], anew[t]) for t in anew)


@pytest.mark.parametrize("late", [False, True])
def test_a_correction_of_a_frame_that_is_empty_as_given_is_not_passed_over(network, tmp_path, monkeypatch, late):
    monkeypatch.setattr("sstlib.sessions.corrections.SETTLED", 0.0)
    clip = Clip(ArraySequence(FRAMES), {1: np.zeros(SIZE, np.uint8), 3: square()})
    corrections = Corrections(tmp_path, clip.frames, clip.size)
    write_mask(tmp_path / "00001.png", np.zeros(SIZE, np.uint8))  # says the same
    with pytest.raises(ValueError, match="correction of frame 00000 shows an object, .* none up to frame 00001; give"):
        if not late:
            write_mask(tmp_path / "00000.png", square())
        for t, _, _ in Session(network, clip, {}, corrections):
            if t == 1:
                write_mask(tmp_path / "00000.png", square())
    assert late == (0 in corrections.applied and 3 in corrections.applied)


def test_void_alone_shows_no_object_at_a_clip_s_start():
    clip = Clip(ArraySequence(FRAMES), {0: square(VOID), 2: square()})
    assert clip.before == 1 and clip.first == 2


def test_a_correction_of_no_frame_is_refused(tmp_path):
    write_mask(tmp_path / "00009.png", square())
    with pytest.raises(ValueError, match="00009.png: clip has no frame '00009'"):
        Corrections(tmp_path, ArraySequence(FRAMES), SIZE)
    with pytest.raises(FileNotFoundError, match="no such folder of corrections"):
        Corrections(tmp_path / "nowhere", ArraySequence(FRAMES), SIZE)


@pytest.fixture
def corrections(tmp_path):
    """Corrections of a clip of objects 7, from a folder that is empty, and lines that they report."""
    lines = []
    made = Corrections(tmp_path, ArraySequence(FRAMES), SIZE, [7], report=lines.append)
    return made, tmp_path / "00001.png", lines


def test_a_correction_is_late_once_it_is_whole_and_again_when_it_changes(corrections, monkeypatch):
    """Whole is a file that was not written to for a second; of one size before and after, its time tells."""
    made, path, _ = corrections
    monkeypatch.setattr("sstlib.sessions.corrections.time.monotonic", itertools.count(9.0, 9.0).__next__)
    assert made.at(1) is None and made.at(2) is None and made.unseen() == []
    write_mask(path, square())
    assert made.unseen() == [], "it may still be written to"
    os.utime(path, (1e9, 1e9))
    assert made.unseen() == [1]
    np.testing.assert_array_equal(made.at(1), square())
    assert made.unseen() == []
    os.utime(path, (1e9 + 1, 1e9 + 1))
    assert made.unseen() == [1]
    path.unlink()
    assert made.unseen() == [1], "the frame was segmented with a mask that is gone"


def test_a_correction_that_vanishes_while_it_is_read_is_none(corrections, monkeypatch):
    made, path, lines = corrections
    write_mask(path, square())
    monkeypatch.setattr("sstlib.sessions.corrections.read_mask", lambda *_: open(path.with_name("gone")))
    assert made.at(1) is None and made.applied == {1: None} and not lines
    path.unlink()
    assert made.unseen() == []


def test_two_masks_of_one_frame_and_a_mask_of_nobody_are_spoken_of(corrections):
    made, path, lines = corrections
    write_mask(path, 255 * (square() > 0).astype(np.uint8))
    made.at(1)
    assert "nothing by it" in lines[0], "void is nobody"
    path.with_suffix(".bmp").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="is of the same frame; keep one"):
        made.at(1)


def test_the_most_doubtful_object_counts():
    judgments = {t: {1: [1.0, 0.0, 1.0, 9], 2: [float(t < 3), float(t == 1), 1.0, 9]} for t in range(4)}
    assert worst_share(judgments) == 0.5 and worst_share({}) == 0.0
