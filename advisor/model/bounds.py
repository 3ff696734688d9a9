"""Exact results of queueing theory: the oracle of the simulation's tests, and its explanation.

Sources: Lazowska, Zahorjan, Graham, Sevcik, *Quantitative System Performance* (1984), chapter 5
(asymptotic and balanced job bounds); Buzen, "Computational algorithms for closed queueing networks
with exponential servers", CACM 16 (1973) (the convolution). The closed network is solved by
convolution, which gives the numbers of exact mean-value analysis (Reiser and Lavenberg 1980) and,
all its terms being positive, stays accurate with multi-server stations where MVA's recursion
cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import format_seconds
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Station:
    """``demand_s`` per request on ``servers`` servers; inf servers: a pure delay."""

    name: str
    demand_s: float
    servers: float = 1.0

    @property
    def most_rps(self) -> float:
        return self.servers / self.demand_s if self.demand_s > 0 else math.inf


@dataclass(frozen=True)
class Solution:
    """Of a closed network: throughput, mean time in the stations, mean number at each station."""

    throughput_rps: float
    response_s: float
    at_station: tuple[float, ...]


def asymptotic(stations: list[Station], users: int, think_s: float = 0.0) -> tuple[float, float]:
    """(least, most) throughput of any network with these demands, whatever its distributions."""
    total = sum(s.demand_s for s in stations)
    most = min([users / (total + think_s), *(s.most_rps for s in stations)])
    return users / (users * total + think_s), most


def balanced_job(stations: list[Station], users: int, think_s: float = 0.0) -> tuple[float, float]:
    """(least, most) throughput; tighter, for product-form networks of single servers and delays."""
    if any(s.servers not in (1.0, math.inf) for s in stations):
        raise ValueError("balanced job bounds are for single servers and delays")
    queues = [s.demand_s for s in stations if s.servers == 1.0 and s.demand_s > 0]
    think = think_s + sum(s.demand_s for s in stations if s.servers == math.inf)
    if not queues:
        return users / think, users / think
    total, worst, average = sum(queues), max(queues), sum(queues) / len(queues)
    others = users - 1
    least = users / (total + think + others * worst / (1 + think / (users * total)))
    most = users / (total + think + others * average / (1 + think / total))
    return least, min(1 / worst, most)


def closed_network(stations: list[Station], users: int, think_s: float = 0.0) -> Solution:
    """Exact solution of a single-class product-form closed network.

    Stations: processor sharing of any distribution, or first come first served of an exponential
    one; ``servers`` whole. With ``n`` at a station of ``m`` servers it works at rate ``min(n, m)``.
    """
    whole = [*stations, Station("think", think_s, math.inf)]
    # scaling all demands changes only the unit of time, and keeps the terms near 1
    unit = max(s.demand_s for s in whole)
    factors = [_factors(s, users, unit) for s in whole]
    g = np.zeros(users + 1)
    g[0] = 1.0
    for f in factors:
        g = np.convolve(g, f)[: users + 1]
    throughput = g[users - 1] / g[users] / unit
    at = []
    for k in range(len(stations)):
        others = np.zeros(users + 1)
        others[0] = 1.0
        for i, f in enumerate(factors):
            if i != k:
                others = np.convolve(others, f)[: users + 1]
        n = np.arange(users + 1)
        at.append(float((n * factors[k] * others[::-1]).sum() / g[users]))
    return Solution(float(throughput), users / float(throughput) - think_s, tuple(at))


def _factors(station: Station, users: int, unit: float) -> NDArray[np.float64]:
    """``D^n / (min(1, m) ... min(n, m))`` for n = 0..users."""
    n = np.arange(1, users + 1, dtype=np.float64)
    steps = (station.demand_s / unit) / np.minimum(n, station.servers)
    return np.concatenate([[1.0], np.cumprod(steps)])


@dataclass(frozen=True)
class Limit:
    """The most throughput that one resource allows, and why, in words."""

    resource: str  # cpu, gil, lock, slots, db, generator, users
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
    think_s: float = 0.0,
    front_s: float = 0.0,
) -> tuple[Limit, ...]:
    """Every resource's bound, the tightest first. Demands are means per request; ``front_s`` is
    the CPU of a proxy on the server's cores, which holds no slot.

    Rates are bounded by capacity over demand (the utilisation law), the load itself by users over
    the shortest possible cycle. None of it depends on any distribution.
    """
    generator = conditions.generator_cpu_s_per_request
    together = conditions.shared_cores <= 0
    on_cores = cpu_s + front_s + (db_cpu_s + generator if together else 0.0)
    inside = cpu_s + db_cpu_s + delay_s
    gil = "event loops" if settings.worker_class == "asgi" else "GILs (one per worker)"
    rows: list[tuple[str, float, str, float]] = [
        ("cpu", conditions.server_cores, "cores", on_cores),
        ("gil", settings.workers, gil, gil_s),
        ("lock", settings.workers, "of its own locks (one per worker)", lock_s),
        ("slots", settings.slots, "slots (workers x threads)", inside),
        ("users", users, "users", inside + front_s + generator + think_s),
        ("generator", 1.0, "load generator", generator),
    ]
    if not together:
        rows.append(("db", conditions.shared_cores, "cores of Postgres and generator", db_cpu_s))
    found = [
        Limit(
            name,
            capacity / demand,
            f"{capacity:g} {what} / {format_seconds(demand)} = {capacity / demand:.0f} requests/s",
        )
        for name, capacity, what, demand in rows
        if demand > 0
    ]
    return tuple(sorted(found, key=lambda limit: limit.rps))


# Limits of the arrangement give way to those of the machine that are as close: of them another
# arrangement would have more, and would be no faster.
OURS = frozenset({"slots", "gil", "lock"})
CLOSE = 0.05


def binding(found: Sequence[Limit]) -> Limit:
    """The tightest; of a machine's and an arrangement's that are as close, the machine's."""
    first = found[0]
    if first.resource in OURS:
        for other in found[1:]:
            close = other.rps <= (1 + CLOSE) * first.rps
            if close and other.resource not in OURS and other.resource != "users":
                return other
    return first


SUBJECT = {
    "cpu": "the CPU is the limit",
    "gil": "the GIL is the limit",
    "lock": "a lock of the application is the limit, which further workers ease and threads do not",
    "slots": "the slots are the limit",
    "users": "the load is the limit, no resource is",
    "generator": "the load generator is the limit",
    "db": "the database's CPU is the limit",
}


def explain(settings: Settings, limit: Limit) -> str:
    """``at 9 workers x 1 thread the CPU is the limit: 2 cores / 6.1 ms = 328 requests/s``."""
    return f"{_at(settings)} {SUBJECT[limit.resource]}: {limit.reason}"


def explain_open(settings: Settings, found: Sequence[Limit]) -> str:
    """Where it depends on what is not surely known which of these it is."""
    named = " or ".join(SUBJECT[limit.resource] for limit in found)
    reasons = "; ".join(limit.reason for limit in found)
    return f"{_at(settings)} it is open whether {named}: {reasons}"


def _at(settings: Settings) -> str:
    shape = f"at {settings.workers} worker{'s' if settings.workers > 1 else ''}"
    if settings.worker_class == "gthread":
        shape += f" x {settings.threads} thread{'s' if settings.threads > 1 else ''}"
    return shape
