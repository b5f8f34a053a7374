"""Differences over seeds and sequences: against plain loops, tables of Student's t, and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sstlib.statistics.comparison import Difference, compare
from sstlib.statistics.pilot import Components
from sstlib.statistics.student import critical, tail


def crossed(generator, seeds, sequences, seed, sequence, rest, heavy=False):
    """Values with mean 0 and the given standard deviations; heavy tails are Student's with 3 degrees of freedom."""

    def noise(*shape):
        return generator.standard_t(3, shape) / math.sqrt(3) if heavy else generator.standard_normal(shape)

    return seed * noise(seeds, 1) + sequence * noise(1, sequences) + rest * noise(seeds, sequences)


@pytest.mark.parametrize(
    "freedom, level, expected",
    [
        (1, 0.05, 12.7062),
        (2, 0.05, 4.30265),
        (2, 0.01, 9.92484),
        (4, 0.05, 2.77645),
        (7, 0.01, 3.49948),
        (19, 0.05, 2.09302),
        (30, 0.001, 3.64596),
    ],
)
def test_critical_values_are_those_of_printed_tables(freedom, level, expected):
    assert float(critical(level, freedom)) == pytest.approx(expected, abs=6e-6 * expected)


@pytest.mark.parametrize("freedom", [1, 2, 7, 500])
def test_a_tail_is_the_integral_of_the_density(freedom):
    t = np.linspace(0, 40, 400_001)
    density = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    density = density * (1 + t**2 / freedom) ** (-(freedom + 1) / 2)
    inside = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(t))])
    at = [0, 5_000, 20_000, 100_000]
    np.testing.assert_allclose(tail(t[at], freedom), 1 - 2 * inside[at], atol=1e-9)
    assert tail(0.0, freedom) <= 1, "rounding makes no more of it"
    assert tail(critical(1e-7, freedom), freedom) == pytest.approx(1e-7, rel=1e-6)


def test_the_variances_are_those_of_a_plain_analysis_of_variance():
    values = np.random.default_rng(0).normal(size=(4, 6))
    a, b, mean = 4, 6, values.sum() / 24
    rows = [sum(values[i]) / b for i in range(a)]
    columns = [sum(values[:, j]) / a for j in range(b)]
    seeds = b * sum((row - mean) ** 2 for row in rows) / (a - 1)
    sequences = a * sum((column - mean) ** 2 for column in columns) / (b - 1)
    rest = sum((values[i, j] - rows[i] - columns[j] + mean) ** 2 for i in range(a) for j in range(b)) / (
        (a - 1) * (b - 1)
    )
    result = Difference.of(values)
    assert (result.mean, result.by_seed, result.by_sequence, result.rest) == pytest.approx(
        (mean, seeds / 24, sequences / 24, rest / 24)
    )
    expected = math.sqrt(4.540703**2 * seeds / 24 + 3.364930**2 * sequences / 24)  # t of 3 and 5 that leave 2%
    assert result.half_width(0.02) == pytest.approx(expected, rel=1e-6)


def test_a_probability_is_the_level_whose_interval_just_reaches_the_value():
    difference = Difference.of(np.random.default_rng(1).normal(0.4, 1, (3, 12)))
    for value in (0.0, -0.7, 3.0):
        assert difference.half_width(difference.probability(value)) == pytest.approx(
            abs(difference.mean - value), rel=1e-4
        )
    assert difference.probability(difference.mean) == 1
    low, high = difference.interval(0.99).low, difference.interval(0.99).high
    assert difference.probability(low) == difference.probability(high) == pytest.approx(0.01, rel=1e-3)


def test_order_and_unit_change_nothing():
    generator = np.random.default_rng(2)
    values = generator.normal(0.3, 1, (5, 9))
    plain = Difference.of(values)
    mixed = Difference.of(100 * values[generator.permutation(5)][:, generator.permutation(9)])
    assert mixed.probability() == pytest.approx(plain.probability(), rel=1e-9)
    assert mixed.detectable(0.05) == pytest.approx(100 * plain.detectable(0.05))


def test_two_networks_are_compared_pair_by_pair_and_missing_runs_leave_their_seed_out():
    generator = np.random.default_rng(3)
    first, gain = generator.normal(60, 8, (5, 7)), generator.normal(2, 1, (5, 7))
    second = first + gain
    assert compare(first, second).mean == pytest.approx(gain.mean())
    assert compare(first, second).by_seed == pytest.approx(Difference.of(gain).by_seed)
    first[1], second[3] = np.nan, np.nan
    result = compare(first, second)
    assert result.seeds == 3 and result.mean == pytest.approx(gain[[0, 2, 4]].mean())


def test_what_cannot_be_compared_is_named():
    values = np.random.default_rng(4).normal(size=(4, 6))
    holed = values.copy()
    holed[2, 5] = np.nan
    with pytest.raises(ValueError, match="run 2 has nan for sequence 5"):
        Difference.of(holed)
    with pytest.raises(ValueError, match="1 seeds and 6 sequences"):
        Difference.of(values[:1])
    with pytest.raises(ValueError, match=r"\(4, 6\) and \(3, 6\)"):
        compare(values, values[:3])
    with pytest.raises(ValueError, match="freedom is 0"):
        critical(0.05, 0)


def test_no_spread_is_certain():
    assert Difference.of(np.full((3, 4), 2.0)).probability() == 0
    assert Difference.of(np.zeros((3, 4))).probability() == 1


SPREADS = {"seeds": (2, 0.2, 1), "sequences": (0.1, 3, 1), "both": (1, 2, 2), "rest": (0, 0, 3)}


def probabilities(tables, seeds, spread, heavy):
    """Of differences that are none."""
    generator = np.random.default_rng([seeds, len(spread), heavy])
    return np.array(
        [Difference.of(crossed(generator, seeds, 20, *SPREADS[spread], heavy)).probability() for _ in range(tables)]
    )


@pytest.mark.parametrize("spread", SPREADS)
def test_intervals_miss_no_more_often_than_they_say(spread):
    assert (probabilities(800, 3, spread, False) <= 0.05).mean() < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_intervals_hold_their_level_far_out(seeds, spread, heavy):
    """At the levels that eight claims leave to one; three deviations of the count are allowed for."""
    result = probabilities(20_000, seeds, spread, heavy)
    for level in (0.05, 0.005, 0.00125):
        assert (result <= level).mean() < level + 3 * math.sqrt(level / 20_000)


@pytest.mark.slow
def test_why_the_crossed_bootstrap_is_not_used():
    generator, outside = np.random.default_rng(5), 0
    for _ in range(1000):
        values = crossed(generator, 3, 20, *SPREADS["seeds"])
        seeds, sequences = (generator.integers(3, size=(400, 3, 1)), generator.integers(20, size=(400, 1, 20)))
        low, high = np.quantile(values[seeds, sequences].mean((1, 2)), [0.025, 0.975])
        outside += not low <= 0 <= high
    assert outside / 1000 > 0.15


@pytest.mark.slow
def test_why_satterthwaites_degrees_of_freedom_are_not_used():
    generator, wrong = np.random.default_rng(6), 0
    for _ in range(8000):
        d = Difference.of(crossed(generator, 3, 20, 2, 1, 2))
        variance = max(d.by_seed + d.by_sequence - d.rest, d.by_seed, d.by_sequence)
        freedom = variance**2 / (d.by_seed**2 / 2 + d.by_sequence**2 / 19 + d.rest**2 / 38)
        wrong += tail(d.mean / math.sqrt(variance), max(2, round(freedom))) <= 0.00125
    assert wrong / 8000 > 3 * 0.00125


def test_what_is_called_detectable_is_detected_four_times_out_of_five():
    generator = np.random.default_rng(6)
    spread = Components(0.8, 2.0, 3.0)
    effect = spread.expected(5, 20).detectable(0.02)
    result = [
        Difference.of(effect + crossed(generator, 5, 20, 0.8, 2.0, 3.0)).probability() <= 0.02 for _ in range(1500)
    ]
    assert np.mean(result) == pytest.approx(0.8, abs=0.03)


def test_a_rest_above_either_part_takes_no_more_than_the_lesser_off_what_is_detectable():
    """The mean then varies as the greater part alone says, which is A + B - E where E is the lesser part."""
    spread = Difference(0.0, 1.0, 0.2, 0.0, 4, 9)
    for one in (spread, replace(spread, by_seed=0.2, by_sequence=1.0)):
        plain = replace(one, rest=0.2).detectable(0.05)
        assert replace(one, rest=0.7).detectable(0.05) == plain != replace(one, rest=0.1).detectable(0.05)
    assert spread.detectable(0.9, power=0.01) == 0, "no difference is less than none"


def test_two_halves_of_a_spread_are_estimated_apart():
    """As many seeds as sequences: errors of the two estimates even out, which those of a single one do not."""
    halves, whole = Difference(0.0, 1.0, 1.0, 0.0, 4, 4), Difference(0.0, 2.0, 0.0, 0.0, 4, 4)
    assert halves.detectable(0.05, 0.95) < 0.95 * whole.detectable(0.05, 0.95)


def test_components_are_found_again_in_many_runs():
    result = Components.of(crossed(np.random.default_rng(7), 400, 300, 1.0, 4.0, 3.0))
    assert (result.seed, result.sequence, result.rest) == pytest.approx((1.0, 4.0, 3.0), rel=0.1)
    assert Components.of(crossed(np.random.default_rng(8), 3, 20, 0.0, 0.0, 3.0)).seed >= 0
    doubled = result.of_a_difference(2.5)
    assert (doubled.seed, doubled.sequence, doubled.rest) == pytest.approx(
        (result.seed * 2**0.5, 2.5, result.rest * 2**0.5)
    )


def test_a_spread_that_the_rest_explains_is_none():
    """Means over seeds that are all equal, which chance alone would spread, speak for no spread of seeds."""
    values = crossed(np.random.default_rng(9), 4, 20, 0.0, 0.0, 3.0)
    assert Components.of(values - values.mean(axis=1, keepdims=True)).seed == 0
    assert Components.of(values - values.mean(axis=0)).sequence == 0


@pytest.mark.parametrize("level", [95.0, 1.0, math.nan])
def test_an_interval_of_no_share_is_refused(level):
    """One of 95 was 1e10 wide."""
    with pytest.raises(ValueError, match="an interval's level is a share such as 0.95"):
        Difference(0.1, 0.01, 0.01, 0.001, 3, 20).interval(level)
