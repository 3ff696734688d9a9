"""Workers that no connection reaches, against chances that can be counted by hand."""

from __future__ import annotations

import math

import pytest

from pretune.advisor.model.occupancy import idle_workers
from pretune.advisor.model.scenario import discipline
from pretune.advisor.quantity import Interval
from pretune.server.settings import Settings

GREEDY = discipline("gunicorn", Settings(4, 2, "gthread"))
CENTRAL = discipline("embedded", Settings(4, 2, "gthread"))
CLOSING = discipline("gunicorn", Settings(4, 1, "sync"))


@pytest.mark.parametrize(("workers", "users"), [(2, 1), (6, 12), (9, 12), (3, 40)])
def test_where_a_worker_keeps_what_it_accepts_luck_leaves_some_idle(
    workers: int, users: int
) -> None:
    found = idle_workers(GREEDY, workers, users)
    assert found.value == pytest.approx(workers * (1 - 1 / workers) ** users)
    assert found.low <= found.value <= found.high


def test_the_interval_holds_nineteen_of_twenty_outcomes() -> None:
    # two connections on three workers: one idle with 2/3, two with 1/3
    assert idle_workers(GREEDY, 3, 2) == Interval(pytest.approx(4 / 3), 1.0, 2.0)
    # two workers, eight connections: all on one of them in 2 of 256 cases
    assert idle_workers(GREEDY, 2, 8).high == pytest.approx(2 / 256)
    assert math.isclose(idle_workers(GREEDY, 2, 8).low, 0.0)


def test_a_central_queue_leaves_idle_only_for_want_of_users() -> None:
    assert idle_workers(CENTRAL, 4, 3) == Interval.exact(1.0)
    assert idle_workers(CENTRAL, 4, 9) == Interval.exact(0.0)


def test_without_keep_alive_every_worker_gets_its_turn() -> None:
    assert idle_workers(CLOSING, 4, 1) == Interval.exact(0.0)
