"""What is scored and how it is averaged, counted again one pixel, one frame and one object at a time."""

import math

import numpy as np
import pytest

from sstlib.evaluation import Evaluation
from sstlib.experiments.execute import summary
from sstlib.experiments.validation import measured
from sstlib.metrics import PROTOCOLS, SequenceScore, SequenceScorer, Statistics, contour_accuracy, score_sequence

SHAPE = (7, 11)


def mean(values):
    values = [float(v) for v in values if not math.isnan(v)]
    return sum(values) / len(values) if values else math.nan


def recall(values):
    """Share of frames above a half; a half itself is not."""
    return mean(1.0 if v > 0.5 else 0.0 for v in values if not math.isnan(v))


def decay(values):
    """Mean of the first quarter of the frames less that of the last; quarters share their end frames, half a frame
    is rounded up.
    """
    values = [v for v in values if not math.isnan(v)]
    ends = [math.floor(1 + (len(values) - 1) * k / 4 + 0.5 + 1e-10) - 1 for k in range(5)]
    return mean(values[ends[0]:ends[1] + 1]) - mean(values[ends[3]:ends[4] + 1])


PARTS = {"mean": mean, "recall": recall, "decay": decay}


@pytest.mark.parametrize("frames", range(1, 24))
def test_statistics_of_an_object(frames):
    values = np.random.default_rng(frames).integers(0, 11, frames) / 10  # every tenth or so is exactly a half
    values[frames // 2] = 0.5
    scored = np.insert(values, frames // 2, np.nan)
    result = Statistics.of(scored)
    assert (result.mean, result.recall) == pytest.approx((mean(values), recall(values)))
    assert result.decay == pytest.approx(decay(values))


def test_a_half_is_not_recalled():
    assert [Statistics.of(np.array([v])).recall for v in (0.5, np.nextafter(0.5, 1), np.nextafter(0.5, 0))] == [0, 1, 0]


def scores():
    """Three sequences of one, three and two objects, the last of which has a frame in which one of them is not
    scored.
    """
    rng, result = np.random.default_rng(3), []
    for name, objects, frames in (("one", 1, 5), ("three", 3, 9), ("two", 2, 6)):
        similarity, accuracy = rng.integers(0, 11, (2, objects, frames)) / 10
        if name == "two":
            similarity[1, :2] = accuracy[1, :2] = np.nan
        result.append(
            SequenceScore(name, tuple(range(1, objects + 1)), tuple(map(str, range(frames))), similarity, accuracy))
    return result


def over_objects(rows, part):
    """J, F and their mean: each the mean over all objects alike of a statistic of the object's frames."""
    j, f = (mean(PARTS[part](row) for row in [list(value) for value in values]) for values in zip(*rows))
    return {"J": j, "F": f, "J&F": (j + f) / 2}


def known(values):
    """Those of J and F, whatever other metrics there are."""
    return {k: values[k] for k in ("J", "F", "J&F")}


def rows_of(chosen):
    return [(j, f) for score in chosen for j, f in zip(score.similarity, score.accuracy)]


def test_a_record_weighs_every_object_alike_and_not_every_sequence():
    for result in (summary(scores()),
                   measured(Evaluation(PROTOCOLS["davis2017"], {s.name: s for s in scores()}, (), {}, {}))):
        assert {k: result[k] for k in ("J", "F", "J&F")} == pytest.approx(over_objects(rows_of(scores()), "mean"))
        for part in ("recall", "decay"):
            assert known(result[part]) == pytest.approx(over_objects(rows_of(scores()), part))
        for score in scores():
            assert known(result["sequences"][score.name]) == pytest.approx(over_objects(rows_of([score]), "mean"))
    by_sequence = mean(over_objects(rows_of([score]), "mean")["J&F"] for score in scores())
    assert abs(by_sequence - result["J&F"]) > 0.01, "the scores do not tell the two averages apart"
    assert result["frames"] == {"one": {"J": scores()[0].similarity[0].tolist(), "F": scores()[0].accuracy[0].tolist()}}


def test_an_evaluation_averages_over_objects_and_g_over_seen_and_unseen_ones():
    groups = {
        "seen": frozenset({("one", 1), ("three", 1), ("three", 3)}), "unseen": frozenset({("three", 2), ("two", 1),
                                                                                          ("two", 2)})
    }
    evaluation = Evaluation(PROTOCOLS["youtube"], {s.name: s for s in scores()}, (), {}, groups)
    for part in PARTS:
        expected = over_objects(rows_of(scores()), part)
        assert known({k: getattr(s, part) for k, s in evaluation.overall().items()}) == pytest.approx(expected)
    result, parts = evaluation.youtube(), []
    for group, members in groups.items():
        rows = [(s.similarity[o - 1], s.accuracy[o - 1]) for s in scores() for o in s.objects if (s.name, o) in members]
        expected = over_objects(rows, "mean")
        assert (result[f"J_{group}"], result[f"F_{group}"]) == pytest.approx((expected["J"], expected["F"]))
        parts += [expected["J"], expected["F"]]
    assert result["G"] == pytest.approx(sum(parts) / 4) and result["official"] is False
    assert evaluation.means("J") == {s.name: [pytest.approx(mean(row)) for row in s.similarity] for s in scores()}


def clip(seed):
    """Six frames predicted and true: objects 2 and 4 are there from the start, 7 joins in frame 1, 3 in frame 3 and
    8 in the last one.
    """
    rng = np.random.default_rng(seed)
    truths = rng.choice(np.array([0, 2, 4, 7, 255], np.uint8), (6, *SHAPE))
    truths[0][truths[0] == 7] = 0
    truths[3][truths[3] == 4] = 0  # gone for a frame
    truths[3:, 0, :4], truths[5, 1, :4] = 3, 8
    predictions = np.where(
        rng.random(truths.shape) < 0.6, truths, rng.choice(np.array([0, 2, 3, 4, 7, 9], np.uint8), truths.shape))
    return predictions, truths


def similarity(prediction, truth, value):
    both = sum(int(p == value and t == value) for p, t in zip(prediction.flat, truth.flat))
    either = sum(int(p == value or t == value) for p, t in zip(prediction.flat, truth.flat))
    return both / either if either else 1.0


# protocol: frames that are scored, and from which on each object is; DAVIS knows ids up to the largest of the first
# frame
SCORED = {
    "davis2017": (range(1, 5), {2: 1, 3: 1, 4: 1}),
    "youtube": (range(1, 6), {2: 1, 3: 4, 4: 1, 7: 2}),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("protocol", SCORED)
def test_objects_are_scored_from_the_frame_after_the_one_they_are_given_in(protocol, seed):
    predictions, truths = clip(seed)
    frames, since = SCORED[protocol]
    expected = {
        o: [similarity(predictions[t], truths[t], o) if t >= first else None for t in frames]
        for o, first in since.items()
    }
    contours = {
        o: [contour_accuracy(predictions[t] == o, truths[t] == o) if t >= first else None for t in frames]
        for o, first in since.items()
    }
    whole = score_sequence(predictions, truths, PROTOCOLS[protocol])
    scorer = SequenceScorer(PROTOCOLS[protocol])
    each = [scorer.update(*pair) for pair in zip(predictions, truths)]
    for score in (whole, scorer.result()):
        assert score.objects == tuple(since) and score.frames == tuple(f"{t:05d}" for t in frames)
        written = score.to_dict()["objects"]
        assert {int(o): row["J_per_frame"] for o, row in written.items()} == expected
        assert {int(o): row["F_per_frame"] for o, row in written.items()} == contours
    assert each[0] == {}
    for number, t in enumerate(frames):
        # What is to come is not known yet
        known = [o for o, first in since.items() if t >= first and (truths[:t + 1] == o).any()]
        assert each[t] == {o: (expected[o][number], contours[o][number]) for o in known}


@pytest.mark.parametrize("first, same", [((0, 255), True), ((0, 1, 255), False)])
def test_davis_2016_has_one_object_written_as_255_or_with_void_beside_it(first, same):
    """What 255 is follows from the first annotation, for the whole sequence."""
    rng = np.random.default_rng(5)
    truths = rng.choice(np.array([0, 1, 255], np.uint8), (4, *SHAPE))
    truths[0] = rng.choice(np.array(first, np.uint8), SHAPE)
    predictions = rng.choice(np.array([0, 255], np.uint8), (4, *SHAPE))
    result = score_sequence(predictions, truths, PROTOCOLS["davis2016"])
    scorer = SequenceScorer(PROTOCOLS["davis2016"])
    for pair in zip(predictions, truths):
        scorer.update(*pair)
    objects = [(t != 0) if same else (t == 1) for t in truths]
    expected = [[similarity(predictions[t] != 0, objects[t], True) for t in (1, 2)]]
    assert result.similarity.tolist() == scorer.result().similarity.tolist() == expected
