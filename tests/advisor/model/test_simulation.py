"""The simulation against queueing theory's exact results."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from support.oracles import Station, asymptotic, balanced_job, closed_network

from pretune.advisor.model import engine
from pretune.advisor.model.simulation import (
    Arrangement,
    Closed,
    Discipline,
    Open,
    SimulatedRun,
    merged,
    simulate,
)
from pretune.advisor.model.state import ROW

ROWS = 200_000
FIRST = Discipline(when_free=True, sticky=False, pick="first")
RNG = np.random.default_rng(11)


def exponential(mean: float) -> NDArray[np.float64]:
    sample = RNG.exponential(1.0, ROWS)
    return np.asarray(sample * (mean / sample.mean()))


def make_rows(
    cpu: NDArray[np.float64] | float = 0.0,
    *,
    db_delay: NDArray[np.float64] | float = 0.0,
    db_cpu: NDArray[np.float64] | float = 0.0,
    wait: NDArray[np.float64] | float = 0.0,
    pool: float = 0.0,
) -> NDArray[np.void]:
    rows = np.zeros(ROWS, ROW)
    rows["pool"] = pool
    for name, values in (("cpu", cpu), ("db_delay", db_delay), ("db_cpu", db_cpu), ("wait", wait)):
        rows[name] = values
    rows["db_calls"] = (rows["db_delay"] + rows["db_cpu"]) > 0
    rows["wait_calls"] = rows["wait"] > 0
    return rows


def run(
    rows: NDArray[np.void],
    arrangement: Arrangement,
    load: Closed | Open,
    *,
    requests: int = 200_000,
    seed: int = 3,
) -> SimulatedRun:
    return simulate(rows, np.arange(ROWS), arrangement, load, requests=requests, seed=seed)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
def test_open_arrivals_at_one_core_are_m_m_1_processor_sharing(utilisation: float) -> None:
    mean = 0.01
    many = Arrangement(workers=400, threads=1, cores=1.0, discipline=FIRST)
    got = run(make_rows(exponential(mean)), many, Open(utilisation / mean))
    assert got.response_s.mean() == pytest.approx(mean / (1 - utilisation), rel=0.04)
    assert got.cpu_busy == pytest.approx(utilisation, rel=0.02)


def test_processor_sharing_is_insensitive_to_the_distribution() -> None:
    """M/G/1-PS: the mean depends on the mean service only, however bimodal it is."""
    cpu = np.where(RNG.random(ROWS) < 0.95, 0.002, 0.05)
    rho = 0.7
    many = Arrangement(workers=400, threads=1, cores=1.0, discipline=FIRST)
    got = run(make_rows(cpu), many, Open(rho / cpu.mean()))
    assert got.response_s.mean() == pytest.approx(cpu.mean() / (1 - rho), rel=0.05)


@pytest.mark.parametrize("servers", [2, 4])
def test_a_central_queue_before_single_slots_is_m_m_c(servers: int) -> None:
    mean, rho = 0.01, 0.75
    arrangement = Arrangement(servers, 1, float(servers), discipline=FIRST)
    got = run(make_rows(exponential(mean)), arrangement, Open(rho * servers / mean))
    a = rho * servers
    tail = a**servers / math.factorial(servers) / (1 - rho)
    waits = tail / (sum(a**k / math.factorial(k) for k in range(servers)) + tail)  # Erlang C
    expected = mean + waits * mean / (servers - a)
    assert got.response_s.mean() == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("variation", [0.0, 1.0])
def test_one_slot_is_m_d_1_and_m_m_1(variation: float) -> None:
    """Mean wait by Pollaczek and Khinchine; of M/M/1 also the exponential tail of responses."""
    mean, rho = 0.01, 0.7
    cpu = exponential(mean) if variation else mean
    one = Arrangement(workers=1, threads=1, cores=1.0, discipline=FIRST)
    got = run(make_rows(cpu), one, Open(rho / mean))
    wait = rho * mean * (1 + variation**2) / 2 / (1 - rho)
    assert got.response_s.mean() == pytest.approx(mean + wait, rel=0.04)
    if variation:
        p95 = math.log(20) * mean / (1 - rho)
        assert np.quantile(got.response_s, 0.95) == pytest.approx(p95, rel=0.05)


def test_a_proxy_in_front_takes_cores_and_no_slot() -> None:
    cpu, front = 0.004, 0.001
    shared = Arrangement(workers=1, threads=1, cores=1.0, front_cpu_s=front, discipline=FIRST)
    got = run(make_rows(cpu), shared, Closed(4), requests=4_000)
    assert got.throughput_rps == pytest.approx(1 / (cpu + front), rel=0.01)
    got = run(make_rows(cpu), replace(shared, cores=2.0), Closed(4), requests=4_000)
    assert got.throughput_rps == pytest.approx(1 / cpu, rel=0.01)
    assert got.slots_busy == pytest.approx(1.0, rel=0.01)
    alone = run(make_rows(cpu), replace(shared, cores=2.0), Closed(1), requests=1_000)
    assert alone.response_s.mean() == pytest.approx(cpu + front, rel=1e-6)


def test_threads_of_one_worker_queue_at_its_gil() -> None:
    """M/G/1 first come first served by Pollaczek and Khinchine: bursts below the interval."""
    cpu = RNG.uniform(0.0005, 0.0035, ROWS)
    rho, mean = 0.7, cpu.mean()
    one = Arrangement(workers=1, threads=400, cores=4.0, discipline=FIRST)
    got = run(make_rows(cpu), one, Open(rho / mean))
    wait = rho / mean * (cpu**2).mean() / 2 / (1 - rho)
    assert got.response_s.mean() == pytest.approx(mean + wait, rel=0.04)


def test_the_gil_is_taken_from_a_long_burst_after_the_switch_interval() -> None:
    cpu = np.where(np.arange(ROWS) % 2 == 0, 0.0005, 0.2)
    two = Arrangement(workers=1, threads=2, cores=2.0)
    got = run(make_rows(cpu), two, Closed(2), requests=2_000)
    short = got.response_s[got.row % 2 == 0]
    assert np.quantile(short, 0.99) <= 0.005 + 0.0005 + 1e-9
    loop = Arrangement(workers=1, threads=2, cores=2.0, switch_interval_s=math.inf)
    got = run(make_rows(cpu), loop, Closed(2), requests=2_000)
    assert np.quantile(got.response_s[got.row % 2 == 0], 0.99) > 0.1


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_one_process_gets_as_far_as_its_gil_lets_it(fraction: float) -> None:
    many = Arrangement(workers=1, threads=16, cores=2.0, gil_fraction=fraction)
    got = run(make_rows(0.004), many, Closed(16), requests=20_000)
    expected = min(2 / 0.004, 1 / (0.004 * fraction) if fraction else math.inf)
    assert got.throughput_rps == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("workers", "users"), [(1, 4), (3, 12), (5, 3)])
def test_thinking_users_are_the_machine_repairman(workers: int, users: int) -> None:
    mean, think = 0.01, 0.03
    arrangement = Arrangement(workers, 1, float(workers), discipline=FIRST)
    got = run(make_rows(exponential(mean)), arrangement, Closed(users, think))
    exact = closed_network([Station("cpu", mean, workers)], users, think)
    assert got.throughput_rps == pytest.approx(exact.throughput_rps, rel=0.02)
    assert got.response_s.mean() == pytest.approx(exact.response_s, rel=0.03)


@pytest.mark.parametrize("users", [1, 3, 10, 40])
def test_a_network_of_cores_and_database_has_its_product_form_solution(users: int) -> None:
    stations = [
        Station("cpu", 0.008, 2),
        Station("db", 0.005, 1),
        Station("wait", 0.012, math.inf),
    ]
    rows = make_rows(exponential(0.008), db_cpu=exponential(0.005), wait=exponential(0.012))
    arrangement = Arrangement(
        workers=users, threads=1, cores=2.0, shared_cores=1.0, discipline=FIRST
    )
    got = run(rows, arrangement, Closed(users))
    exact = closed_network(stations, users)
    assert got.throughput_rps == pytest.approx(exact.throughput_rps, rel=0.02)
    least, most = asymptotic(stations, users)
    assert least <= got.throughput_rps * 1.01
    assert got.throughput_rps <= most * 1.01


def test_equal_work_without_waiting_meets_the_bound_exactly() -> None:
    """D/D: as many users as slots never queue, so the asymptotic bound is reached."""
    arrangement = Arrangement(workers=2, threads=1, cores=2.0)
    got = run(make_rows(0.004, wait=0.006), arrangement, Closed(2), requests=5_000)
    assert got.throughput_rps == pytest.approx(2 / 0.010, rel=1e-3)
    assert np.allclose(got.response_s, 0.010)


@pytest.mark.parametrize("seed", range(12))
def test_no_arrangement_beats_the_operational_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cpu, db, wait = rng.uniform(0.001, 0.02, 3)
    workers, threads, users = (int(rng.integers(1, n)) for n in (6, 6, 60))
    cores, fraction = float(rng.choice([1, 1.5, 2, 3])), float(rng.choice([0, 0.7, 1]))
    arrangement = Arrangement(
        workers,
        threads,
        cores,
        shared_cores=1.0,
        gil_fraction=fraction,
        discipline=Discipline(
            when_free=bool(rng.integers(2)),
            sticky=bool(rng.integers(2)),
            pick=str(rng.choice(["random", "idlest", "first"])),
        ),
    )
    rows = make_rows(exponential(cpu), db_cpu=exponential(db), wait=exponential(wait))
    got = run(rows, arrangement, Closed(users), requests=30_000, seed=seed)
    bounds = [
        Station("cpu", cpu, cores),
        Station("gil", cpu * fraction, workers),
        Station("db", db, 1),
        Station("slots", cpu + db + wait, workers * threads),
    ]
    most = min([users / (cpu + db + wait), *(s.most_rps for s in bounds)])
    assert got.throughput_rps <= most * 1.02
    assert got.slots_busy <= 1 + 1e-9
    assert got.cpu_busy <= 1 + 1e-9


def test_a_quota_stops_the_server_for_the_rest_of_each_period() -> None:
    """1.5 cores are two cores for 75 ms and none for 25: same throughput, a longer tail."""
    rows = make_rows(0.001)
    quota = run(rows, Arrangement(8, 1, 1.5), Closed(8), requests=20_000)
    assert quota.throughput_rps == pytest.approx(1500, rel=0.02)
    assert quota.response_s.max() > 0.025
    whole = run(rows, Arrangement(8, 1, 2.0), Closed(8), requests=20_000)
    assert whole.response_s.max() < 0.025


def test_connections_stay_with_the_worker_that_took_them() -> None:
    """Two users at one worker and none at the other: kept-alive connections cannot move."""
    greedy = Discipline(when_free=False, sticky=True, pick="first")
    got = run(
        make_rows(0.004, wait=0.004),
        Arrangement(2, 1, 2.0, discipline=greedy),
        Closed(2),
        requests=5_000,
    )
    assert got.throughput_rps == pytest.approx(1 / 0.008, rel=0.01)
    central = run(make_rows(0.004, wait=0.004), Arrangement(2, 1, 2.0), Closed(2), requests=5_000)
    assert central.throughput_rps == pytest.approx(2 / 0.008, rel=0.01)


def test_taking_at_random_has_a_longer_tail_than_a_central_queue() -> None:
    rows, load = make_rows(exponential(0.01)), Open(0.75 * 4 / 0.01)
    p99 = {}
    for when_free in (True, False):
        discipline = Discipline(when_free=when_free, sticky=False, pick="random")
        got = run(rows, Arrangement(4, 1, 4.0, discipline=discipline), load)
        p99[when_free] = np.quantile(got.response_s, 0.99)
    assert p99[False] > 1.5 * p99[True]


def test_a_full_backlog_costs_the_client_a_second() -> None:
    arrangement = Arrangement(1, 1, 1.0, backlog=2, discipline=FIRST)
    got = run(make_rows(exponential(0.01)), arrangement, Closed(8, 0.02), requests=2_000)
    assert got.retries > 0
    assert got.response_s.max() > 1.0


def test_a_slow_generator_takes_its_part_of_the_shared_cores() -> None:
    arrangement = Arrangement(4, 1, 4.0, shared_cores=1.0, generator_cpu_s=0.005)
    got = run(make_rows(0.001), arrangement, Closed(16), requests=5_000)
    assert got.throughput_rps == pytest.approx(1 / 0.005, rel=0.01)
    assert got.shared_busy == pytest.approx(1.0, abs=0.01)


def test_what_a_server_does_after_its_answer_holds_up_nobody_but_the_next() -> None:
    """4 ms of CPU, 1 of them after the answer; the generator takes 0.6 of its own core."""
    plain = Arrangement(1, 2, 1.0, shared_cores=1.0, generator_cpu_s=0.0006)
    tailed = replace(plain, tail_cpu_s=0.001)
    alone, together = (
        run(make_rows(0.004), tailed, Closed(users), requests=2_000) for users in (1, 4)
    )
    # the generator has done its part before the server has
    assert alone.throughput_rps == pytest.approx(1 / 0.004, rel=1e-3)
    assert alone.cpu_busy == pytest.approx(1.0, abs=1e-3)
    assert together.throughput_rps == pytest.approx(1 / 0.004, rel=1e-3)
    short = run(make_rows(0.004), replace(tailed, tail_cpu_s=0.0002), Closed(1), requests=2_000)
    assert short.throughput_rps == pytest.approx(1 / 0.0044, rel=1e-3)
    rare = run(make_rows(0.004), tailed, Closed(1, 1.0), requests=500)
    assert np.median(rare.response_s) == pytest.approx(0.0036, rel=1e-3)


def test_on_a_loop_most_is_computed_after_the_first_wait() -> None:
    """Two visits of one server, of parts p and q of a request: each waits as in M/G/1, together
    rate (p^2 + q^2) cpu^2 / (1 - busy). Threads compute in halves, a loop a tenth and the rest."""
    rate, cpu = 600.0, 0.001
    found = {}
    for name, interval, squares in (("loop", math.inf, 0.82), ("threads", 0.005, 0.5)):
        arrangement = Arrangement(1, 1000, 1.0, switch_interval_s=interval)
        rows = make_rows(cpu, wait=exponential(0.05))
        got = run(rows, arrangement, Open(rate), requests=100_000)
        found[name] = got.response_s.mean() - rows["wait"][got.row].mean() - cpu
        expected = rate * squares * cpu**2 / (1 - rate * cpu)
        assert found[name] == pytest.approx(expected, rel=0.1), name
    assert found["loop"] > 1.4 * found["threads"]


def test_nothing_is_counted_before_all_users_have_begun() -> None:
    """64 that wait 50 ms each: 1,250 a second, though many have not begun for most of 1 s."""
    rows = make_rows(0.0001, wait=exponential(0.05))
    got = run(rows, Arrangement(1, 64, 4.0), Closed(64, ramp_s=1.0), requests=1_500)
    assert got.throughput_rps == pytest.approx(64 / 0.0502, rel=0.05)


def test_one_seed_one_result() -> None:
    rows, arrangement = make_rows(exponential(0.005)), Arrangement(2, 2, 2.0)
    one, again, other = (
        run(rows, arrangement, Closed(8, 0.01), requests=3_000, seed=s).response_s
        for s in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_balanced_job_bounds_hold_the_exact_solution() -> None:
    stations = [Station("a", 0.004), Station("b", 0.007), Station("c", 0.002)]
    for users in (1, 2, 5, 20, 100):
        for think in (0.0, 0.05):
            exact = closed_network(stations, users, think).throughput_rps
            for least, most in (
                asymptotic(stations, users, think),
                balanced_job(stations, users, think),
            ):
                assert least * (1 - 1e-9) <= exact <= most * (1 + 1e-9)


def test_mean_numbers_at_the_stations_add_up_to_the_users() -> None:
    stations = [Station("a", 0.004, 2), Station("b", 0.007), Station("c", 0.1, math.inf)]
    solution = closed_network(stations, 50)
    assert sum(solution.at_station) == pytest.approx(50)


def test_nowhere_to_cache_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import caching

    for kind in (caching.CacheImpl, caching.CompileResultCacheImpl):
        monkeypatch.setattr(kind, "_locator_classes", [])
    twice = engine.entry(lambda x: 2 * x)
    assert twice(4) == 8


def test_a_worker_whose_interpreter_is_held_does_not_take_the_next_connection() -> None:
    """Of two workers with one long request, a second one always finds the other awake."""
    rows = make_rows(1.0)
    greedy = Discipline(when_free=False, sticky=False, pick="awake")
    got = run(rows, Arrangement(2, 4, 2.0, discipline=greedy), Closed(2), requests=500)
    np.testing.assert_allclose(got.response_s, 1.0)


def test_connections_that_stay_where_luck_put_them_make_some_users_wait_longer() -> None:
    rows = make_rows(wait=0.01)
    spread = []
    for when_free in (True, False):
        discipline = Discipline(when_free=when_free, sticky=True, pick="random")
        arrangement = Arrangement(4, 1, 4.0, discipline=discipline)
        assert discipline.uneven is not when_free
        runs = [run(rows, arrangement, Closed(8), requests=500, seed=k) for k in range(6)]
        both = merged(runs)
        assert len(both.response_s) == 3000
        assert math.isclose(both.throughput_rps, np.mean([r.throughput_rps for r in runs]))
        spread.append(np.quantile(both.response_s, 0.95))
    assert spread[1] > 1.3 * spread[0]


def test_what_takes_longer_than_the_timeout_ends_with_its_worker() -> None:
    """Of two workers the other serves meanwhile; the next look is at most a second late."""
    cpu = np.where(np.arange(ROWS) % 50 == 7, 20.0, 0.01)
    killing = Arrangement(2, 1, 2.0, discipline=FIRST, timeout_s=3.0, boot_s=0.5)
    got = run(make_rows(wait=cpu), killing, Closed(4), requests=2_000)
    assert got.killed > 20
    assert got.boots == got.killed
    assert got.response_s.max() < 3.0 + 1.0 + 0.5 + 4.0 + 0.1  # one may wait for two others' ends
    patient = run(make_rows(wait=cpu), Arrangement(2, 1, 2.0), Closed(4), requests=2_000)
    assert patient.killed == 0
    assert patient.response_s.max() >= 20.0


def test_a_timeout_that_lets_nothing_through_is_an_error() -> None:
    hopeless = Arrangement(2, 4, 2.0, timeout_s=0.5, boot_s=0.1)
    with pytest.raises(ValueError, match="within the timeout"):
        run(make_rows(30.0), hopeless, Closed(4), requests=5)


@pytest.mark.parametrize(("cores", "overlap", "cycle_s"), [
    (2.0, False, 1.5),  # nobody serves while it boots
    (2.0, True, 1.0),  # the boot has the other core
    (1.0, True, 1.5),  # the boot takes its CPU from those who serve
])  # fmt: skip
def test_recycling_costs_the_boot(cores: float, overlap: bool, cycle_s: float) -> None:
    """100 requests of 10 ms and then 0.5 s of boot, again and again."""
    arrangement = Arrangement(1, 1, cores, max_requests=100, boot_s=0.5, overlap=overlap)
    got = run(make_rows(0.01), arrangement, Closed(1), requests=10_000)
    assert got.throughput_rps == pytest.approx(100 / cycle_s, rel=0.01)
    assert got.boots == pytest.approx(100, abs=1)


def test_connections_of_a_worker_that_leaves_go_to_another_and_stay_there() -> None:
    """Two workers, and from the first recycling on only one at a time has anything to do."""
    arrangement = Arrangement(
        2, 2, 2.0, max_requests=50, max_requests_jitter=50, boot_s=0.2, discipline=Discipline(False)
    )
    got = run(make_rows(0.01), arrangement, Closed(4), requests=4_000)
    assert got.boots > 20
    assert got.throughput_rps == pytest.approx(1 / 0.01, rel=0.05)
    assert got.response_s.max() < 1.0


def test_every_moment_of_workers_that_come_and_go_is_within_the_bounds() -> None:
    rows = make_rows(exponential(0.004), db_cpu=exponential(0.002), wait=exponential(0.01))
    for seed in range(6):
        arrangement = Arrangement(
            3, 4, 2.0, 1.0, gil_fraction=0.7, max_requests=40, max_requests_jitter=20, boot_s=0.05,
            overlap=seed % 2 == 0, timeout_s=0.06, discipline=Discipline(seed % 3 == 0),
        )  # fmt: skip
        got = run(rows, arrangement, Closed(24, 0.01), requests=20_000, seed=seed)
        assert got.boots > 300
        assert got.slots_busy <= 1 + 1e-9
        assert got.cpu_busy <= 1 + 1e-9
        assert got.throughput_rps <= 2 / 0.004
        assert np.all(got.response_s > 0)


def locked(
    lock: float, threads: int, workers: int, wait_s: float, cpu_s: float = 0.0
) -> SimulatedRun:
    rows = make_rows(cpu_s, wait=wait_s)
    server = Arrangement(workers, threads, 8.0, lock=lock, discipline=Discipline(sticky=False))
    return run(rows, server, Closed(4 * workers * threads), requests=20_000)


@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 4), (3, 1)])
def test_a_lock_around_every_wait_lets_each_worker_wait_once_at_a_time(
    workers: int, threads: int
) -> None:
    got = locked(1.0, threads, workers, 0.004, 0.0005)
    alone = 0.0045 if threads == 1 else 0.004
    assert got.throughput_rps == pytest.approx(workers / alone, rel=0.01)
    assert got.lock_busy == pytest.approx(0.004 / alone, rel=0.01)


def test_a_lock_around_a_part_of_the_wait_is_a_single_server() -> None:
    """A quarter of 8 ms under the lock: 500 requests/s, however many threads wait for the rest."""
    assert locked(0.25, 16, 1, 0.008).throughput_rps == pytest.approx(500, rel=0.01)


def test_a_lock_of_a_few_users_is_the_closed_network_of_one_server_and_a_delay() -> None:
    """Exponential times: half of each wait under the lock, half outside; exact by convolution."""
    rows = make_rows(wait=exponential(0.01))
    server = Arrangement(1, 4, 8.0, lock=0.5)
    got = run(rows, server, Closed(4))
    # the two halves of one wait are alike, which the network does not know
    exact = closed_network([Station("lock", 0.005), Station("free", 0.005, math.inf)], 4)
    assert got.throughput_rps == pytest.approx(exact.throughput_rps, rel=0.05)


@pytest.mark.parametrize("lock", [1.5, 2.0])
def test_a_lock_held_throughout_covers_the_computing_too(lock: float) -> None:
    """1 ms of CPU and 4 ms of waiting; half or all of the requests hold it from first to last."""
    got = locked(lock, 4, 1, 0.004, 0.001)
    serial = 0.004 + (lock - 1) * 0.001
    assert got.throughput_rps == pytest.approx(1 / serial, rel=0.03)


def test_a_lock_around_database_calls_holds_postgres_too() -> None:
    rows = make_rows(0.0002, db_delay=0.001, db_cpu=0.003)
    rows["db_calls"] = 2
    got = run(rows, Arrangement(1, 8, 4.0, lock=1.0), Closed(16), requests=20_000)
    assert got.throughput_rps == pytest.approx(250, rel=0.01)


def test_a_request_killed_under_the_lock_lets_the_next_one_have_it() -> None:
    wait = np.where(np.arange(ROWS) % 50 == 0, 30.0, 0.002)
    server = Arrangement(1, 4, 1.0, lock=1.0, timeout_s=1.0, overlap=True)
    got = run(make_rows(wait=wait), server, Closed(4), requests=2_000)
    assert got.killed > 10
    # 49 quick ones, then one that is ended at the second look
    assert got.throughput_rps == pytest.approx(49 / (49 * 0.002 + 1.5), rel=0.4)


def test_a_request_costs_more_where_it_wakes_another_worker_than_the_last() -> None:
    """One user finds the last worker again once in three; where some wait, each goes on."""
    one_by_one = Discipline(sticky=False, pick="random")
    three = Arrangement(3, 1, 4.0, discipline=one_by_one, wake_cpu_s=0.0006)
    alone = run(make_rows(0.002), three, Closed(1), requests=20_000)
    assert alone.response_s.mean() == pytest.approx(0.002 + 0.0006 * 2 / 3, rel=0.01)
    busy = run(make_rows(0.002), three, Closed(8), requests=20_000)
    assert busy.throughput_rps == pytest.approx(3 / 0.002, rel=0.01)
    single = run(make_rows(0.002), replace(three, workers=1), Closed(1), requests=2_000)
    assert single.response_s.mean() == pytest.approx(0.002, rel=1e-6)


LOOP = Arrangement(1, 1000, 1.0, switch_interval_s=math.inf)


def test_a_loop_and_its_threads_keep_their_requests_in_step() -> None:
    """Views that sleep 10 ms and then compute 0.65 ms in a thread, 0.3 ms on the loop.

    The loop reads all there is before a thread begins, the threads that wake together compute
    before the loop may answer: all users wait for the computing of all. Were nobody in step, 8 of
    them would hardly meet.
    """
    wait = 0.010 + 0.0001 * np.random.default_rng(11).standard_normal(ROWS)
    for users in (5, 8, 17):
        rows = make_rows(0.00095, wait=wait, pool=0.00065)
        got = run(rows, LOOP, Closed(users), requests=9_000)
        in_step = 0.010 + users * 0.00095
        assert got.response_s.mean() == pytest.approx(in_step, rel=0.06)
        threads = replace(LOOP, switch_interval_s=0.005)
        apart = run(make_rows(0.00095, wait=wait), threads, Closed(users), requests=9_000)
        assert apart.response_s.mean() < 0.93 * got.response_s.mean()


def test_a_call_handed_to_a_thread_costs_one_user_nothing_more() -> None:
    for waits in (0.0, 0.010):
        got = run(make_rows(0.002, wait=waits, pool=0.0015), LOOP, Closed(1), requests=500)
        assert got.response_s.max() == pytest.approx(0.002 + waits)


def test_a_loop_with_a_pool_is_saturated_by_all_its_computing() -> None:
    got = run(make_rows(0.002, wait=0.001, pool=0.0015), LOOP, Closed(40), requests=9_000)
    assert got.throughput_rps == pytest.approx(1 / 0.002, rel=0.01)
    assert got.gil_busy == pytest.approx(1.0, rel=0.01)


def test_threads_that_go_on_keep_the_gil_for_an_interval() -> None:
    """Four threads, eight users, 0.8 ms of Python: whoever has the GIL answers some six requests in
    a row, and one in six waits for the intervals of three others. As many are answered."""
    rows = make_rows(0.0008)
    one = Arrangement(1, 4, 1.0, discipline=Discipline(when_free=False))
    fair = run(rows, one, Closed(8), requests=20_000)
    kept = run(
        rows, replace(one, discipline=replace(one.discipline, goes_on=True)), Closed(8),
        requests=20_000,
    )  # fmt: skip
    assert kept.throughput_rps == pytest.approx(fair.throughput_rps, rel=0.01)
    assert kept.response_s.mean() == pytest.approx(fair.response_s.mean(), rel=0.02)
    assert np.quantile(kept.response_s, 0.95) > 2 * np.quantile(fair.response_s, 0.95)
    # the one that has waited longest has it within its turn
    assert kept.response_s.max() < 4 * (0.005 + 0.0008) + 8 * 0.0008


def test_a_thread_that_goes_on_finds_nothing_where_nobody_waits() -> None:
    rows = make_rows(0.0008)
    one = Arrangement(1, 4, 1.0, discipline=Discipline(when_free=False))
    for users in (1, 3):
        fair, kept = (
            run(rows, replace(one, discipline=Discipline(when_free=False, goes_on=goes)),
                Closed(users), requests=2_000)
            for goes in (False, True)
        )  # fmt: skip
        assert kept.response_s.mean() == pytest.approx(fair.response_s.mean())


def test_another_pace_moves_what_waits_for_the_server_and_no_law_is_broken() -> None:
    rows = np.zeros(1, ROW)
    rows["cpu"] = 0.010
    for users, think_s in ((4, 0.0), (40, 1.0), (2, 5.0)):
        run = simulate(
            rows, np.zeros(1, np.int64), Arrangement(2, 2, 2.0), Closed(users, think_s),
            requests=4_000, seed=1,
        )  # fmt: skip
        slow, fast = run.paced(0.8, think_s), run.paced(1.5, think_s)
        # Little's law: users are thinking or inside
        for found in (run, slow):
            inside = found.throughput_rps * (think_s + found.response_s.mean())
            assert inside == pytest.approx(users, rel=0.05)
        assert slow.response_s.mean() == pytest.approx(run.response_s.mean() / 0.8)
        assert fast.cpu_busy <= 1 + 1e-9
    # users who mostly think hardly notice, arrivals do not depend on the server
    assert slow.throughput_rps == pytest.approx(run.throughput_rps, rel=0.001)
    assert run.paced(0.8, math.inf).throughput_rps == run.throughput_rps
