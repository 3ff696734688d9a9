"""Memory, Postgres connections and descriptors of an arrangement: arithmetic with intervals.

Parts that share a cause (every worker's base) add linearly, parts with different causes (base, per
thread, leak) in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pretune.advisor.demand.values import TRIAL_SCATTER, WorkerDemand
from pretune.advisor.quantity import Z95, Interval
from pretune.server.settings import Settings

DAY_S = 86_400.0


def peak_pss(worker: WorkerDemand, settings: Settings) -> Interval:
    """Bytes of the whole tree, warm: master and zygote, workers, their further threads.

    Pages of files are in every worker's base and there only once.
    """
    parts = [
        Interval.exact(worker.fixed_pss_bytes),
        worker.base_pss_bytes.scaled(settings.workers),
        Interval.exact(-worker.shared_file_bytes * (settings.workers - 1)),
        *_threads(worker, settings, settings.workers),
    ]
    if settings.workers > 1 and settings.preload_app and worker.preload_saving_bytes:
        parts.append(_negative(worker.preload_saving_bytes.scaled(settings.workers - 1)))
        parts.append(Interval.exact(worker.preload_once_bytes))
    return add(parts)


def preload_saving(worker: WorkerDemand, workers: int) -> Interval | None:
    """Return what preload saves in all, in bytes: for each worker after the first, less the zygote
    that it needs.

    None when it was not measured; negative where few workers share too little.
    """
    saving = worker.preload_saving_bytes
    if saving is None:
        return None
    once, further = worker.preload_once_bytes, workers - 1
    return Interval(
        saving.value * further - once, saving.low * further - once, saving.high * further - once
    )


def ram_to_provide(
    worker: WorkerDemand,
    settings: Settings,
    throughput_rps: Interval,
    reserve_bytes: int = 0,
    horizon_s: float = DAY_S,
) -> Interval:
    """Bytes that must be there: peak PSS, one overlapping worker, growth, reserve, Postgres, proxy.

    The overlapping worker is the new one of a reload or a recycling, ready before the old one goes.
    Under preload a reload brings a new zygote with it, so nothing is saved on that one. A Postgres
    on the same machine counts with all the connections there may be. ``horizon_s``: how long a leak
    goes on where ``max_requests`` does not end it.
    """
    parts = ram_parts(worker, settings, throughput_rps, reserve_bytes, horizon_s)
    return add(part for _, part in parts)


def ram_parts(
    worker: WorkerDemand,
    settings: Settings,
    throughput_rps: Interval,
    reserve_bytes: int = 0,
    horizon_s: float = DAY_S,
) -> tuple[tuple[str, Interval], ...]:
    """Name the parts that ``ram_to_provide`` is the sum of; parts of nothing are left out."""
    overlap = [
        worker.base_pss_bytes,
        Interval.exact(-worker.shared_file_bytes),
        *_threads(worker, settings, 1),
    ]
    if settings.workers > 1 and settings.preload_app and worker.preload_saving_bytes:
        overlap.append(Interval.exact(worker.preload_once_bytes))
    parts = (
        ("master and workers", peak_pss(worker, settings)),
        ("one more worker while one is replaced", add(overlap)),
        ("what they may grow by", leak_growth(worker, settings, throughput_rps, horizon_s)),
        ("Postgres on this machine", postgres_pss(worker, settings)),
        ("the proxy", worker.front_pss_bytes),
        ("the system's reserve", Interval.exact(reserve_bytes)),
    )
    return tuple((name, part) for name, part in parts if part.high != 0)


def leak_growth(
    worker: WorkerDemand, settings: Settings, throughput_rps: Interval, horizon_s: float = DAY_S
) -> Interval:
    """Bytes all workers together grow by until they are recycled, else over ``horizon_s``.

    Only a called leak is extrapolated: growth that may be warm-up, or that too few requests showed,
    says nothing about a day; it is bounded by what there was of it so far. Workers started together
    age together, so the first recycling finds all of them at their limit; none reaches more than
    max_requests + jitter.
    """
    if worker.leak_class == "none":
        return Interval.exact(0.0)
    if worker.leak_class != "leak":
        return worker.warming_bytes.scaled(settings.workers)
    slope = worker.leak_slope_bytes_per_request
    day = throughput_rps.scaled(horizon_s)
    requests = day
    if settings.max_requests > 0:
        limit, jitter = settings.max_requests, settings.max_requests_jitter
        n = settings.workers
        requests = Interval(
            min(day.value, n * (limit + jitter / 2)),
            min(day.low, n * limit),
            min(day.high, n * (limit + jitter)),
        )
    return Interval(
        max(0.0, slope.value) * requests.value,
        max(0.0, slope.low) * requests.low,
        max(0.0, slope.high) * requests.high,
    )


def peak_pss_of_trial(
    worker: WorkerDemand,
    settings: Settings,
    throughput_rps: Interval,
    seconds: float,
    idle: Interval,
) -> Interval:
    """``peak_pss`` of a trial of so many seconds: with what leaks in it, and without what ``idle``
    workers, that no request reaches, have not needed yet."""
    parts = [peak_pss(worker, settings), _negative(idle.scaled(_first_use(worker, settings)))]
    if worker.leak_class == "leak":
        parts.append(leak_growth(worker, settings, throughput_rps, seconds))
    # a further trial differs as those differed that the parts come from
    scatter = Z95 * TRIAL_SCATTER * parts[0].value
    parts.append(Interval(0.0, -scatter, scatter))
    return add(parts)


def _first_use(worker: WorkerDemand, settings: Settings) -> float:
    preloaded = settings.preload_app and settings.workers > 1 and worker.preload_saving_bytes
    first = worker.preload_first_use_bytes if preloaded else worker.first_use_bytes
    return first + sum(part.value for part in _threads(worker, settings, 1))


def postgres_pss(worker: WorkerDemand, settings: Settings) -> Interval:
    """Bytes of a Postgres on the same machine; 0 when it is elsewhere."""
    backends = postgres_connections(worker, settings) * worker.db_pss_bytes_per_connection
    return add([worker.db_pss_bytes, Interval.exact(backends)])


def worker_connections_to_postgres(worker: WorkerDemand, settings: Settings) -> int:
    """Held by one worker when all its threads have been used."""
    further = settings.threads - 1 if settings.interface == "wsgi" else 0
    held = math.ceil(worker.pg_connections + further * worker.pg_connections_per_thread - 1e-9)
    return held if worker.pg_most is None else min(held, max(worker.pg_most, worker.pg_connections))


def postgres_connections(worker: WorkerDemand, settings: Settings, instances: int = 1) -> int:
    """Most at once, of all instances together, each with one overlapping worker."""
    return instances * (settings.workers + 1) * worker_connections_to_postgres(worker, settings)


def descriptors(worker: WorkerDemand, settings: Settings, users: int) -> int:
    """Return the busiest process's descriptors, at worst: every user's kept-alive connection at the
    same worker.

    ``worker.fds`` was counted at one thread and one connection.
    """
    database = worker_connections_to_postgres(worker, settings) - worker.pg_connections
    clients = min(users, settings.worker_connections)
    if settings.worker_class == "sync" or settings.keepalive <= 0:
        clients = min(clients, settings.threads)
    return worker.fds + max(0, database) + max(0, clients - 1)


def _threads(worker: WorkerDemand, settings: Settings, workers: int) -> list[Interval]:
    if settings.threads <= 1 or settings.interface != "wsgi":
        return []  # and an unmeasured cost per thread does not matter
    return [worker.per_thread_bytes.scaled(workers * (settings.threads - 1))]


def _negative(x: Interval) -> Interval:
    return Interval(-x.value, -x.high, -x.low)


def add(parts: Iterable[Interval]) -> Interval:
    """The sum of parts with different causes: their deviations in quadrature."""
    parts = list(parts)
    value = sum(p.value for p in parts)
    below = math.sqrt(sum((p.value - p.low) ** 2 for p in parts))
    above = math.sqrt(sum((p.high - p.value) ** 2 for p in parts))
    return Interval(value, value - below, value + above)
