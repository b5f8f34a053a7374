"""Intervals and comparisons against formulas, enumeration, and cases known beforehand."""

import itertools
import math

import numpy as np
import pytest

from sstlib.statistics.uncertainty import bootstrap, paired_comparison, sign_test


def named(values) -> dict[str, list[float]]:
    return {f"clip{n:02d}": list(np.atleast_1d(v)) for n, v in enumerate(values)}


def test_bootstrap_agrees_with_the_normal_interval_of_many_sequences():
    values = np.random.default_rng(3).normal(0.7, 0.1, 400)
    interval = bootstrap(named(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.03)
    assert bootstrap(named(values), level=0.5).high < interval.high
    assert bootstrap(named(values)) == interval


def test_bootstrap_enumerates_two_sequences():
    interval = bootstrap({"one": [0.2], "three": [0.8, 0.8, 0.8]}, level=0.9)
    assert interval.mean == pytest.approx(0.65)
    assert (interval.low, interval.high) == pytest.approx((0.2, 0.8))


def test_objects_of_one_sequence_are_drawn_together():
    values = np.random.default_rng(3).normal(0.7, 0.1, 40)
    alone, copied = bootstrap(named(values)), bootstrap(named(values[:, None].repeat(5, axis=1)))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))


def test_one_sequence_has_no_interval():
    assert bootstrap({"only": [0.5, 0.7]}).to_dict() == {"mean": 0.6, "low": None, "high": None, "level": 0.95}
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap({"only": [0.5]}, level=95.0)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 1), (5, 5), (2, 9)])
def test_sign_test_counts_all_splits_of_as_many_throws(better, worse):
    throws = better + worse
    splits = [abs(2 * sum(heads) - throws) >= abs(better - worse) for heads in itertools.product((0, 1), repeat=throws)]
    assert sign_test(better, worse) == pytest.approx(sum(splits) / len(splits))


def test_a_result_does_not_differ_from_itself():
    values = named(np.random.default_rng(3).random(9))
    result = paired_comparison(values, values)
    assert (result.difference.mean, result.difference.low, result.difference.high) == (0, 0, 0)
    assert (result.better, result.worse, result.equal, result.probability, result.deciding) == (0, 0, 9, 1.0, ())


def test_a_small_gain_everywhere_is_certain_though_sequences_differ_widely():
    first = np.random.default_rng(3).random(20)
    result = paired_comparison(named(first), named(first + 0.01))
    assert result.difference.low == pytest.approx(0.01) and result.difference.high == pytest.approx(0.01)
    assert result.better == 20 and result.probability == pytest.approx(2 / 2 ** 20)
    assert bootstrap(named(first)).high - bootstrap(named(first)).low > 0.1


def test_contributions_sum_to_the_difference_and_the_fewest_that_decide_it_are_named():
    generator = np.random.default_rng(3)
    first, second = ({f"clip{n}": generator.random(1 + n % 3).tolist() for n in range(8)} for _ in range(2))
    result = paired_comparison(first, second)
    mean = [np.mean(np.concatenate(list(values.values()))) for values in (first, second)]
    assert result.difference.mean == pytest.approx(mean[1] - mean[0])
    assert sum(result.contributions.values()) == pytest.approx(result.difference.mean)
    direction = np.sign(result.difference.mean)

    def turned(names):
        return (result.difference.mean - sum(result.contributions[name] for name in names)) * direction <= 0

    assert turned(result.deciding)
    fewer = (names for size in range(len(result.deciding)) for names in itertools.combinations(first, size))
    assert not any(map(turned, fewer))


def test_sequences_without_an_object_count_for_nothing():
    some, other = {"a": [0.2], "c": [0.9, 0.8]}, {"a": [0.2], "c": [0.7, 0.8]}
    assert bootstrap({"a": some["a"], "b": [], "c": some["c"]}) == bootstrap(some)
    assert paired_comparison(some | {"b": []}, other | {"b": []}) == paired_comparison(some, other)


def test_only_like_is_compared_with_like():
    with pytest.raises(ValueError, match="same sequences and objects"):
        paired_comparison({"a": [0.5]}, {"b": [0.5]})
    with pytest.raises(ValueError, match="same sequences and objects"):
        paired_comparison({"a": [0.5]}, {"a": [0.5, 0.6]})


def test_a_difference_that_vanishes_without_one_sequence_is_decided_by_that_one():
    gains = {"a": [0.5], "b": [0.25], "c": [-0.25], "d": [0.0]}
    result = paired_comparison({name: [0.0] for name in gains}, gains)
    assert result.deciding == ("a",), "what is left of 0.125 is 0"
    losses = {name: [-value for value in values] for name, values in gains.items()}
    assert paired_comparison({name: [0.0] for name in gains}, losses).deciding == ("a",)


@pytest.mark.parametrize("missing", [math.nan, math.inf])
def test_what_was_not_scored_is_no_value(missing):
    """In a comparison it was neither better nor worse, and the interval was none."""
    values, hole = named([0.5, 0.7, 0.6]), named([0.5, missing, 0.6])
    for compare in (lambda: bootstrap(hole), lambda: paired_comparison(values, hole),
                    lambda: paired_comparison(hole, values)):
        with pytest.raises(ValueError, match=r"clip01 has \[.*\]; leave a sequence out that was not scored"):
            compare()


def test_a_comparison_is_refused_a_level_in_percent():
    with pytest.raises(ValueError, match="level is 95"):
        paired_comparison(named([0.5, 0.7]), named([0.6, 0.7]), level=95.0)
