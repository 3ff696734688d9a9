"""From records and samples of known runs to steady windows, intervals and a Measurement."""

import math

import numpy as np
import pytest

from pretune.advisor.profiler import samples as samples_of
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.profiler.processes import ROLES
from pretune.advisor.profiler.reduce import measure
from pretune.advisor.profiler.samples import (
    CGROUP,
    FRONT,
    MACHINE,
    MEMORY,
    PROCESS,
    SESSION,
    Samples,
)
from pretune.advisor.profiler.statistics import percentiles, proportion, rate, ratio
from pretune.advisor.profiler.steady import find_window, mser
from pretune.advisor.profiler.telemetry import RECORD
from pretune.advisor.quantity import Interval
from pretune.loadtests import records
from pretune.loadtests.workload import Endpoint, Load, Workload
from pretune.server.adapters.launch import Event
from pretune.server.settings import Settings

MIB = float(1 << 20)
WORKLOAD = Workload((Endpoint("/a", ("/a",), 0.5), Endpoint("/b", ("/b",), 0.5)))
MASTER, ZYGOTE, WORKER = range(len(ROLES))


def closed_run(users, service, seconds, rng, begin=1000.0):
    """Start times and durations of users that each send, wait, and send again."""
    starts, walls = [], []
    for _ in range(users):
        durations = service(rng, int(seconds / 0.001))
        ends = begin + np.cumsum(durations)
        kept = ends - durations < begin + seconds
        starts.append((ends - durations)[kept])
        walls.append(durations[kept])
    start, wall = np.concatenate(starts), np.concatenate(walls)
    order = np.argsort(start + wall)
    return start[order], wall[order]


def steady_service(rng, n):
    return 0.002 + rng.exponential(0.008, n)


def client(start, wall, *, error=0, status=200, endpoint=1):
    found = np.zeros(len(start), records.dtype())
    found["start"], found["wall"] = start, wall
    found["error"], found["status"], found["endpoint"] = error, status, endpoint
    return found


def machine_rows(times, **per_second):
    rows = np.zeros(len(times), MACHINE)
    rows["time"] = times
    rows["total_s"] = 2 * (times - times[0])
    for name, value in per_second.items():
        rows[name] = value * (times - times[0])
    return rows


def trial(**changes):
    """Samples of 1000..1010 s: a master of 20 MiB, a worker of 50 MiB whose private part grows by
    1 MiB a second while it serves 100 requests a second with 5 ms of CPU each."""
    times = np.arange(1000.0, 1010.05, 0.1)
    processes = np.zeros(2 * len(times), PROCESS)
    for pid, role, rows in ((1, MASTER, processes[::2]), (2, WORKER, processes[1::2])):
        rows["time"], rows["pid"], rows["role"] = times, pid, role
        rows["rss_bytes"] = 60 * MIB
        rows["threads"], rows["fds"] = 3, 9
    worker = processes[1::2]
    worker["private_bytes"] = 40 * MIB + (times - 1000) * MIB
    worker["cpu_s"] = 3.0 + 0.5 * (times - 1000)
    worker["served"] = 100 * (times - 1000)
    memory = np.array(
        [(t, 1, MASTER, 20 * MIB, 10 * MIB, 60 * MIB, 20 * MIB, 0.0) for t in (1000.0, 1010.0)]
        + [
            (t, 2, WORKER, p + 10 * MIB, p + 5 * MIB, 60 * MIB, p + 10 * MIB, p)
            for t in (1000.0, 1004.0, 1010.0)
            for p in [(40 + (t - 1000)) * MIB]
        ],
        MEMORY,
    )
    values = {
        "master_pid": 1,
        "processes": processes,
        "memory": memory,
        "machine": machine_rows(times, busy_s=0.9, server_s=0.5, generator_s=0.3, tool_s=0.01),
        "cores": np.zeros((len(times), 2, 3)),
        "cgroup": np.empty(0, CGROUP),
        "sessions": None,
        "telemetry": np.empty(0, RECORD),
        "telemetry_lost": 0,
        "postgres_local": False,
        "cost": samples_of.Cost(0.05, 10.0, 0.01, 100),
    }
    return Samples(**(values | changes))


def reduced(samples, client_records, events=(), **changes):
    values = {
        "name": "demand",
        "settings": Settings(),
        "load": Load(users=1, duration_s=10),
        "conditions": Conditions(1, 1, True, False),
        "workload": WORKLOAD,
    } | changes
    return measure(samples=samples, client_records=client_records, events=events, **values)


@pytest.fixture
def run():
    return closed_run(1, steady_service, 10, np.random.default_rng(3))


@pytest.mark.parametrize(
    ("late_ms", "stated"), [(0.01, True), (0.8, True), (1.8, False), (2.5, False)]
)
def test_an_open_load_that_was_sent_late_states_no_latency(run, late_ms, stated):
    """The p95 is about 26 ms: 5% of it is 1.3 ms."""
    records_of = client(*run)
    records_of["late_us"] = np.where(np.arange(len(records_of)) % 50, 1, late_ms * 1e3)
    found = reduced(trial(), records_of, load=Load(0, 10, rps=90.0))
    assert 0.02 < reduced(trial(), records_of).latency.p95.value < 0.03
    assert found.late_s_p99 == pytest.approx(late_ms / 1e3, rel=0.01)
    assert math.isfinite(found.latency.p95.value) is stated
    assert ("ms late or later" in found.disturbed) is not stated
    closed = reduced(trial(), records_of)
    assert closed.late_s_p99 is None
    assert "late" not in closed.disturbed


def test_what_stands_in_front_is_counted_by_itself(run):
    """0.2 cores, 5 MiB at rest and 8 at its peak; in the group's CPU, and not the workers'."""
    times = np.arange(1000.0, 1010.05, 0.1)
    rows = np.zeros(len(times), FRONT)
    rows["time"], rows["cpu_s"] = times, 7.0 + 0.2 * (times - 1000)
    rows["pss_bytes"] = 5 * MIB
    rows["pss_bytes"][50] = 8 * MIB
    group = np.zeros(11, CGROUP)
    group["time"] = np.arange(1000.0, 1011.0)
    group["cpu_s"] = 0.8 * (group["time"] - 1000)
    records_of = client(*run)
    found = reduced(trial(front=rows, cgroup=group), records_of)
    assert found.front.cpu_s_per_request.value == pytest.approx(
        0.2 / found.throughput_rps.value, rel=0.02
    )
    assert found.front.pss_bytes == Interval(8 * MIB, 8 * MIB, 11 * MIB)
    without = reduced(trial(), records_of)
    assert without.front is None
    assert found.pss_bytes == without.pss_bytes
    assert found.cpu_s_per_request == without.cpu_s_per_request
    account = found.cpu_accounting
    assert account.cgroup_s.value == pytest.approx(3 * found.front.cpu_s_per_request.value, rel=0.1)


# The window


def test_a_level_run_is_steady_and_nearly_whole(run):
    window = find_window(*run)
    assert window.settled, window.note
    assert window.length_s >= 5


def test_a_slow_start_is_cut_off():
    rng = np.random.default_rng(1)
    start, wall = closed_run(4, steady_service, 10, rng)
    cold, cold_wall = closed_run(4, lambda r, n: 0.05 + r.exponential(0.05, n), 2, rng, 998.0)
    window = find_window(np.concatenate([cold, start]), np.concatenate([cold_wall, wall]))
    assert window.settled
    assert 999.5 <= window.start <= 1005


def test_a_run_that_grows_slower_to_the_end_never_settled():
    rng = np.random.default_rng(2)

    def slower(rng, n):
        return (0.005 + rng.exponential(0.002, n)) * np.linspace(1, 8, n)

    start, wall = closed_run(2, slower, 10, rng)
    window = find_window(start, wall)
    assert not window.settled
    assert "never became steady" in window.note or "start-up" in window.note


def test_level_runs_are_seldom_called_unsettled():
    settled = [
        find_window(*closed_run(4, steady_service, 8, np.random.default_rng(seed))).settled
        for seed in range(60)
    ]
    assert sum(settled) >= 57


@pytest.mark.parametrize("n", [0, 1, 5, 39])
def test_too_few_requests_are_never_steady(n):
    assert not find_window(np.arange(n, dtype=float), np.full(n, 0.1)).settled


def test_requests_all_at_one_moment_are_no_run():
    assert not find_window(np.full(100, 5.0), np.full(100, 0.1)).settled


def test_a_server_that_stopped_answering_half_way_is_not_steady(run):
    start, wall = run
    assert not find_window(start, wall, until=1020.0).settled


def test_mser_drops_a_transient():
    series = np.concatenate([np.linspace(10, 1, 10), np.ones(50) + 0.01 * np.arange(50) % 0.02])
    assert 9 <= mser(series) <= 11


# Intervals


def test_intervals_of_a_rate_cover_the_truth():
    rng = np.random.default_rng(4)
    covered = sum(rate(rng.poisson(50, 20).astype(float), 0.5).contains(100) for _ in range(400))
    assert covered / 400 >= 0.9


def test_intervals_of_a_mean_cover_the_truth_for_dependent_requests():
    # Latency that drifts slowly up and down (AR(1) over requests), blocks of 100.
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        noise = rng.normal(0, 1, 2000)
        series = np.empty(2000)
        level = rng.normal(0, 1 / math.sqrt(1 - 0.9**2))
        for i, step in enumerate(noise):
            level = 0.9 * level + step
            series[i] = 20 + level
        blocks = series.reshape(20, 100)
        covered += ratio(blocks.sum(axis=1), np.full(20, 100.0)).contains(20)
    assert covered / 200 >= 0.88


def test_intervals_of_a_percentile_cover_the_truth():
    rng = np.random.default_rng(6)
    truth = -math.log(0.05)
    covered = 0
    for _ in range(80):
        values = rng.exponential(1, 1000)
        (interval,) = percentiles(values, np.arange(1000) // 50, 20, (0.95,))
        covered += interval.contains(truth)
    assert covered / 80 >= 0.85


def test_percentiles_of_many_values_agree_with_the_exact_ones():
    rng = np.random.default_rng(7)
    values = rng.lognormal(0, 1, 100_000)
    block = np.arange(100_000) // 5000
    for interval, q in zip(percentiles(values, block, 20, (0.5, 0.99)), (0.5, 0.99), strict=True):
        assert interval.low <= np.quantile(values, q) <= interval.high
        assert interval.high - interval.low <= 0.1 * interval.value


def test_a_ratio_without_a_denominator_is_unknown():
    assert math.isnan(ratio(np.ones(20), np.zeros(20)).value)


# The measurement


def test_throughput_and_latency_are_the_clients(run):
    start, wall = run
    measurement = reduced(trial(), client(start, wall))
    assert measurement.steady, measurement.steady_note
    assert measurement.throughput_rps.contains(100)
    assert measurement.latency.mean.contains(0.010)
    assert (
        measurement.latency.p50.low <= measurement.latency.p50.value <= measurement.latency.p95.low
    )
    assert measurement.error_rate == 0


def test_cpu_per_request_is_the_workers_cpu_over_answers(run):
    measurement = reduced(trial(), client(*run))
    # 0.5 s of CPU a second, about 100 requests a second: the ratio is known from the run itself.
    # Only whole ticks of 0.1 s count, so a few requests at the window's ends do not.
    expected = 0.5 * measurement.window_s / measurement.requests
    assert measurement.cpu_s_per_request.value == pytest.approx(expected, rel=0.03)
    (worker,) = measurement.workers
    assert worker.cpu_s == pytest.approx(0.5 * measurement.window_s)
    assert worker.requests == pytest.approx(100 * measurement.window_s, abs=1)


def test_the_silence_after_the_load_does_not_dilute_the_cpu(run):
    # The load ends at 1010 s and the last tick is late, at 1012 s.
    samples = trial()
    processes, machine = samples.processes.copy(), samples.machine[::10].copy()
    processes["time"][processes["time"] > 1009.85] = 1012.0
    machine["time"][-1] = 1012.0
    measurement = reduced(trial(processes=processes, machine=machine), client(*run))
    assert measurement.generator_cpu == pytest.approx(0.3)
    assert measurement.workers[0].cpu_s == pytest.approx(0.5 * measurement.window_s)
    expected = 0.5 * measurement.window_s / measurement.requests
    assert measurement.cpu_s_per_request.value == pytest.approx(expected, rel=0.03)


def test_memory_between_exact_readings_follows_private_memory(run):
    measurement = reduced(trial(), client(*run))
    assert measurement.pss_bytes.value == pytest.approx((20 + 50 + 10) * MIB)
    assert measurement.master_pss_bytes == pytest.approx(20 * MIB)
    assert measurement.rss_bytes == 120 * MIB
    (series,) = measurement.memory_series
    slope = np.polyfit(series.requests, series.private_bytes, 1)[0]
    assert slope == pytest.approx(MIB / 100, rel=1e-3)
    assert measurement.workers[0].uss_bytes == pytest.approx(55 * MIB)


def test_pages_of_files_count_once_and_whole(run):
    # Both map the same 30 MiB of files; others outside the tree bear most of their PSS.
    samples = trial()
    processes, memory = samples.processes.copy(), samples.memory.copy()
    memory["anon_bytes"] = memory["pss_bytes"] - 6 * MIB
    processes["rss_bytes"] = processes["private_bytes"] + 30 * MIB
    measurement = reduced(trial(processes=processes, memory=memory), client(*run))
    assert measurement.anon_bytes.value == pytest.approx((20 + 50 + 10 - 12) * MIB)
    assert measurement.file_bytes == 30 * MIB
    assert measurement.pss_bytes.value == pytest.approx((20 + 50 + 10 - 12 + 30) * MIB)


def test_a_local_postgress_memory_is_passed_on(run):
    assert reduced(trial(), client(*run)).db_pss_bytes is None
    samples = trial(postgres_local=True, postgres_pss_bytes=50.0 * MIB)
    assert reduced(samples, client(*run)).db_pss_bytes == 50 * MIB


def test_a_peak_between_two_readings_is_not_missed(run):
    samples = trial()
    processes = samples.processes.copy()
    during = (processes["pid"] == 2) & (np.abs(processes["time"] - 1006) < 0.3)
    processes["private_bytes"][during] += 100 * MIB
    measurement = reduced(trial(processes=processes), client(*run))
    assert measurement.pss_bytes.value >= (20 + 56 + 100) * MIB


def test_errors_are_named_by_kind_and_route(run):
    start, wall = run
    good = client(start, wall)
    bad = client(
        start[::10], wall[::10], error=records.ERROR_NUMBER["status"], status=500, endpoint=2
    )
    lost = client(start[::50], wall[::50], error=records.ERROR_NUMBER["timeout"], status=0)
    measurement = reduced(trial(), np.concatenate([good, bad, lost]))
    assert [name for name, _ in measurement.errors] == ["500 on /b", "timeout on /a"]
    a, b = measurement.by_endpoint
    assert b.errors == b.requests > 0
    assert b.latency is None
    assert a.latency is not None
    assert measurement.error_rate == pytest.approx(0.12 / 1.12, rel=0.1)
    assert measurement.throughput_rps.contains(100)  # what failed is not throughput


def test_nothing_answered_gives_unknowns_and_a_note():
    measurement = reduced(samples_of.nothing(1), client(np.empty(0), np.empty(0)))
    assert not measurement.steady
    assert measurement.requests == 0
    assert math.isnan(measurement.throughput_rps.value)
    assert math.isnan(measurement.latency.p95.value)
    assert measurement.workers == ()
    assert measurement.steady_note


def test_only_errors_give_an_error_rate_of_one(run):
    start, wall = run
    failed = client(start, wall, error=records.ERROR_NUMBER["status"], status=500)
    measurement = reduced(trial(), failed)
    assert measurement.error_rate == 1
    assert measurement.errors == (("500 on /a", len(start)),)
    assert not measurement.steady


def test_a_boot_failure_is_the_note():
    events = (Event("boot_failed", 1.0, {"pid": 2, "message": "No module named x"}),)
    measurement = reduced(samples_of.nothing(1), client(np.empty(0), np.empty(0)), events)
    assert "No module named x" in measurement.steady_note


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        ({"steal_s": 0.1}, "stole 5.0%"),
        ({"busy_s": 1.5}, "used 0.7 cores"),
        ({"throttled_s": 0.05}, "held the processes back 5.0%"),
        ({"steal_s": 0.03}, ""),
        ({"busy_s": 1.0}, ""),
    ],
)
def test_what_disturbed_is_said(run, counters, said):
    times = np.arange(1000.0, 1010.05, 0.1)
    rates = {"busy_s": 0.9, "server_s": 0.5, "generator_s": 0.3} | counters
    measurement = reduced(trial(machine=machine_rows(times, **rates)), client(*run))
    assert said in measurement.disturbed
    assert bool(said) == bool(measurement.disturbed)


def test_a_busy_generator_is_saturated(run):
    times = np.arange(1000.0, 1010.05, 0.1)
    rows = machine_rows(times, generator_s=0.95, busy_s=1.0)
    measurement = reduced(trial(machine=rows), client(*run))
    assert measurement.generator_saturated
    assert measurement.generator_cpu == pytest.approx(0.95)


def test_postgres_cpu_is_per_request_and_read_seldom(run):
    times = np.arange(1000.0, 1010.05, 0.1)
    rows = machine_rows(times, postgres_s=0.2)[::10]
    measurement = reduced(trial(machine=rows, postgres_local=True), client(*run))
    assert measurement.db_cpu_s_per_request.contains(0.002)
    assert reduced(trial(machine=rows), client(*run)).db_cpu_s_per_request is None


def test_connections_are_counted_together_and_by_worker(run):
    sessions = np.array(
        [
            (1001.0, 2, 1, 1, 1, 0),
            (1001.0, 0, 1, 0, 0, 0),
            (1002.0, 2, 2, 0, 0, 0),
            (1002.0, 0, 0, 0, 0, 0),
        ],
        SESSION,
    )
    measurement = reduced(trial(sessions=sessions), client(*run))
    assert measurement.pg_connections_peak == 4
    assert measurement.pg_idle_in_transaction_peak == 1
    assert measurement.workers[0].pg_connections == 3
    # the worker's three and nobody's one were there at one look; they might have been at any
    assert measurement.pg_connections_interval == Interval(4, 4, 4)
    worker = measurement.workers[0]
    assert (worker.pg_active, worker.pg_idle, worker.pg_idle_in_transaction) == (2, 1, 1)
    assert reduced(trial(), client(*run)).pg_connections_peak is None


def test_telemetry_is_cut_to_the_window_and_events_are_told(run):
    telemetry = np.zeros(30, RECORD)
    telemetry["start"] = np.arange(990, 1020)
    events = (
        Event("worker_ready", 999.0, {"pid": 2, "boot_s": 1.5}),
        Event("worker_exit", 1011.0, {"pid": 2, "reason": "stop", "shutdown_s": 0.2}),
    )
    measurement = reduced(trial(telemetry=telemetry), client(*run), events)
    kept = measurement.telemetry["start"]
    assert 0 < len(kept) < 12
    assert measurement.workers[0].boot_s == 1.5
    assert measurement.workers[0].shutdown_s == 0.2
    assert measurement.worker_exits == (("stop", 1),)


def test_a_worker_that_came_later_counts_from_its_start(run):
    samples = trial()
    late = samples.processes[(samples.processes["pid"] == 2)][50:].copy()
    late["pid"], late["cpu_s"] = 3, 0.1 + 0.5 * (late["time"] - late["time"][0])
    late["served"] = 0
    processes = np.concatenate([samples.processes, late])
    measurement = reduced(trial(processes=processes), client(*run))
    alone = reduced(trial(), client(*run))
    share = measurement.window_s / measurement.requests
    assert measurement.workers[1].cpu_s == pytest.approx(0.5 * (1010 - 1005), rel=0.05)
    extra = measurement.cpu_s_per_request.value - alone.cpu_s_per_request.value
    assert 0 < extra <= 0.5 * share


def test_peaks_of_workers_at_different_moments_might_have_met(run):
    rows = [
        (1001.0, 2, 3, 0, 0, 0),
        (1001.0, 3, 1, 0, 0, 0),
        (1002.0, 2, 0, 0, 0, 0),
        (1002.0, 3, 0, 0, 0, 2),
    ]
    measurement = reduced(trial(sessions=np.array(rows, SESSION)), client(*run))
    assert measurement.pg_connections_peak == 4
    assert measurement.pg_connections_interval == Interval(4, 4, 5)


def test_switches_and_waits_for_a_core_are_of_the_window(run):
    samples = trial()
    worker = samples.processes[samples.processes["pid"] == 2]
    passed = worker["time"] - 1000
    worker["voluntary"], worker["forced"] = 7 + 200 * passed, 50 * passed
    worker["run_delay_s"] = 0.02 * passed
    (found,) = reduced(trial(processes=worker), client(*run)).workers
    length = reduced(samples, client(*run)).window_s
    assert found.voluntary_switches == pytest.approx(200 * length, rel=0.02)
    assert found.forced_switches == pytest.approx(50 * length, rel=0.02)
    assert found.run_delay_s == pytest.approx(0.02 * length, rel=0.02)


def cgroup_rows(times, **per_second):
    rows = np.zeros(len(times), CGROUP)
    rows["time"] = times
    for name, value in per_second.items():
        rows[name] = value * (times - times[0])
    return rows


def test_cpu_is_counted_by_three_clocks_and_the_gaps_are_named(run):
    start, wall = run
    times = np.arange(1000.0, 1010.05, 1.0)
    telemetry = np.zeros(len(start), RECORD)
    telemetry["start"], telemetry["wall"], telemetry["cpu"] = start, wall, 0.003
    rows = cgroup_rows(times, cpu_s=0.7)
    found = reduced(trial(telemetry=telemetry, cgroup=rows), client(start, wall)).cpu_accounting
    rate = len(start) / 10
    assert found.requests_s.value == pytest.approx(0.003)
    assert found.workers_s.value == pytest.approx(0.5 / rate, rel=0.05)
    assert found.cgroup_s.value == pytest.approx(0.7 / rate, rel=0.05)
    assert found.server_overhead_s.contains(found.workers_s.value - 0.003)
    assert found.kernel_other_s.value == pytest.approx(0.2 / rate, rel=0.05)


def test_without_a_group_there_is_no_third_clock(run):
    found = reduced(trial(), client(*run)).cpu_accounting
    assert found.cgroup_s is None
    assert found.kernel_other_s is None


def test_pressure_and_memory_events_are_told_for_machine_and_group(run):
    times = np.arange(1000.0, 1010.05, 1.0)
    machine = machine_rows(times, cpu_pressure_s=0.3, memory_pressure_s=0.02)
    events = {"memory_high": 2, "memory_max": 3, "memory_oom": 1, "oom_kills": 1}
    rows = cgroup_rows(times, io_pressure_s=0.1, throttled_s=0.2, throttled_periods=4, **events)
    found = reduced(trial(machine=machine, cgroup=rows), client(*run))
    around = found.surroundings
    assert around.pressure.cpu.value == pytest.approx(0.3)
    assert around.pressure.memory.value == pytest.approx(0.02)
    assert around.cgroup_pressure.io.value == pytest.approx(0.1)
    assert vars(around.memory_events) == {"high": 20, "max": 30, "oom": 10, "oom_kill": 10}
    assert around.throttled_periods == 40
    assert "quota held the processes back" in found.disturbed
    none = reduced(trial(machine=machine), client(*run)).surroundings
    assert none.memory_events is None
    assert none.cgroup_pressure is None


def test_no_error_in_few_requests_may_still_be_some(run):
    start, wall = run
    measurement = reduced(trial(), client(start, wall))
    assert measurement.error_rate == 0
    assert measurement.error_interval.low == 0
    assert 0 < measurement.error_interval.high <= 4 / measurement.requests


def test_errors_in_a_cluster_widen_their_interval(run):
    start, wall = run
    scattered, clustered = client(start, wall), client(start, wall)
    number = len(start) // 20
    scattered["error"][:: len(start) // number] = 1
    clustered["error"][len(start) // 2 : len(start) // 2 + number] = 1
    apart = reduced(trial(), scattered).error_interval
    together = reduced(trial(), clustered).error_interval
    assert apart.low <= apart.value <= apart.high
    assert together.high - together.low > 2 * (apart.high - apart.low)


@pytest.mark.parametrize(("count", "n", "low", "high"), [
    (0, 20, 0.0, 0.1611), (10, 20, 0.2993, 0.7007), (20, 20, 0.8389, 1.0),
])  # fmt: skip
def test_a_share_has_wilsons_interval(count, n, low, high):
    found = proportion(count, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
