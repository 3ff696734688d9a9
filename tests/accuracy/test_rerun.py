"""Reruns in pairs, from points whose answer is known; nothing is run."""

import math
from dataclasses import replace

import pytest
from support.accuracy_points import point

from bench.accuracy import rerun, store
from bench.accuracy.rerun import Match
from pretune.server.settings import Settings

OURS, BEST = Settings(1, 1, "sync", preload_app=True), Settings(4, 1, "sync")
MATCH = Match("app", OURS, BEST, (1, 4))
ALONE = (1.0, 90.0, 0.01)


def measured(rates):
    """Stands for the stage; ``rates``: of ours and the best, one for each run in turn."""
    asked = []

    def measure(task):
        asked.append((task.settings, task.users))
        side = 0 if task.settings == OURS else 1
        return point(store.shape_of(task.settings), task.users, task.repeat, throughput=rates[side])

    return asked, measure


def test_the_two_of_a_pair_take_turns_in_beginning():
    asked, measure = measured((90.0, 100.0))
    for number in range(2):
        rerun.run(MATCH, number, measure)
    order = [settings for settings, users in asked if users == 1]
    assert order == [OURS, BEST, BEST, OURS]
    assert {users for _, users in asked} == {1, 4}


def test_regret_is_what_ours_carries_less_in_the_mean_of_pairs():
    pairs = [
        rerun.run(MATCH, number, measured((ours, 100.0))[1])
        for number, ours in enumerate((90.0, 94.0, 92.0))
    ]
    found = rerun.regret(pairs, ALONE, 0.03)
    assert found.value == pytest.approx(0.08)
    # Student's t for two degrees of freedom: 4.303 x 0.02 / sqrt(3)
    assert found.high - found.value == pytest.approx(4.303 * 0.02 / math.sqrt(3), rel=1e-3)


def test_one_pair_says_nothing_of_how_sure_it_is():
    pairs = [rerun.run(MATCH, 0, measured((90.0, 100.0))[1])]
    assert math.isnan(rerun.regret(pairs, ALONE, 0.03).value)


def test_a_pair_with_errors_is_left_out():
    pairs = [rerun.run(MATCH, n, measured((90.0, 100.0))[1]) for n in range(2)]
    spoiled = tuple(replace(p, error_rate=0.5, throughput=9.0) for p in pairs[0].ours)
    found = rerun.regret([*pairs, replace(pairs[0], ours=spoiled)], ALONE, 0.03)
    assert found.value == pytest.approx(0.1)


def test_reruns_go_on_where_they_stopped_and_apps_take_turns():
    other = replace(MATCH, app="other")
    found = [(m.app, n) for m, n in rerun.turns([MATCH, other], {"app": 1}, pairs=2)]
    assert found == [("other", 0), ("app", 1), ("other", 1)]


def test_pairs_of_another_answer_do_not_count():
    pair = rerun.run(MATCH, 0, measured((90.0, 100.0))[1])
    assert MATCH.played([pair]) == (pair,)
    assert replace(MATCH, ours=Settings(2, 4)).played([pair]) == ()


def test_pairs_are_stored_whole(tmp_path):
    pair = rerun.run(MATCH, 3, measured((90.0, 100.0))[1])
    store.append(pair, tmp_path)
    assert store.load_reruns("app", tmp_path) == [pair]
    assert store.load_points(["app"], tmp_path) == []
