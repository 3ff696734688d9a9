"""Errors, coverage, capacity and regret, from figures whose answer is known."""

import math

import pytest
from support.accuracy_points import point

from bench.accuracy import judge
from bench.accuracy.judge import Pair, Spread
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.profiler.measurement import Latency
from pretune.advisor.quantity import Interval

SMALL, LARGE = (1, 1, "sync"), (4, 1, "sync")


def prediction(throughput=100.0, half=0.1):
    def around(x):
        return Interval(x, x * (1 - half), x * (1 + half))

    latency = Latency(*(around(x) for x in (0.01, 0.01, 0.01, 0.02)))
    return Prediction(
        1, around(throughput), latency, around(100.0), around(100.0), 0, 0, (), "cpu", ""
    )


def test_an_error_is_signed_and_relative_to_what_was_measured():
    pair = Pair(point(throughput=80.0), prediction(100.0))
    assert pair.error("throughput") == pytest.approx(0.25)
    assert pair.error("pss_bytes") == 0.0


def test_coverage_counts_intervals_that_hold_the_measured():
    pairs = [Pair(point(throughput=x), prediction(100.0)) for x in (89, 91, 100, 111)]
    assert judge.coverage(pairs, "throughput") == 0.5


def test_spread_is_of_sizes_and_knows_no_errors():
    assert Spread.of([0.1, -0.3, 0.2, math.nan]) == Spread(0.2, 0.3, 3)
    assert Spread.of(x / 100 for x in range(1, 11)).p90 == 0.09
    assert math.isnan(Spread.of([]).median)


def test_noise_is_between_runs_of_the_same_point_only():
    points = [
        point(throughput=95.0), point(throughput=105.0, repeat=1), point(LARGE, throughput=500.0)
    ]  # fmt: skip
    assert judge.noise([points], "throughput") == Spread(pytest.approx(0.1), pytest.approx(0.1), 1)
    assert judge.noise([points[:1], points[1:]], "throughput").count == 0


@pytest.mark.parametrize(
    ("levels", "slo", "rate"),
    [
        ([(1, 50, 0.01), (4, 100, 0.02)], 0.03, 100),  # kept everywhere
        ([(1, 50, 0.01), (4, 200, 0.04)], 0.02, 100),  # half way, in logarithms
        ([(4, 100, 0.09), (1, 100, 0.01)], 0.03, 100),  # saturated from the start
        ([(1, 100, 0.01), (4, 60, 0.02)], 0.03, 100),  # more users, less done
    ],
)
def test_capacity_is_the_most_that_keeps_the_slo(levels, slo, rate):
    assert judge.capacity(levels, slo) == pytest.approx(rate)


def test_what_breaks_the_slo_at_the_lowest_load_carries_nothing():
    assert judge.capacity([(1, 50, 0.05)], 0.03) == 0.0
    assert judge.regret({SMALL: 0.0, LARGE: 10.0}, SMALL) == 1.0


def test_a_shape_counts_when_it_was_measured_at_all_loads():
    points = [point(users=2), point(users=8, throughput=120.0), point(LARGE, users=2)]
    assert judge.capacities(points, (1, 90, 0.01), 0.03, loads=2) == {SMALL: 120.0}


def test_regret_is_what_the_answer_carries_less_than_the_best():
    rates = {SMALL: 90.0, LARGE: 100.0}
    assert judge.regret(rates, SMALL) == pytest.approx(0.1)
    assert judge.regret(rates, LARGE) == 0.0
    assert math.isnan(judge.regret(rates, (9, 9, "gthread")))
