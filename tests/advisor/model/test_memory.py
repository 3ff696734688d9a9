"""Memory, connections and descriptors of arrangements, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pretune.advisor.demand.values import WorkerDemand
from pretune.advisor.model import memory
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.server.settings import Settings

exact = Interval.exact
WORKER = WorkerDemand(
    base_pss_bytes=exact(100),
    per_thread_bytes=exact(3),
    fixed_pss_bytes=20,
    preload_saving_bytes=exact(40),
    leak_slope_bytes_per_request=exact(2),
    leak_class="none",
    boot_s=1.0,
    shutdown_s=0.1,
    fds=15,
    pg_connections=1,
    pg_connections_per_thread=1.0,
)
RPS = exact(10.0)


def test_workers_and_threads_add_up() -> None:
    assert memory.peak_pss(WORKER, Settings(workers=4, threads=3)).value == 20 + 400 + 4 * 2 * 3


def test_preload_saves_for_every_worker_but_one() -> None:
    settings = Settings(workers=4, preload_app=True)
    assert memory.peak_pss(WORKER, settings).value == 20 + 400 - 3 * 40
    assert memory.peak_pss(WORKER, replace(settings, workers=1)).value == 120


def test_unmeasured_preload_saves_nothing() -> None:
    worker = replace(WORKER, preload_saving_bytes=None)
    assert memory.peak_pss(worker, Settings(workers=4, preload_app=True)).value == 420


def test_an_unmeasured_thread_matters_only_where_there_are_threads() -> None:
    worker = replace(WORKER, per_thread_bytes=UNKNOWN)
    assert memory.peak_pss(worker, Settings(workers=2, threads=1)).value == 220


def test_intervals_of_one_cause_add_and_of_different_causes_add_in_quadrature() -> None:
    worker = replace(
        WORKER, base_pss_bytes=Interval(100, 97, 103), per_thread_bytes=Interval(3, 2, 5)
    )
    pss = memory.peak_pss(worker, Settings(workers=4, threads=2))
    assert pss.high - pss.value == pytest.approx((12**2 + 8**2) ** 0.5)
    assert pss.value - pss.low == pytest.approx((12**2 + 4**2) ** 0.5)


def test_ram_holds_one_overlapping_worker_and_the_reserve() -> None:
    settings = Settings(workers=2, threads=2)
    ram = memory.ram_to_provide(WORKER, settings, RPS, reserve_bytes=1000)
    assert ram.value == memory.peak_pss(WORKER, settings).value + 103 + 1000


def test_a_leak_grows_for_a_day_unless_recycled_earlier() -> None:
    leaky = replace(WORKER, leak_class="leak")
    day = memory.leak_growth(leaky, Settings(workers=2), RPS)
    assert day.value == 2 * 10 * 86_400
    recycled = Settings(workers=2, max_requests=1000, max_requests_jitter=100)
    growth = memory.leak_growth(leaky, recycled, RPS)
    assert growth == Interval(2 * 2 * 1050, 2 * 2 * 1000, 2 * 2 * 1100)


@pytest.mark.parametrize("kind", ["still_warming", "not_enough_data"])
def test_growth_that_is_no_called_leak_is_not_extrapolated(kind: str) -> None:
    warming = replace(WORKER, leak_class=kind, warming_bytes=Interval(5, 0, 30))
    assert memory.leak_growth(warming, Settings(workers=3), RPS) == Interval(15, 0, 90)


def test_pages_of_files_are_there_once() -> None:
    worker = replace(WORKER, shared_file_bytes=16)
    assert memory.peak_pss(worker, Settings(workers=4)).value == 20 + 16 + 4 * 84
    ram = memory.ram_to_provide(worker, Settings(workers=4), RPS)
    assert ram.value == 20 + 16 + 5 * 84


def test_a_reload_under_preload_brings_a_zygote() -> None:
    worker = replace(WORKER, preload_once_bytes=30)
    settings = Settings(workers=4, preload_app=True)
    peak = memory.peak_pss(worker, settings).value
    assert peak == 20 + 400 - 3 * 40 + 30
    assert memory.ram_to_provide(worker, settings, RPS).value == peak + 100 + 30


def test_workers_that_nobody_connects_to_have_not_grown_by_their_first_use() -> None:
    worker = replace(WORKER, first_use_bytes=30.0, preload_first_use_bytes=50.0, leak_class="none")
    idle = Interval(2.0, 1.0, 3.0)
    plain = Settings(workers=6, threads=2)
    trial = memory.peak_pss_of_trial(worker, plain, RPS, 10.0, idle)
    one_thread_more = worker.per_thread_bytes.value
    full = memory.peak_pss(worker, plain)
    assert trial.value == full.value - 2 * (30 + one_thread_more)
    assert trial.low < full.low - (30 + one_thread_more)
    preloaded = Settings(workers=6, preload_app=True)
    trial = memory.peak_pss_of_trial(worker, preloaded, RPS, 10.0, idle)
    assert trial.value == memory.peak_pss(worker, preloaded).value - 2 * 50


def test_a_local_postgres_counts_with_all_its_connections() -> None:
    worker = replace(WORKER, db_pss_bytes=exact(500), db_pss_bytes_per_connection=7)
    settings = Settings(workers=3, threads=4)
    more = memory.ram_to_provide(worker, settings, RPS).value
    assert more - memory.ram_to_provide(WORKER, settings, RPS).value == 500 + 7 * 4 * 4


def test_connections_count_threads_overlap_and_instances() -> None:
    settings = Settings(workers=3, threads=4)
    assert memory.postgres_connections(WORKER, settings) == (3 + 1) * 4
    assert memory.postgres_connections(WORKER, settings, instances=5) == 5 * 4 * 4
    loop = Settings(workers=3, threads=4, worker_class="asgi")
    assert memory.postgres_connections(WORKER, loop) == 4


def test_the_busiest_process_may_hold_every_users_connection() -> None:
    assert memory.descriptors(WORKER, Settings(threads=4), users=50) == 15 + 3 + 49
    assert memory.descriptors(WORKER, Settings(worker_class="sync"), users=50) == 15


def test_a_worker_holds_no_more_connections_than_its_pool_allows() -> None:
    settings = Settings(workers=2, threads=40)
    assert memory.worker_connections_to_postgres(WORKER, settings) == 40
    pooled = replace(WORKER, pg_most=15)
    assert memory.worker_connections_to_postgres(pooled, settings) == 15
    assert memory.postgres_connections(pooled, settings) == 3 * 15
    # what was counted stands, whatever is configured
    counted = replace(WORKER, pg_connections=20, pg_most=15)
    assert memory.worker_connections_to_postgres(counted, settings) == 20
