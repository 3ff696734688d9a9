"""The part of a request's CPU that needs the GIL, by how far one process got beyond one core."""

from __future__ import annotations

import numpy as np

from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.quantity import Interval

# Of the threads that would run, those that do when nothing holds them but their cores.
HELD_BACK = 0.85


def gil_fraction(demand: Measurement, contrast: Measurement | None) -> Interval:
    """Estimate how much of the CPU needs the lock, from how far one process got beyond one core.

    A process cannot hold its lock for more than a second a second, so of U busy cores at most 1/U
    of the CPU needs it: always an upper bound. It is the value too; whether the lock really was
    what held the process at U shows only if more threads were hungry for CPU than it got, and
    neither stood in the run queue nor had others beside them. Without a second core or a second
    thread nothing can be told: value 1 (the careful one), from 0 to 1.
    """
    unknown = Interval(1.0, 0.0, 1.0)
    if contrast is None or contrast.settings.worker_class == "asgi":
        return unknown
    threads, cores = contrast.settings.threads, contrast.conditions.server_cores
    wall = float(np.mean(demand.telemetry["wall"]))
    cpu = demand.cpu_s_per_request.value
    if threads < 2 or cores < 1.5 or contrast.settings.workers != 1 or wall <= 0:
        return unknown
    hungry = min(threads * cpu / max(wall, cpu), cores, float(threads))
    if not hungry > 1.2:
        return unknown
    rate = contrast.throughput_rps
    used = contrast.cpu_s_per_request.value
    busy = Interval(rate.value * used, rate.low * used, rate.high * used)
    queued = sum(w.run_delay_s for w in contrast.workers) / contrast.window_s
    high = min(1.0, 1 / max(busy.low, 1e-9))
    value = min(1.0, 1 / max(busy.value, 1e-9))
    held = not contrast.disturbed and busy.high + queued < HELD_BACK * hungry
    # Held back by the lock, the process still loses up to 15% to passing it on.
    low = min(value, HELD_BACK / max(busy.high, 1e-9)) if held else 0.0
    return Interval(value, low, max(high, value))
