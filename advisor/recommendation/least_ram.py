"""The smallest RAM in which an application fits at all: one worker with one thread. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from pretune.advisor.demand.values import Demand
from pretune.advisor.model import restarts
from pretune.advisor.quantity import Interval, format_bytes
from pretune.advisor.recommendation import recycling
from pretune.advisor.resources.budget import Budget, reserve
from pretune.server.adapters.catalogue import find
from pretune.server.settings import Settings

MIB = 1 << 20
MOST_BYTES = 1 << 50


def find_least_ram(demand: Demand, budget: Budget, interface: str, server: str) -> int | None:
    """Bytes, by the upper end of what is needed, rounded up to two digits of MiB.

    The reserve grows with the RAM and a leak is recycled where there is room for it, so the
    smallest is found by bisection. None where a leak fills any RAM.
    """
    kind = "asgi" if interface == "asgi" else "gthread"
    cpu = max(demand.cpu_s.value + demand.overhead_cpu_s.value, 1e-6)
    most_rps = Interval.exact(budget.cores / cpu)

    def fits(size: int) -> bool:
        of_size = replace(budget, ram_bytes=size, reserve_bytes=reserve(size))
        settings = recycling.with_recycling(demand, Settings(1, 1, kind), of_size, find(server))
        needed = restarts.ram_to_provide(demand.worker, settings, most_rps, of_size, server)
        return needed.high <= size

    low, high = 0, MOST_BYTES
    if not fits(high):
        return None
    while high - low > MIB:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return _up(high)


def explain_least_ram(smallest: int | None, budget: Budget, needed_bytes: float) -> str:
    """``this app does not fit 512 MiB: ... the smallest that fits is 700 MiB``."""
    sentence = (
        f"this app does not fit {format_bytes(budget.ram_bytes)}: one worker with one thread, a "
        "second one while it is replaced, and the reserve of the system need up to "
        f"{format_bytes(needed_bytes)}"
    )
    if smallest is None:
        return f"{sentence}; it leaks too fast for any RAM"
    return f"{sentence}; the smallest that fits is {format_bytes(smallest)}"


def _up(size: float) -> int:
    """To two digits, of GiB where it is one or more."""
    unit = 1 << 30 if size >= 1 << 30 else MIB
    step = 10.0 ** (math.floor(math.log10(size / unit)) - 1)
    return math.ceil(math.ceil(size / unit / step - 1e-9) * step * unit)
