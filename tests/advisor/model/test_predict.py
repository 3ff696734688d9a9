"""Predictions of synthetic demands whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.demands import FIELDS, around, ask, make_demand

from pretune.advisor.demand.values import TUPLE
from pretune.advisor.model import paired
from pretune.advisor.model.calibration import calibrate
from pretune.advisor.model.predict import _most, capacity, predict, predict_arrivals
from pretune.advisor.model.rows import Factors, build_rows, central
from pretune.advisor.model.scenario import Scenario
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Interval
from pretune.server.settings import Settings

TWO_CORES = Conditions(server_cores=2, shared_cores=0, pinned=False, database_local=False)


def test_the_cpu_limits_many_workers_on_two_cores() -> None:
    p = predict(ask(make_demand(), TWO_CORES), Settings(workers=8, threads=2), 32)
    assert p.throughput_rps.contains(2 / 0.005)
    assert p.binding == "cpu"
    assert "2 cores / " in p.explanation
    assert dict(p.utilisation)["cpu"] == pytest.approx(1.0, abs=0.02)


def test_one_worker_is_limited_by_its_gil() -> None:
    p = predict(ask(make_demand(), TWO_CORES), Settings(workers=1, threads=8), 32)
    assert p.throughput_rps.contains(1 / 0.005)
    assert p.binding == "gil"


def test_one_thread_that_waits_is_limited_by_its_slot() -> None:
    p = predict(ask(make_demand(wait=0.05), TWO_CORES), Settings(workers=2, threads=1), 8)
    assert p.binding == "slots"
    assert p.throughput_rps.contains(2 / 0.057)


def test_the_same_seed_gives_the_same_prediction() -> None:
    demand, settings = make_demand(), Settings(workers=2, threads=2)
    one, again, other = (predict(ask(demand, TWO_CORES, seed=s), settings, 8) for s in (1, 1, 2))
    assert one == again
    assert one != other


def test_capacity_is_the_last_load_that_surely_keeps_the_slo() -> None:
    demand, settings, slo = make_demand(), Settings(workers=4, threads=2), 0.1
    best = capacity(ask(demand, TWO_CORES, slo), settings)
    assert best.latency.p95.high <= slo
    more = predict(ask(demand, TWO_CORES), settings, round(best.users * 1.2) + 1)
    assert more.latency.p95.high > slo


@pytest.mark.parametrize("shape", [(3, 2), (6, 4), (16, 2)])
def test_screening_agrees_with_the_full_prediction(shape: tuple[int, int]) -> None:
    demand, slo = make_demand(), 0.1
    first = Settings(4, 2)
    known = {first: capacity(ask(demand, TWO_CORES, slo), first)}
    full = capacity(ask(demand, TWO_CORES, slo), Settings(*shape))
    screened = capacity(ask(demand, TWO_CORES, slo), Settings(*shape), known)
    assert screened.throughput_rps.value == pytest.approx(full.throughput_rps.value, rel=0.01)
    assert screened.users == pytest.approx(full.users, rel=0.15)
    assert screened.latency.p95.high <= slo
    width = screened.throughput_rps.high / screened.throughput_rps.low
    assert width == pytest.approx(full.throughput_rps.high / full.throughput_rps.low, rel=0.05)


def test_what_nothing_known_is_alike_is_predicted_in_full() -> None:
    demand, slo = make_demand(), 0.1
    many, one = Settings(4, 2), Settings(1, 1)
    known = {many: capacity(ask(demand, TWO_CORES, slo), many)}
    full = capacity(ask(demand, TWO_CORES, slo), one)
    assert capacity(ask(demand, TWO_CORES, slo), one, known) == full


def test_the_search_for_users_ends_where_the_aim_is_crossed() -> None:
    for wanted in (1, 2, 7, 60, 900):
        for guess in (1, 10, 4000):

            def p95(n: int, wanted: int = wanted) -> float:
                return 0.9 if n <= wanted else 1.1  # tells nothing of how far

            assert wanted * 0.97 <= _most(p95, 1.0, guess, 4096) <= wanted
    assert _most(lambda n: 2.0, 1.0, 50, 4096) == 1
    assert _most(lambda n: 0.1, 1.0, 50, 4096) >= 0.98 * 4096


def test_an_slo_that_one_user_breaks_is_answered_with_one_user() -> None:
    got = capacity(ask(make_demand(), TWO_CORES, 0.001), Settings())
    assert got.users == 1
    assert got.latency.p95.value > 0.001


def test_a_database_on_the_same_cores_takes_its_part_of_them() -> None:
    demand, settings = make_demand(db_cpu=0.002), Settings(workers=8, threads=2)
    beside = predict(ask(demand, replace(TWO_CORES, database_local=True)), settings, 32)
    elsewhere = predict(ask(demand, TWO_CORES), settings, 32)
    assert beside.throughput_rps.contains(2 / 0.007)
    assert elsewhere.throughput_rps.contains(2 / 0.005)
    assert dict(beside.utilisation)["db"] == pytest.approx(0.002 / 0.007, rel=0.03)


def test_an_event_loop_serialises_cpu_and_overlaps_waits() -> None:
    demand, settings = make_demand(wait=0.05), Settings(workers=1, worker_class="asgi")
    got = predict(ask(demand, TWO_CORES), settings, 64)
    assert got.throughput_rps.contains(1 / 0.005)
    assert got.binding == "gil"
    assert "event loop" in got.explanation


def test_shares_of_the_workload_outweigh_how_often_endpoints_were_measured() -> None:
    demand = make_demand(db=0.0)
    tuples = demand.tuples.copy()
    tuples["endpoint"][:1500] = 0
    tuples["endpoint"][1500:] = 1
    tuples["cpu"] = np.where(tuples["endpoint"] == 0, 0.001, 0.009)
    even = replace(demand, tuples=tuples, shares=(0.5, 0.5), cpu_s=around(0.005))
    got = predict(ask(even, TWO_CORES), Settings(workers=4), 16)
    assert got.throughput_rps.contains(2 / 0.005)


def test_nothing_measured_is_refused() -> None:
    empty = replace(make_demand(), tuples=np.zeros(0, FIELDS))
    with pytest.raises(ValueError, match="no measured requests"):
        predict(ask(empty, TWO_CORES), Settings(), 1)


def test_a_time_that_is_not_a_number_counts_as_nothing() -> None:
    demand = make_demand()
    tuples = demand.tuples.copy()
    tuples["wait"] = np.nan
    one = predict(ask(replace(demand, tuples=tuples), TWO_CORES), Settings(workers=2), 4)
    assert one == predict(ask(demand, TWO_CORES), Settings(workers=2), 4)


def test_an_open_load_is_predicted_as_queueing_theory_has_it() -> None:
    """M/M/1: response times are exponential with rate mu - lambda."""
    demand = make_demand(cpu=0.005, db=0.0)
    rng = np.random.default_rng(3)
    tuples = demand.tuples.copy()
    tuples["cpu"] = rng.exponential(1.0, len(tuples))
    tuples["cpu"] *= 0.005 / tuples["cpu"].mean()
    demand = replace(demand, tuples=tuples)
    one = replace(TWO_CORES, server_cores=1)
    got = predict_arrivals(ask(demand, one), Settings(1, 1), 120.0)
    assert got.rps == 120.0
    assert got.latency.mean.value == pytest.approx(1 / (200 - 120), rel=0.12)
    assert got.latency.p95.value == pytest.approx(np.log(20) / (200 - 120), rel=0.15)
    assert got.users == 2  # rho / (1 - rho) = 1.5, rounded up


def test_the_highest_rate_of_arrivals_keeps_the_slo_and_is_near_it() -> None:
    demand = make_demand(cpu=0.005, db=0.0)
    one = replace(TWO_CORES, server_cores=1)
    slo = 0.04
    got = capacity(ask(demand, one, slo, arrivals=True), Settings(1, 4))
    assert got.rps is not None
    assert 100 < got.rps < 200
    assert got.latency.p95.high <= slo
    beyond = predict_arrivals(ask(demand, one), Settings(1, 4), min(198.0, 1.25 * got.rps))
    assert beyond.latency.p95.high > slo


def test_recycling_takes_a_worker_away_on_gunicorn_and_costs_cpu_on_the_embedded_server() -> None:
    """10 ms of waiting and nothing to compute: only an absence can cost throughput."""
    demand = make_demand(cpu=0.0001, db=0.0, wait=0.01)
    often = Settings(1, 1, max_requests=50)
    part = {}
    for server in ("embedded", "gunicorn"):
        there = replace(TWO_CORES, server=server)
        recycled, never = (
            predict(ask(demand, there), settings, 1).throughput_rps.value
            for settings in (often, replace(often, max_requests=0))
        )
        part[server] = recycled / never
    assert part["embedded"] == pytest.approx(1.0, rel=0.01)
    assert part["gunicorn"] == pytest.approx(50 * 0.0101 / (50 * 0.0101 + 0.5), rel=0.02)


@pytest.mark.parametrize(("server", "kind", "kills"), [
    ("embedded", "gthread", True),
    ("embedded", "sync", True),
    ("gunicorn", "sync", True),
    ("gunicorn", "gthread", False),  # a heartbeat
    ("uwsgi", "gthread", True),  # harakiri
    ("waitress", "gthread", False),
    ("embedded", "asgi", False),
])  # fmt: skip
def test_a_timeout_ends_requests_where_the_server_has_it_so(
    server: str, kind: str, kills: bool
) -> None:
    demand = make_demand(cpu=0.001, db=0.0, wait=0.01)
    tuples = demand.tuples.copy()
    tuples["wait"][::100] = 30.0
    settings = Settings(4, 1, kind, timeout=2.0)
    case = Scenario(replace(demand, tuples=tuples), settings, replace(TWO_CORES, server=server))
    run = case.run(4, central(demand), 2_000, seed=1)
    assert (run.killed > 0) is kills
    assert bool(run.response_s.max() < 10) is kills


def test_arrangements_are_compared_at_the_slo_whatever_less_is_promised() -> None:
    """Hardly known latency takes the promise down, not what tells arrangements apart."""
    demand, slo, few, many = make_demand(wait=0.02), 0.08, Settings(1, 1), Settings(4, 4)
    vague = replace(calibrate(demand, (), seed=1), latency_sd=1.0)
    promised = [capacity(ask(demand, TWO_CORES, slo, calibration=vague), s) for s in (few, many)]
    assert {p.users for p in promised} == {1}
    assert promised[0].throughput_rps.value == pytest.approx(promised[1].throughput_rps.value, 0.05)
    assert promised[1].compared_rps > 3 * promised[0].compared_rps


def test_the_rate_at_the_slo_lies_between_the_loads_around_it() -> None:
    demand, settings, slo = make_demand(), Settings(2, 2), 0.031
    found = capacity(ask(demand, TWO_CORES, slo), settings)
    rates = [
        predict(ask(demand, TWO_CORES), settings, n).throughput_rps.value
        for n in (found.users, 3 * found.users)
    ]
    assert 0.98 * rates[0] <= found.compared_rps <= 1.02 * rates[1]


def test_common_draws_cancel_what_makes_both_as_uncertain() -> None:
    """CPU unknown by a fifth moves each rate by as much, and the difference not at all."""
    demand = replace(make_demand(db=0.0), cpu_s=around(0.005, 0.2))
    one, other = (capacity(ask(demand, TWO_CORES, 0.1), Settings(w, 4)) for w in (4, 5))
    assert np.log(one.draws).std() > 0.05
    found = paired.loss(one, other)
    assert abs(found.value) < 0.02
    assert found.high - found.low < 0.03
    fewer = capacity(ask(demand, TWO_CORES, 0.1), Settings(1, 4))
    assert paired.loss(fewer, other).value == pytest.approx(0.5, abs=0.05)


def test_without_draws_no_loss_is_known() -> None:
    plain = predict(ask(make_demand(), TWO_CORES), Settings(), 1)
    assert np.isnan(paired.loss(plain, plain).value)


def test_the_machines_limit_is_named_where_the_arrangements_is_as_close() -> None:
    """Four workers on four cores: neither more workers nor more cores alone would be faster."""
    four = replace(TWO_CORES, server_cores=4)
    demand = make_demand(db=0.0)
    assert predict(ask(demand, four), Settings(4, 4), 64).binding == "cpu"
    assert predict(ask(demand, four), Settings(3, 4), 64).binding == "gil"


def test_a_gil_that_is_not_known_leaves_open_what_binds() -> None:
    demand = replace(make_demand(db=0.0), cpu_gil_fraction=Interval(0.5, 0.0, 1.0))
    got = capacity(ask(demand, TWO_CORES, 0.1), Settings(1, 8))
    assert {got.binding, *got.may_bind} == {"cpu", "gil"}
    assert "the run cannot tell whether" in got.explanation
    sure = capacity(ask(make_demand(db=0.0), TWO_CORES, 0.1), Settings(1, 8))
    assert (sure.binding, sure.may_bind) == ("gil", ())


def test_what_concurrency_saves_is_the_loop_s_and_not_its_threads() -> None:
    demand = make_demand(cpu=0.002, db=0.0)
    tuples = np.zeros(len(demand.tuples), TUPLE)
    for name in ("endpoint", "cpu", "db", "wait"):
        tuples[name] = demand.tuples[name]
    tuples["pool"] = 0.4 * tuples["cpu"]
    handing = replace(demand, tuples=tuples)
    for inflation, share in ((0.5, 0.8), (0.3, 1.0), (1.5, 0.4)):
        rows = build_rows(handing, Factors(1.0, inflation=inflation), TWO_CORES)
        assert rows["pool"] == pytest.approx(share * rows["cpu"])
