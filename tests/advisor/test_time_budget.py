"""How long may be waited, so that the time budget is kept."""

from __future__ import annotations

import time

import pytest

from pretune.advisor.time_budget import TimeBudget

pytestmark = pytest.mark.fast


def began(ago_s: float, seconds: float = 20.0) -> TimeBudget:
    return TimeBudget(seconds, time.monotonic() - ago_s)


@pytest.mark.parametrize(
    ("ago_s", "wanted_s", "given_s"),
    [
        (0.0, 10.0, 10.0),
        (0.0, 60.0, 18.0),  # but for the report
        (5.0, 60.0, 13.0),
        (19.0, 60.0, 10.0),  # a busy machine: a part of the whole all the same
        (19.0, 1.0, 1.0),
    ],
)
def test_a_wait_takes_no_more_than_is_left(ago_s: float, wanted_s: float, given_s: float) -> None:
    assert began(ago_s).within(wanted_s) == pytest.approx(given_s, abs=0.2)


@pytest.mark.parametrize(("seconds", "grace_s"), [(20.0, 10.0), (120.0, 15.0)])
def test_what_is_needed_has_a_grace(seconds: float, grace_s: float) -> None:
    budget = TimeBudget(seconds)
    assert budget.ends_at_last - budget.ends_at == grace_s


def test_what_stands_apart_is_not_counted_and_named() -> None:
    budget = began(30.0)
    budget.apart["set-up"] += 25.0
    assert budget.left_s == pytest.approx(15.0, abs=0.2)
    with budget.counted(60.0, "the model"), budget.not_counted("a moment"):
        pass
    assert budget.apart["the model"] == 0.0
    assert budget.describe_apart() == "not counted in the time budget: set-up, took 25 s"
    assert TimeBudget(20.0).describe_apart() == ""
