"""Operational laws: the bound of each resource on throughput, and its explanation.

Source: Lazowska, Zahorjan, Graham, Sevcik, *Quantitative System Performance* (1984), chapters 3
and 5 (the utilisation law, asymptotic bounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import format_seconds
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Limit:
    """The most throughput that one resource allows, and why, in words."""

    resource: str  # cpu, gil, lock, shared_lock, slots, db, generator, users
    rps: float
    reason: str


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
) -> tuple[Limit, ...]:
    """Every resource's bound, the tightest first. Demands are means per request; ``front_s`` is
    the CPU of a proxy on the server's cores, which holds no slot; ``pool``: connections of the
    app's own pool in each worker, one of which every request holds from beginning to end.

    Rates are bounded by capacity over demand (the utilisation law), the load itself by users over
    the shortest possible cycle. None of it depends on any distribution.
    """
    generator = conditions.generator_cpu_s_per_request
    together = conditions.shared_cores <= 0
    on_cores = cpu_s + front_s + (db_cpu_s + generator if together else 0.0)
    inside = cpu_s + db_cpu_s + delay_s
    gil = "event loops" if settings.worker_class == "asgi" else "GILs (one per worker)"
    slots = ("slots", settings.slots, "slots (workers x threads)", inside)
    if pool is not None and pool * settings.workers < settings.slots:
        slots = ("slots", pool * settings.workers, "connections of the app's own pools", inside)
    rows: list[tuple[str, float, str, float]] = [
        ("cpu", conditions.server_cores, "cores", on_cores),
        ("gil", settings.workers, gil, gil_s),
        ("shared_lock", 1, "lock (one of all workers)", lock_s)
        if one_lock
        else ("lock", settings.workers, "of its own locks (one per worker)", lock_s),
        slots,
        ("users", users, "users", inside + front_s + generator + think_s),
        ("generator", 1.0, "load generator", generator),
    ]
    if not together:
        rows.append(("db", conditions.shared_cores, "cores of Postgres and generator", db_cpu_s))
    all_limits = [
        Limit(
            name,
            capacity / demand,
            f"{capacity:g} {what} / {format_seconds(demand)} = {capacity / demand:.0f} requests/s",
        )
        for name, capacity, what, demand in rows
        if demand > 0
    ]
    return tuple(sorted(all_limits, key=lambda limit: limit.rps))


# Limits of the arrangement give way to those of the machine that are as close: of them another
# arrangement would have more, and would be no faster.
OURS = frozenset({"slots", "gil", "lock"})
CLOSE = 0.05


def binding(candidates: Sequence[Limit]) -> Limit:
    """The tightest; of a machine's and an arrangement's that are as close, the machine's."""
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
