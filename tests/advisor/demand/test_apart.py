"""Slow routes are judged by their own trial, as far as it has a request of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.measured import measurement

from pretune.advisor.demand.apart import judge_apart
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler.telemetry import RECORD
from pretune.advisor.trials import plan
from pretune.advisor.trials.plan import Terms
from pretune.loadtests.workload import Endpoint
from pretune.server.settings import Settings

pytestmark = pytest.mark.fast
APART = (
    Endpoint("/report", ("/report",), 0.25, tried_s=8.1),
    Endpoint("/export", ("/export",), 0.25, tried_s=2.0),
)


def test_their_time_is_that_of_their_trial_or_of_trying_them() -> None:
    rows = np.zeros(3, RECORD)
    rows["endpoint"], rows["status"] = 1, (200, 200, 500)
    rows["wall"], rows["cpu"] = (8.0, 8.2, 0.1), (0.01, 0.03, 0.0)
    report, export = judge_apart(APART, measurement(Settings(1, 2), rows=rows))
    assert (report.seconds, report.cpu_s, report.requests) == (
        pytest.approx(8.1), pytest.approx(0.02), 2,
    )  # fmt: skip
    assert report.shown == "/report (8.1 s, 20 ms of it CPU)"
    assert (export.seconds, export.cpu_s, export.requests) == (2.0, None, 0)
    assert [each.shown for each in judge_apart(APART)] == ["/report (8.1 s)", "/export (2 s)"]


def test_their_trial_has_a_thread_for_each_and_time_for_the_slowest() -> None:
    terms = Terms("wsgi", Servers("embedded", "gunicorn"), 1.0, None, plan.durations(120.0))
    planned = plan.plan_apart(terms, APART, 120.0)
    assert planned is not None
    assert (planned.settings.threads, planned.users) == (2, 2)
    assert planned.duration_s > 8.1
    assert planned.role is None  # nothing of the others' is concluded from it
    loop = plan.plan_apart(replace(terms, interface="asgi"), APART, 120.0)
    assert loop is not None
    assert loop.settings.threads == 1


@pytest.mark.parametrize(("apart", "budget_s"), [((), 120.0), (APART, 30.0)])
def test_without_slow_routes_or_time_there_is_no_such_trial(
    apart: tuple[Endpoint, ...], budget_s: float
) -> None:
    terms = Terms("wsgi", Servers("embedded", "gunicorn"), 1.0, None, plan.durations(budget_s))
    assert plan.plan_apart(terms, apart, budget_s) is None
