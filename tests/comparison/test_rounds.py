"""Several rounds together: intervals, and when two servers differ."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pretune.advisor.comparison.rounds import compare, over_rounds, pairs
from pretune.advisor.quantity import Interval


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth, held = 100.0, 0
    for _ in range(1000):
        values = truth * np.exp(rng.normal(0, 0.05, 4))
        held += over_rounds(values.tolist()).contains(truth)
    assert 930 <= held <= 970


def test_what_drifts_with_the_rounds_does_not_hide_a_difference() -> None:
    drift = [100.0, 150.0, 220.0, 130.0]
    faster = [x * f for x, f in zip(drift, (1.10, 1.11, 1.09, 1.10), strict=True)]
    found = compare("capacity_rps", "a", "b", faster, drift)
    assert found.differs
    assert found.ratio.value == pytest.approx(1.10, rel=0.01)
    a, b = over_rounds(faster), over_rounds(drift)
    assert a.low < b.high, "each for itself they could not be told apart"


def test_alike_servers_seldom_seem_to_differ() -> None:
    rng = np.random.default_rng(2)
    seem = 0
    for _ in range(1000):
        a, b = np.exp(rng.normal(0, 0.03, (2, 3)))
        seem += bool(compare("x", "a", "b", a.tolist(), b.tolist()).differs)
    assert seem <= 70


def test_two_rounds_are_too_few_to_say() -> None:
    two = over_rounds([4.0, 9.0])
    assert two.value == pytest.approx(6.0)
    assert math.isnan(two.low)
    assert compare("x", "a", "b", [2.0, 2.0, math.nan], [1.0, 1.0, 1.0]).differs is None


def test_values_without_a_logarithm_have_no_limits() -> None:
    assert over_rounds([0.0, 0.0, 0.0]) == Interval.exact(0.0)
    mixed = over_rounds([0.0, 1.0])
    assert mixed.value == 0.5
    assert math.isnan(mixed.low)
    assert math.isnan(over_rounds([]).value)


def test_every_pair_is_compared_once() -> None:
    values = {name: [1.0, 1.0, 1.0] for name in "abc"}
    assert [(p.first, p.second) for p in pairs("x", values)] == [("a", "b"), ("a", "c"), ("b", "c")]
