"""When to recycle workers: ``max_requests`` from the leak, its jitter from the boot time.

Only a called leak is answered by recycling, on a server that can do it (``model.restarts`` has the
others). The RAM that an arrangement leaves free is what its
workers may grow by; at the upper end of the slope none may outgrow its part of it.

Jitter spreads the restarts. W workers that each restart once within a window of D seconds, each
away for the boot time b, meet with probability about ``1 - exp(-W (W - 1) b / D)``: the birthday
problem, where a pair meets when it starts within b of each other, on either side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pretune.advisor.demand.values import Demand
from pretune.advisor.model import restarts
from pretune.advisor.resources.budget import Budget
from pretune.server.adapters.server import Server
from pretune.server.settings import Settings

MEETING_PROBABILITY = 0.05
# Booting may cost at most this part of the CPU that the requests between two boots cost.
BOOT_COST = 0.02
# Where boots are cheap a worker is not left to grow by more than this many times its size: big
# heaps scan slowly.
GROWTH = 1.0
# Part of the limit that jitter may take.
JITTER_FRACTION = 0.5


@dataclass(frozen=True)
class Recycling:
    """``room_bytes``: what one worker may grow by. ``max_requests`` 0: RAM leaves too little."""

    max_requests: int
    jitter: int
    room_bytes: float
    least: int  # fewer requests than this between two boots cost more than they serve


def with_recycling(demand: Demand, settings: Settings, budget: Budget, server: Server) -> Settings:
    """The settings with a limit for a leak, where ``server`` can have one."""
    cycle = plan_recycling(demand, settings, budget)
    if cycle is not None:
        limit, jitter = cycle.max_requests, cycle.jitter
        settings = replace(settings, max_requests=limit, max_requests_jitter=jitter)
    return server.attainable(settings)


def plan_recycling(demand: Demand, settings: Settings, budget: Budget) -> Recycling | None:
    """None without a leak."""
    worker = demand.worker
    slope = worker.leak_slope_bytes_per_request.high
    if worker.leak_class != "leak" or not slope > 0:
        return None
    taken = restarts.ram_without_leak(worker, settings, budget)
    left = (budget.ram_bytes - taken.high) / settings.workers
    least = max(100, math.ceil(worker.boot_s / (BOOT_COST * _cpu_s(demand))))
    useful = max(GROWTH * worker.base_pss_bytes.value, 2 * least * slope)
    room = max(0.0, min(left, useful))
    total = math.floor(room / slope)
    if total < least:
        return Recycling(0, 0, room, least)
    jitter = min(int(JITTER_FRACTION * total), _jitter(demand, settings, budget))
    return Recycling(_round(total - jitter), _round(jitter), room, least)


def meeting_probability(settings: Settings, boot_s: float, rps: float) -> float:
    """That two of the workers restart at once within one round of recycling."""
    if settings.workers < 2 or settings.max_requests == 0:
        return 0.0
    window = settings.max_requests_jitter * settings.workers / max(rps, 1e-9)
    pairs = settings.workers * (settings.workers - 1)
    return 1 - math.exp(-pairs * boot_s / window) if window > 0 else 1.0


def _jitter(demand: Demand, settings: Settings, budget: Budget) -> int:
    """Requests over which restarts spread so widely that they meet in one round of twenty."""
    pairs = settings.workers * (settings.workers - 1)
    window = pairs * demand.worker.boot_s / -math.log1p(-MEETING_PROBABILITY)
    fastest = budget.cores / _cpu_s(demand) / settings.workers  # requests/s of one worker
    return math.ceil(window * fastest * 1.1)  # what rounding takes away again


def _cpu_s(demand: Demand) -> float:
    return max(demand.cpu_s.value + demand.overhead_cpu_s.value, 1e-6)


def _round(n: int) -> int:
    """Down to two digits: the slope is known to some percent only."""
    step: int = 10 ** max(0, len(str(n)) - 2)
    return n // step * step
