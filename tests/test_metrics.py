"""J and F against the official evaluator's values, and against a brute-force reading of their definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sstlib import metrics
from sstlib.metrics import PROTOCOLS, SequenceScorer, Statistics, score_sequence

GOLDENS = Path(__file__).parent / "goldens"
OFFICIAL = json.loads((GOLDENS / "official_values.json").read_text())


def golden(name: str, side: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted((GOLDENS / side / name).glob("*.png"))])


def brute_force(prediction: np.ndarray, truth: np.ndarray, radius: int) -> tuple[float, float, float, float]:
    """J, F, precision and recall by definition: boundary by neighbors, agreement by all distances."""
    height, width = truth.shape

    def edge(mask):
        def at(y, x):
            return mask[min(y, height - 1), min(x, width - 1)]
        return [(y, x) for y in range(height) for x in range(width)
                if any(at(y, x) != at(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (1, 1)))]

    def share(points, others):
        near = [any((y - v) ** 2 + (x - u) ** 2 <= radius ** 2 for v, u in others) for y, x in points]
        return sum(near) / len(points) if points else 1.0

    union = (prediction | truth).sum()
    precision, recall = share(edge(prediction), edge(truth)), share(edge(truth), edge(prediction))
    accuracy = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return (prediction & truth).sum() / union if union else 1.0, accuracy, precision, recall


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_number_of_the_official_evaluator_is_reproduced_to_the_last_bit(name):
    score = score_sequence(golden(name, "predictions"), golden(name, "Annotations"), name=name).to_dict()
    assert list(score["objects"]) == list(OFFICIAL[name])
    for label, expected in OFFICIAL[name].items():
        assert {key: score["objects"][label][key] for key in expected} == expected


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (11, 1), (13, 7), (5, 131)])
def test_both_measures_agree_with_brute_force(size, radius):
    generator = np.random.default_rng(3)
    for density in (0.05, 0.5, 0.95):
        prediction, truth = generator.random((2, *size)) < density
        similarity, accuracy, _, _ = brute_force(prediction, truth, radius)
        assert metrics.region_similarity(prediction, truth) == similarity
        assert metrics.contour_accuracy(prediction, truth, radius) == accuracy


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
    with pytest.raises(ValueError, match="2 annotated frames and none of them is scored"):
        score_sequence(*2 * [np.stack([label, label])])
    with pytest.raises(ValueError, match="3 predicted frames against 2"):
        score_sequence(np.stack([label] * 3), np.stack([label] * 2))
