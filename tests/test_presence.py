"""Presence and doubt: what they are computed from, what the user said, what they are worth, and how they are told."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sstlib import inference, weights
from sstlib.config import named_model
from sstlib.experiments import records
from sstlib.inference import Segmenter
from sstlib.model import Memory, build, presence
from sstlib.plots.curves import reliability_curves
from sstlib.releasing import doubt
from sstlib.sessions import state
from sstlib.sessions.sentences import sentence, sentences

HEIGHT, WIDTH = 41, 67
FRAMES = np.random.default_rng(3).integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
GIVEN = np.zeros((HEIGHT, WIDTH), np.uint8)
GIVEN[3:18, 5:20], GIVEN[20:35, 40:55] = 4, 9


def test_likeness_is_the_cosine_to_the_given_masks():
    reference, now = torch.tensor([3.0, 4.0, 6.0]), torch.tensor([0.0, 2.0, 2.7])  # the last is the area
    pooled = [
        torch.stack([torch.ones(2, 3), torch.stack([x, 9 - x]),
                     torch.zeros(2, 3)])[None] for x in (reference, now)
    ]
    result = presence.likeness(Memory(1, (), (), *pooled, {}))
    assert result.tolist() == pytest.approx([1.0, 0.8, 0.0])


def test_what_looks_alike_and_is_sure_is_in_sight_and_beyond_doubt():
    good, bad = torch.tensor([[0.99, 0.97]]), torch.tensor([[0.5, 0.6]])
    assert presence.logistic(good, presence.PRESENCE) > 0.9 > 0.5 > presence.logistic(bad, presence.PRESENCE)
    assert presence.logistic(good, presence.DOUBT) < 0.1 < 0.5 < presence.logistic(bad, presence.DOUBT)


HEADS = [{}, {"presence": True}, {"presence": True, "presence_gate": 0.7}]  # without, and as the releases have it


@pytest.mark.parametrize("changes", HEADS, ids=["no head", "head", "gate"])
def test_an_empty_mask_is_as_doubtful_as_its_object_is_in_sight(changes, monkeypatch):
    torch.manual_seed(0)
    segmenter = Segmenter(build(named_model("sst-tiny").replace(**changes)))
    segmenter.step(FRAMES[0], GIVEN)
    computed = []
    judge = presence.presence_and_doubt
    monkeypatch.setattr(inference, "presence_and_doubt", lambda *of: computed.append(judge(*of)) or computed[-1])
    merge = segmenter._merge
    monkeypatch.setattr(segmenter, "_merge", lambda views: merge(views) * torch.tensor([1, 0, 1]).view(1, 3, 1, 1))
    for frame in FRAMES[1:]:
        prediction = segmenter.step(frame)
        assert not (prediction.labels == 4).any() and (prediction.labels == 9).any()
        (first, second), (wrong, other) = computed[-1].tolist()
        assert prediction.presence == {4: min(first, wrong), 9: second}
        assert prediction.doubt == {4: min(first, wrong), 9: other}


@pytest.mark.parametrize("changes", HEADS, ids=["no head", "head", "gate"])
@pytest.mark.parametrize("name", ["sst-tiny", "recurrent-tiny", "stm-tiny", "cfbi-tiny"])
def test_every_method_tells_and_what_the_user_said_is_beyond_doubt(name, changes):
    torch.manual_seed(0)
    segmenter = Segmenter(build(named_model(name).replace(**changes)))
    first = segmenter.step(FRAMES[0], GIVEN)
    assert first.presence == {4: 1.0, 9: 1.0} and first.doubt == {4: 0.0, 9: 0.0}
    second = segmenter.step(FRAMES[1])
    assert set(second.presence) == set(second.doubt) == {4, 9}
    assert all(0 <= p <= 1 for probabilities in (second.presence, second.doubt) for p in probabilities.values())
    third = segmenter.step(FRAMES[2], np.where(GIVEN == 4, 4, 0), absent=[9])
    assert third.presence == {4: 1.0, 9: 0.0} and third.doubt == {4: 0.0, 9: 0.0}
    joined = segmenter.step(FRAMES[3], np.where(GIVEN == 4, 7, 0))
    assert joined.presence[7] == 1.0 and joined.doubt[7] == 0.0 and 0 < joined.doubt[9] < 1
    after = segmenter.step(FRAMES[4])
    assert set(after.presence) == set(after.doubt) == {4, 7, 9}


def test_a_network_with_a_presence_head_says_what_is_in_sight_itself():
    torch.manual_seed(0)
    segmenter = Segmenter(build(named_model("sst-tiny").replace(presence=True)))
    segmenter.step(FRAMES[0], GIVEN)
    segment = segmenter.network.segment

    def certain(features, memory):
        logits = segment(features, memory)
        features.presence = torch.tensor([[[0.0, 0.0], [math.log(3), math.log(4)], [-math.log(4), math.log(9)]]])
        return logits

    segmenter.network.segment = certain
    prediction = segmenter.step(FRAMES[1])
    assert prediction.presence == pytest.approx({4: 0.75, 9: 0.2})
    assert prediction.doubt == pytest.approx(doubts({i: [segmenter.evidence[i]] for i in (4, 9)}))


def doubts(evidence):
    """Doubt by object from the evidence of each frame since its mask was given."""
    means = {i: rows[0] for i, rows in evidence.items()}
    for i, rows in evidence.items():
        for row in rows[1:]:
            means[i] = [0.85 * a + 0.15 * b for a, b in zip(means[i], row)]
    *slopes, bias = presence.DOUBT_COMPARED
    return {i: 1 / (1 + math.exp(-(np.dot(slopes, means[i] + evidence[i][-1]) + bias))) for i in means}


def test_doubt_of_a_network_with_a_head_is_of_running_means_since_the_mask_was_given(tmp_path):
    """Through a stop, a correction and a removal; what it is computed from is read off beside the segmenter."""
    torch.manual_seed(0)
    network = build(named_model("sst-tiny").replace(presence=True))
    segmenter, rows, predicted = Segmenter(network), {4: [], 9: []}, []
    for t, labels in enumerate([GIVEN, None, None, np.where(GIVEN == 4, 4, 0), None, None]):
        if t == 2:
            state.write(tmp_path / "state", state.of_segmenter(segmenter))
            segmenter = Segmenter(network)
            state.into_segmenter(segmenter, state.read(tmp_path / "state"))
        prediction = segmenter.step(FRAMES[t % 5], labels)
        alike = presence.likeness(segmenter.memories[0])
        for channel, i in enumerate(prediction.ids[1:], 1):
            given = labels is not None and (labels == i).any()
            rows[i] = [] if given else rows[i] + [[float(alike[channel]), prediction.confidence[i]]]
        expected = doubts({i: own for i, own in rows.items() if own})
        empty = expected.keys() - set(prediction.labels.flat)
        predicted.append((prediction.doubt, expected | {i: min(expected[i], prediction.presence[i]) for i in empty}))
    assert len(empty) < len(expected)
    for stated, expected in predicted[1:]:
        assert stated == pytest.approx({4: 0.0} | expected, rel=1e-4)
    segmenter.remove(9)
    assert set(segmenter.evidence) == {4} and set(segmenter.step(FRAMES[1]).doubt) == {4}


def test_what_the_gate_takes_out_of_sight_is_not_called_in_sight():
    torch.manual_seed(0)
    segmenter = Segmenter(build(named_model("sst-tiny").replace(presence=True, presence_gate=0.4)))
    segmenter.step(FRAMES[0], GIVEN)
    rows = iter([(9.0, 9.0), (2.0, 9.0)])
    segmenter.network.presence.forward = lambda *_: torch.tensor([[5.0, *next(rows)]])[..., None].expand(1, -1, 2)
    segmenter.step(FRAMES[1])
    lost = segmenter.step(FRAMES[2])
    assert lost.presence == pytest.approx({4: 1 / (1 + math.exp(2)), 9: 1 / (1 + math.exp(-9))})
    assert not (lost.labels == 4).any()


def test_the_coefficients_are_those_of_the_record():
    record = records.read(records.record_path(doubt.EXPERIMENT, "statistic", 0))
    assert tuple(record.config["evidence"]) == presence.EVIDENCE
    for kind, coefficients in (("doubt", presence.DOUBT), ("presence", presence.PRESENCE)):
        assert coefficients == pytest.approx(record.config[kind], abs=0.005)
    for name, digest in record.config["weights"].items():
        assert digest == doubt.fingerprint(name) or name not in weights.released()
    areas = [part["doubt"]["area_under_curve"] for sources in record.metrics.values() for part in sources.values()]
    assert all(0.8 < area["mean"] for area in areas)
    assert all(set(doubt.scores_of(name)) == set(doubt.SOURCES) for name in record.config["weights"])


def test_the_coefficients_of_networks_with_a_head_are_those_of_the_record():
    record = records.read(records.record_path(doubt.EXPERIMENT, "sst-photo", 0))
    assert tuple(record.config["evidence"]) == presence.EVIDENCE and record.config["inertia"] == presence.INERTIA
    assert presence.DOUBT_COMPARED == pytest.approx(record.config["doubt"], abs=0.005)
    assert record.config["weights"] == doubt.fingerprint("sst-photo") and set(record.metrics) == set(doubt.SOURCES)


def test_each_half_is_judged_by_what_the_other_half_taught():
    """Evidence that means the opposite in the two halves ranks everything wrongly."""
    rows = {name: [{"usual": [like, 0.5], "evidence": [like, 0.5], "J": 0.9 if (like > 0.5) == (name in "ac") else 0.1,
                    "visible": True, "presence": 1.0} for like in np.linspace(0, 1, 20)] for name in "abcd"}
    first, second = doubt.halves(rows)
    taught = [doubt.doubt_of({"made": half}) for half in (first, second)]
    crossed = doubt.judged(first, taught[1]) | doubt.judged(second, taught[0])
    assert doubt.scored(crossed)["doubt"]["area_under_curve"]["mean"] == 0
    own = doubt.judged(first, taught[0])
    assert doubt.scored(own)["doubt"]["area_under_curve"]["mean"] == 1


def test_a_fit_finds_the_odds_and_an_area_counts_pairs():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(20000, 2)) * [1, 3] + [0, 5]
    truth = rng.random(20000) < 1 / (1 + np.exp(-(1.5 * numbers[:, 0] - 0.5 * numbers[:, 1] + 2)))
    assert doubt.fit(numbers, truth, decay=0.0) == pytest.approx([1.5, -0.5, 2], rel=0.1)


def rows_of(wrong: str, doubts: list[float]) -> list[dict]:
    """Rows of a clip whose wrong masks are drawn as x."""
    return [{"evidence": [0.5, d], "J": 0.2 if c == "x" else 0.9, "visible": c != "x", "doubt": d, "presence": 1 - d}
            for c, d in zip(wrong, doubts)]


def test_halves_are_of_other_clips():
    clips = {name: rows_of("x", [0.5]) for name in "dbca"}
    first, second = doubt.halves(clips)
    assert list(first) == list("ac") and list(second) == list("bd")


def test_scores_count_pairs_of_all_clips():
    clips = {"a": rows_of("x..", [0.9, 0.1, 0.4]), "b": rows_of("x.", [0.4, 0.2])}
    scores = doubt.scored(clips)
    assert scores["clips"] == 2 and scores["cases"] == 5 and scores["doubt"]["share"] == pytest.approx(0.4)
    assert scores["doubt"]["area_under_curve"]["mean"] == pytest.approx(5.5 / 6)  # one pair of equals
    assert scores["presence"]["area_under_curve"]["mean"] == pytest.approx(5.5 / 6)
    assert scores["doubt"]["reliability"]["brier"] == pytest.approx((0.01 + 0.01 + 0.16 + 0.36 + 0.04) / 5)
    assert doubt.scored({"a": rows_of("..", [0.1, 0.4])})["doubt"]["area_under_curve"] is None
    given = doubt.scored(clips, partial(doubt.fitted, doubt=[0.0, 10.0, -5.0], seen=[0.0, 0.0, 0.0]))
    assert given["doubt"]["area_under_curve"]["mean"] == pytest.approx(5.5 / 6)
    assert given["presence"]["area_under_curve"]["mean"] == 0.5  # the same for all


def test_reliability_is_drawn_as_it_was_counted():
    clips = {"a": rows_of("x..", [0.95, 0.05, 0.45]), "b": rows_of("x.", [0.45, 0.05])}
    scores = doubt.scored(clips)
    left, right = reliability_curves({"clips": scores}).axes
    line = left.lines[1]
    assert_allclose(line.get_xdata(), [0.05, 0.45, 0.95])
    assert_allclose(line.get_ydata(), [0.0, 0.5, 1.0])
    assert_allclose(right.lines[1].get_ydata(), [0.0, 0.5, 1.0])


def sentence_of(presence_: str, doubtful: int = 0) -> str:
    """The sentence of an object whose frames are drawn as # (seen) and . (lost)."""
    seen = [float(c == "#") for c in presence_]
    return sentence(2, [f"{t:05d}" for t in range(len(seen))], seen, [float(t < doubtful) for t in range(len(seen))])


@pytest.mark.parametrize("drawn, doubtful, expected", [
    ("####", 0, "object 2: in sight throughout"),
    ("####", 1, "object 2: in sight throughout; doubtful in 1 frame"),
    ("#..##", 3, "object 2: lost at frame 1, seen again at 3; doubtful in 3 frames"),
    ("##..", 0, "object 2: lost at frame 2"),
    ("..##", 0, "object 2: not seen before frame 2"),
    ("..##.#", 2, "object 2: not seen before frame 2, lost at frame 4, seen again at 5; doubtful in 2 frames"),
    ("....", 4, "object 2: never seen; doubtful in 4 frames"),
    ("#.#.#.#.#.#.", 0, "object 2: lost at frame 1, seen again at 2, lost at frame 3, seen again at 4, lost at frame "
                        "5, seen again at 6, "
                        "lost at frame 7, seen again at 8, and lost 2 times more"),
    ("#", 0, "object 2: in sight throughout"),
])
def test_sentences_say_when(drawn, doubtful, expected):
    assert sentence_of(drawn, doubtful) == expected


def test_frames_come_in_any_order_and_objects_when_they_join():
    names = ["shot9", "shot10", "shot11", "shot12"]
    rows = {
        2: ({1: 1.0, 7: 1.0}, {1: 0.0, 7: 0.0}), 3: ({1: 0.2, 7: 1.0}, {1: 0.9, 7: 0.1}), 1: ({1: 0.4}, {1: 0.6}),
        0: ({1: 0.9}, {1: 0.1})
    }
    assert sentences(names, rows) == ["object 1: lost at frame shot10, seen again at shot11, lost at frame shot12; "
                                      "doubtful in 2 frames",
                                      "object 7: in sight throughout"]
