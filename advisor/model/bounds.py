"""Operational laws: the bound of each resource on throughput, and its explanation.

Source: Lazowska, Zahorjan, Graham, Sevcik, *Quantitative System Performance* (1984), chapters 3
and 5 (the utilisation law, asymptotic bounds).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import SECONDS, format_rate, shown_sum
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Limit:
    """The most throughput that one resource allows, and why, in words."""

    resource: str  # cpu, gil, lock, shared_lock, slots, db, generator, users
    rps: float
    reason: str
    demand_s: float = 0.0  # that a request has of it
    parts: tuple[tuple[str, float], ...] = ()  # whose that is: seconds that add up to demand_s


def limits(
    settings: Settings,
    conditions: Conditions,
    users: int,
    *,
    cpu_s: float,
    gil_s: float,
    db_cpu_s: float,
    delay_s: float,
    lock_s: float = 0.0,
    one_lock: bool = False,
    think_s: float = 0.0,
    front_s: float = 0.0,
    pool: int | None = None,
    server_s: float = 0.0,
) -> tuple[Limit, ...]:
    """Every resource's bound, the tightest first. Demands are means per request; ``server_s`` is
    the server's part of ``cpu_s``, ``front_s`` the CPU of a proxy on the server's cores, which
    holds no slot; ``pool``: connections of the app's own pool in each worker, one of which every
    request holds from beginning to end.

    Rates are bounded by capacity over demand (the utilisation law), the load itself by users over
    the shortest possible cycle. None of it depends on any distribution.
    """
    generator = conditions.generator_cpu_s_per_request
    together = conditions.shared_cores <= 0
    inside = cpu_s + db_cpu_s + delay_s
    gil = "event loop" if settings.worker_class == "asgi" else "GIL"
    app_s = max(0.0, cpu_s - server_s)
    on_cores = [("the app", app_s), ("the server", cpu_s - app_s), ("the proxy", front_s)]
    if together:
        on_cores += [("Postgres on the same cores", db_cpu_s), ("the load generator", generator)]
    whole = ""
    slots, slot = settings.slots, "slot"
    if pool is not None and pool * settings.workers < settings.slots:
        slots, slot = pool * settings.workers, "connection of the app's own pools"
    locks, lock = settings.workers, "lock of its own"
    if one_lock:
        locks, lock = 1, "lock of all workers"
    rows: list[tuple[str, float, str, list[tuple[str, float]]]] = [
        ("cpu", conditions.server_cores, "core", on_cores),
        ("gil", settings.workers, gil, [(whole, gil_s)]),
        ("shared_lock" if one_lock else "lock", locks, lock, [(whole, lock_s)]),
        ("slots", slots, slot, [(whole, inside)]),
        ("users", users, "user", [(whole, inside + front_s + generator + think_s)]),
        ("generator", 1, "load generator", [(whole, generator)]),
    ]
    if not together:
        rows.append(("db", conditions.shared_cores, "core", [("Postgres", db_cpu_s)]))
    all_limits = [
        _limit(name, capacity, what, [(who, s) for who, s in parts if s > 0])
        for name, capacity, what, parts in rows
        if sum(s for _, s in parts) > 0
    ]
    return tuple(sorted(all_limits, key=lambda limit: limit.rps))


_PLURAL = {
    "lock of its own": "locks of its own (one per worker)",
    "slot": "slots (workers x threads)",
    "connection of the app's own pools": "connections of the app's own pools",
}


def _limit(resource: str, capacity: float, what: str, parts: Sequence[tuple[str, float]]) -> Limit:
    """``2 cores / 5.91 ms = 338 requests/s (the app 4.36 ms + ... = 5.91 ms)``."""
    shown, total = shown_sum([s for _, s in parts], SECONDS)
    demand_s = math.fsum(s for _, s in parts)
    rps = capacity / demand_s
    name = what if capacity == 1 else _PLURAL.get(what, f"{what}s")
    reason = f"{capacity:g} {name} / {total} = {format_rate(rps)} requests/s"
    if len(parts) > 1 or parts[0][0] not in ("", "the app"):
        whose = " + ".join(f"{who} {s}" for (who, _), s in zip(parts, shown, strict=True))
        reason += f" ({whose} = {total} of CPU per request)"
    named = tuple((who, s) for who, s in parts if who)
    return Limit(resource, rps, reason, demand_s, named)


# Limits of the arrangement give way to those of the machine that are as close: of them another
# arrangement would have more, and would be no faster.
OURS = frozenset({"slots", "gil", "lock"})
CLOSE = 0.05
# A resource that is busy for so much of the time is the limit, whatever the load alone would allow.
BUSY = 0.9


def binding(candidates: Sequence[Limit], busy: Mapping[str, float] | None = None) -> Limit:
    """The tightest; of a machine's and an arrangement's that are as close, the machine's.

    ``busy``: of each resource, in a run at this load. The load is the limit only where none is.
    """
    if busy is not None and candidates[0].resource == "users":
        full = [x for x in candidates[1:] if busy.get(x.resource, 0.0) >= BUSY]
        candidates = full or candidates
    first = candidates[0]
    if first.resource in OURS:
        for other in candidates[1:]:
            close = other.rps <= (1 + CLOSE) * first.rps
            if close and other.resource not in OURS and other.resource != "users":
                return other
    return first


SUBJECT = {
    "cpu": "the CPU is the limit",
    "gil": "the GIL is the limit",
    "lock": "a lock of the application is the limit; more workers help, more threads do not",
    "shared_lock": ("a lock that all workers share is the limit; neither workers nor threads help"),
    "slots": "the slots are the limit",
    "users": "no resource is the limit, only the load",
    "generator": "the load generator is the limit",
    "db": "the database's CPU is the limit",
}


def explain(settings: Settings, limit: Limit) -> str:
    """``at 9 workers x 1 thread the CPU is the limit: 2 cores / 6.1 ms = 328 requests/s``."""
    return f"{_at(settings)} {SUBJECT[limit.resource]}: {limit.reason}"


def explain_open(settings: Settings, candidates: Sequence[Limit]) -> str:
    """Explain which limits it may be, where the measurements do not decide between them."""
    named = " or ".join(SUBJECT[limit.resource] for limit in candidates)
    reasons = "; ".join(limit.reason for limit in candidates)
    return f"{_at(settings)} the run cannot tell whether {named}: {reasons}"


def _at(settings: Settings) -> str:
    shape = f"at {settings.workers} worker{'s' if settings.workers > 1 else ''}"
    if settings.worker_class == "gthread":
        shape += f" x {settings.threads} thread{'s' if settings.threads > 1 else ''}"
    return shape
