"""J and F against the official evaluator's values, and against a brute-force reading of their definitions."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sstlib import metrics
from sstlib.benchmarks.scoring import plain_counts
from sstlib.metrics import METRICS, PROTOCOLS, Metric, SequenceScorer, Statistics, counts, frame_counts, score_sequence
from sstlib.metrics.counts import numpy_counts, present
from sstlib.metrics.scores import accuracy, precision_recall, similarity

GOLDENS = Path(__file__).parent / "goldens"
OFFICIAL = json.loads((GOLDENS / "official_values.json").read_text())


def golden(name: str, side: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted((GOLDENS / side / name).glob("*.png"))])


def brute_force(prediction: np.ndarray, truth: np.ndarray, radius: int) -> tuple[int, ...]:
    """The six counts by definition: boundary by neighbors, agreement by distances of all pairs of boundary pixels."""
    height, width = truth.shape

    def edge(mask):
        y, x = np.mgrid[:height, :width]
        neighbors = [mask[np.minimum(y + dy, height - 1), np.minimum(x + dx, width - 1)]
                     for dy, dx in ((0, 1), (1, 0), (1, 1))]
        return np.argwhere(np.any([mask != other for other in neighbors], axis=0))

    def near(points, others):
        return int((((points[:, None] - others[None]) ** 2).sum(-1) <= radius ** 2).any(axis=1).sum())

    predicted, true = edge(prediction), edge(truth)
    return (int((prediction & truth).sum()), int((prediction | truth).sum()), len(predicted), len(true),
            near(predicted, true), near(true, predicted))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", OFFICIAL)
def test_every_number_of_the_official_evaluator_is_reproduced_to_the_last_bit(name, native, monkeypatch):
    if not native:
        monkeypatch.setattr(counts, "kernel", lambda: None)
    score = score_sequence(golden(name, "predictions"), golden(name, "Annotations"), name=name).to_dict()
    assert list(score["objects"]) == list(OFFICIAL[name])
    for label, expected in OFFICIAL[name].items():
        assert {key: score["objects"][label][key] for key in expected} == expected


@st.composite
def label_maps(draw, size):
    """Empty, full, noisy or drawn maps of up to three objects: rectangles, points, lines, also at the border."""
    height, width = size
    kind = draw(st.sampled_from(["empty", "full", "noise", "shapes", "shapes", "shapes"]))
    labels = np.zeros(size, np.uint8)
    if kind == "full":
        labels[:] = draw(st.integers(1, 3))
    elif kind == "noise":
        labels[:] = np.random.default_rng(draw(st.integers(0, 10 ** 6))).choice([0, 0, 1, 2, 3, 255], size)
    elif kind == "shapes":
        for _ in range(draw(st.integers(1, 4))):
            top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
            rows = draw(st.sampled_from([1, 1, 2, height - top, draw(st.integers(1, height))]))
            columns = draw(st.sampled_from([1, 1, 2, width - left, draw(st.integers(1, width))]))
            labels[top:top + rows, left:left + columns] = draw(st.sampled_from([1, 1, 2, 3, 0]))
    return labels


@st.composite
def label_pairs(draw):
    """Two maps of one size; the second is often the first, shifted or with a few changes, as predictions are."""
    size = draw(st.sampled_from([(1, 1), (1, 9), (7, 1), (2, 3), (5, 11), (9, 4), (3, 67), (13, 8)]))
    first = draw(label_maps(size))
    if draw(st.booleans()):
        return first, draw(label_maps(size))
    second = np.roll(first, (draw(st.integers(-2, 2)), draw(st.integers(-2, 2))), axis=(0, 1))
    second[draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))] = draw(st.integers(0, 3))
    return first, second


@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pair=label_pairs(), radius=st.integers(0, 6))
def test_counts_agree_with_brute_force_on_two_thousand_pairs(pair, radius):
    prediction, truth = pair
    result = frame_counts(prediction, truth, (1, 2, 3), radius)
    np.testing.assert_array_equal(result, numpy_counts(prediction, truth, (1, 2, 3), radius))
    for value, row in zip((1, 2, 3), result):
        if value not in prediction and value not in truth:
            assert not row.any()
            continue
        assert tuple(row) == brute_force(prediction == value, truth == value, radius)


@pytest.mark.parametrize("radius", [63, 64, 70])
def test_a_disk_wider_than_a_word_is_counted_too(radius):
    prediction, truth = np.zeros((2, 5, 331), np.uint8)
    prediction[1:3, 50:170], truth[3, [3, 300]] = 1, 1
    expected = brute_force(prediction == 1, truth == 1, radius)
    assert tuple(frame_counts(prediction, truth, (1,), radius)[0]) == expected
    assert 0 < expected[4] < expected[2] and 0 < expected[5] < expected[3]


@pytest.mark.parametrize("name", ["hd", "border-exit"])
def test_counts_agree_with_whole_frames_dilated_by_opencv(name):
    pytest.importorskip("cv2", reason="the plain implementation needs OpenCV")
    for prediction, truth in zip(golden(name, "predictions"), golden(name, "Annotations")):
        radius = metrics.tolerance_radius(*truth.shape)
        expected = [plain_counts(prediction == value, truth == value, radius) for value in (1, 2)]
        assert frame_counts(prediction, truth, (1, 2)).tolist() == expected
        assert numpy_counts(prediction, truth, (1, 2), radius).tolist() == expected


def test_similarity_and_accuracy_of_masks_follow_from_the_counts():
    prediction, truth = np.random.default_rng(3).random((2, 13, 7)) < 0.3
    both, either, predicted, true, matched, result = brute_force(prediction, truth, 1)
    precision, recall = matched / predicted, result / true
    assert metrics.region_similarity(prediction, truth) == both / either
    assert metrics.contour_accuracy(prediction, truth) == 2 * precision * recall / (precision + recall)
    nothing = np.zeros_like(truth)
    assert metrics.region_similarity(nothing, nothing) == metrics.contour_accuracy(nothing, nothing) == 1
    assert metrics.region_similarity(nothing, truth) == metrics.contour_accuracy(nothing, truth) == 0


@pytest.mark.parametrize("size", [(1, 1), (7, 129), (61, 83)])
def test_present_lists_the_values_that_occur(size):
    generator = np.random.default_rng(3)
    for values in ([0], [255], [0, 1, 255], list(range(0, 250, 7))):
        labels = generator.choice(np.array(values, np.uint8), size)
        assert present(labels) == tuple(np.unique(labels).tolist())
        assert present(labels[:, ::-1]) == present(labels)


def test_agreement_of_boundaries_splits_what_the_counts_sum():
    prediction, truth = (golden("vanish", side)[2] == 1 for side in ("predictions", "Annotations"))
    row = frame_counts(prediction.view(np.uint8), truth.view(np.uint8), (1,))[0]
    agreement = metrics.boundary_agreement(prediction, truth)
    expected = [row[4], row[2] - row[4], row[5], row[3] - row[5]]
    assert [int(part.sum()) for part in agreement] == expected
    np.testing.assert_array_equal(agreement.matched | agreement.false, metrics.boundary(prediction))
    np.testing.assert_array_equal(agreement.recalled | agreement.missed, metrics.boundary(truth))


def test_swapping_prediction_and_truth_swaps_precision_and_recall():
    prediction, truth = golden("occlusion", "predictions"), golden("occlusion", "Annotations")
    for one, other in zip(prediction, truth):
        forward, backward = frame_counts(one, other, (1, 2, 3)), frame_counts(other, one, (1, 2, 3))
        for straight, crossed in zip(precision_recall(forward), reversed(precision_recall(backward))):
            np.testing.assert_array_equal(straight, crossed)
        np.testing.assert_array_equal(similarity(forward), similarity(backward))
        np.testing.assert_array_equal(accuracy(forward), accuracy(backward))


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (-3, 64), (5, -63)])
def test_moving_both_away_from_the_border_changes_nothing(shift):
    prediction, truth = np.zeros((2, 73, 211), np.uint8)
    for labels, side in ((prediction, "predictions"), (truth, "Annotations")):
        labels[11:50, 70:131] = golden("vanish", side)[2][:39, :61]
    moved = [np.roll(labels, shift, axis=(0, 1)) for labels in (prediction, truth)]
    np.testing.assert_array_equal(frame_counts(*moved, (1,), 5), frame_counts(prediction, truth, (1,), 5))


def test_permuting_ids_in_both_permutes_the_rows():
    prediction, truth = golden("occlusion", "predictions"), golden("occlusion", "Annotations")
    renamed = np.arange(256, dtype=np.uint8)
    renamed[[1, 2, 3]] = 3, 1, 2
    plain, permuted = score_sequence(prediction, truth), score_sequence(renamed[prediction], renamed[truth])
    np.testing.assert_array_equal(permuted.similarity, plain.similarity[[1, 2, 0]])
    np.testing.assert_array_equal(permuted.accuracy, plain.accuracy[[1, 2, 0]])


def test_ids_need_not_be_contiguous():
    prediction, truth = golden("occlusion", "predictions"), golden("occlusion", "Annotations")
    renamed = np.arange(256, dtype=np.uint8)
    renamed[[1, 2, 3]] = 7, 40, 254
    plain, sparse = score_sequence(prediction, truth), score_sequence(renamed[prediction], renamed[truth])
    assert sparse.objects == (7, 40, 254)
    np.testing.assert_array_equal(sparse.similarity, plain.similarity)
    np.testing.assert_array_equal(sparse.accuracy, plain.accuracy)


def test_another_object_changes_no_row_but_its_own():
    prediction, truth = golden("thin-lines", "predictions"), golden("thin-lines", "Annotations")
    more = [labels.copy() for labels in (prediction, truth)]
    for labels, columns in zip(more, (slice(3, 9), slice(4, 11))):
        corner = labels[:, :7, columns]
        corner[corner == 0] = 9
    plain, extended = score_sequence(prediction, truth), score_sequence(*more)
    assert extended.objects == (*plain.objects, 9)
    np.testing.assert_array_equal(extended.similarity[:-1], plain.similarity)
    np.testing.assert_array_equal(extended.accuracy[:-1], plain.accuracy)


def test_labels_beyond_the_truth_are_background_and_told():
    prediction, truth = golden("vanish", "predictions"), golden("vanish", "Annotations")
    extra = prediction.copy()
    extra[5, :3][prediction[5, :3] == 0] = 8
    plain, noted = score_sequence(prediction, truth), score_sequence(extra, truth, name="vanish")
    np.testing.assert_array_equal(noted.similarity, plain.similarity)
    assert noted.notes == ("sequence vanish: predicted labels [8] are no objects of the truth and count as background",)
    extra = prediction.copy()
    extra[[0, -1], 0, 0] = 8
    assert not score_sequence(extra, truth).notes, "what is not scored is not spoken of"


def test_tolerance_is_that_of_the_official_evaluator():
    assert [metrics.tolerance_radius(*size) for size in ((480, 854), (720, 1280), (97, 131))] == [8, 12, 2]


def test_decay_counts_frames_beyond_256():
    values = np.linspace(1.0, 0.0, 401)
    assert Statistics.of(values).decay == pytest.approx(0.75)


def test_first_and_last_frame_are_not_scored_and_void_is_background():
    truth = np.zeros((4, 11, 17), np.uint8)
    truth[:, 2:7, 3:9] = 1
    prediction = truth.copy()
    prediction[[0, 3]] = 0
    truth[:, 8:, :] = 255
    score = score_sequence(prediction, truth)
    assert score.frames == ("00001", "00002")
    assert score.similarity.tolist() == score.accuracy.tolist() == [[1.0, 1.0]]


def test_frames_given_one_by_one_score_as_the_whole_sequence_does():
    prediction, truth = golden("occlusion", "predictions"), golden("occlusion", "Annotations")
    scorer = SequenceScorer()
    frames = [scorer.update(*pair) for pair in zip(prediction, truth)]
    assert frames[0] == {}
    whole = score_sequence(prediction, truth)
    for index, frame in enumerate(frames[1:-1]):
        assert frame == dict(zip(whole.objects, zip(whole.similarity[:, index], whole.accuracy[:, index])))


def test_an_object_gone_from_the_truth_but_predicted_scores_zero_and_gone_from_both_one():
    truth = np.zeros((4, 11, 17), np.uint8)
    truth[0, 2:7, 3:9] = 1
    prediction = truth.copy()
    prediction[2, 1:3, 1:4] = 1
    score = score_sequence(prediction, truth)
    assert score.similarity.tolist() == score.accuracy.tolist() == [[1.0, 0.0]]


def test_objects_that_join_later_are_scored_from_the_frame_after_by_the_youtube_protocol_alone():
    truth = np.zeros((5, 11, 17), np.uint8)
    truth[:, 2:7, 3:9] = 3
    truth[2:, 8:, :5] = 7
    late = score_sequence(truth, truth, PROTOCOLS["youtube"], "late")
    assert late.objects == (3, 7)
    np.testing.assert_array_equal(late.similarity, [[1, 1, 1, 1], [np.nan, np.nan, 1, 1]])
    assert late.to_dict()["objects"]["7"]["J_per_frame"] == [None, None, 1.0, 1.0]
    davis = score_sequence(truth, truth, name="late")
    assert davis.objects == (3,)
    assert davis.notes == ("sequence late: objects [7] join later and are not scored by davis2017",)


def test_what_cannot_be_scored_is_refused():
    label = np.ones((11, 17), np.uint8)
    with pytest.raises(ValueError, match="11 x 16 and the truth 11 x 17"):
        SequenceScorer().update(label[:, 1:], label)
    with pytest.raises(ValueError, match="holds no object.*davis2016"):
        score_sequence(*2 * [np.tile(np.array([0, 255], np.uint8), (3, 4, 2))])
    with pytest.raises(ValueError, match="no annotated frame that is scored: .* leaves out the first"):
        score_sequence(*2 * [np.stack([label, label])])
    with pytest.raises(ValueError, match="3 predicted frames against 2"):
        score_sequence(np.stack([label] * 3), np.stack([label] * 2))


@pytest.mark.parametrize("side, values, objects", [
    ("prediction", (0, 0, 255, 255, 255), (0, 0, 1, 1, 1)), ("prediction", (0, 1, 255, 1, 1), (0, 1, 0, 1, 1)),
    ("truth", (255, 255, 0, 255, 255), (1, 1, 0, 1, 1)), ("truth", (1, 255, 1, 1, 1), (1, 0, 1, 1, 1)),
])
def test_the_first_frame_that_shows_anything_says_what_255_is(side, values, objects):
    square = np.zeros((5, 9, 13), np.uint8)
    square[:, 2:6, 3:9] = 1
    written, meant = (square * np.array(numbers, np.uint8)[:, None, None] for numbers in (values, objects))
    pairs = [(labels, square) if side == "prediction" else (square, labels) for labels in (written, meant)]
    result, expected = (score_sequence(*pair, PROTOCOLS["davis2016"]).similarity[0].tolist() for pair in pairs)
    assert result == expected == [float(value == 1) for value in objects[1:4]]
    scorer = SequenceScorer(PROTOCOLS["davis2016"])
    assert [scorer.update(*frames).get(1, (None,))[0] for frames in zip(*pairs[0])][1:4] == expected


def test_contours_that_nowhere_agree_score_nothing():
    """Both precision and recall are 0, of which there is no harmonic mean."""
    near, far = np.zeros((2, 31, 47), bool)
    near[2:5, 2:6], far[24:29, 38:44] = True, True
    assert metrics.contour_accuracy(near, far) == 0


KINDS_OF_WHOLE = ("int64", "int32", "uint16", "int8", "uint8")


@pytest.mark.parametrize("kind", KINDS_OF_WHOLE)
def test_labels_count_whatever_their_whole_numbers_take(kind):
    """Of int64 labels, such as an argmax, the kernels read an eighth of the pixels: a perfect prediction scored 0."""
    truth = np.zeros((5, 23, 31), np.uint8)
    truth[:, 3:9, 4:20], truth[:, 12:20, 5:9] = 1, 2
    predictions = truth.copy()
    predictions[:, 3:6] = 0
    expected = metrics.score_sequence(predictions, truth)
    for sides in ((predictions.astype(kind), truth), (predictions, truth.astype(kind))):
        score = metrics.score_sequence(*sides)
        assert score.objects == (1, 2) and 0 < score.similarity.min() < 1
        np.testing.assert_array_equal(score.similarity, expected.similarity)
        np.testing.assert_array_equal(score.accuracy, expected.accuracy)
    masks = (predictions[1] == 1).astype(kind), (truth[1] == 1).astype(kind)
    assert metrics.region_similarity(*masks) == expected.similarity[0, 0]
    assert metrics.contour_accuracy(*masks) == expected.accuracy[0, 0]


@pytest.mark.parametrize("labels, words", [
    (np.full((3, 7, 5), 256), "int64, from 256 to 256; give whole numbers"), (np.full((3, 7, 5), -1), "from -1 to -1"),
    (np.ones((3, 7, 5)), "labels are float64, not whole numbers"),
    (np.ma.masked_equal(np.eye(7, 5, dtype=int)[None].repeat(3, 0), 1), "5 of the 35 elements are masked; say what")])
def test_what_are_no_labels_is_not_scored(labels, words):
    truth = np.ones((3, 7, 5), np.uint8)
    for sides in ((labels, truth), (truth, labels)):
        with pytest.raises(ValueError, match=words):
            metrics.score_sequence(*sides)


@pytest.mark.parametrize("mask", [np.full((7, 5), 0.9), np.full((7, 5), 255), np.full((7, 5), 2, np.uint8)])
def test_levels_probabilities_and_ids_are_no_mask(mask):
    """As bytes a probability was 0 and 255 no object: two empty masks, so J was 1."""
    for score in (metrics.region_similarity, metrics.contour_accuracy, metrics.boundary_agreement):
        with pytest.raises(ValueError, match="a mask is true or false, and this one has"):
            inspect.unwrap(score)(mask, np.ones((7, 5), bool))


@pytest.mark.parametrize("score", [metrics.contour_accuracy, metrics.boundary_agreement])
def test_a_radius_is_not_below_0_and_both_masks_have_one_size(score):
    with pytest.raises(ValueError, match="radius is -1; expected a whole number of at least 0"):
        score(*np.ones((2, 7, 5), bool), -1)
    with pytest.raises(ValueError, match="the prediction is 6 x 5 and the truth 7 x 5"):
        inspect.unwrap(score)(np.ones((6, 5), bool), np.ones((7, 5), bool))


def test_a_protocol_has_a_name():
    truth = np.zeros((4, 7, 5), np.uint8)
    truth[:, 2:5, 1:3], truth[:, 5:, 1:3] = 1, 2
    assert metrics.score_sequence(truth, truth, "davis2016").objects == (1,)
    with pytest.raises(ValueError, match="davis2015"):
        metrics.score_sequence(truth, truth, "davis2015")


@pytest.mark.parametrize("made_of, compute, words", [
    ("counts", lambda n: n[..., 0].sum() / n[..., 1].sum(), "gives 0.[0-9]+; expected"),
    ("counts", lambda n: n[..., 0], "gives .*; expected a number .* for each of 2 objects in each of 3 frames"),
    ("counts", lambda n: n[..., 0] / n[..., 1] * np.nan, "gives .*nan"),
    ("masks", lambda prediction, truth: float(np.abs(prediction ^ truth).sum()), "gives"),
    ("masks", lambda prediction, truth: None, "gives .*nan")])
def test_a_metric_that_is_not_from_0_to_1_is_refused_by_its_name(made_of, compute, words, monkeypatch):
    """One number for all frames stood in each of them, and others went into tables as percent."""
    truth = np.zeros((5, 7, 11), np.uint8)
    truth[:, 1:4, 1:6], truth[:, 5:, 6:] = 1, 2
    monkeypatch.setitem(METRICS, "T", Metric("T", "toy", **{made_of: compute}))
    with pytest.raises(ValueError, match=rf"metric T \(toy\) {words}"):
        score_sequence(np.roll(truth, 1, 2), truth)
