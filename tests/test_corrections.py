"""Masks given in the middle of a video: what they replace in memory, what they leave alone, and that it lasts."""

import inspect

import numpy as np
import pytest
import torch

from sstlib import weights
from sstlib.config import named_model
from sstlib.inference import Segmenter
from sstlib.metrics import region_similarity
from sstlib.model import build
from sstlib.model.memory import Remembered
from sstlib.sessions import segment_sequence
from sstlib.synthetic import random_spec, render
from sstlib.video import ArraySequence

AT, AFTER = 8, 10  # the frame of the correction, and how many after it are looked at
NOBODY = 255
METHODS = {name: named_model(f"{name}-tiny") for name in ("recurrent", "stm", "cfbi")} | {
    "sst": named_model("sst-tiny").replace(encoding_time="none", matching="reference", causal=True),
    "sst with references in the buffer": named_model("sst-tiny").replace(encoding_time="none", keep_reference=True)}


@pytest.fixture(scope="module")
def trained():
    return weights.load("sst-small")


@pytest.fixture(scope="module", params=[0, 2])
def clip(request):
    return render(random_spec("easy", request.param, frames=AT + AFTER + 1, objects=2, height=96, width=160, size=18.0),
                  request.param)


def dilated(mask: np.ndarray, by: int = 5) -> np.ndarray:
    """A mask that also claims what is around the object."""
    for _ in range(by):
        mask = mask | np.roll(mask, 1, 0) | np.roll(mask, -1, 0) | np.roll(mask, 1, 1) | np.roll(mask, -1, 1)
    return mask


def only(labels: np.ndarray, identity: int) -> np.ndarray:
    return np.where(labels == identity, identity, 0).astype(np.uint8)


def carried(network, frames, given, **options) -> dict[int, np.ndarray]:
    """Labels by frame of a segmenter that starts at the first given frame."""
    segmenter = Segmenter(network, **options)
    return {t: segmenter.step(frames[t], given.get(t)).labels for t in range(min(given), len(frames))}


def spoiled(labels: np.ndarray) -> np.ndarray:
    """The first labels with object 1 drawn much too large."""
    return np.where(dilated(labels == 1) & (labels != 2), 1, labels).astype(np.uint8)


def similarity(result: dict[int, np.ndarray], truth: np.ndarray, identity: int) -> float:
    times = range(AT + 1, AT + AFTER + 1)
    return float(np.mean([region_similarity(result[t] == identity, truth[t] == identity) for t in times]))


@pytest.mark.parametrize("method", METHODS)
def test_correcting_all_objects_is_starting_anew(method):
    """Whatever the method remembers, nothing of the earlier masks is left, for all frames that follow."""
    torch.manual_seed(0)
    network, rng = build(METHODS[method]).eval(), np.random.default_rng(5)
    frames = rng.integers(0, 256, (12, 33, 49, 3), dtype=np.uint8)
    wrong, right = np.zeros((2, 33, 49), np.uint8)
    wrong[2:30, 3:20], wrong[2:30, 20:40], right[4:14, 5:22], right[20:31, 25:41] = 1, 2, 1, 2
    corrected, started = Segmenter(network), Segmenter(network)
    for t, frame in enumerate(frames):
        prediction = corrected.step(frame, {0: wrong, 7: right}.get(t))
        if t >= 7:
            expected = started.step(frame, right if t == 7 else None)
            np.testing.assert_allclose(prediction.memberships, expected.memberships, atol=1e-5)


def test_a_correction_lasts(trained, clip):
    """The ten frames after it are those of a segmenter that never saw the wrong masks."""
    frames, first, later = clip.frames, only(spoiled(clip.labels[0]), 1), only(clip.labels[AT], 1)
    corrected, started = carried(trained, frames, {0: first, AT: later}), carried(trained, frames, {AT: later})
    assert similarity(corrected, clip.labels, 1) == pytest.approx(similarity(started, clip.labels, 1), rel=0.05)
    for t in range(AT + 1, AT + AFTER + 1):
        assert (corrected[t] == 1).sum() == pytest.approx((started[t] == 1).sum(), rel=0.05)


def test_one_object_is_corrected_and_the_other_does_not_suffer(trained, clip):
    frames, truth, first = clip.frames, clip.labels, spoiled(clip.labels[0])
    without, corrected = carried(trained, frames, {0: first}), carried(trained, frames,
                                                                       {0: first, AT: only(truth[AT], 1)})
    started = carried(trained, frames, {AT: truth[AT]})
    assert np.array_equal(corrected[AT] == 1, truth[AT] == 1)
    assert similarity(corrected, truth, 1) > similarity(started, truth, 1) - 0.05
    assert similarity(corrected, truth, 2) > similarity(without, truth, 2) - 0.05


def test_what_is_remembered_of_the_others_stays(trained, clip):
    segmenter = Segmenter(trained)
    segmenter.step(clip.frames[0], clip.labels[0])
    segmenter.step(clip.frames[1])
    before = segmenter.memories[0]
    segmenter.step(clip.frames[2], only(clip.labels[2], 1))
    after = segmenter.memories[0]
    assert torch.equal(after.reference[:, 2], before.reference[:, 2])
    assert not torch.equal(after.reference[:, 1], before.reference[:, 1])
    first, latest = after.references
    assert torch.equal(first.memberships[:, 2], before.references[0].memberships[:, 2])
    # Each is shown where its mask was given
    assert not first.memberships[:, 1].any() and not latest.memberships[:, 2].any()
    assert first.content["match"].abs().sum(1).eq(0).any()  # and where object 1 was, nobody is
    assert [r.time for r in after.recent] == [2]


def test_corrections_at_several_frames_each_count(trained, clip):
    given = {0: spoiled(clip.labels[0]), 3: only(clip.labels[3], 1), 5: only(clip.labels[5], 2), AT: clip.labels[AT]}
    result, started = carried(trained, clip.frames, given), carried(trained, clip.frames, {AT: clip.labels[AT]})
    assert np.array_equal(result[3] == 1, clip.labels[3] == 1) and np.array_equal(result[5] == 2, clip.labels[5] == 2)
    assert all(np.array_equal(result[t], started[t]) for t in range(AT, AT + AFTER + 1))


def test_void_in_a_correction_keeps_the_prediction(trained, clip):
    predicted = carried(trained, clip.frames[:AT + 1], {0: clip.labels[0]})[AT]
    later = only(clip.labels[AT], 1)
    later[:, :80] = NOBODY
    corrected = carried(trained, clip.frames[:AT + 1], {0: clip.labels[0], AT: later})[AT]
    assert np.array_equal(corrected[:, :80], predicted[:, :80])
    assert np.array_equal(corrected[:, 80:] == 1, later[:, 80:] == 1)
    untouched = later[:, 80:] != 1
    others = np.where(predicted == 1, 0, predicted)[:, 80:]
    assert np.array_equal(corrected[:, 80:][untouched], others[untouched])


def test_a_void_that_covers_all_and_an_empty_mask_change_nothing(trained, clip):
    plain = carried(trained, clip.frames[:6], {0: clip.labels[0]})
    for nothing in (np.zeros_like(clip.labels[0]), np.full_like(clip.labels[0], NOBODY)):
        result = carried(trained, clip.frames[:6], {0: clip.labels[0], 3: nothing})
        assert all(np.array_equal(result[t], plain[t]) for t in plain)


def test_backward_a_correction_lasts_too(trained, clip):
    """Going back from the first given frame, a later given frame cannot be met; with frames reversed it can."""
    frames, first, later = clip.frames[::-1], only(spoiled(clip.labels[-1]), 1), only(clip.labels[::-1][AT], 1)
    corrected, started = carried(trained, frames, {0: first, AT: later}), carried(trained, frames, {AT: later})
    assert all(np.array_equal(corrected[t], started[t]) for t in range(AT, len(frames)))
    sequence = ArraySequence(clip.frames)
    both = dict(segment_sequence(trained, sequence, {AT: clip.labels[AT], AT + 4: clip.labels[AT + 4]}))
    alone = dict(segment_sequence(trained, sequence, {AT: clip.labels[AT]}))
    # What lies before the first is not its business
    assert all(np.array_equal(both[t].labels, alone[t].labels) for t in range(AT))
    assert np.array_equal(both[AT + 4].labels, clip.labels[AT + 4])


def test_an_object_that_joins_leaves_the_others_and_is_not_outvoted(trained, clip):
    """Frames before it joined show the background where it was."""
    frames, truth = clip.frames, clip.labels
    joined = carried(trained, frames, {0: only(truth[0], 2), AT: only(truth[AT], 1)})
    alone, started = carried(trained, frames, {0: only(truth[0], 2)}), carried(trained, frames, {AT: truth[AT]})
    assert similarity(joined, truth, 1) > 0.9 * similarity(started, truth, 1)
    assert similarity(joined, truth, 2) > similarity(alone, truth, 2) - 0.05


def test_an_object_said_to_be_absent_is_nowhere_and_may_return(trained, clip):
    segmenter = Segmenter(trained)
    segmenter.step(clip.frames[0], clip.labels[0])
    assert not (segmenter.step(clip.frames[1], absent=[1]).labels == 1).any()
    memory = segmenter.memories[0]
    assert not any(r.memberships[:, 1].any() for r in memory.recent) and memory.references[0].memberships[:, 1].any()
    assert segmenter.step(clip.frames[2], only(clip.labels[2], 1)).ids == (0, 1, 2)
    with pytest.raises(ValueError, match=r"object 7 is said to be absent; the objects are \[1, 2\]"):
        segmenter.step(clip.frames[3], absent=[7])
    with pytest.raises(ValueError, match="absent is 1; give the ids of objects"):
        inspect.unwrap(Segmenter.step)(segmenter, clip.frames[3], absent=1)  # without the types that tests check
    with pytest.raises(ValueError, match=r"object \[1\] is said to be absent; the objects are"):
        inspect.unwrap(Segmenter.step)(segmenter, clip.frames[3], absent=[[1]])
    with pytest.raises(ValueError, match="object 2 is said to be absent and has a mask"):
        segmenter.step(clip.frames[3], clip.labels[3], absent=[2])


def test_landmarks_from_before_an_object_was_said_to_be_absent_or_was_corrected_go(clip):
    torch.manual_seed(0)
    segmenter = Segmenter(build(named_model("sst-tiny").replace(matching="centered", landmarks=3, landmark_every=1)))
    segmenter.step(clip.frames[0], clip.labels[0])
    segmenter.step(clip.frames[1])
    assert [mark.time for mark in segmenter.memories[0].landmarks] == [1]
    segmenter.step(clip.frames[2], absent=[1])
    [mark] = segmenter.memories[0].landmarks
    assert mark.time == 2 and not mark.memberships[:, 1].any()
    segmenter.step(clip.frames[3], only(clip.labels[3], 2))
    assert [mark.time for mark in segmenter.memories[0].landmarks] == [3]


def test_a_key_of_a_given_frame_stays_where_half_of_it_is_the_given_objects():
    memberships = torch.zeros(1, 3, 4, 6)
    memberships[0, 1, :2, 0], memberships[0, 1, 0, 2] = 1, 1  # two cells of the first key, one of its neighbor
    memberships[0, 2] = 1 - memberships[0, 1]
    match = torch.rand(1, 5, 2, 3)
    shown = Remembered(0, memberships, {"match": match}, {}).only([1])
    expected = torch.zeros_like(match)
    expected[..., 0, 0] = match[..., 0, 0]
    assert torch.equal(shown.content["match"], expected)
    assert torch.equal(shown.memberships, memberships * torch.tensor([0, 1, 0])[:, None, None])
    assert torch.equal(shown.labels, torch.where(memberships[:, 1] > 0, 1, -1))  # the rest is nobody's


def test_every_object_keeps_a_given_frame_and_no_more_than_needed():
    """Objects that join one by one each have their only mask in another frame; corrections of one object leave
    nothing behind.
    """
    torch.manual_seed(0)
    network = build(named_model("sst-tiny").replace(matching="reference")).eval()
    features, masks = network.extract(torch.rand(1, 3, 33, 49)), torch.zeros(1, 8, 33, 49)
    for o in range(1, 8):
        masks[:, o, 4 * o:4 * o + 4, 6:30] = 1
    masks[:, 0] = 1 - masks.sum(1)
    memory = None
    with torch.no_grad():
        for o in range(1, 8):
            memory = network.remember(memory, features, masks[:, :o + 1], given=[o] if memory else True)
            features.encoded = None
        assert all(any(r.held[o] for r in memory.references) for o in range(1, 8)) and len(memory.references) == 7
        for _ in range(9):
            memory = network.remember(memory, features, masks, given=[1])
            features.encoded = None
        assert [r.time for r in memory.references] == [1, 2, 3, 4, 5, 6, 15]
        memory = network.remember(memory, features, masks, given=True)
    assert [r.time for r in memory.references] == [16]
