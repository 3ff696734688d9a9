"""Where the SLO breaks: by servers of known behaviour."""

from __future__ import annotations

import pytest

from pretune.advisor.comparison.steps import FIRST_STEPS, Step, crossing, keeps, next_users
from pretune.advisor.resources.budget import Slo

SLO = Slo(p95_s=0.1)


def step(users: int, p95_s: float, rps: float = 100.0, errors: int = 0, **more: float) -> Step:
    return Step(users, rps, p95_s, 1000, errors, **more)


def found(server, first: int, most: int = FIRST_STEPS) -> list[Step]:
    steps: list[Step] = []
    while (users := next_users(steps, SLO, first, most)) is not None:
        steps.append(server(users))
    return steps


def queue(users: int) -> Step:
    """A closed load on one server of 5 ms whose p95 is 1.4 of the mean response."""
    rps = min(200.0, users / 0.008)
    return step(users, 1.4 * users / rps, rps)


@pytest.mark.parametrize("first", [1, 4, 14, 40, 120])
def test_the_capacity_of_a_known_queue_is_found_from_anywhere(first: int) -> None:
    steps = found(queue, first)
    end = crossing(steps, SLO)
    assert end is not None
    assert end.throughput_rps == pytest.approx(200, rel=0.02)
    assert len(steps) <= FIRST_STEPS


def test_from_where_it_was_found_before_two_loads_are_enough() -> None:
    assert len(found(queue, 14)) <= 2


def test_a_server_that_breaks_the_slo_with_one_user_carries_nothing() -> None:
    steps = found(lambda users: step(users, 0.2 + 0.01 * users, 5.0), 20)
    assert steps[-1].users == 1
    assert crossing(steps, SLO) is None


@pytest.mark.parametrize("p95_s", [0.001, 0.3])
def test_a_generator_at_its_end_makes_it_at_least(p95_s: float) -> None:
    steps = found(lambda users: step(users, p95_s, 20_000, generator=0.99), 8)
    assert len(steps) == 1
    end = crossing(steps, SLO)
    assert end is not None
    assert end.at_least
    assert end.throughput_rps == 20_000


def test_errors_break_the_slo_as_slowness_does() -> None:
    assert keeps(step(8, 0.05, errors=1), SLO), "one of a thousand may be chance"
    assert not keeps(step(8, 0.05, errors=20), SLO)
    steps = found(lambda users: step(users, 0.05, 10.0 * users, errors=500 if users > 8 else 0), 8)
    end = crossing(steps, SLO)
    assert end is not None
    assert end.users == 8


def test_too_few_answers_keep_nothing() -> None:
    assert not keeps(Step(1, 1.0, 0.01, 5, 0), SLO)
