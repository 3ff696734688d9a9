"""From measurements with known truth to the demand that states it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.measured import EXACT, MIB, WORKLOAD, measurement, telemetry, worker

from pretune.advisor.demand.estimate import assemble
from pretune.advisor.demand.requests import describe_thin, means
from pretune.advisor.demand.server_costs import on_server
from pretune.advisor.demand.values import Demand, ServerCost
from pretune.advisor.model import memory
from pretune.advisor.model.scenario import Scenario
from pretune.advisor.profiler.measurement import (
    DatabaseTime,
    Measurement,
    MemorySeries,
)
from pretune.advisor.quantity import Interval
from pretune.loadtests.workload import Endpoint, Load, Workload
from pretune.server.settings import Settings


def demand_of(rows: np.ndarray | None = None) -> Demand:
    return assemble(WORKLOAD, measurement(Settings(1, 1), rows=rows))


def test_the_mix_is_the_workloads_and_not_the_samples() -> None:
    demand = demand_of()  # the sample has dear at 50%, the workload at 20%
    assert demand.cpu_s.value == pytest.approx(0.8 * 0.002 + 0.2 * 0.010, rel=0.03)
    assert demand.db_s.value == pytest.approx(0.2 * 0.020, rel=0.01)
    assert demand.db_calls.value == pytest.approx(0.8)
    assert demand.wait_s.value == pytest.approx(0.2 * 0.005, rel=0.01)
    assert demand.wait_calls.value == pytest.approx(0.2)
    assert demand.cpu_s.low < demand.cpu_s.value < demand.cpu_s.high


def test_each_endpoint_keeps_its_own_numbers() -> None:
    cheap, dear = demand_of().by_endpoint
    assert (cheap.name, dear.name) == ("/cheap", "/dear")
    assert cheap.db_s.value == 0
    assert dear.cpu_s.value == pytest.approx(0.010, rel=0.03)
    assert dear.db_calls == EXACT(4.0)
    assert dear.response_bytes == 9000
    assert cheap.requests + dear.requests == 4000


def test_rows_keep_the_correlation_between_parts() -> None:
    tuples = demand_of().tuples
    assert set(tuples["endpoint"]) == {0, 1}
    assert not tuples["db"][tuples["endpoint"] == 0].any()
    assert tuples["db"][tuples["endpoint"] == 1] == pytest.approx(0.020)


def test_what_a_loop_s_threads_spent_stays_with_its_request() -> None:
    rows = telemetry()
    rows["pool"] = np.where(rows["endpoint"] == 2, 0.6, 0.0) * rows["cpu"]
    tuples = demand_of(rows).tuples
    dear = tuples["endpoint"] == 1
    assert tuples["pool"][dear] == pytest.approx(0.6 * tuples["cpu"][dear])
    assert not tuples["pool"][~dear].any()


def test_no_part_is_negative_and_parts_never_exceed_the_wall() -> None:
    rows = telemetry()
    rows["db"] *= 3  # a driver that burns CPU while it waits, or a gather
    rows["runq"][::2] = np.nan
    tuples = demand_of(rows).tuples
    total = tuples["cpu"] + tuples["db"] + tuples["wait"]
    assert (tuples["wait"] >= 0).all()
    assert (total <= rows["wall"] + 1e-12).all()


def test_what_a_local_postgres_stood_in_the_run_queue_is_no_demand() -> None:
    zero = EXACT(0.0)
    # the sample's mean of db is 10 ms; a quarter of it was spent in the queue
    times = DatabaseTime(None, zero, zero, zero, EXACT(0.0025), zero, 0, 0)
    trial = replace(measurement(Settings(1, 1)), database_time=times)
    delayed = assemble(WORKLOAD, trial)
    assert delayed.db_s.value == pytest.approx(0.75 * demand_of().db_s.value, rel=0.01)
    assert delayed.wait_s.value == pytest.approx(demand_of().wait_s.value, rel=0.001)
    unknown = replace(trial, database_time=replace(times, server_delay_s=None))
    assert assemble(WORKLOAD, unknown).db_s.value == demand_of().db_s.value


@pytest.mark.parametrize(
    ("runq", "more", "told"),
    [
        (0.002, 0.0012, 0.0012),  # the server worked while the thread stood in its queue
        (0.002, 0.0200, 0.0020),  # at most as long as that: others use the database, too
        (0.002, -0.006, 0.0),  # the way there and back is in the wait alone
        (0.0, 0.0200, 0.0),
        (0.002, np.nan, 0.0),
    ],
)
def test_a_query_that_ran_while_its_thread_had_no_core_is_demand_all_the_same(
    runq, more, told
) -> None:
    rows = telemetry()
    rows["wall"] += runq - rows["runq"]
    rows["runq"] = runq
    waited, zero = float(rows["db"].mean()), EXACT(0.0)
    times = DatabaseTime(None, EXACT(waited + more), zero, zero, zero, zero, 0, 0)
    trial = replace(measurement(Settings(1, 1), rows=rows), database_time=times)
    tuples = assemble(WORKLOAD, trial).tuples
    assert float(tuples["db"].mean()) == pytest.approx(waited + told)


def test_overhead_is_what_the_process_used_beyond_its_requests() -> None:
    rows = telemetry()
    trial = measurement(Settings(1, 1), rows=rows, cpu_s=float(rows["cpu"].mean()) + 0.0003)
    overhead = assemble(WORKLOAD, trial).overhead_cpu_s
    assert overhead.value == pytest.approx(0.0003)
    assert overhead.low <= overhead.value <= overhead.high


def test_requests_outside_the_workload_and_failures_do_not_count() -> None:
    rows = telemetry()
    rows["endpoint"][:100] = 0
    rows["status"][100:300] = 500
    rows["cpu"][:300] = 5.0
    assert len(demand_of(rows).tuples) == 3700
    assert demand_of(rows).cpu_s.high < 0.01


def test_no_request_of_the_workload_is_an_error() -> None:
    rows = telemetry()
    rows["endpoint"] = 0
    with pytest.raises(ValueError, match="no request"):
        demand_of(rows)


def test_an_endpoint_never_served_is_unknown_and_leaves_its_share() -> None:
    demand = demand_of(telemetry(dear=0.0))
    assert math.isnan(demand.by_endpoint[1].cpu_s.value)
    assert demand.cpu_s.value == pytest.approx(0.002, rel=0.03)


def test_unloaded_p95_is_weighted_to_the_mix() -> None:
    assert demand_of().unloaded_p95_s > 0.035  # a fifth of the mix is dear
    rare = Workload((WORKLOAD.endpoints[0], WORKLOAD.endpoints[1]))
    rare = Workload((Endpoint("/cheap", ("/cheap",), 0.99), Endpoint("/dear", ("/dear",), 0.01)))
    assert assemble(rare, measurement(Settings(1, 1))).unloaded_p95_s < 0.004


def tree(settings: Settings, anon: float, **changes: Any) -> Measurement:
    """A tree with a master of 10 MiB and 15 MiB of files."""
    found = measurement(settings, pss=anon + 15 * MIB)
    return replace(
        found,
        **{
            "anon_bytes": Interval(anon, anon * 0.99, anon * 1.01),
            "file_bytes": 15.0 * MIB,
            "master_anon_bytes": 10.0 * MIB,
            **changes,
        },
    )


def test_memory_is_solved_from_the_trees() -> None:
    # 10 the master, 40 a worker, 2 a further thread; 15 of files, once
    demand = assemble(
        WORKLOAD,
        tree(Settings(1, 1), 50 * MIB),
        tree(Settings(1, 4), 56 * MIB),
        [tree(Settings(3, 1), 130 * MIB)],
    ).worker
    assert demand.fixed_pss_bytes == pytest.approx(10 * MIB)
    assert demand.base_pss_bytes.value == pytest.approx((40 + 15) * MIB)
    assert demand.per_thread_bytes.value == pytest.approx(2 * MIB)
    assert demand.shared_file_bytes == 15 * MIB
    assert demand.preload_saving_bytes is None
    four = memory.peak_pss(demand, Settings(4, 2))
    assert four.value == pytest.approx((10 + 15 + 4 * 42) * MIB)
    # trials differ by a percent or so even where nothing varies
    assert four.low < four.value * 0.99 < four.value * 1.01 < four.high


def test_preload_on_another_server_is_held_against_a_plain_worker_there() -> None:
    """There a worker has 5 MiB and the master 6 MiB more; preloaded it holds 35 more."""
    cost = ServerCost(EXACT(0.004), 0.0, 40 * MIB, 10 * MIB, 0.0)
    costs = {
        ("embedded", "gthread"): cost,
        ("gunicorn", "gthread"): replace(cost, worker_bytes=45 * MIB, master_bytes=16 * MIB),
    }
    own = tuple(worker(uss_bytes=17 * MIB) for _ in range(2))
    preloaded = tree(Settings(2, 1, preload_app=True), (16 + 35 + 2 * 17) * MIB, workers=own)
    there = replace(preloaded, conditions=replace(preloaded.conditions, server="gunicorn"))
    demand = assemble(WORKLOAD, tree(Settings(1, 1), 50 * MIB), None, [there], costs=costs)
    moved = on_server(demand, "gunicorn", "gthread").worker
    assert moved.preload_saving_bytes is not None
    assert moved.preload_saving_bytes.value == pytest.approx((45 - 17) * MIB)
    for workers in (2, 5, 9):
        pss = memory.peak_pss(moved, Settings(workers, preload_app=True))
        assert pss.value == pytest.approx((15 + 16 + 35 + workers * 17) * MIB)


def test_preload_shares_what_workers_did_not_write_to() -> None:
    # The zygote holds 35, of which a worker has copied 12 and added 5 of its own.
    own = tuple(worker(uss_bytes=17.0 * MIB) for _ in range(2))
    demand = assemble(
        WORKLOAD,
        tree(Settings(1, 1), 50 * MIB),
        memory_trials=[
            tree(Settings(2, 1, preload_app=True), (10 + 35 + 2 * 17) * MIB, workers=own)
        ],
    ).worker
    assert demand.preload_saving_bytes is not None
    assert demand.preload_saving_bytes.value == pytest.approx((40 - 17) * MIB)
    for workers in (2, 5):
        pss = memory.peak_pss(demand, Settings(workers, preload_app=True))
        assert pss.value == pytest.approx((15 + 10 + 35 + workers * 17) * MIB)


def test_where_files_are_not_told_apart_every_worker_has_its_own() -> None:
    demand = assemble(
        WORKLOAD,
        measurement(Settings(1, 1), pss=60 * MIB),
        measurement(Settings(1, 4), pss=66 * MIB),
    ).worker
    assert demand.fixed_pss_bytes == pytest.approx(10 * MIB)
    assert demand.base_pss_bytes.value == pytest.approx(50 * MIB)
    assert demand.shared_file_bytes == 0


def test_a_local_postgres_is_told_apart_by_its_connections() -> None:
    def trial(threads: int, pss: float, connections: int) -> Measurement:
        found = measurement(Settings(1, threads))
        return replace(found, db_pss_bytes=pss * MIB, pg_connections_peak=connections)

    # 40 without connections, 4 for each
    demand = assemble(WORKLOAD, trial(1, 44, 1), trial(4, 56, 4)).worker
    assert demand.db_pss_bytes.value == pytest.approx(40 * MIB)
    assert demand.db_pss_bytes_per_connection == pytest.approx(4 * MIB)
    alone = assemble(WORKLOAD, trial(1, 44, 1)).worker
    assert alone.db_pss_bytes.value == 44 * MIB
    assert alone.db_pss_bytes_per_connection == 0
    assert demand_of().worker.db_pss_bytes.value == 0


def test_a_thread_nobody_measured_may_cost_a_tenth_of_a_worker() -> None:
    demand = assemble(WORKLOAD, measurement(Settings(1, 1))).worker
    assert demand.per_thread_bytes.low == 0
    assert demand.per_thread_bytes.high == pytest.approx(demand.base_pss_bytes.high / 10)


def test_connections_grow_by_thread_under_wsgi_and_to_saturation_under_asgi() -> None:
    wsgi = assemble(
        WORKLOAD,
        measurement(Settings(1, 1)),
        measurement(Settings(1, 4), workers=(worker(pg_connections=4),)),
    ).worker
    assert (wsgi.pg_connections, wsgi.pg_connections_per_thread) == (1, 1.0)
    one = Settings(1, 1, "asgi")
    asgi = assemble(
        WORKLOAD, measurement(one), measurement(one, workers=(worker(pg_connections=5),))
    ).worker
    assert (asgi.pg_connections, asgi.pg_connections_per_thread) == (5, 0.0)


def test_the_slowest_boot_and_shutdown_count() -> None:
    demand = assemble(
        WORKLOAD,
        measurement(Settings(1, 1)),
        measurement(Settings(1, 4), workers=(worker(boot_s=2.0, shutdown_s=0.7),)),
    ).worker
    assert (demand.boot_s, demand.shutdown_s) == (2.0, 0.7)


@pytest.mark.parametrize(
    ("rps", "cores", "low", "value"),
    [
        (100.0, 1.0, 0.0, 1.0),  # one core cannot tell
        (100.0, 2.0, 0.8, 1.0),  # one busy core of two hungry for: all of it needs the lock
        (160.0, 2.0, 0.5, 1 / 1.6),  # 1.6 busy cores
        (195.0, 2.0, 0.0, 1 / 1.95),  # nothing held it back
    ],
)
def test_the_lock_shows_in_how_far_threads_get(
    rps: float, cores: float, low: float, value: float
) -> None:
    rows = telemetry(dear=0.0)
    rows["cpu"] = 0.010
    rows["wall"] = 0.0101
    fraction = assemble(
        WORKLOAD,
        measurement(Settings(1, 1), rows=rows, cpu_s=0.010, cores=cores),
        measurement(Settings(1, 4), rps=rps, cpu_s=0.010, cores=cores),
    ).cpu_gil_fraction
    assert fraction.value == pytest.approx(value)
    assert fraction.low >= low
    assert fraction.low <= fraction.value <= fraction.high <= 1


def test_the_interval_covers_the_mean_of_correlated_rows() -> None:
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noise = 20 + np.repeat(rng.normal(0, 1, 250), 8)  # runs of eight alike
        mix, _ = means(np.zeros(2000, dtype=np.int64), noise[:, None], (1.0,))
        covered += mix[0].contains(20.0)
    assert covered >= 88


def test_the_interval_of_the_mix_covers_when_one_kind_of_request_is_rare() -> None:
    covered, rare = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        kind = (rng.random(600) < 0.02).astype(np.int64)  # some 12 rows of the dear kind
        spent = np.where(kind == 1, 0.1, 0.01) * rng.lognormal(-0.125, 0.5, 600)
        mix, each = means(kind, spent[:, None], (0.5, 0.5))
        covered += mix[0].contains(0.055)
        rare += each[1][0].contains(0.1)
    assert covered >= 88
    assert rare >= 88


def half(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def test_an_endpoint_that_was_hardly_seen_widens_the_mix() -> None:
    rng = np.random.default_rng(7)
    kind = np.repeat([0, 1, 2], [400, 400, 4])
    spent = np.array([0.01, 0.03, 0.02])[kind] * rng.lognormal(-0.02, 0.2, len(kind))
    order = rng.permutation(len(kind))
    kind, spent = kind[order], spent[order, None]

    def half_width(shares: tuple[float, ...]) -> float:
        return half(means(kind, spent, shares)[0][0])

    known = half_width((0.5, 0.5, 0.0))
    assert half_width((0.3, 0.3, 0.4)) > 2 * known  # 4 rows tell 40% of it
    # a fourth that nobody asked for may be as far from the mix as the others are from each other
    unseen, _ = means(kind, spent, (0.4, 0.4, 0.0, 0.2))
    assert half(unseen[0]) == pytest.approx(1.96 * 0.2 * 0.01, rel=0.15)
    assert half_width((0.4, 0.4, 0.0, 0.001)) < 1.2 * known


def test_what_the_demand_trial_has_hardly_seen_is_said() -> None:
    names, shares = ("/", "/a", "/b", "/c", "/d"), (0.6, 0.2, 0.1, 0.05, 0.05)
    assert describe_thin(names, shares, (600, 200, 100, 50, 30)) == ""
    said = describe_thin(names, shares, (600, 29, 10, 0, 5))
    assert said.startswith("40.0% of the traffic rests on fewer than 30 requests of an endpoint")
    assert "(/a with 29, /b with 10, /d with 5 and 1 more); 5.0% had none" in said
    assert describe_thin(("/", "/late"), (1.0, 0.0), (600, 0)) == ""  # no part of the mix


def test_one_row_has_a_value_and_no_limits() -> None:
    _, each = means(np.array([0, 0, 1]), np.array([[1.0], [1.0], [5.0]]), (0.4, 0.4, 0.2))
    assert each[0][0] == EXACT(1.0)
    assert each[1][0].value == 5.0
    assert math.isnan(each[1][0].low)
    assert math.isnan(each[1][0].high)
    assert math.isnan(each[2][0].value)


def leaking(threads: int, workers: int, served: int, preload: bool = False) -> Measurement:
    """Workers of 40 MB that keep 10 KB of each request; 30 MB of each are shared under preload."""
    x = np.linspace(0, served, 60)
    grown = 10_000 * x
    own = (10 if preload else 40) * MIB
    one = MemorySeries(1, x / 400, x, own + grown, anon_bytes=40 * MIB + grown)
    anon = workers * (own + grown[-1]) + (45 if preload else 10) * MIB
    return replace(
        measurement(
            Settings(workers, threads, preload_app=preload),
            workers=tuple(worker(uss_bytes=own + grown[-1]) for _ in range(workers)),
        ),
        memory_series=tuple(replace(one, pid=n) for n in range(workers)),
        anon_bytes=Interval(anon, anon * 0.99, anon * 1.01),
        master_anon_bytes=10.0 * MIB,
        file_bytes=5.0 * MIB,
    )


def test_what_leaked_in_a_trial_is_no_part_of_a_worker() -> None:
    demand = assemble(
        WORKLOAD,
        leaking(1, 1, 9000),
        leaking(4, 1, 15_000),
        [leaking(2, 2, 4000, preload=True)],
    )
    w = demand.worker
    assert w.leak_class == "leak"
    assert w.leak_slope_bytes_per_request.value == pytest.approx(10_000, rel=0.01)
    assert w.base_pss_bytes.value == pytest.approx(45 * MIB, rel=0.03)
    assert w.base_pss_bytes.high < 60 * MIB
    assert w.per_thread_bytes.value < 2 * MIB
    assert w.preload_saving_bytes is not None
    assert w.preload_saving_bytes.value == pytest.approx(30 * MIB, rel=0.07)


def test_the_peak_of_a_trial_knows_what_leaks_in_it() -> None:
    w = assemble(WORKLOAD, leaking(1, 1, 9000), leaking(1, 1, 9000)).worker
    rate = EXACT(500.0)
    settings = Settings(2, 1)
    still = memory.peak_pss(w, settings)
    grown = memory.peak_pss_of_trial(w, settings, rate, 20.0, EXACT(0.0))
    assert grown.value - still.value == pytest.approx(500 * 20 * 10_000, rel=0.01)
    fine = replace(w, leak_class="none")
    still_there = memory.peak_pss_of_trial(fine, settings, rate, 20.0, EXACT(0.0))
    assert still_there.value == memory.peak_pss(fine, settings).value


def test_a_connection_that_no_look_saw_was_there_for_each_busy_thread() -> None:
    """Opened and closed for each request, it is seldom seen."""
    seen = (worker(pg_connections=0),)
    one, four = (measurement(Settings(1, t), workers=seen) for t in (1, 4))
    found = assemble(WORKLOAD, one, four, pool_most=15, per_thread=True).worker
    assert (found.pg_connections, found.pg_connections_per_thread) == (1, 1.0)
    assert found.pg_most == 15
    rows = one.telemetry.copy()
    rows["db_calls"] = 0
    without = replace(one, telemetry=rows), replace(four, telemetry=rows)
    found = assemble(WORKLOAD, *without, per_thread=True).worker
    assert (found.pg_connections, found.pg_connections_per_thread) == (0, 0.0)


@pytest.mark.parametrize(
    ("connections", "users", "rps", "inside"),
    [
        (15, 64, 400.0, 15),  # all in use, and no more got through than hold one throughout
        (15, 64, 4000.0, None),  # given back early
        (14, 64, 400.0, None),  # one was free
        (15, 12, 400.0, None),  # nobody waited
    ],
)
def test_a_pool_that_requests_hold_throughout_lets_no_more_of_them_get_on(
    connections: int, users: int, rps: float, inside: int | None
) -> None:
    one = Settings(1, 1, "asgi")
    several = replace(
        measurement(one, workers=(worker(pg_connections=connections),), rps=rps),
        load=Load(users, 10.0),
    )
    found = assemble(WORKLOAD, measurement(one), several, pool_most=15)
    assert found.worker.most_inside == inside
    if inside is not None:
        slots = Scenario(found, Settings(2, 1, "asgi"), several.conditions).slots_of_worker
        assert slots == 15
