"""Blind draws and Optuna's TPE over a table of measured capacities."""

import itertools
import statistics

import pytest

from bench.accuracy import rivals

# throughput grows with workers up to four, and with threads
RATES = {
    (w, t, kind): min(w, 4) * 100.0 + (t * 5 if kind == "gthread" else 0)
    for w, t, kind in (
        *((w, 1, "sync") for w in (1, 2, 4, 8)),
        *itertools.product((1, 2, 4, 8), (1, 4, 8), ("gthread",)),
    )
}


@pytest.mark.parametrize("draws", [1, 2, 3, 4, 9])
def test_blind_draws_are_expected_as_all_draws_say(draws):
    regrets = [0.3, 0.0, 0.1, 0.05]
    drawn = itertools.combinations(regrets, min(draws, len(regrets)))
    assert rivals.random(regrets, draws) == pytest.approx(
        statistics.mean(min(some) for some in drawn)
    )


def test_tpe_finds_the_best_of_a_table_it_may_measure_whole():
    assert rivals.tpe(RATES, (len(RATES),), seeds=2) == [0.0]


def test_tpe_regrets_less_the_more_it_may_measure():
    once, more = rivals.tpe(RATES, (2, 10), seeds=20)
    assert 0 <= more < once < 1


def test_random_trials_of_tpe_are_as_good_as_blind_draws():
    """Its first ten are random, so over many seeds the two agree."""
    best = max(RATES.values())
    blind = rivals.random([1 - rate / best for rate in RATES.values()], 1)
    (first,) = rivals.tpe({s: r for s, r in RATES.items() if s[2] == "gthread"}, (1,), seeds=100)
    assert first == pytest.approx(blind, abs=0.15)


def test_what_was_not_measured_is_taken_as_the_nearest_that_was():
    assert rivals.nearest((5, 3, "gthread"), RATES) == (4, 4, "gthread")
    assert rivals.nearest((3, 1, "sync"), RATES) == (4, 1, "sync")
