"""What has to be set around the server, each with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.demands import ask, make_demand

from pretune.advisor.model.predict import predict
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation.around_server import ADVICE, Surroundings, advise
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources.budget import Budget
from pretune.server.settings import Settings

GIB = 1 << 30


def case(settings=Settings(3, 4, graceful_timeout=4.0), *, pg=97, fds=4096, **worker):  # noqa: B008
    demand = make_demand()
    demand = replace(demand, worker=replace(demand.worker, **worker))
    predicted = predict(ask(demand, Conditions(2.0, 0.0, False, False)), settings, 10)
    recommendation = Recommendation(settings, predicted, "cpu", (), ())
    return Surroundings(demand, Budget(GIB, 2.0, pg, fds), recommendation, None)


def advised(given):
    return {a.name: a for a in advise(given)}


def test_everything_has_a_value_and_a_reason():
    found = advise(case())
    assert [a.name for a in found] == [name for name, _ in ADVICE if name != "restart_every_h"]
    assert all(a.reason.endswith(".") for a in found)


@pytest.mark.parametrize(
    ("server", "workers", "named"),
    [("gunicorn", 1, False), ("uvicorn", 2, False), ("uvicorn", 1, True), ("waitress", 1, True)],
)
def test_a_leak_that_a_server_cannot_recycle_is_restarted_from_outside(server, workers, named):
    slope = Interval(100.0, 90.0, 110.0)
    found = case(Settings(workers, 4), leak_class="leak", leak_slope_bytes_per_request=slope)
    recommendation = replace(found.recommendation, server=server)
    restart = advised(replace(found, recommendation=recommendation)).get("restart_every_h")
    assert (restart is not None) is named
    if restart is not None:
        assert 1 <= restart.value <= 24
        # what leaks in that time fits
        seconds, rps = restart.value * 3600, recommendation.predicted.throughput_rps.high
        assert seconds * rps * slope.high < found.budget.ram_bytes
        assert server in restart.reason


def test_a_pool_is_as_large_as_what_a_worker_was_seen_to_hold():
    assert advised(case())["pool_size"].value == 4
    two = advised(case(pg_connections=2, pg_connections_per_thread=2.0))["pool_size"]
    assert two.value == 8
    assert "more than one at a time" in two.reason


@pytest.mark.parametrize("without", [{"pg_connections": 0, "pg_connections_per_thread": 0.0}])
def test_an_app_without_a_database_is_told_nothing_of_pools(without):
    assert {"pool_size", "pgbouncer"}.isdisjoint(advised(case(pg=None, **without)))


def test_a_pooler_is_not_recommended_before_it_is_needed():
    found = advised(case())["pgbouncer"]
    assert found.value == "no"
    assert "16 of 97" in found.reason  # (3 workers + 1 overlapping) x 4
    assert "from 7 instances" in found.reason


def test_descriptors_are_twice_what_may_be_held():
    found = advised(case())["nofile"]
    assert found.value == 1024
    assert "is enough" in found.reason
    scarce = advised(case(fds=256))["nofile"]
    assert "LimitNOFILE" in scarce.reason
    given = case(Settings(3, 4), fds=1 << 20)
    busy = replace(given.recommendation.predicted, fds=3000)
    many = replace(given, recommendation=replace(given.recommendation, predicted=busy))
    assert advised(many)["nofile"].value == 8192


def test_a_stop_is_given_longer_than_the_server_takes():
    assert advised(case())["stop_grace_s"].value == 6  # 4 s + 0.1 s + 1 s, in whole seconds


def test_a_pool_that_was_full_is_no_evidence_of_what_is_wanted():
    settings = Settings(2, 1, "asgi", worker_connections=1000)
    full = advised(case(settings, pg_connections=3, pg_most=3))["pool_size"]
    assert full.value == 5  # 10 users, two workers
    assert "its limit, not what 5 requests at once want" in full.reason
    scarce = advised(case(settings, pg=12, pg_connections=3, pg_most=3))["pool_size"]
    assert scarce.value == 4
    assert "Postgres has room for 4 in each worker" in scarce.reason
    free = advised(case(settings, pg_connections=3, pg_most=20))["pool_size"]
    assert free.value == 3
