"""Which trials a run makes, with what settings and load, and for how long. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pretune.advisor.demand.server_costs import (
    ALONE_TRIAL,
    COST_TRIAL,
    SYNC_ALONE_TRIAL,
    SYNC_TRIAL,
)
from pretune.advisor.demand.values import WorkerDemand
from pretune.advisor.model import memory
from pretune.advisor.profiler.measurement import Measurement
from pretune.loadtests.workload import Load
from pretune.server.adapters.catalogue import Offer
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings

# Of all the load time, on top of it: where the answer is for another server than the trials'.
SERVER_PART = 0.12
# The same for a trial through what stands in front.
FRONT_PART = 0.08
# The same for each of two looks at workers of class sync, and the least that says something.
SYNC_PART = 0.03
SYNC_LEAST_S = 1.5
SYNC_WORKERS = 3
# The same for workers that share a core, the least that says something, and the most of them.
CROWD_TRIAL = "crowd"
CROWD_PART = 0.06
CROWD_LEAST_S = 2.0
MOST_CROWD = 4
# Of the contrast trial's throughput, so that an open load is surely carried.
OPEN_PART = 0.6
# Users begin at random moments of so many seconds where a worker keeps what it has accepted: all at
# once, the first to wake would take nearly all of them, which no visitors would bring about.
RAMP_S = 1.0
# Part of the time budget that goes into load; the rest is booting, stopping, modelling.
LOAD_FRACTION = 0.5
CONTRAST_THREADS, MOST_CONTRAST_THREADS = 4, 32
# Requests at once beyond those at which the processor would just be busy if nobody waited for it.
BEYOND_KNEE = 1.25
PRELOAD_WORKERS = 2
PRELOAD_THREADS = 2
SHORTEST_VERIFICATION = 0.5  # of its own duration
# Seconds around the load of one trial: boot, first and last samples, stop.
AROUND_S = 3.0


# All workers' boots one after the other may take so long before a verification.
BOOTS_S = 20.0


@dataclass(frozen=True)
class PlannedTrial:
    """``why`` is what the trial is for, in words for the plan and the progress line."""

    name: str
    why: str
    settings: Settings
    users: int
    duration_s: float
    probes: bool = False
    stop_under_load: bool = False
    rps: float | None = None
    ramp_s: float = 0.0
    front: Front | None = None  # what stands in front of the server; None: nothing does

    def load(self, seed: int) -> Load:
        return Load(self.users, self.duration_s, seed, rps=self.rps, ramp_s=self.ramp_s)

    @property
    def expected_s(self) -> float:
        return self.duration_s + AROUND_S


# name -> part of all the load time
SHARES = {"demand": 0.32, "contrast": 0.20, "preload": 0.16, "verification": 0.32}
ALONE_PART = 0.04  # on top of it, too
ALONE_LEAST_S = 1.5


def duration(name: str, time_budget_s: float) -> float:
    return time_budget_s * LOAD_FRACTION * SHARES[name]


def verification_duration(time_budget_s: float, left_s: float, after_s: float) -> float:
    """Shorter, by half at most, where ``after_s`` of the time that is left are wanted for more."""
    whole = duration("verification", time_budget_s)
    room = left_s - after_s - AROUND_S if after_s > 0 else whole
    return min(whole, max(whole * SHORTEST_VERIFICATION, room))


def trials(
    interface: str, time_budget_s: float, pg_connections: int | None, *, preloads: bool = True
) -> tuple[PlannedTrial, ...]:
    """The trials before anything is known. No trial takes more connections than the budget.

    ``preloads``: whether the server of the trials can load the app before it forks.
    """
    worker_class = "asgi" if interface == "asgi" else "gthread"
    base = Settings(workers=1, threads=1, worker_class=worker_class, timeout=60.0)
    most = CONTRAST_THREADS if pg_connections is None else max(1, pg_connections)
    threads = min(CONTRAST_THREADS, most) if interface == "wsgi" else 1
    contrast = replace(base, threads=threads)
    planned = [
        PlannedTrial(
            "demand",
            "what one request costs, undisturbed",
            base,
            1,
            duration("demand", time_budget_s),
            probes=True,
        ),
        PlannedTrial(
            "contrast",
            f"one worker, {threads} threads, saturated"
            if interface == "wsgi"
            else "one worker, requests at once",
            contrast,
            2 * CONTRAST_THREADS,
            duration("contrast", time_budget_s),
            stop_under_load=True,
        ),
    ]
    if preloads and most >= PRELOAD_WORKERS * PRELOAD_THREADS:
        preload = replace(
            base,
            workers=PRELOAD_WORKERS,
            threads=PRELOAD_THREADS if interface == "wsgi" else 1,
            preload_app=True,
        )
        planned.append(
            PlannedTrial(
                "preload",
                "what preload saves after traffic",
                preload,
                2 * CONTRAST_THREADS,
                duration("preload", time_budget_s),
            )
        )
    return tuple(planned)


def busy_contrast(
    contrast: PlannedTrial, first: Measurement, pg_connections: int | None
) -> PlannedTrial:
    """``contrast`` with as many requests at once as keep the processor busy, by what the demand
    trial showed: an app that mostly waits needs more of them than one that computes."""
    cycle = first.load.users / max(first.throughput_rps.value, 1e-9)
    cpu = max(first.cpu_s_per_request.value, 1e-6)
    wanted = BEYOND_KNEE * first.conditions.server_cores * cycle / cpu
    most = MOST_CONTRAST_THREADS
    if pg_connections is not None:
        most = min(most, max(1, pg_connections))
    inside = min(most, max(CONTRAST_THREADS, math.ceil(wanted) if math.isfinite(wanted) else 0))
    if contrast.settings.worker_class == "asgi":
        return replace(contrast, users=2 * inside)
    return replace(
        contrast,
        why=f"one worker, {inside} threads, saturated",
        settings=replace(contrast.settings, threads=inside),
        users=2 * inside,
    )


def busy_preload(preload: PlannedTrial, contrast: Measurement) -> PlannedTrial:
    """Under asgi with as many users as the contrast trial: what a loop holds grows with them."""
    if preload.settings.worker_class != "asgi":
        return preload
    return replace(preload, users=max(preload.users, contrast.load.users))


def alone_trial(server: str, contrast: PlannedTrial, time_budget_s: float) -> PlannedTrial:
    """The server's trial with one user: what a request costs where no other is in its way."""
    return replace(
        contrast,
        name=ALONE_TRIAL,
        why=f"one user on {server}",
        users=1,
        duration_s=max(ALONE_LEAST_S, time_budget_s * LOAD_FRACTION * ALONE_PART),
        stop_under_load=False,
    )


def server_trial(
    server: str, contrast: PlannedTrial, rps: float | None, carried_rps: float, time_budget_s: float
) -> PlannedTrial:
    """The contrast trial again, on the server that the answer is for: what changes there.

    With ``rps`` the verification's load will be open, each request with a connection of its own; so
    is this one, at a part of what the contrast trial carried.
    """
    return replace(
        contrast,
        name=COST_TRIAL,
        why=f"the same on {server}: what changes there",
        duration_s=time_budget_s * LOAD_FRACTION * SERVER_PART,
        rps=None if rps is None else min(rps, OPEN_PART * carried_rps),
    )


def front_trial(
    name: str, alike: PlannedTrial, rps: float | None, carried_rps: float, time_budget_s: float
) -> PlannedTrial:
    """A trial again, through what will stand in front of the server: what that costs."""
    return replace(
        alike,
        name="front",
        why=f"the same through {name}: what it costs",
        duration_s=front_duration(time_budget_s),
        rps=None if rps is None else min(rps, OPEN_PART * carried_rps),
        stop_under_load=False,
    )


def front_duration(time_budget_s: float) -> float:
    return time_budget_s * LOAD_FRACTION * FRONT_PART


def sync_trials(
    interface: str, contrast: PlannedTrial, time_budget_s: float, pg_connections: int | None
) -> tuple[PlannedTrial, ...]:
    """What workers of class sync cost: saturated, and with one user. None where there is no such
    class, or where their connections are more than the budget's."""
    if interface != "wsgi" or (pg_connections is not None and pg_connections < SYNC_WORKERS):
        return ()
    settings = replace(contrast.settings, workers=SYNC_WORKERS, threads=1, worker_class="sync")
    return tuple(
        PlannedTrial(
            name,
            why,
            settings,
            users,
            max(SYNC_LEAST_S, time_budget_s * LOAD_FRACTION * SYNC_PART),
        )
        for name, why, users in (
            (SYNC_TRIAL, "what workers of class sync cost, saturated", 2 * CONTRAST_THREADS),
            (SYNC_ALONE_TRIAL, "the same with one user, for whom all are woken", 1),
        )
    )


def crowd_trial(
    contrast: PlannedTrial, cores: float, time_budget_s: float, pg_connections: int | None
) -> PlannedTrial | None:
    """One worker more than ``cores``, saturated: what workers that share a core cost each other.
    None where that takes many of them, or more connections than the budget's."""
    workers = max(2, math.floor(cores) + 1)
    threads = contrast.settings.threads
    threads = max(min(threads, CONTRAST_THREADS), math.ceil(threads / workers))
    if pg_connections is not None:
        threads = min(threads, pg_connections // workers)
    if workers > MOST_CROWD or threads < 1:
        return None
    return replace(
        contrast,
        name=CROWD_TRIAL,
        why=f"{workers} workers on {cores:g} core{'' if cores == 1 else 's'}, saturated",
        settings=replace(contrast.settings, workers=workers, threads=threads),
        users=max(contrast.users, workers * threads),
        duration_s=max(CROWD_LEAST_S, time_budget_s * LOAD_FRACTION * CROWD_PART),
        stop_under_load=False,
        ramp_s=RAMP_S,
    )


@dataclass(frozen=True)
class Server:
    """That the answer is for. ``other``: than the one of the first trials."""

    name: str
    other: bool
    offer: Offer


def there(
    server: Server,
    contrast: PlannedTrial,
    cores: float,
    time_budget_s: float,
    pg_connections: int | None,
    *,
    rps: float | None = None,
    carried_rps: float = 0.0,
) -> tuple[PlannedTrial, ...]:
    """What is asked of the server of the answer after the contrast trial, which carried so much.

    ``rps``: the rate of the verification's load, where it is an open one.
    """
    found: list[PlannedTrial] = []
    if server.other:
        found.append(server_trial(server.name, contrast, rps, carried_rps, time_budget_s))
    if server.other and rps is None:
        # arrivals have connections of their own, whose cost one user does not show
        found.append(alone_trial(server.name, contrast, time_budget_s))
    if server.offer.sync:
        interface = contrast.settings.interface
        found += sync_trials(interface, contrast, time_budget_s, pg_connections)
    crowd = crowd_trial(contrast, cores, time_budget_s, pg_connections)
    most = server.offer.most_workers
    if crowd is not None and not (most and crowd.settings.workers > most):
        found.append(crowd)
    return tuple(found)


def verifiable(
    settings: Settings,
    worker: WorkerDemand,
    free_bytes: float,
    cores: float,
    pg_connections: int | None,
) -> Settings:
    """``settings`` with as many of their workers as this machine can run, at least one.

    What is recommended for a larger machine need not fit this one's free memory, its Postgres, or
    the time to boot.
    """
    held = memory.worker_connections_to_postgres(worker, settings)

    def runs(workers: int) -> bool:
        there = replace(settings, workers=workers)
        return (
            memory.peak_pss(worker, there).high <= free_bytes
            and workers * worker.boot_s <= BOOTS_S * max(1.0, cores)
            and (pg_connections is None or workers * held <= pg_connections)
        )

    most = settings.workers
    while most > 1 and not runs(most):
        most -= 1
    return replace(settings, workers=most)
