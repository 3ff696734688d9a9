"""From notes with known truth to what is said of lines, hosts, the loop and the GIL."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.measured import WORKLOAD, measurement, telemetry

from pretune.advisor.demand import breakdown
from pretune.advisor.profiler import notes
from pretune.advisor.profiler.measurement import DatabaseTime
from pretune.advisor.quantity import Interval
from pretune.server.probes.account import CPU, DB, OTHER
from pretune.server.probes.user_frames import UserFrame
from pretune.server.settings import Settings

QUERY, RENDER, SLEEP = (
    UserFrame("views.py", 41, "execute", True),
    UserFrame("views.py", 50, "render", True),
    UserFrame("views.py", 60, "view", True),
)


ONE = Settings()


def noted(rows: np.ndarray, looks: list[tuple[int, int, int]], **changes) -> notes.Notes:
    """``looks``: (kind, place, held) at endpoint 2, evenly over the time of the rows."""
    samples = np.zeros(len(looks), notes.SAMPLE)
    samples["time"] = np.linspace(rows["start"][0], rows["start"][-1], len(looks))
    samples["endpoint"] = 2
    samples["kind"], samples["place"], samples["held"] = np.array(looks).T
    fields = {
        "samples": samples,
        "outbound": np.zeros(0, notes.OUTBOUND),
        "lags": np.zeros(0, notes.LAG),
        "blocks": np.zeros(0, notes.BLOCK),
        "cost": np.array([(0.0, 1, 0.0, 0, 0), (10.0, 1, 0.05, 1000, 20)], notes.COST),
        "numbers": np.zeros(0, notes.NUMBER),
        "places": (QUERY, RENDER, SLEEP),
        "routes": ("",),
        "hosts": ("api:443",),
    }
    return notes.Notes(**(fields | changes))


def trial(rows, looks=(), settings=ONE, **changes):
    found = noted(rows, list(looks), **changes) if looks else None
    return replace(measurement(settings, rows=rows), notes=found)


def shuffled(seed: int, *parts: tuple[int, tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    looks = [look for count, look in parts for _ in range(count)]
    return [looks[i] for i in np.random.default_rng(seed).permutation(len(looks))]


def test_a_line_has_its_share_of_the_waiting_and_its_seconds():
    looks = shuffled(
        1, (300, (DB, 0, 0)), (100, (OTHER, 2, 0)), (200, (CPU, 1, 0)), (50, (CPU, 2, 0))
    )
    rows = telemetry()
    found = breakdown.assemble(WORKLOAD, trial(rows, looks))
    cheap, dear = found.endpoints
    assert cheap.lines == ()
    render, *_ = [line for line in dear.lines if line.kind == "cpu"]
    query, sleep = [line for line in dear.lines if line.kind != "cpu"]
    assert (query.shown, query.kind) == ("views.py:41 in execute", "db")
    assert query.fraction.value == 0.75
    assert 0.62 < query.fraction.low < 0.75 < query.fraction.high < 0.88
    assert query.seconds.contains(0.75 * 0.025)  # 20 ms database and 5 ms else
    assert sleep.fraction.value == 0.25
    assert render.seconds.contains(0.8 * 0.010)


def test_looks_at_one_long_request_are_worth_less_than_as_many_apart():
    times = np.arange(2000.0)
    apart = np.random.default_rng(1).random(2000) < 0.5
    together = np.repeat(np.random.default_rng(1).random(20) < 0.5, 100)
    assert _width(breakdown.share_of(times, together, 0.0)) > 3 * _width(
        breakdown.share_of(times, apart, 0.0)
    )


@pytest.mark.parametrize("true", [0.0, 0.03, 0.5, 0.97, 1.0])
def test_the_interval_of_a_share_covers_it(true):
    rng = np.random.default_rng(3)
    times = np.arange(300.0)
    covered = [
        breakdown.share_of(times, rng.random(300) < true, 0.0).contains(true) for _ in range(100)
    ]
    assert np.mean(covered) >= 0.9


def _width(interval):
    return interval.high - interval.low


def test_dropped_looks_widen_what_is_claimed():
    looks = shuffled(1, (300, (DB, 0, 0)), (300, (OTHER, 2, 0)))
    rows = telemetry()
    quiet = breakdown.assemble(WORKLOAD, trial(rows, looks))
    cost = np.array([(0.0, 1, 0.0, 0, 0), (10.0, 1, 0.05, 1000, 400)], notes.COST)
    busy = breakdown.assemble(WORKLOAD, trial(rows, looks, cost=cost))
    widths = [_width(found.endpoints[1].lines[0].fraction) for found in (quiet, busy)]
    assert widths[1] > widths[0] + 0.3


def test_outbound_calls_belong_to_the_request_that_ended_then():
    rows = telemetry()
    dear = np.flatnonzero(rows["endpoint"] == 2)
    outbound = np.zeros(len(dear) + 1, notes.OUTBOUND)
    outbound["time"][:-1] = (rows["start"] + rows["wall"])[dear]
    outbound["time"][-1] = rows["start"][-1] + 99  # of a request outside the window
    outbound["endpoint"], outbound["calls"], outbound["wait_s"] = 2, 50, 0.003
    found = breakdown.assemble(WORKLOAD, trial(rows, [(OTHER, 2, 0)] * 20, outbound=outbound))
    cheap, dear_ = found.endpoints
    assert cheap.hosts == ()
    (host,) = dear_.hosts
    assert (host.name, host.calls.value) == ("api:443", 50)
    assert host.wait_s.value == pytest.approx(0.003)
    assert found.hosts[0].calls.contains(0.2 * 50)  # by the workload's shares
    assert dear_.out_s.value == pytest.approx(0.003)
    assert dear_.other_s.value == pytest.approx(0.002)


def test_the_loop_says_its_lag_and_what_holds_it():
    rows = telemetry()
    lags = np.zeros(400, notes.LAG)
    lags["time"], lags["lag_s"] = np.arange(400) / 10, 0.0001
    lags["lag_s"][::20] = 0.08
    blocks = np.zeros(30, notes.BLOCK)
    blocks["length_s"], blocks["endpoint"], blocks["place"] = 0.08, 2, 2
    blocks["length_s"][3] = 0.2
    looks = shuffled(1, (60, (OTHER, 2, 1)), (40, (OTHER, 0, 0)))
    found = breakdown.assemble(
        WORKLOAD, trial(rows, looks, Settings(worker_class="asgi"), lags=lags, blocks=blocks)
    )
    assert found.loop.lag_p50_s.value == pytest.approx(0.0001)
    assert found.loop.lag_p99_s.value == pytest.approx(0.08)
    (first,) = found.loop.blocking
    assert (first.endpoint, first.times, first.longest_s) == ("/dear", 30, 0.2)
    assert found.endpoints[1].held_fraction.contains(0.6)


def contrast(gil_wait: float, runq: float) -> np.ndarray:
    rows = telemetry(seed=2)
    rng = np.random.default_rng(2)
    queued = rng.exponential(runq, len(rows))
    # telemetry() has 0.1 ms of delay in its walls
    rows["wall"] += rng.exponential(gil_wait + 0.0005, len(rows)) - 0.0005 + queued - 0.0001
    rows["runq"] = np.nan
    rows["runq"][::16] = queued[::16]
    return rows


@pytest.mark.parametrize("gil_wait", [0.0, 0.012])
def test_the_wait_for_the_gil_is_what_threads_wait_beyond_a_request_alone(gil_wait):
    threads = Settings(threads=4)
    busy = measurement(threads, rows=contrast(gil_wait, 0.002))
    busy = replace(busy, load=replace(busy.load, users=8))
    found = breakdown.assemble(WORKLOAD, trial(telemetry()), busy).contention
    assert (found.lock, found.requests) == ("gil", 4)
    assert found.wait_s.contains(gil_wait)
    assert found.wait_s.high < gil_wait + 0.002
    assert found.run_queue_s.contains(0.002)


def test_without_run_queue_delay_nothing_is_said_of_the_gil():
    rows = contrast(0.01, 0.0)
    rows["runq"] = np.nan
    busy = measurement(Settings(threads=4), rows=rows)
    busy = replace(busy, load=replace(busy.load, users=8))
    assert breakdown.assemble(WORKLOAD, trial(telemetry()), busy).contention is None


def test_no_request_of_the_workload_says_nothing():
    rows = telemetry()
    rows["endpoint"] = 0
    assert breakdown.assemble(WORKLOAD, trial(rows)) is None


def test_what_a_local_postgres_stood_in_the_run_queue_is_no_waiting_here_either():
    zero = Interval.exact(0.0)
    rows = telemetry()
    times = DatabaseTime(None, zero, zero, zero, Interval.exact(0.0025), zero, 0, 0)
    looks = [(DB, 0, 0)] * 100
    plain = trial(rows, looks)
    delayed = replace(plain, database_time=times)
    before, after = (
        breakdown.assemble(WORKLOAD, one).endpoints[1].lines[0].seconds.value
        for one in (plain, delayed)
    )
    # a quarter of the database's 20 ms, none of the 5 ms else
    assert before - after == pytest.approx(0.005, rel=0.05)
