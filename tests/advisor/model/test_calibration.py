"""Calibration finds again what a simulated trial was made with."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from support.demands import ask

from pretune.advisor.demand.values import Demand, EndpointDemand, WorkerDemand
from pretune.advisor.model import cpu
from pretune.advisor.model import lock as locks
from pretune.advisor.model.calibration import (
    PRIOR_LATENCY_SD,
    PRIOR_THROUGHPUT_SD,
    calibrate,
)
from pretune.advisor.model.predict import predict
from pretune.advisor.model.rows import Factors
from pretune.advisor.model.scenario import Scenario
from pretune.advisor.profiler.measurement import (
    Conditions,
    DatabaseTime,
    Latency,
    Measurement,
    WorkerMeasurement,
)
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

CPU = 0.004
ONE_CORE = Conditions(server_cores=1, shared_cores=1, pinned=True, database_local=False)
TWO_CORES = replace(ONE_CORE, server_cores=2)


def around(value: float, part: float = 0.005) -> Interval:
    return Interval(value, value * (1 - part), value * (1 + part))


def make_demand(wait_s: float = 0.001) -> Demand:
    rng = np.random.default_rng(5)
    tuples = np.zeros(3000, [("endpoint", "i8"), ("cpu", "f8"), ("db", "f8"), ("wait", "f8")])
    tuples["cpu"] = CPU * rng.gamma(5, 0.2, len(tuples))
    tuples["wait"] = wait_s
    zero, cpu = Interval.exact(0.0), around(CPU)
    endpoint = EndpointDemand("/", 1.0, 3000, cpu, zero, zero, around(wait_s), 0.008, 100.0)
    memory = Interval.exact(50e6)
    worker = WorkerDemand(memory, UNKNOWN, 1e7, None, zero, "none", 0.5, 0.1, 10, 0, 0.0)
    return Demand(
        tuples=tuples,
        shares=(1.0,),
        cpu_s=cpu,
        cpu_gil_fraction=Interval(1.0, 0.0, 1.0),
        overhead_cpu_s=zero,
        db_s=zero,
        db_calls=zero,
        db_cpu_s=None,
        wait_s=around(wait_s),
        wait_calls=Interval.exact(1.0),
        by_endpoint=(endpoint,),
        worker=worker,
        unloaded_p95_s=0.008,
        generator_cpu_s=0.0,
    )


def make_trial(
    settings: Settings,
    users: int,
    conditions: Conditions,
    factors: Factors,
    *,
    throughput_factor: float = 1.0,
    wait_s: float = 0.001,
) -> Measurement:
    """What a trial would have measured, were the truth ``factors``."""
    case = Scenario(make_demand(wait_s), settings, conditions)
    run = case.run(users, factors, 20_000, seed=99)
    quantiles = (around(float(np.quantile(run.response_s, q))) for q in (0.5, 0.95, 0.99))
    return Measurement(
        name="made",
        settings=settings,
        load=Load(users, 20.0),
        conditions=conditions,
        steady=True,
        steady_note="",
        window_s=20.0,
        requests=20_000,
        throughput_rps=around(run.throughput_rps * throughput_factor),
        latency=Latency(around(float(run.response_s.mean())), *quantiles),
        error_rate=0.0,
        errors=(),
        by_endpoint=(),
        pss_bytes=UNKNOWN,
        rss_bytes=0.0,
        master_pss_bytes=0.0,
        kernel_bytes=0.0,
        workers=(),
        memory_series=(),
        pg_connections_peak=None,
        pg_idle_in_transaction_peak=None,
        db_cpu_s_per_request=None,
        cpu_s_per_request=around(CPU * factors.inflation),
        telemetry=np.zeros(0, [("seq", "u8")]),
        telemetry_lost=0,
        generator_cpu=0.0,
        generator_saturated=False,
        disturbed="",
    )


def busy(requests: float, crowd: float = 0.0) -> cpu.Regime:
    """So many requests at once in a worker of the demand's own server."""
    return cpu.Regime(("embedded", "gthread"), requests, crowd)


ALONE = make_trial(Settings(), 1, TWO_CORES, Factors(1.0))


def contrast(conditions: Conditions, gil: float, inflation: float) -> Measurement:
    return make_trial(Settings(threads=8), 16, conditions, Factors(gil, inflation))


@pytest.mark.parametrize("truth", [0.65, 0.8, 1.0])
def test_two_cores_show_how_much_needs_the_gil(truth: float) -> None:
    trials = [ALONE, contrast(TWO_CORES, truth, 1.1)]
    found = calibrate(make_demand(), trials, seed=1)
    assert found.gil_fraction is not None
    assert found.gil_fraction.low - 0.02 <= truth <= found.gil_fraction.high + 0.02
    assert found.cpu.factor(busy(8)) == pytest.approx(1.1, rel=0.01)


def test_one_core_cannot_show_it() -> None:
    found = calibrate(make_demand(), [ALONE, contrast(ONE_CORE, 0.6, 1.0)], seed=1)
    assert found.gil_fraction is None


def test_inflation_applies_to_busy_threads_only() -> None:
    found = calibrate(make_demand(), [ALONE, contrast(ONE_CORE, 1.0, 1.3)], seed=1)
    factors = Factors(1.0)
    assert found.applied(factors, busy(1)).inflation == pytest.approx(1.0, abs=0.02)
    assert 1.1 < found.applied(factors, busy(2)).inflation < 1.3
    # one pair of trials: a part of it may have been the machine
    assert found.applied(factors, busy(50)).inflation == pytest.approx(1.3, rel=0.03)


def test_workers_that_share_a_core_show_what_that_costs() -> None:
    two = Settings(workers=2, threads=4)
    crowd = make_trial(two, 8, ONE_CORE, Factors(1.0, 1.2))
    found = calibrate(make_demand(), [ALONE, contrast(ONE_CORE, 1.0, 1.0), crowd], seed=1)
    assert found.cpu.factor(busy(4)) == pytest.approx(1.0, abs=0.03)
    assert found.cpu.factor(busy(4, cpu.crowd(2, 1))) == pytest.approx(1.2, rel=0.03)
    shared = predict(ask(make_demand(), ONE_CORE, seed=3, calibration=found), two, 8)
    apart = predict(ask(make_demand(), TWO_CORES, seed=3, calibration=found), two, 8)
    alone = predict(ask(make_demand(), ONE_CORE, seed=3, calibration=found), Settings(threads=8), 8)
    assert alone.throughput_rps.value == pytest.approx(1.2 * shared.throughput_rps.value, rel=0.04)
    # each on a core of its own, or the other idle: as if alone
    assert apart.throughput_rps.value == pytest.approx(2 * alone.throughput_rps.value, rel=0.04)
    few = predict(ask(make_demand(), ONE_CORE, seed=3, calibration=found), two, 1)
    assert few.throughput_rps.value == pytest.approx(1 / (CPU + 0.001), rel=0.04)


def test_without_trials_the_prior_stands() -> None:
    found = calibrate(make_demand(), [], seed=1)
    spread = (found.throughput_sd, found.latency_sd)
    assert spread == pytest.approx((PRIOR_THROUGHPUT_SD, PRIOR_LATENCY_SD))
    assert found.cpu.factor(busy(8)) == pytest.approx(1.0)


def test_trials_that_agree_narrow_the_spread_and_others_widen_it() -> None:
    demand = make_demand()
    good = calibrate(demand, [ALONE, contrast(ONE_CORE, 1.0, 1.0)], seed=1)
    assert good.throughput_sd < PRIOR_THROUGHPUT_SD
    far = make_trial(Settings(), 1, TWO_CORES, Factors(1.0), throughput_factor=0.7)
    bad = calibrate(demand, [far, contrast(ONE_CORE, 1.0, 1.0)], seed=1)
    assert bad.throughput_sd > 3 * PRIOR_THROUGHPUT_SD


def test_a_calibrated_prediction_holds_the_truth_it_was_learned_from() -> None:
    demand = make_demand()
    found = calibrate(demand, [ALONE, contrast(TWO_CORES, 0.7, 1.15)], seed=1)
    truth = make_trial(Settings(workers=2, threads=3), 12, TWO_CORES, Factors(0.7, 1.15))
    got = predict(
        ask(demand, TWO_CORES, seed=4, calibration=found), Settings(workers=2, threads=3), 12
    )
    assert got.throughput_rps.contains(truth.throughput_rps.value)
    assert got.latency.p95.contains(truth.latency.p95.value)
    assert math.isfinite(got.latency.p99.high)


def with_cpu(trial: Measurement, factor: float, disturbed: str = "") -> Measurement:
    return replace(trial, cpu_s_per_request=around(CPU * factor), disturbed=disturbed)


def width(*trials: Measurement) -> float:
    """Of the throughput predicted for a further, CPU-bound trial: high over low."""
    found = calibrate(make_demand(), trials, seed=1)
    got = predict(ask(make_demand(), TWO_CORES, seed=3, calibration=found), Settings(2, 1), 8)
    return got.throughput_rps.high / got.throughput_rps.low


def test_cpu_that_scatters_between_trials_widens_what_is_said_of_the_next() -> None:
    one_core = contrast(ONE_CORE, 1.0, 1.0)
    quiet = [ALONE, one_core, ALONE, one_core]
    noisy = [with_cpu(t, f) for t, f in zip(quiet, (1.2, 1.0, 0.85, 1.15), strict=True)]
    assert width(*noisy) > 1.3 * width(*quiet)
    assert width(*quiet) < width()


def test_trials_that_were_all_disturbed_never_narrow() -> None:
    one_core = contrast(ONE_CORE, 1.0, 1.0)
    trials = [with_cpu(t, 1.0, "steal 7%") for t in (ALONE, one_core, ALONE, one_core)]
    found = calibrate(make_demand(), trials, seed=1)
    assert found.throughput_sd >= PRIOR_THROUGHPUT_SD
    assert found.latency_sd >= PRIOR_LATENCY_SD
    assert found.cpu.state_sd >= cpu.DISTURBED_SD
    assert width(*trials) > width()


def test_a_disturbed_trial_weighs_less_than_the_others() -> None:
    one_core = contrast(ONE_CORE, 1.0, 1.0)
    last = with_cpu(ALONE, 1.4)
    even = calibrate(make_demand(), [ALONE, one_core, ALONE, last], seed=1)
    less = calibrate(
        make_demand(), [ALONE, one_core, ALONE, replace(last, disturbed="steal 12%")], seed=1
    )
    assert 0.99 <= less.cpu.factor(busy(1)) < even.cpu.factor(busy(1))
    assert less.cpu.state_sd < even.cpu.state_sd


def waiting_demand(cpu_s: float = 0.0006, wait_s: float = 0.004) -> Demand:
    demand = make_demand()
    tuples = demand.tuples.copy()
    tuples["cpu"] *= cpu_s / CPU
    tuples["wait"] = wait_s
    return replace(demand, tuples=tuples, cpu_s=around(cpu_s), wait_s=around(wait_s))


def of_locked(settings: Settings, users: int, lock: float, conditions: Conditions) -> Measurement:
    demand = waiting_demand()
    factors = Factors(1.0, lock=lock)
    run = Scenario(demand, settings, conditions).run(users, factors, 20_000, seed=99)
    made = make_trial(settings, users, conditions, Factors(1.0))
    return replace(
        made,
        throughput_rps=around(run.throughput_rps),
        cpu_s_per_request=around(0.0006),
        workers=(),
    )


@pytest.mark.parametrize("lock", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("conditions", [ONE_CORE, TWO_CORES])
def test_an_applications_own_lock_is_found_again(lock: float, conditions: Conditions) -> None:
    trials = [
        of_locked(Settings(), 1, lock, conditions),
        of_locked(Settings(threads=4), 8, lock, conditions),
    ]
    found = calibrate(waiting_demand(), trials, seed=1)
    assert found.lock is not None
    assert found.lock.part.low <= lock <= found.lock.part.high
    for settings, users in ((Settings(1, 4), 3), (Settings(2, 4), 12), (Settings(4, 1), 6)):
        truth = of_locked(settings, users, lock, conditions).throughput_rps.value
        got = predict(
            ask(waiting_demand(), conditions, seed=4, calibration=found), settings, users
        ).throughput_rps
        assert got.contains(truth), (settings, truth, got)


def test_a_lock_binds_in_words_and_further_threads_do_not_ease_it() -> None:
    trials = [of_locked(Settings(), 1, 1.0, ONE_CORE), of_locked(Settings(1, 4), 8, 1.0, ONE_CORE)]
    found = calibrate(waiting_demand(), trials, seed=1)
    four, eight = (
        predict(ask(waiting_demand(), ONE_CORE, seed=4, calibration=found), Settings(1, n), 32)
        for n in (4, 8)
    )
    assert four.binding == eight.binding == "lock"
    assert "a lock of the application" in four.explanation
    assert eight.throughput_rps.value == pytest.approx(four.throughput_rps.value, rel=0.02)
    assert dict(eight.utilisation)["lock"] > 0.9


def test_no_lock_is_made_up_where_none_is() -> None:
    for threads in (2, 4, 8):
        contrast = of_locked(Settings(threads=threads), 2 * threads, 0.0, ONE_CORE)
        found = calibrate(waiting_demand(), [contrast], seed=1)
        assert found.lock is None


def test_slower_than_one_at_a_time_is_no_lock() -> None:
    """No lock makes several threads slower than one: something else does."""
    slow = of_locked(Settings(threads=4), 8, 1.0, ONE_CORE)
    assert calibrate(waiting_demand(), [slow], seed=1).lock is not None
    slower = replace(slow, throughput_rps=slow.throughput_rps.scaled(0.3))
    assert calibrate(waiting_demand(), [slower], seed=1).lock is None


def test_what_run_queues_explain_is_no_lock() -> None:
    """Others held the cores: each thread may have waited for the delays of all."""
    slow = of_locked(Settings(threads=4), 8, 1.0, ONE_CORE)
    rate = slow.throughput_rps.value
    delayed = WorkerMeasurement(
        1, 0.5, 1000, 1.0, 1e7, 1e7, 1e7, 10, 5, 0, run_delay_s=slow.window_s * rate * 0.006
    )
    crowded = replace(slow, disturbed="other processes used 1.0 cores", workers=(delayed,))
    assert calibrate(waiting_demand(), [crowded], seed=1).lock is None
    # as disturbed, but hardly delayed
    free = replace(crowded, workers=(replace(delayed, run_delay_s=0.0),))
    assert calibrate(waiting_demand(), [free], seed=1).lock is not None


def test_a_preloaded_trial_says_nothing_of_the_cpu_of_others() -> None:
    """Its workers copy the pages they write to; that is over after some thousand requests."""
    one_core = contrast(ONE_CORE, 1.0, 1.0)
    costly = with_cpu(one_core, 1.5)
    preloaded = replace(costly, settings=replace(costly.settings, preload_app=True))
    with_it = calibrate(make_demand(), [ALONE, one_core, preloaded], seed=1).cpu
    without = calibrate(make_demand(), [ALONE, one_core], seed=1).cpu
    assert with_it.factor(busy(4)) == pytest.approx(without.factor(busy(4)), rel=0.02)


def test_a_postgres_that_stood_in_the_queue_is_no_lock() -> None:
    slow = of_locked(Settings(threads=4), 8, 1.0, ONE_CORE)
    exact = Interval.exact
    inside = 4 / slow.throughput_rps.value
    queued = DatabaseTime(
        None, exact(0.001), exact(0.0), exact(1.0), exact(0.8 * inside), exact(1.0), 0, 0
    )
    late = replace(slow, database_time=queued)
    assert calibrate(waiting_demand(), [late], seed=1).lock is None
    prompt = replace(queued, server_delay_s=exact(0.0))
    assert (
        calibrate(waiting_demand(), [replace(slow, database_time=prompt)], seed=1).lock is not None
    )


def test_a_p99_that_was_missed_widens_what_is_said_of_p99_alone() -> None:
    one_core = contrast(ONE_CORE, 1.0, 1.0)
    late = replace(
        one_core, latency=replace(one_core.latency, p99=one_core.latency.p99.scaled(1.8))
    )
    good, missed = (calibrate(make_demand(), [ALONE, t], seed=1) for t in (one_core, late))
    assert missed.latency_sd == good.latency_sd
    assert missed.tail_sd > 1.5 * good.tail_sd
    wide, narrow = (
        predict(ask(make_demand(), TWO_CORES, seed=3, calibration=c), Settings(2, 1), 6).latency
        for c in (missed, good)
    )
    assert wide.p99.high > narrow.p99.high
    assert wide.p95 == narrow.p95


@pytest.mark.parametrize("shared", [False, True])
def test_trials_of_several_workers_tell_whose_lock_it_is(shared: bool) -> None:
    truth, wait_s = Factors(1.0, lock=1.0, one_lock=shared), 0.02
    trials = [
        make_trial(
            Settings(workers=workers, threads=threads), users, TWO_CORES, truth, wait_s=wait_s
        )
        for workers, threads, users in ((1, 1, 1), (1, 8, 16), (3, 4, 16))
    ]
    lock = calibrate(make_demand(wait_s), trials, seed=1).lock
    assert lock is not None
    assert lock.shared is shared
    if shared:
        assert lock.workers == 3
        assert lock.apart_rps > 1.25 * lock.workers_rps


@pytest.mark.parametrize(
    ("measured", "one", "apart", "shared"),
    [
        (111.0, 115.0, 330.0, True),
        (320.0, 115.0, 330.0, False),
        (111.0, 115.0, 120.0, None),  # the cores are the limit of both
        (0.0, 115.0, 330.0, None),
    ],
)
def test_a_trial_between_the_predictions_with_one_lock_and_with_several_decides(
    measured: float, one: float, apart: float, shared: bool | None
) -> None:
    assert locks.is_shared(measured, one, apart) is shared


def test_a_trial_whose_workers_died_with_their_cpu_is_left_out() -> None:
    trials = [ALONE, contrast(TWO_CORES, 1.0, 1.1)]
    died = replace(contrast(TWO_CORES, 1.0, 1.1), cpu_s_per_request=Interval.exact(0.0))
    demand = make_demand()
    for kept, whole in ((trials, [*trials, died]), ([], [died])):
        left = calibrate(demand, kept, seed=1)
        assert calibrate(demand, whole, seed=1).cpu.trials == left.cpu.trials
