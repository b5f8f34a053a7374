"""The cost of an occlusion, against a plain loop over frames and on pairs made by hand."""

import json

import numpy as np
import pytest

from sstlib.evaluation.occlusion_windows import (
    PassageTable,
    Windows,
    first_copied,
    follow,
    nothing_predicted,
    passage,
    tabulate,
)
from sstlib.metrics import contour_accuracy, region_similarity
from sstlib.metrics.scores import VOID

HEIGHT, WIDTH = 12, 30


def pair(length: int, time: int = 24, onset: int = 6, ramp: int = 2):
    """Labels with and without an occluder, and full masks: object 1 wanders right and is covered from the left."""
    amodal = np.zeros((time, HEIGHT, WIDTH), bool)
    for t in range(time):
        amodal[t, 3:9, 2 + t // 2 : 10 + t // 2] = True
    control = np.where(amodal, 1, 0).astype(np.uint8)
    control[:, 1:11, 25:29] = 2
    occluded = control.copy()
    for t in range(time):
        into, out = t - (onset - ramp) + 1, onset + length + ramp - t
        share = min(max(min(into, out), 0), ramp + 1) / (ramp + 1)
        occluded[t, :, 2 + t // 2 : 2 + t // 2 + round(8 * share)] = 0
    return occluded, control, amodal


def noisy(labels: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    moved = np.roll(labels, int(generator.integers(-2, 3)), axis=2)
    return np.where(generator.random(labels.shape) < 0.2, generator.integers(0, 3, labels.shape), moved).astype(
        np.uint8
    )


def loop_passage(predicted, labels, amodal, predicted_control, control):
    """The definitions once more, frame by frame, object by object."""
    time = len(labels)
    shares = [(labels[t] == 1).sum() / amodal[t].sum() for t in range(time)]
    hidden = [t for t in range(time) if shares[t] == 0]
    back = [t for t in range(hidden[-1] + 1, time) if shares[t] >= 0.98]
    windows = {
        "before": [t for t in range(1, hidden[0]) if shares[t] >= 0.98],
        "back": back[:8],
        "soon": back[:5],
        "end": [t for t in back if t >= time - 8],
    }

    def quality(p, t, value):
        return (region_similarity(p == value, t == value) + contour_accuracy(p == value, t == value)) / 2

    result = {"claimed": np.mean([(predicted[t] == 1).sum() / amodal[t].sum() for t in hidden])}
    for suffix, p, truth in (("", predicted, labels), ("_control", predicted_control, control)):
        for name, frames in windows.items():
            result[name + suffix] = np.mean([quality(p[t], truth[t], 1) for t in frames])
        result["bystander" + suffix] = np.mean([quality(p[t], truth[t], 2) for t in windows["back"]])
        returning = [t for t in range(hidden[-1] + 1, time) if shares[t] > 0][:5]
        result["returning" + suffix] = np.mean([region_similarity(p[t] == 1, truth[t] == 1) for t in returning])
        covered = [(p[t][truth[t] == 1] == 2).mean() >= 0.5 for t in windows["back"]]
        result["swapped" + suffix] = np.mean(covered)
    return result


@pytest.mark.parametrize("length", [1, 4, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_passage_is_what_a_loop_over_frames_finds(length, seed):
    labels, control, amodal = pair(length)
    predicted, plain = noisy(labels, seed), noisy(control, seed + 9)
    predicted[-9] = np.where(predicted[-9] == 1, 2, predicted[-9])
    result = passage(follow(predicted, labels, amodal), follow(plain, control, amodal))
    expected = loop_passage(predicted, labels, amodal, plain, control)
    assert {name: getattr(result, name) for name in expected} == pytest.approx(expected, abs=1e-12)
    assert set(expected) == set(vars(result))


def test_windows_hold_whole_frames_alone_and_the_hidden_ones():
    labels, _, amodal = pair(4)
    windows = Windows.of(follow(labels, labels, amodal).visible)
    assert windows.before.tolist() == [1, 2, 3]  # 4 and 5 are half covered; 0 was given
    assert windows.hidden.tolist() == [6, 7, 8, 9]
    assert windows.back.tolist() == list(range(12, 20)) and windows.end.tolist() == list(range(16, 24))


def test_fewer_whole_frames_back_are_followed_as_far_as_they_go_and_none_is_not_a_number():
    assert Windows.of(np.array([1, 1, 0, 1, 0.5, 1, np.nan])).back.tolist() == [3, 5]
    labels, control, amodal = pair(20)  # hidden to the end
    result = passage(follow(labels, labels, amodal), follow(control, control, amodal))
    assert np.isnan(result.back) and np.isnan(result.bystander) and result.before == 1


def test_what_is_lost_and_what_is_not():
    """The target is lost by being hidden, its bystander is not; without the occlusion both are kept."""
    labels, control, amodal = pair(3)
    lost = labels.copy()
    lost[7:][lost[7:] == 1] = 0
    table = tabulate([[passage(follow(lost, labels, amodal), follow(control, control, amodal))]])
    assert table.loss().tolist() == table.loss("soon").tolist() == table.loss("end").tolist() == [[1.0]]
    assert table.loss("before").tolist() == table.loss("bystander").tolist() == [[0.0]]
    assert table["claimed"].tolist() == [[0.0]] and table["swapped"].tolist() == [[0.0]]


def test_the_floors_claim_all_of_the_target_or_nothing():
    labels, control, amodal = pair(3)
    copied, nothing = first_copied(labels), nothing_predicted(labels)
    assert (copied == labels[0]).all() and (nothing[0] == labels[0]).all() and not nothing[1:].any()
    copying = passage(follow(copied, labels, amodal), follow(first_copied(control), control, amodal))
    assert copying.claimed == 1 and 0 < copying.before < 1 and copying.bystander == 1
    empty = passage(follow(nothing, labels, amodal), follow(nothing_predicted(control), control, amodal))
    assert (empty.claimed, empty.back, empty.back_control, empty.bystander) == (0, 0, 0, 0)


def test_a_target_under_another_label_is_swapped():
    labels, control, amodal = pair(3)
    swapped = labels.copy()
    swapped[10:] = np.array([0, 2, 1], np.uint8)[swapped[10:]]
    result = passage(follow(swapped, labels, amodal), follow(control, control, amodal))
    assert result.swapped == 1 and result.swapped_control == 0 and result.back == 0
    for rows, expected in ((2, False), (3, True)):  # of six: half of them is enough
        partly = labels.copy()
        partly[20, 3:3 + rows][partly[20, 3:3 + rows] == 1] = 2
        assert follow(partly, labels, amodal).swapped[20] == expected


def test_void_is_no_label_that_a_target_is_under():
    labels, _, amodal = pair(3)
    predicted = labels.copy()
    predicted[20][labels[20] == 1] = VOID
    assert not follow(predicted, labels, amodal).swapped.any()


def test_what_is_claimed_of_a_target_outside_of_the_frame_is_no_number():
    labels, _, amodal = pair(3)
    predicted = labels.copy()
    labels[20], amodal[20] = 0, False
    track = follow(predicted, labels, amodal)
    assert np.isnan(track.claimed[20]) and np.isnan(track.visible[20])
    assert (track.claimed[19], track.visible[19]) == (1, 1)


def test_relabeling_everything_changes_nothing():
    labels, control, amodal = pair(4)
    predicted, renamed = noisy(labels, 3), np.array([0, 7, 3], np.uint8)
    plain = passage(follow(predicted, labels, amodal), follow(control, control, amodal))
    again = passage(
        follow(renamed[predicted], renamed[labels], amodal, target=7),
        follow(renamed[control], renamed[control], amodal, target=7),
    )
    assert again == plain


def test_pairs_that_are_none_are_refused():
    labels, control, amodal = pair(3)
    track, plain = follow(labels, labels, amodal), follow(control, control, amodal)
    with pytest.raises(ValueError, match="never hidden"):
        passage(plain, plain)
    with pytest.raises(ValueError, match="hidden in frame 6 of the control"):
        passage(track, track)
    with pytest.raises(ValueError, match="24 frames with the occlusion and 23 without"):
        passage(track, follow(control[1:], control[1:], amodal[1:]))
    with pytest.raises(ValueError, match="outside of the full masks in frame 0"):
        follow(control, control, np.roll(amodal, 3, axis=2))
    with pytest.raises(ValueError, match="differ"):
        follow(labels[1:], labels, amodal)
    with pytest.raises(ValueError, match="differ"):
        follow(labels, labels, amodal[:, 1:])
    one = passage(track, plain)
    with pytest.raises(ValueError, match="every scene the same"):
        tabulate([[one], [one, one]])
    with pytest.raises(ValueError, match="known: before, back, soon, end"):
        tabulate([[one]]).loss("claimed")


def test_intervals_of_a_loss_are_over_scenes_and_leave_out_those_without_it():
    """Every scene is drawn whole: losses that are the same in all scenes are sure, whatever the scenes' own level."""
    labels, control, amodal = pair(3)
    lost = labels.copy()
    lost[7:][lost[7:] == 1] = 0
    good, bad = (passage(follow(p, labels, amodal), follow(control, control, amodal)) for p in (labels, lost))
    hidden = passage(follow(*[pair(20)[0]] * 2, amodal), follow(control, control, amodal))
    table = tabulate([[bad, good, bad]] * 5 + [[bad, bad, hidden]] * 5)
    same, split, missing = table.intervals("back")
    assert (same.low, same.mean, same.high) == (1, 1, 1)
    assert 0 < split.low < split.mean == 0.5 < split.high < 1
    assert (missing.low, missing.high) == (1, 1)
    again = PassageTable.from_dict(json.loads(json.dumps(table.to_dict())))
    for name in vars(good):
        np.testing.assert_array_equal(again[name], table[name])
