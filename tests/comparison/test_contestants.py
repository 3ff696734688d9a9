"""Who takes part, and what is said of those who do not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pretune.advisor.comparison.contestants import find, parse
from pretune.advisor.comparison.lifecycle import recycled, recycles
from pretune.advisor.comparison.plan import (
    LATE,
    LONGEST,
    SHORTEST,
    Plan,
    another,
    budget_s,
    limit_s,
    plan,
)
from pretune.advisor.preflight.servers import NAMES
from pretune.server.settings import Settings

HERE, NOWHERE = Path(sys.executable), Path("/nowhere/python")


def test_names_are_read_as_people_write_them() -> None:
    assert parse(None) is None
    assert parse("gunicorn, granian,gunicorn") == ("gunicorn", "granian")
    assert parse("all") == NAMES
    with pytest.raises(ValueError, match="gunicron"):
        parse("gunicron")
    with pytest.raises(ValueError, match="names no server"):
        parse(" , ")


def test_a_server_that_is_not_installed_is_a_line_with_the_hint() -> None:
    here, absent = find(NAMES, "wsgi", NOWHERE)
    assert [server.verified for server in here] == ["embedded"]
    said = {each.name: each.reason for each in absent}
    assert said.keys() == set(NAMES) - {"embedded"}
    assert "pip install granian" in said["granian"]
    assert "pip install gunicorn" in said["gunicorn"]
    assert "serves ASGI only" in said["hypercorn"]


def test_without_a_wish_those_that_are_there_take_part_and_nothing_is_said_of_others() -> None:
    here, absent = find(None, "asgi", HERE)
    assert "embedded" in {server.verified for server in here}
    assert "waitress" not in {server.verified for server in here}, "it serves WSGI only"
    assert absent == ()


def test_a_longer_budget_means_longer_loads_and_then_more_rounds() -> None:
    nominal = plan(budget_s(5), 5)
    assert 0.8 * Plan().step_s < nominal.step_s < LONGEST * Plan().step_s
    assert plan(1.0, 5).step_s == pytest.approx(SHORTEST * Plan().step_s)
    assert plan(10_000.0, 5).step_s == pytest.approx(LONGEST * Plan().step_s)
    assert another(2, -1.0, 50.0, 5), "three there are, however long it takes"
    assert not another(3, 100.0, 50.0, 5)
    assert another(3, 500.0, 50.0, 5)


def test_what_takes_twice_as_long_as_it_should_is_given_up() -> None:
    assert limit_s(budget_s(5), 5) == pytest.approx(LATE * budget_s(5))
    assert 100 < limit_s(1.0, 2) < limit_s(1.0, 5), "there is a shortest time that it takes"


def test_a_server_that_never_replaces_a_worker_says_so() -> None:
    assert recycles("granian", Settings()).startswith("There is none")
    assert recycles("uvicorn", Settings(workers=1, worker_class="asgi"))
    assert recycles("uvicorn", Settings(workers=2, worker_class="asgi")) == ""
    assert recycles("gunicorn", Settings()) == recycles("embedded", Settings()) == ""


def test_each_worker_reaches_its_limit_a_few_times_while_it_is_watched() -> None:
    settings = recycled(Settings(workers=2), 400.0)
    assert settings.max_requests == 400
    assert 0 < settings.max_requests_jitter < settings.max_requests
    assert recycled(Settings(), float("nan")).max_requests > 0
