"""A demand moves between servers by what the same trial showed on both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.demands import MIB, make_demand

from pretune.advisor.demand.server_costs import cost_of, learn_costs, on_server
from pretune.advisor.demand.values import Kind, ServerCost
from pretune.advisor.observations import Observations
from pretune.advisor.profiler.measurement import (
    Conditions,
    Latency,
    Measurement,
    MemorySeries,
    Role,
)
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings


def cost(cpu: float, worker: float, master: float) -> ServerCost:
    return ServerCost(Interval.exact(cpu), 5e-5, worker, master, 8 * MIB)


COSTS = {
    ("embedded", "gthread"): cost(0.0050, 40 * MIB, 10 * MIB),
    ("gunicorn", "gthread"): replace(cost(0.0052, 37 * MIB, 16 * MIB), generator_cpu_s=7e-5),
}


def test_what_changes_is_added_to_requests_workers_and_master() -> None:
    here = replace(make_demand(), costs=COSTS, overhead_cpu_s=Interval.exact(1e-4))
    there = on_server(here, "gunicorn", "gthread")
    assert there.overhead_cpu_s.value == pytest.approx(3e-4)
    assert there.overhead_cpu_s.low < 3e-4 < there.overhead_cpu_s.high
    assert there.generator_cpu_s == pytest.approx(here.generator_cpu_s + 2e-5)
    assert there.worker.base_pss_bytes.value == here.worker.base_pss_bytes.value - 3 * MIB
    assert there.worker.fixed_pss_bytes == here.worker.fixed_pss_bytes + 6 * MIB
    assert there.cpu_s == here.cpu_s


def test_it_moves_once_and_back() -> None:
    here = replace(make_demand(), costs=COSTS)
    there = on_server(here, "gunicorn", "gthread")
    assert on_server(there, "gunicorn", "gthread") is there
    back = on_server(there, "embedded", "gthread")
    assert back.worker.base_pss_bytes.value == here.worker.base_pss_bytes.value


def of(
    name: str, server: str, worker_class: str, cpu_s: float, requests: int = 1000
) -> Measurement:
    series = MemorySeries(
        1, np.arange(2.0), np.array([0.0, requests]), np.full(2, 5e7), np.full(2, 5e7)
    )
    exact = Interval.exact
    shape = (1, 4) if worker_class == "gthread" else (3, 1)
    return Measurement(
        name=name, role=Role(name), settings=Settings(*shape, worker_class), load=Load(8, 5.0),
        conditions=Conditions(1.0, 1.0, True, False, server=server), steady=True, steady_note="",
        window_s=5.0, requests=requests, throughput_rps=exact(200.0),
        latency=Latency(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), error_rate=0.0, errors=(),
        by_endpoint=(), pss_bytes=exact(6e7), rss_bytes=6e7, master_pss_bytes=1e7,
        kernel_bytes=0.0, workers=(), memory_series=(series,), pg_connections_peak=None,
        pg_idle_in_transaction_peak=None, db_cpu_s_per_request=None,
        cpu_s_per_request=exact(cpu_s), telemetry=np.zeros(0, [("seq", "u8")]), telemetry_lost=0,
        generator_cpu=0.1, generator_saturated=False, disturbed="", anon_bytes=exact(5e7),
        master_anon_bytes=1e7,
    )  # fmt: skip


def learned(trials: list[Measurement]) -> dict[Kind, ServerCost]:
    """Of these trials after a first one."""
    return learn_costs(
        Observations.from_trials([of("demand", "embedded", "gthread", 0.005), *trials])
    )


def test_sync_workers_cost_what_their_own_trials_show() -> None:
    found = learned(
        [
            of("contrast", "embedded", "gthread", 0.0050),
            of("server", "gunicorn", "gthread", 0.0052),
            of("sync", "gunicorn", "sync", 0.0057),
            of("sync-alone", "gunicorn", "sync", 0.0063),
        ]
    )
    sync = found["gunicorn", "sync"]
    assert sync.cpu_s.value == 0.0057
    # three workers started again cost 16% more or less
    assert sync.cpu_s.high == pytest.approx(0.0057 * (1 + 1.96 * 0.16), rel=0.01)
    assert sync.wake_cpu_s == pytest.approx(0.0009)  # two of three requests wake another
    assert (sync.further_threads, found["gunicorn", "gthread"].further_threads) == (0, 3)
    there = on_server(replace(make_demand(), costs=found), "gunicorn", "sync")
    assert there.overhead_cpu_s.value == pytest.approx(0.0007)
    assert there.wake_cpu_s == pytest.approx(0.0009)
    assert on_server(there, "gunicorn", "gthread").wake_cpu_s == 0.0


def test_a_sync_worker_grows_as_the_threaded_one_did_after_as_many_requests() -> None:
    """40 MiB at boot; 1 KiB for each of the first 4000 requests; the short trial served 1000."""
    threaded = of("server", "gunicorn", "gthread", 0.0052, 4000)
    served = np.array([0.0, 1000.0, 4000.0])
    anon = 40.0 * MIB + 1024.0 * served
    grown = replace(threaded.memory_series[0], time_s=served, requests=served, anon_bytes=anon)
    sync = of("sync", "gunicorn", "sync", 0.0057, 3 * 1000)
    found = learned(
        [
            of("contrast", "embedded", "gthread", 0.0050),
            replace(threaded, memory_series=(grown,)),
            sync,
        ]
    )["gunicorn", "sync"]
    alone = cost_of(sync)
    assert alone is not None
    assert found.worker_bytes == pytest.approx(alone.worker_bytes + 3000 * 1024)
    assert found.requests == 4000


def test_threads_that_a_trial_had_more_are_no_difference_of_servers() -> None:
    demand = make_demand()
    four, one = cost(0.005, 46 * MIB, 10 * MIB), cost(0.005, 40 * MIB, 10 * MIB)
    costs = {
        ("embedded", "gthread"): replace(four, further_threads=3),
        ("gunicorn", "sync"): one,
    }
    there = on_server(replace(demand, costs=costs), "gunicorn", "sync").worker
    each = demand.worker.per_thread_bytes.value
    change = there.base_pss_bytes.value - demand.worker.base_pss_bytes.value
    assert change == pytest.approx(-6 * MIB + 3 * each)


def test_without_a_trial_of_theirs_sync_workers_cost_what_gthread_does() -> None:
    two = [
        of("contrast", "embedded", "gthread", 0.0050),
        of("server", "gunicorn", "gthread", 0.0052),
    ]
    sync, threaded = (learned(two)["gunicorn", kind] for kind in ("sync", "gthread"))
    assert replace(sync, cpu_s=threaded.cpu_s) == threaded
    assert sync.cpu_s.value == threaded.cpu_s.value
    assert sync.cpu_s.high == pytest.approx(1.65 * threaded.cpu_s.value)  # it may cost more
    assert learned(two[:1]) == {}


def test_one_server_alone_learns_its_sync_workers() -> None:
    found = learned(
        [of("contrast", "gunicorn", "gthread", 0.005), of("sync", "gunicorn", "sync", 0.0057)]
    )
    assert found["gunicorn", "sync"].cpu_s.value == 0.0057
    assert found["gunicorn", "gthread"].cpu_s.value == 0.005


def test_what_leaked_in_a_longer_trial_is_no_difference_of_servers() -> None:
    long, short = (
        cost_of(of("server", "gunicorn", "gthread", 0.005, requests)) for requests in (5000, 1000)
    )
    assert long is not None
    assert short is not None
    grown = replace(long, worker_bytes=short.worker_bytes + 4000 * 2048)
    demand = replace(
        make_demand(),
        costs={("embedded", "gthread"): grown, ("gunicorn", "gthread"): short},
    )
    leaking = replace(
        demand.worker, leak_class="leak", leak_slope_bytes_per_request=Interval.exact(2048.0)
    )
    there = on_server(replace(demand, worker=leaking), "gunicorn", "gthread")
    assert there.worker.base_pss_bytes.value == pytest.approx(demand.worker.base_pss_bytes.value)


def test_to_a_server_of_unknown_cost_nothing_moves() -> None:
    here = replace(make_demand(), costs=COSTS)
    assert on_server(here, "gunicorn", "sync") is here
    assert on_server(make_demand(), "gunicorn", "gthread").costs == {}


def one_user(name: str, server: str, cpu_s: float, rate: float, generator: float) -> Measurement:
    """``generator``: part of a core."""
    return replace(
        of(name, server, "gthread", cpu_s),
        load=Load(1, 5.0),
        throughput_rps=Interval.exact(rate),
        generator_cpu=generator,
    )


def test_one_user_on_each_server_says_what_a_request_costs_where_none_is_in_its_way() -> None:
    """A cycle of 5 ms: 4.8 of the server, 0.2 of the generator. On gunicorn 5 and 0.3, which take
    5.1 together: 0.2 of them at once."""
    found = learned(
        [
            one_user("demand", "embedded", 0.0048, 200.0, 0.04),
            of("contrast", "embedded", "gthread", 0.0070),
            of("server", "gunicorn", "gthread", 0.0090),
            one_user("server-alone", "gunicorn", 0.0050, 1 / 0.0051, 0.0003 / 0.0051),
        ]
    )
    threaded = found["gunicorn", "gthread"]
    assert (found["embedded", "gthread"].cpu_s.value, threaded.cpu_s.value) == (0.0048, 0.0050)
    assert found["embedded", "gthread"].tail_cpu_s == pytest.approx(0.0, abs=1e-9)
    assert threaded.tail_cpu_s == pytest.approx(0.0002)
    # memory and the generator's cost are those of several
    several = cost_of(of("server", "gunicorn", "gthread", 0.0090))
    assert several is not None
    assert threaded.worker_bytes == several.worker_bytes
    assert threaded.generator_cpu_s == several.generator_cpu_s
    there = on_server(replace(make_demand(), costs=found), "gunicorn", "gthread")
    assert there.tail_cpu_s == pytest.approx(0.0002)


def test_what_waits_say_nothing_of_tails() -> None:
    found = learned(
        [
            one_user("demand", "embedded", 0.001, 10.0, 0.005),
            of("contrast", "embedded", "gthread", 0.001),
            of("server", "gunicorn", "gthread", 0.001),
            one_user("server-alone", "gunicorn", 0.0012, 10.2, 0.005),
        ]
    )
    assert found["gunicorn", "gthread"].tail_cpu_s == 0.0
