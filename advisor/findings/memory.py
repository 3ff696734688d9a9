"""Findings about workers' memory: what leaks, what holds it, what nobody holds."""

from __future__ import annotations

import math

import numpy as np

from pretune.advisor.demand import allocators
from pretune.advisor.findings.rule import Evidence, FindingContext, Rule
from pretune.advisor.profiler.measurement import Role

# Of a leak less than this part is Python's: native code holds the rest.
NATIVE_FRACTION = 0.5
# What further threads hold is worth a word above both, of a worker with one thread; after so many
# requests at least, or one of them has not had the largest.
THREADS_BYTES = 8 << 20
THREADS_FRACTION = 0.15
FEWEST_REQUESTS = 20


def _leak(context: FindingContext) -> Evidence | None:
    return _growth(context, "leak")


def _still_warming(context: FindingContext) -> Evidence | None:
    return _growth(context, "still_warming")


def _fragmentation(context: FindingContext) -> Evidence | None:
    growth = _growth(context, "fragmentation")
    if growth is None:
        return None
    given = [
        (s.settled.collected_bytes, s.settled.trimmed_bytes)
        for t in context.trials
        for s in t.memory_series
        if s.settled is not None
    ]
    garbage, holes = max(given, key=sum, default=(0.0, 0.0))
    return {**growth, "garbage_bytes": garbage, "holes_bytes": holes}


def _growth(context: FindingContext, kind: str) -> Evidence | None:
    demand = context.run.demand
    if demand is None or demand.worker.leak_class != kind:
        return None
    slope = demand.worker.leak_slope_bytes_per_request
    served = [
        float(np.ptp(s.requests))
        for t in context.trials
        for s in t.memory_series
        if len(s.requests)
    ]
    return {
        "slope_bytes_per_request": slope.value,
        "at_most_bytes_per_request": slope.high,
        "million_requests_bytes": slope.value * 1e6,
        "requests": int(max(served, default=0)),
    }


def _held_at(context: FindingContext) -> Evidence | None:
    holders = context.run.holders
    if holders is None or not holders.lines or _leak(context) is None:
        return None
    first, slope = holders.lines[0], _leak(context) or {}
    via = f", through {first.via}" if first.via else ""
    return {
        "place": first.place,
        "held_bytes_per_request": first.bytes_per_request,
        "slope_bytes_per_request": slope["slope_bytes_per_request"],
        "traced_bytes_per_request": holders.bytes_per_request,
        "held_at": [
            f"+{h.bytes_per_request:,.0f} bytes/request allocated at {h.place}"
            + (f" (through {h.via})" if h.via else "")
            for h in holders.lines
        ],
        "via": via,
        "requests": holders.requests,
    }


def _held_outside(context: FindingContext) -> Evidence | None:
    """Find a leak that is in no line that Python knows of."""
    holders, leaks = context.run.holders, _leak(context)
    if holders is None or leaks is None:
        return None
    low = leaks["slope_bytes_per_request"] * NATIVE_FRACTION
    if holders.bytes_per_request >= low:
        return None
    return {
        "traced_bytes_per_request": holders.bytes_per_request,
        "slope_bytes_per_request": leaks["slope_bytes_per_request"],
        "requests": holders.requests,
    }


def _arenas(context: FindingContext) -> Evidence | None:
    """A worker of several threads against one of a single thread, after as many requests."""
    one, several = context.trial(Role.DEMAND), context.trial(Role.CONTRAST)
    if one is None or several is None or several.settings.interface != "wsgi":
        return None
    further = several.settings.threads - one.settings.threads
    at = min(allocators.last_request(one), allocators.last_request(several))
    if further < 1 or at < FEWEST_REQUESTS:
        return None
    alone, together = (allocators.memory_at(trial, at) for trial in (one, several))
    more = together - alone
    if more < max(THREADS_BYTES, THREADS_FRACTION * alone) or _leak(context) is not None:
        return None
    return {
        "threads": several.settings.threads,
        "more_bytes": more,
        "each_bytes": more / further,
        "alone_bytes": alone,
        "requests": int(at),
    }


def _allocator(context: FindingContext) -> Evidence | None:
    saving = allocators.best(context.run.allocators)
    if saving is None:
        return None
    return {
        "name": saving.name,
        "saving_bytes": saving.saving_bytes.value,
        "at_least_bytes": saving.saving_bytes.low,
        "worker_bytes": saving.worker_bytes,
        "threads": saving.threads,
        "cpu_change_fraction": (
            saving.cpu_change.value if math.isfinite(saving.cpu_change.value) else "unknown"
        ),
        "variable": " ".join(f"{name}={value}" for name, value in saving.environ.items()),
    }


RULES: tuple[Rule, ...] = (
    Rule(
        "leak", "warning", _leak,
        "Workers leak {slope_bytes_per_request} per request (at most {at_most_bytes_per_request}), "
        "{million_requests_bytes} in a million",
        "Compare tracemalloc snapshots some thousand requests apart: module-level lists, caches "
        "without a limit and lru_cache on methods are the usual places. Until the leak is "
        "fixed, max_requests bounds it.",
    ),
    Rule(
        "leak-held-at", "warning", _held_at,
        "The leaked memory was allocated at {place}: {held_bytes_per_request} of "
        "{slope_bytes_per_request} per request{via}",
        "Find what keeps the objects made at {place} (a module-level list or dict, a cache without "
        "a limit, a registered callback) and bound it. By line: {held_at}.",
    ),
    Rule(
        "leak-outside-python", "warning", _held_outside,
        "Python's own accounting sees only {traced_bytes_per_request} of the "
        "{slope_bytes_per_request} that leak per request",
        "Native code holds the rest: update the extensions that requests use, and run one request "
        "in a loop under memray --native or valgrind to name the function.",
    ),
    Rule(
        "grows-with-threads", "info", _arenas,
        "A worker with {threads} threads holds {more_bytes} more than one with a single thread "
        "after as many requests ({requests}): {each_bytes} for each further thread. Memory grows "
        "with threads here, not with requests",
        "This is no leak and ends when every thread has had its largest request: glibc gives "
        "threads arenas of their own, which do not lend each other what is free. "
        "MALLOC_ARENA_MAX=2 in the environment bounds it; so do fewer threads in more workers. "
        "Recycling only postpones it.",
    ),
    Rule(
        "allocator-saves", "info", _allocator,
        "{name} would save {saving_bytes} of the {worker_bytes} of private memory of a worker "
        "with {threads} threads",
        "Set {variable} in the app's environment (CPU per request changed by "
        "{cpu_change_fraction}). The saving grows with threads and workers.",
    ),
    Rule(
        "fragmentation", "info", _fragmentation,
        "After {requests} requests a worker kept {holes_bytes} of freed memory and "
        "{garbage_bytes} of uncollected garbage",
        "This is not a leak and needs no recycling. MALLOC_ARENA_MAX=2 and "
        "MALLOC_TRIM_THRESHOLD_=131072 in the environment make glibc return more memory; fewer "
        "reference cycles mean less garbage.",
    ),
    Rule(
        "still-warming", "info", _still_warming,
        "Memory still grew by up to {at_most_bytes_per_request} per request after {requests} "
        "requests; a leak is neither proven nor ruled out",
        "Measure longer with --time-budget before you set max_requests.",
    ),
)  # fmt: skip
