"""Settings around the server: the app's pool, a pooler, descriptors, times to stop and restart.

One row of ``ADVICE`` is one thing: its name, and a function to its value and the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pretune.advisor.demand.values import Demand
from pretune.advisor.model import memory, restarts
from pretune.advisor.quantity import counted, format_seconds, rounded
from pretune.advisor.recommendation.fleet import Fleet
from pretune.advisor.recommendation.values import Advice, Recommendation
from pretune.advisor.resources.budget import Budget

MIB = 1 << 20
LEAST_FDS = 1024
SPARE_S = 1.0  # between the server's own end of patience and the container's


@dataclass(frozen=True)
class Surroundings:
    """The answer, and what it was asked of."""

    demand: Demand
    budget: Budget  # as asked: with all connections that Postgres gives
    recommendation: Recommendation
    fleet: Fleet | None
    framework: str = ""


Said = tuple[int | str, str]


def advise(around: Surroundings) -> tuple[Advice, ...]:
    rules = ((name, rule(around)) for name, rule in ADVICE)
    return tuple(Advice(name, *advice) for name, advice in rules if advice is not None)


def _ram(around: Surroundings) -> Said | None:
    """RAM to provide, in MiB by its upper end, and the sum that it is."""
    predicted = around.recommendation.predicted
    if not predicted.ram_parts:
        return None
    names = [name for name, _ in predicted.ram_parts]
    shown = rounded([size for _, size in predicted.ram_parts], MIB)
    most = math.ceil(predicted.ram_bytes.high / MIB)
    parts = " + ".join(f"{name} {n:,}" for name, n in zip(names, shown, strict=True))
    return most, f"{parts} = {sum(shown):,} MiB expected, {most:,} by the upper end."


def _pool(around: Surroundings) -> Said | None:
    settings, worker = around.recommendation.settings, around.demand.worker
    held = memory.worker_connections_to_postgres(worker, settings)
    if held == 0:
        return None
    at_once = settings.threads
    if settings.worker_class == "asgi":
        at_once = math.ceil(around.recommendation.predicted.users / settings.workers)
    if worker.pg_most is not None and worker.pg_most <= held and at_once > held:
        free = around.budget.pg_connections
        room = at_once if free is None else free // (settings.workers + 1)
        most = max(held, min(at_once, room))
        helps = "As many connections as requests at once end that"
        if most < at_once:
            helps = f"Postgres has room for {most} in each worker and one that overlaps"
        return most, (
            f"the app's pool allows a worker {worker.pg_most} connections and all of them were in "
            f"use: that is its limit, not what {at_once} requests at once want, and those beyond "
            f"it wait. {helps}; or let fewer requests in, and give connections back earlier."
        )
    if settings.worker_class == "asgi":
        return held, (
            f"a worker held {counted(held, 'connection')} for its concurrent requests; a pool of "
            "that size, opened after the fork, uses no more than were counted."
        )
    each = settings.threads
    if held > each:
        return held, (
            f"a worker holds {counted(held, 'connection')} with {counted(each, 'thread')}, as "
            "counted, so a request holds more than one at a time. A pool smaller than threads x "
            "(connections of one request - 1) + 1 can deadlock."
        )
    return held, (
        f"a worker runs {counted(each, 'request')} at once and held one connection for each. A "
        "larger pool is never used up and a smaller one makes threads wait"
        + (
            "; Django opens one for each thread by itself."
            if around.framework == "django"
            else f" (SQLAlchemy: pool_size = {held}, max_overflow = 0)."
        )
    )


def _pgbouncer(around: Surroundings) -> Said | None:
    one = memory.postgres_connections(around.demand.worker, around.recommendation.settings)
    budget = around.budget
    if budget.pg_connections is None or one == 0:
        return None
    shared = around.fleet.database if around.fleet else None
    if shared is not None and shared.pooler:
        return "yes", (
            f"all instances may open {shared.connections:,} connections and {shared.available:,} "
            f"are free: pool_mode = transaction, default_pool_size = {shared.pool_size}."
        )
    most = budget.pg_connections // one
    return "no", (
        f"one instance uses {one} of {budget.pg_connections} connections, including a worker "
        f"that overlaps in a reload; from {most + 1} instances on there would be too few."
    )


def _nofile(around: Surroundings) -> Said:
    fds = around.recommendation.predicted.fds
    wanted: int = max(LEAST_FDS, 2 ** math.ceil(math.log2(2 * fds)))
    here = around.budget.fds
    sentence = f"the busiest process may hold {fds} at the predicted load, and twice that is safe; "
    if here >= wanted:
        return wanted, f"{sentence}the limit here, {here:,}, is enough."
    return wanted, f"{sentence}the limit here is {here:,} (LimitNOFILE=, --ulimit nofile)."


def _stop(around: Surroundings) -> Said:
    graceful = around.recommendation.settings.graceful_timeout
    shutdown = around.demand.worker.shutdown_s
    seconds = math.ceil(graceful + shutdown + SPARE_S)
    return seconds, (
        f"requests in flight may take the {graceful:g} s of graceful_timeout, and a worker shuts "
        f"down in {format_seconds(shutdown)}: anything that kills sooner (docker stop -t, "
        "terminationGracePeriodSeconds, TimeoutStopSec) loses requests."
    )


def _restart(around: Surroundings) -> Said | None:
    """Hours between restarts from outside, for a leak on a server that does not recycle."""
    recommended = around.recommendation
    hours = restarts.restart_hours(
        around.demand.worker,
        recommended.settings,
        recommended.predicted.throughput_rps,
        around.budget,
        recommended.server,
    )
    if not hours:
        return None
    return hours, (
        f"{recommended.server} does not replace what leaks, so something outside has to restart it "
        "(a timer, RuntimeMaxSec= with Restart=always); the RAM to provide holds what leaks in so "
        "many hours."
    )


ADVICE: tuple[tuple[str, Callable[[Surroundings], Said | None]], ...] = (
    ("ram_mib", _ram),
    ("pool_size", _pool),
    ("pgbouncer", _pgbouncer),
    ("nofile", _nofile),
    ("stop_grace_s", _stop),
    ("restart_every_h", _restart),
)
