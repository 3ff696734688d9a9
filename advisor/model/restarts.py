"""RAM where a leak cannot be recycled: on servers that never replace a worker for its requests.

Somebody outside has to restart the server then, before the RAM is full: every so many whole hours.
What workers grow by is counted for that long. Where it would be less than an hour nobody is asked
to do it: the growth of a day is counted, and the arrangement does not fit.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pretune.advisor.demand.values import WorkerDemand
from pretune.advisor.model import memory
from pretune.advisor.quantity import Interval
from pretune.advisor.resources.budget import Budget
from pretune.server.adapters import catalogue
from pretune.server.settings import Settings

HOUR_S = 3600.0
DAY_HOURS = 24


def ram_without_leak(worker: WorkerDemand, settings: Settings, budget: Budget) -> Interval:
    """Bytes that must be there before anything has leaked."""
    still = replace(worker, leak_class="none")
    return memory.ram_to_provide(still, settings, Interval.exact(0.0), budget.reserve_bytes)


def restart_hours(
    worker: WorkerDemand, settings: Settings, throughput_rps: Interval, budget: Budget, server: str
) -> int | None:
    """Hours after which the server has to be restarted from outside, at most a day; 0: less than
    one. None where nothing leaks, or where the server can replace its workers itself."""
    slope = worker.leak_slope_bytes_per_request.high
    if worker.leak_class != "leak" or not slope > 0:
        return None
    if catalogue.find(server).recycles(settings.workers):
        return None
    left = budget.ram_bytes - ram_without_leak(worker, settings, budget).high
    seconds = left / (slope * max(throughput_rps.high, 1e-9))
    return max(0, min(DAY_HOURS, math.floor(seconds / HOUR_S)))


def ram_to_provide(
    worker: WorkerDemand, settings: Settings, throughput_rps: Interval, budget: Budget, server: str
) -> Interval:
    """``memory.ram_to_provide`` on ``server``: with what leaks until it is restarted."""
    parts = ram_parts(worker, settings, throughput_rps, budget, server)
    return memory.add(part for _, part in parts)


def ram_parts(
    worker: WorkerDemand, settings: Settings, throughput_rps: Interval, budget: Budget, server: str
) -> tuple[tuple[str, Interval], ...]:
    """Name the parts that it is the sum of."""
    hours = restart_hours(worker, settings, throughput_rps, budget, server) or DAY_HOURS
    return memory.ram_parts(worker, settings, throughput_rps, budget.reserve_bytes, hours * HOUR_S)
