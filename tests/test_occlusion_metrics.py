"""Occlusion measures on clips made by hand, where every answer is known."""

import numpy as np
import pytest
from PIL import Image

from sstlib.evaluation import Evaluation
from sstlib.evaluation.occlusion import score_occlusion, summarize_occlusion
from sstlib.evaluation.predicted import PredictedClips
from sstlib.metrics import PROTOCOLS
from sstlib.video import ArraySequence, write_mask

HEIGHT, WIDTH = 11, 23


def clip(*frames: dict[int, tuple[int, int]]) -> np.ndarray:
    """Label maps whose objects fill whole columns: {id: (first column, last column)} a frame."""
    labels = np.zeros((len(frames), HEIGHT, WIDTH), np.uint8)
    for label, columns in zip(labels, frames):
        for value, (first, last) in columns.items():
            label[:, first:last + 1] = value
    return labels


def share(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=float)


def test_similarity_is_pooled_by_what_can_be_seen_of_an_object():
    truth = clip({1: (0, 3)}, {1: (0, 3)}, {1: (0, 1)}, {1: (0, 0)}, {1: (0, 3)})
    prediction = clip({1: (0, 3)}, {1: (0, 3)}, {1: (0, 3)}, {1: (0, 3)}, {1: (0, 1)})
    result = summarize_occlusion([score_occlusion(prediction, truth, share([1], [1], [0.5], [0.25], [1]))])
    assert [(b["J"], b["frames"]) for b in result["by_visible_share"]] == [(0.25, 1), (0.5, 1), (None, 0), (0.75, 2)]
    assert result["after_reappearance"] == {"J": [None] * 5, "mean": None, "events": 0}
    assert result["while_gone"] == {"frames": 0, "share": None, "area": None}


def test_frames_after_a_reappearance_are_followed_until_the_object_goes_again():
    seen, nothing = {1: (0, 3)}, {}
    truth = clip(seen, nothing, seen, seen, nothing, nothing, seen, seen, seen)
    prediction = clip(seen, nothing, nothing, {1: (0, 1)}, nothing, nothing, seen, {1: (0, 2)}, seen)
    visible = share([1], [np.nan], [1], [1], [0], [0], [1], [1], [1])
    result = summarize_occlusion([score_occlusion(prediction, truth, visible)], first=2)
    assert result["after_reappearance"] == {"J": [0.5, 0.625], "mean": 0.5625, "events": 2}
    assert result["while_gone"] == {"frames": 3, "share": 0.0, "area": 0.0}


def test_a_claim_while_the_object_is_gone_is_a_false_positive():
    truth = clip({1: (0, 3)}, {}, {}, {1: (0, 3)})
    prediction = clip({1: (0, 3)}, {1: (5, 6)}, {}, {1: (0, 3)})
    result = summarize_occlusion([score_occlusion(prediction, truth, share([1], [0], [0], [1]))])
    assert result["while_gone"] == {"frames": 2, "share": 0.5, "area": pytest.approx(1 / WIDTH)}


def test_a_swap_is_counted_when_it_begins_and_not_when_it_ends():
    both, crossed = {1: (0, 3), 2: (8, 11)}, {2: (0, 3), 1: (8, 11)}
    prediction = clip(both, both, crossed, crossed, both, {1: (0, 1), 2: (8, 11)}, crossed)
    result = summarize_occlusion([score_occlusion(prediction, clip(*[both] * 7), np.ones((7, 2)))])
    assert result["identity"] == {"swaps": 4, "share": 0.5}


def test_an_object_that_hardly_any_label_covers_is_lost_and_not_swapped():
    truth = clip(*[{1: (0, 3), 2: (8, 11)}] * 2)
    for first, carrier, swaps in ((3, 0, 0), (2, 2, 1)):  # a quarter of its columns, and half, which is enough
        score = score_occlusion(clip({}, {2: (first, 11)}), truth, np.ones((2, 2)))
        assert score.carrier.tolist() == [[carrier], [2]]
        assert score.swaps() == swaps


def test_relabeling_clip_and_prediction_alike_changes_nothing():
    generator = np.random.default_rng(5)
    prediction, truth = generator.integers(3, size=(2, 13, 7, 5), dtype=np.uint8)
    truth[4:6] = 0
    visible = generator.random((13, 2))
    renamed = np.array([0, 9, 4], np.uint8)
    plain = summarize_occlusion([score_occlusion(prediction, truth, visible)])
    assert summarize_occlusion([score_occlusion(renamed[prediction], renamed[truth], visible, objects=(9, 4))]) == plain
    assert plain["after_reappearance"]["events"] == 2


def test_pooling_clips_weighs_every_frame_alike():
    seen = {1: (0, 3)}
    one = score_occlusion(clip(seen, seen), clip(seen, seen), np.ones((2, 1)))
    three = score_occlusion(clip(seen, {}, {}, {}), clip(*[seen] * 4), np.ones((4, 1)))
    best = summarize_occlusion([one, three])["by_visible_share"][-1]
    assert best == {"low": 0.75, "high": 1.0, "J": 0.25, "frames": 4}
    assert summarize_occlusion([])["identity"] == {"swaps": 0, "share": None}


def test_masks_of_clips_are_asked_for_where_they_count_and_make_the_fingerprint(tmp_path):
    clip = ArraySequence(np.zeros((4, 20, 30, 3), np.uint8))
    truth = np.zeros((4, 20, 30), np.uint8)
    contents = []
    for side in (5, 6):
        for t in (1, 2):  # the first is given, the last is not scored
            truth[t, :side, :side] = 1
            write_mask(tmp_path / clip.name / f"{t:05d}.png", truth[t])
        read = PredictedClips(tmp_path, [clip], "error")
        np.testing.assert_array_equal(read.labels(clip, truth), truth)
        contents.append(tuple(read.content))
    assert len(contents[0]) == 5 and contents[0] != contents[1]
    (tmp_path / clip.name / "00002.png").unlink()
    with pytest.raises(FileNotFoundError, match="00002"):
        PredictedClips(tmp_path, [clip], "error")
    (tmp_path / clip.name / "00001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"clip/ \(all 2 frames\)"):
        PredictedClips(tmp_path, [clip], "error")


@pytest.mark.parametrize("colors, words", [
    ([(0, 0, 0), (255, 255, 255), (255, 255, 255)], ["are read white on black", "tell one object from the background"]),
    ([(0, 0, 0), (0, 255, 0), (255, 0, 0)], ["are read by color: 1 = #00FF00, 2 = #FF0000"])])
def test_masks_of_clips_that_are_not_read_by_id_are_noted(tmp_path, colors, words):
    clip = ArraySequence(np.zeros((4, 20, 30, 3), np.uint8))
    truth = np.zeros((4, 20, 30), np.uint8)
    truth[:, 2:9, 3:9], truth[:, 2:9, 15:28] = 1, 2
    for t in (1, 2):
        (tmp_path / clip.name).mkdir(exist_ok=True)
        Image.fromarray(np.array(colors, np.uint8)[truth[t]]).save(tmp_path / clip.name / f"{t:05d}.png")
    read = PredictedClips(tmp_path, [clip], "error")
    read.labels(clip, truth)
    notes = read.with_provenance(Evaluation(PROTOCOLS["davis2017"], {}, (), {}, {}), "clips", "").notes
    assert len(notes) == len(words) and all(part in note for part, note in zip(words, notes))


def followed(prediction, truth, visible, first):
    """The answers on one clip of objects 1 and 2, an object and a frame at a time."""
    seen, steps, swaps, carriers, claims = [], [[] for _ in range(first)], 0, [], []
    for value in (1, 2):
        pairs = [(one == value, other == value) for one, other in zip(truth, prediction)]
        values = [(true & claimed).sum() / (true | claimed).sum() if (true | claimed).any() else 1.0
                  for true, claimed in pairs]
        label = value
        for t, (true, claimed) in list(enumerate(pairs))[1:]:
            held = {other: (true & (prediction[t] == other)).sum() for other in (1, 2)}
            carrier = max(held, key=held.get)
            carrier = carrier if held[carrier] and 2 * held[carrier] >= true.sum() else 0
            if carrier and carrier != label:
                swaps, label = swaps + (carrier != value), carrier
            if not true.any():
                claims.append(claimed.mean())
                continue
            carriers.append(carrier not in (0, value))
            seen.append((np.nan_to_num(visible[t, value - 1]), values[t]))
            if t > 1 and not pairs[t - 1][0].any():
                for step in range(first):
                    if t + step == len(truth) or not pairs[t + step][0].any():
                        break
                    steps[step].append(values[t + step])
    return seen, steps, swaps, carriers, claims


def mean(values):
    return pytest.approx(np.mean(values)) if len(values) else None


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_is_what_a_loop_over_objects_and_frames_finds(seed):
    random = np.random.default_rng(seed)
    prediction, truth = random.integers(3, size=(2, 9, 2, 3), dtype=np.uint8)
    for value in (1, 2):
        truth[(truth == value) & (random.random((9, 1, 1)) < 0.4)] = 0
    visible = random.choice([0, 0.1, 0.25, 0.6, 1, np.nan], (9, 2))
    seen, steps, swaps, carriers, claims = followed(prediction, truth, visible, 3)
    result = summarize_occlusion([score_occlusion(prediction, truth, visible)], first=3)
    for one in result["by_visible_share"]:
        values = [value for share, value in seen if one["low"] < share <= one["high"]]
        assert (one["J"], one["frames"]) == (mean(values), len(values))
    assert result["after_reappearance"]["J"] == [mean(step) for step in steps]
    assert result["after_reappearance"]["events"] == len(steps[0])
    assert result["identity"] == {"swaps": swaps, "share": mean(carriers)}
    assert result["while_gone"] == {"frames": len(claims), "share": mean(np.array(claims) > 0), "area": mean(claims)}
