"""Ranking and reliability of a network's own numbers, against loops over pairs and made-up truths."""

import numpy as np
import pytest

from sstlib.statistics.calibration import reliability, roc_area


def foretold(seed, sequences=6, frames=25, steps=8):
    """Scores in a few steps, so that there are ties, and outcomes that follow them loosely."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, steps + 1, (sequences, frames)) / steps
    outcomes = generator.random((sequences, frames)) < 0.2 + 0.6 * scores
    return {f"clip {n}": pair for n, pair in enumerate(zip(scores, outcomes))}


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_the_share_of_pairs_in_order(seed):
    data = foretold(seed)
    true = [s for scores, outcomes in data.values() for s, o in zip(scores, outcomes) if o]
    false = [s for scores, outcomes in data.values() for s, o in zip(scores, outcomes) if not o]
    pairs = [(a > b) + (a == b) / 2 for a in true for b in false]
    result = roc_area(data)
    assert result.mean == pytest.approx(np.mean(pairs), abs=1e-12)
    assert result.low < result.mean < result.high


def test_order_alone_matters_and_turning_it_turns_the_area():
    data = foretold(4)
    plain = roc_area(data)
    assert roc_area({name: (np.exp(3 * scores), outcomes) for name, (scores, outcomes) in data.items()}) == plain
    turned = roc_area({name: (-scores, outcomes) for name, (scores, outcomes) in data.items()})
    assert turned.mean == pytest.approx(1 - plain.mean) and turned.low == pytest.approx(1 - plain.high)


def test_intervals_come_from_drawing_sequences_whole():
    """A sequence counted twice, one left out: what is drawn is the area of such a collection, never of its parts."""
    perfect = (np.array([0.9, 0.1]), np.array([True, False]))
    result = roc_area({"a": perfect, "b": perfect, "c": perfect})
    assert (result.low, result.mean, result.high) == (1, 1, 1)
    wrong = (np.array([0.1, 0.9]), np.array([True, False]))
    result = roc_area({"a": perfect, "b": wrong})  # pairs between the two tie: drawn areas are 0, 1/2 and 1
    assert (result.low, result.mean, result.high) == (0, 0.5, 1)
    several = [roc_area({"a": perfect, "b": wrong}, level) for level in (0.6, 0.4)]  # 0 and 1 are a quarter each
    assert [(one.low, one.high) for one in several] == [(0, 1), (0.5, 0.5)]
    true, false = (np.array([0.9]), np.array([True])), (np.array([0.1]), np.array([False]))
    result = roc_area({"a": true, "b": false})  # of a drawn twice there is no false case, of b no true one: left out
    assert (result.low, result.mean, result.high) == (1, 1, 1)
    alone = roc_area({"a": perfect})
    assert alone.mean == 1 and np.isnan(alone.low)


def test_intervals_hold_the_true_area_about_as_often_as_they_say(monkeypatch):
    """Every sequence has its own shift, which frames drawn singly would miss; the true area is known in closed form."""
    monkeypatch.setattr("sstlib.statistics.calibration.SAMPLES", 1000)
    generator = np.random.default_rng(5)
    inside, expected = (0, 0.760250)  # normal scores 1 apart, deviation 1 within either outcome: Phi(1 / sqrt(2))
    for _ in range(60):
        outcomes = generator.random((24, 12)) < 0.5
        scores = outcomes + np.sqrt(0.5) * (generator.standard_normal((24, 1)) + generator.standard_normal((24, 12)))
        result = roc_area({str(n): (scores[n], outcomes[n]) for n in range(24)})
        inside += result.low <= expected <= result.high
    assert 0.85 < inside / 60


def test_bins_are_those_of_a_loop():
    data = foretold(6, steps=20)
    result = reliability(data, bins=5)
    pooled = [(float(s), bool(o)) for scores, outcomes in data.values() for s, o in zip(scores, outcomes)]
    total = 0.0
    for row in result.bins:
        inside = [(s, o) for s, o in pooled if row.low < s <= row.high or s == row.low == 0]
        assert row.count == len(inside)
        assert row.foretold == pytest.approx(np.mean([s for s, _ in inside]))
        assert row.observed.mean == pytest.approx(np.mean([o for _, o in inside]))
        assert row.observed.low <= row.observed.mean <= row.observed.high
        total += len(inside) * abs(row.foretold - row.observed.mean)
    assert sum(row.count for row in result.bins) == len(pooled)
    assert result.error == pytest.approx(total / len(pooled))
    assert result.brier == pytest.approx(np.mean([(s - o) ** 2 for s, o in pooled]))
    assert result.to_dict()["bins"][0]["observed"]["mean"] == result.bins[0].observed.mean


def test_scores_that_are_shares_have_no_error_and_sure_ones_that_are_wrong_have_all_of_it():
    outcomes = np.array([True, False, False, False] * 50)
    assert reliability({"a": (np.full(200, 0.25), outcomes)}).error == 0
    assert reliability({"a": (1.0 - outcomes, outcomes)}).error == 1


def test_bad_scores_are_named():
    good = (np.array([0.2, 0.4]), np.array([True, False]))
    with pytest.raises(ValueError, match="2 cases are true and 0 false"):
        roc_area({"a": (good[0], np.array([True, True]))})
    with pytest.raises(ValueError, match=r"clip: .* finite"):
        roc_area({"a": good, "clip": (np.array([0.2, np.nan]), good[1])})
    with pytest.raises(ValueError, match=r"0.2..4 and bins 10"):
        reliability({"a": (np.array([0.2, 4.0]), good[1])})
    with pytest.raises(ValueError, match="no scores"):
        reliability({})


def test_a_bin_holds_its_upper_edge():
    """0.7 * 10 is above 7, so that 0.7 was of the bin that ends at 0.8."""
    edges = np.arange(1, 11) / 10
    rows = reliability({"clip": (edges, np.ones(10, bool)), "other": (edges, np.zeros(10, bool))}).bins
    assert [row.high for row in rows] == [row.foretold for row in rows] == edges.tolist()
