"""Whether a measured point stayed within the budgets of its case. Pure.

As the tool judges a verification: the peak of memory with what the kernel charged, a local Postgres
and the reserve; Postgres's connections; descriptors of one worker. What only a reload, a day's leak
or another load would need is not seen in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.accuracy.store import Point
from pretune.advisor.resources.budget import Budget

RAM, CONNECTIONS, DESCRIPTORS = "RAM", "connections", "descriptors"


def ram_bytes(point: Point, budget: Budget) -> float:
    kernel, database = point.kernel_bytes or 0.0, point.db_pss_bytes or 0.0
    return point.pss_bytes + kernel + database + budget.reserve_bytes


def broken(point: Point, budget: Budget) -> frozenset[str]:
    """What was not kept, of the parts that were stored."""
    found = {
        RAM: (ram_bytes(point, budget), budget.ram_bytes),
        CONNECTIONS: (point.pg_connections, budget.pg_connections),
        DESCRIPTORS: (point.fds, budget.fds),
    }
    return frozenset(
        name
        for name, (used, limit) in found.items()
        if used is not None and limit is not None and used > limit
    )


def broken_by(points: Iterable[Point], budget: Budget) -> dict[tuple[int, int, str], list[str]]:
    """Of every measured arrangement, what any of its points broke."""
    found: dict[tuple[int, int, str], set[str]] = {}
    for point in points:
        found.setdefault(point.shape, set()).update(broken(point, budget))
    return {shape: sorted(names) for shape, names in found.items()}
