"""No setting is derived from too few requests, or from routes that were not measured."""

from __future__ import annotations

import numpy as np
import pytest
from support.demands import make_demand

from pretune.advisor.deployed.value import Setting
from pretune.advisor.model.predict import predict
from pretune.advisor.model.question import Question, Routes
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.recommendation import evidence, reasons
from pretune.advisor.recommendation.evidence import InForce, Seen
from pretune.advisor.resources.budget import Budget, Slo
from pretune.server.settings import Settings

pytestmark = pytest.mark.fast

ALL, SOME, NAMED = Routes(7, 7), Routes(7, 10), Routes(2, None)
TODAY = InForce(120.0, "Procfile:1", "today")


@pytest.mark.parametrize(
    ("name", "derived", "requests", "routes", "force", "lacks"),
    [
        ("timeout", 5.0, 2000, ALL, 120.0, ""),
        ("timeout", 5.0, 2000, SOME, 120.0, "3 of 10 known routes were not measured"),
        ("timeout", 5.0, 2000, NAMED, 120.0, "only the routes that were named were measured"),
        ("timeout", 5.0, 2000, Routes(7, 7, False), 120.0, "not all routes can be listed"),
        ("timeout", 5.0, 217, ALL, 120.0, "217 requests are too few for it, 500 are needed"),
        ("timeout", None, 50, ALL, 30.0, "50 requests are too few for it, 500 are needed"),
        ("timeout", 180.0, 2000, SOME, 120.0, ""),  # what was measured takes longer
        ("timeout", 5.0, 2000, SOME, 0.0, "3 of 10 known routes were not measured"),  # off
        ("graceful_timeout", 2.0, 2000, SOME, 30.0, "3 of 10 known routes were not measured"),
        ("backlog", 64.0, 2000, SOME, 2048.0, "3 of 10 known routes were not measured"),
        ("backlog", 2048.0, 2000, SOME, 512.0, ""),
        ("max_requests", 0.0, 2000, SOME, 1000.0, "3 of 10 known routes were not measured"),
        ("max_requests", 0.0, 2000, ALL, 1000.0, ""),
        ("max_requests", 500.0, 2000, SOME, 1000.0, ""),  # leaks more than today's allows
        ("max_requests", 44_000.0, 2000, SOME, 1000.0, "3 of 10 known routes were not measured"),
        ("max_requests", 44_000.0, 2000, SOME, 0.0, ""),
    ],
)
def test_a_value_is_advice_only_where_its_evidence_is_enough(
    name: str, derived: float | None, requests: int, routes: Routes, force: float, lacks: str
) -> None:
    in_force = InForce(force, "Procfile:1", "today")
    found = evidence.weigh(name, derived, Seen(requests, routes), in_force)
    assert found.lacks == lacks
    assert found.kept == ("today" if lacks else "")


def test_a_route_of_few_requests_was_not_measured() -> None:
    seen = Seen(2000, ALL, ("/report",))
    found = evidence.weigh("timeout", 5.0, seen, TODAY)
    assert found.lacks == "1 of 7 routes had fewer than 20 requests"
    assert found.routes_measured == 6


@pytest.mark.parametrize(
    ("server", "name", "deployed", "expected"),
    [
        ("gunicorn", "timeout", {}, InForce(30.0, "gunicorn's default", "default")),
        ("gunicorn", "keepalive", {}, InForce(2.0, "gunicorn's default", "default")),
        ("embedded", "keepalive", {}, InForce(5.0, "the server's default", "default")),
        ("gunicorn", "timeout", {"timeout": Setting(120, "Procfile:1")}, TODAY),
        (
            "gunicorn",
            "timeout",
            {"timeout": Setting(30, "gunicorn's default")},
            InForce(30, "gunicorn's default", "default"),
        ),
        (
            "gunicorn",
            "timeout",
            {"timeout": Setting(None, "Procfile:1", "set by $T at run time")},
            InForce(30.0, "gunicorn's default", "default"),
        ),
    ],
)
def test_todays_value_is_in_force_where_it_is_known_else_the_servers_default(
    server: str, name: str, deployed: dict[str, Setting], expected: InForce
) -> None:
    assert evidence.in_force(name, server, deployed) == expected


def derived(routes: Routes, requests: int, **today: float) -> reasons.Derived:
    demand = make_demand()
    tuples = np.resize(demand.tuples, requests)
    question = Question(
        type(demand)(**{**vars(demand), "tuples": tuples, "by_endpoint": ()}),
        Budget(4 << 30, 2.0, None, 1024),
        Slo(0.1),
        Conditions(2.0, 0.0, True, False, server="gunicorn"),
        deployed={name: Setting(value, "Procfile:1") for name, value in today.items()},
        routes=routes,
    )
    settings = Settings(2, 4)
    return reasons.derive(question, settings, predict(question, settings, 4), ())


def test_todays_timeouts_stay_while_routes_are_unmeasured_and_say_what_they_might_be() -> None:
    found = derived(SOME, 2000, timeout=120, graceful_timeout=60, keepalive=75, max_requests=1000)
    settings, said = found.settings, dict(found.reasons)
    assert (settings.timeout, settings.graceful_timeout) == (120, 60)
    assert (settings.keepalive, settings.max_requests) == (75, 1000)
    assert said["timeout"].startswith(
        "stays at today's 120 s (Procfile:1): 3 of 10 known routes were not measured; what was "
        "measured would allow 5 s ("
    )
    assert "raise that to" in said["graceful_timeout"]  # 60 s are more than a container gives
    rests = dict(found.evidence)
    assert rests["timeout"].kept == "today"
    assert rests["timeout"].derived == 5.0
    assert (rests["timeout"].needed_requests, rests["timeout"].requests) == (500, 2000)


def test_with_every_route_measured_they_are_derived() -> None:
    found = derived(ALL, 2000, timeout=120, graceful_timeout=60, max_requests=1000)
    assert found.settings.timeout == 5
    assert found.settings.graceful_timeout < 10
    assert found.settings.max_requests == 0
    assert dict(found.evidence)["timeout"].kept == ""


def test_without_a_today_the_servers_default_stays_and_is_said() -> None:
    found = derived(SOME, 2000)
    assert found.settings.timeout == 30
    assert found.settings.backlog == 2048
    said = dict(found.reasons)
    assert said["timeout"].startswith("stays at gunicorn's default of 30 s: 3 of 10 known routes")
    assert said["backlog"].startswith("stays at gunicorn's default of 2,048: 3 of 10 known routes")


def test_a_timeout_below_the_time_to_boot_is_raised_whatever_is_in_force() -> None:
    demand = make_demand()
    found = derived(SOME, 2000, timeout=1)
    assert found.settings.timeout >= 2 * demand.worker.boot_s
