"""Plans of trials: settings, load and seconds of each. Pure.

A plan rests on the terms of the run and on what was observed before; before anything was, it is an
estimate of what will be planned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pretune.advisor.observations import Observations
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.loadtests.workload import Endpoint, Load
from pretune.server.adapters.catalogue import offer
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings

# Part of the time budget that goes into load; the rest is booting, stopping, modelling.
LOAD_FRACTION = 0.5
# Of all that load, what each role gets, and the least seconds that say something. The first four
# are the whole; the others come on top, where they are run.
LOAD: Mapping[Role, tuple[float, float]] = {
    Role.DEMAND: (0.32, 0.0),
    Role.CONTRAST: (0.20, 0.0),
    Role.PRELOAD: (0.16, 0.0),
    Role.VERIFICATION: (0.32, 0.0),
    Role.SERVER: (0.12, 0.0),
    Role.ALONE: (0.04, 1.5),
    Role.SYNC: (0.03, 1.5),
    Role.SYNC_ALONE: (0.03, 1.5),
    Role.CROWD: (0.06, 2.0),
    Role.FRONT: (0.08, 0.0),
}
# Seconds around the load of one trial: boot, first and last samples, stop.
AROUND_S = 3.0
BETWEEN_S = 1.0  # two loads of one server: last and first samples
# Of these, what is not the import of the app.
BESIDES_BOOT_S = 2.0
# A load shorter than this shows nothing.
LEAST_LOAD_S = 1.0
# Where time is short, all trials get less, down to this part; then these are left out, the first
# first: what the answer can best do without.
LEAST_PART = 0.6
DISPENSABLE = (
    Role.SYNC_ALONE, Role.SYNC, Role.CROWD, Role.ALONE, Role.PRELOAD, Role.SERVER,
)  # fmt: skip
# Users begin at random moments of so many seconds where a worker keeps what it has accepted: all at
# once, the first to wake would take nearly all of them, which no visitors would bring about.
RAMP_S = 1.0
CONTRAST_THREADS, MOST_CONTRAST_THREADS = 4, 32
# Requests at once beyond those at which the processor would just be busy if nobody waited for it.
BEYOND_KNEE = 1.25
# Of the contrast trial's throughput, so that an open load is surely carried.
OPEN_PART = 0.6
SYNC_WORKERS = 3
MOST_CROWD = 4  # workers
PRELOAD_WORKERS = 2
PRELOAD_THREADS = 2


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
    think_s: float = 0.0  # above 0, a locustfile's users wait as they are told
    front: Front | None = None  # what stands in front of the server; None: nothing does
    role: Role | None = None  # None: nothing is concluded from it
    further: tuple[Load, ...] = ()  # for the same server afterwards; their seeds are the trial's
    around_s: float = AROUND_S  # besides the load

    def load(self, seed: int) -> Load:
        return Load(
            self.users, self.duration_s, seed, self.think_s, rps=self.rps, ramp_s=self.ramp_s
        )

    @property
    def expected_s(self) -> float:
        return self.duration_s + self._further_s + self.around_s

    @property
    def _further_s(self) -> float:
        return sum(load.duration_s + BETWEEN_S for load in self.further)

    def within(self, seconds: float) -> PlannedTrial | None:
        """The trial with as much load as there is time for; None where that is too little."""
        load_s = self.duration_s + sum(load.duration_s for load in self.further)
        part = min(1.0, (seconds - self.expected_s + load_s) / max(load_s, 1e-9))
        if part * self.duration_s < min(self.duration_s, LEAST_LOAD_S) - 1e-9:
            return None
        further = tuple(replace(x, duration_s=part * x.duration_s) for x in self.further)
        return replace(self, duration_s=part * self.duration_s, further=further)


def duration(role: Role, time_budget_s: float) -> float:
    """Seconds of load of a trial in this role."""
    part, least_s = LOAD[role]
    return max(least_s, time_budget_s * LOAD_FRACTION * part)


def durations(time_budget_s: float) -> dict[Role, float]:
    return {role: duration(role, time_budget_s) for role in LOAD}


def around(boot_s: float) -> float:
    """Seconds around the load of each trial of an app that boots in so many."""
    return BESIDES_BOOT_S + boot_s


def fit(wanted: Mapping[Role, float], around_s: float, room_s: float) -> Mapping[Role, float]:
    """Seconds of load for the trials that there is room for, by role.

    ``wanted``: of all that would be run. Those that cannot be left out stay.
    """
    kept, part = dict(wanted), 1.0
    for without in (None, *DISPENSABLE):
        if without is not None:
            kept.pop(without, None)
        part = (room_s - len(kept) * around_s) / sum(kept.values())
        if part >= LEAST_PART:
            break
    part = min(1.0, max(LEAST_PART, part))
    return {role: part * load for role, load in kept.items()}


@dataclass(frozen=True)
class Terms:
    """All that plans depend on before anything is observed.

    ``seconds`` of load, by role, and ``around_s`` besides each; what has none is not run. ``cores``
    are the budget's, until a trial has shown how many its server gets. ``rps`` is the rate of the
    verification's load where that is open. ``front`` names what will stand in front of the server,
    ``through`` configures it for settings and a rate.
    """

    interface: str
    servers: Servers
    cores: float
    pg_connections: int | None
    seconds: Mapping[Role, float]
    rps: float | None = None
    around_s: float = AROUND_S
    front: str = ""
    through: Callable[[Settings, float], Front | None] = lambda settings, rps: None

    @property
    def worker_class(self) -> str:
        return "asgi" if self.interface == "asgi" else "gthread"

    @property
    def most_threads(self) -> int:
        """Threads of the contrast trial, as far as connections allow."""
        most = CONTRAST_THREADS
        return most if self.pg_connections is None else min(most, max(1, self.pg_connections))


# What is observed so far; None: nothing yet.
Seen = Observations | None


def plan_demand(terms: Terms, seen: Seen) -> PlannedTrial:
    """Plan one user's requests, one at a time, with probes: what each costs."""
    return PlannedTrial(
        "demand",
        "what one request costs, undisturbed",
        Settings(workers=1, threads=1, worker_class=terms.worker_class, timeout=60.0),
        1,
        terms.seconds[Role.DEMAND],
        probes=True,
        role=Role.DEMAND,
    )


def plan_contrast(terms: Terms, seen: Seen) -> PlannedTrial:
    """Plan one worker, saturated: with as many requests at once as keep the processor busy, by what
    the demand trial showed. An app that mostly waits needs more of them than one that computes."""
    threads, users = terms.most_threads, 2 * CONTRAST_THREADS
    if seen is not None:
        threads = requests_at_once(seen.demand, terms.pg_connections)
        users = 2 * threads
    settings = Settings(workers=1, threads=threads, worker_class=terms.worker_class, timeout=60.0)
    why = f"one worker, {threads} threads, saturated"
    if terms.interface == "asgi":
        settings, why = replace(settings, threads=1), "one worker, requests at once"
    return PlannedTrial(
        "contrast",
        why,
        settings,
        users,
        terms.seconds[Role.CONTRAST],
        stop_under_load=True,
        role=Role.CONTRAST,
    )


def requests_at_once(first: Measurement, pg_connections: int | None) -> int:
    """Requests that keep the processor busy, by one user's cycle and the CPU in it."""
    cycle = first.load.users / max(first.throughput_rps.value, 1e-9)
    cpu = max(first.cpu_s_per_request.value, 1e-6)
    wanted = BEYOND_KNEE * first.conditions.server_cores * cycle / cpu
    most = MOST_CONTRAST_THREADS
    if pg_connections is not None:
        most = min(most, max(1, pg_connections))
    return min(most, max(CONTRAST_THREADS, math.ceil(wanted) if math.isfinite(wanted) else 0))


def plan_server(terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan the contrast trial again, on the server of the answer: what changes there.

    Where the verification's load will be open, each request with a connection of its own, so is
    this one, at a part of what the contrast trial carried.
    """
    if not terms.servers.differ:
        return None
    carried = None if seen is None else seen.contrast
    return replace(
        _like_contrast(terms, seen),
        name=str(Role.SERVER),
        why=f"the same on {terms.servers.verified}: what changes there",
        duration_s=terms.seconds[Role.SERVER],
        rps=_open_rate(terms.rps, carried),
        role=Role.SERVER,
    )


def plan_alone(terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan one user on the server of the answer: a request's cost where no other is in its way.

    None for an open load: its arrivals have connections of their own, whose cost one user does not
    show.
    """
    if not terms.servers.differ or terms.rps is not None:
        return None
    return replace(
        _like_contrast(terms, seen),
        name=str(Role.ALONE),
        why=f"one user on {terms.servers.verified}",
        users=1,
        duration_s=terms.seconds[Role.ALONE],
        stop_under_load=False,
        role=Role.ALONE,
    )


def plan_sync(terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan workers of class sync, saturated; None where the server or the budget has none."""
    why = "what workers of class sync cost, saturated"
    return _sync(terms, seen, Role.SYNC, why, 2 * CONTRAST_THREADS)


def plan_sync_alone(terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan the same with one user; each of his requests may begin in another process."""
    return _sync(
        terms,
        seen,
        Role.SYNC_ALONE,
        "the same with one user, for whom every idle worker wakes up",
        1,
    )


def _sync(terms: Terms, seen: Seen, role: Role, why: str, users: int) -> PlannedTrial | None:
    """Plan sync workers; None where there is no such class, or too few connections for them."""
    few = terms.pg_connections is not None and terms.pg_connections < SYNC_WORKERS
    if terms.interface != "wsgi" or few or not offer(terms.servers.verified).sync:
        return None
    contrast = _like_contrast(terms, seen).settings
    settings = replace(contrast, workers=SYNC_WORKERS, threads=1, worker_class="sync")
    return PlannedTrial(str(role), why, settings, users, terms.seconds[role], role=role)


def plan_crowd(terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan one worker more than cores, saturated: what workers that share a core cost each other.

    None where that takes many of them, more than the server can have, or more connections than the
    budget's.
    """
    contrast = _like_contrast(terms, seen)
    cores = terms.cores
    if seen is not None and seen.contrast is not None:
        cores = seen.contrast.conditions.server_cores
    workers = max(2, math.floor(cores) + 1)
    threads = contrast.settings.threads
    threads = max(min(threads, CONTRAST_THREADS), math.ceil(threads / workers))
    if terms.pg_connections is not None:
        threads = min(threads, terms.pg_connections // workers)
    most = offer(terms.servers.verified).most_workers or MOST_CROWD
    if workers > min(most, MOST_CROWD) or threads < 1:
        return None
    return replace(
        contrast,
        name=str(Role.CROWD),
        why=f"{workers} workers on {cores:g} core{'' if cores == 1 else 's'}, saturated",
        settings=replace(contrast.settings, workers=workers, threads=threads),
        users=max(contrast.users, workers * threads),
        duration_s=terms.seconds[Role.CROWD],
        stop_under_load=False,
        ramp_s=RAMP_S,
        role=Role.CROWD,
    )


def plan_front(terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan the contrast trial again, through what will stand in front of the server: its cost."""
    if not terms.front:
        return None
    planned = _like_contrast(terms, seen)
    direct = None if seen is None or seen.contrast is None else seen.saturated()[-1]
    carried_rps = 0.0 if direct is None else direct.throughput_rps.value
    return replace(
        planned,
        name=str(Role.FRONT),
        why=f"the same through {terms.front}: what it costs",
        duration_s=terms.seconds[Role.FRONT],
        rps=_open_rate(terms.rps, direct),
        stop_under_load=False,
        front=terms.through(planned.settings, carried_rps),
        role=Role.FRONT,
    )


def plan_preload(terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan preloaded workers under traffic, on the server of the answer, since servers preload
    differently. Under asgi with as many users as the contrast trial: what a loop holds grows with
    them."""
    servers = terms.servers
    if not all(offer(server).preloads for server in (servers.measured, servers.verified)):
        return None
    most = CONTRAST_THREADS if terms.pg_connections is None else max(1, terms.pg_connections)
    if most < PRELOAD_WORKERS * PRELOAD_THREADS:
        return None
    users = 2 * CONTRAST_THREADS
    if terms.interface == "asgi" and seen is not None and seen.contrast is not None:
        users = max(users, seen.contrast.load.users)
    return PlannedTrial(
        "preload",
        "what preload saves after traffic",
        Settings(
            workers=PRELOAD_WORKERS,
            threads=PRELOAD_THREADS if terms.interface == "wsgi" else 1,
            worker_class=terms.worker_class,
            timeout=60.0,
            preload_app=True,
        ),
        users,
        terms.seconds[Role.PRELOAD],
        ramp_s=RAMP_S if servers.differ else 0.0,
        role=Role.PRELOAD,
    )


MOST_APART_S = 0.2  # of the time budget, for routes that are measured by themselves


def plan_apart(terms: Terms, apart: Sequence[Endpoint], budget_s: float) -> PlannedTrial | None:
    """Plan one worker that serves slow routes by themselves, each asked by a user of its own.

    None where the slowest takes longer than the time budget has for it: what trying it took is then
    all that is known.
    """
    slowest = max((each.tried_s for each in apart), default=0.0)
    seconds = 1.25 * slowest + 1.0  # until each has answered once
    if not apart or seconds + AROUND_S > MOST_APART_S * budget_s:
        return None
    threads = len(apart) if terms.interface == "wsgi" else 1
    settings = Settings(workers=1, threads=threads, worker_class=terms.worker_class, timeout=60.0)
    why = f"by themselves: {', '.join(each.name for each in apart)}"
    return PlannedTrial("apart", why, settings, len(apart), seconds, probes=True)


def _like_contrast(terms: Terms, seen: Seen) -> PlannedTrial:
    """The contrast trial as it was run, else as it will be."""
    planned = plan_contrast(terms, seen)
    if seen is None or seen.contrast is None:
        return planned
    return replace(planned, settings=seen.contrast.settings, users=seen.contrast.load.users)


def _open_rate(rps: float | None, carried: Measurement | None) -> float | None:
    if rps is None or carried is None:
        return rps
    return min(rps, OPEN_PART * carried.throughput_rps.value)
