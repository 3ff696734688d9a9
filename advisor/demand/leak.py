"""Tells warm-up, fragmentation and a true leak apart in workers' memory.

Memory is regressed against the requests a worker has served, not against time (``memory_curve``). A
leak is called only when several independent things agree: the line explains decisively more than
every plateau and step, the interval of its robust slope excludes zero, and memory that is never
given back (the running minimum from the right) still rises in every part of the last half. The
first hundreds of requests of a healthy app look like that too (its slowest caches fill in a
straight line), so there must be evidence: thousands of requests, or growth that no warm-up
explains. And workers at other speeds must not contradict: what grows with time, or only at the
beginning, has another slope per request elsewhere.

What a worker gives back when it is asked to after the load (``server.probes.reclaimable``) was held
by nobody: garbage in cycles that the collector had not reached, or holes that the allocator kept.
Where that is half of the growth the class is "fragmentation", whatever the curve looks like; an app
that has switched the collector off keeps its garbage, and leaks it.

Everything else is "none" when the last half is flat within a small bound, else "still_warming"
with the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.memory_curve import PAGE, Floats, choose, compact, persists, slope
from pretune.advisor.quantity import UNKNOWN, Interval, format_bytes

if TYPE_CHECKING:
    from pretune.advisor.profiler.measurement import MemorySeries

MIN_SAMPLES = 24
MIN_REQUESTS = 200
# A difference of 10 in the criterion is Kass and Raftery's (1995) "very strong".
DECISIVE = 10.0
# Growth over the observed range below which an app counts as settled.
SETTLED_BYTES = 1 << 20
SETTLED_FRACTION = 0.02
# So slow a growth, bytes per request, is none: less than 10 MiB in a million requests.
NEGLIGIBLE = 10.0
# A leak needs so many requests, or growth beyond any warm-up: so many bytes and so large a part.
LEAK_REQUESTS = 2000
LEAK_BYTES = 8 << 20
LEAK_FRACTION = 0.1
LEAK_SECONDS = 4.0
# A worker with at least this part of the longest one's requests may contradict; it does when its
# slope is surely less than this part of the leak's.
CONTRADICTING_REQUESTS = 0.25
CONTRADICTING_SLOPE = 0.5
# A last half flatter than this part of the whole is what goes on.
FLATTER = 0.98
# A bound is taken from workers with at least this part of the longest one's requests.
HEARD = 0.5
# Growth of which this part is given back on demand was held by nobody.
NOT_HELD = 0.5


@dataclass(frozen=True)
class Growth:
    """``slope`` in bytes per request; unless it is a leak ``high`` is the bound, ``low`` 0."""

    leak_class: str
    slope: Interval
    model: str  # "plateau" | "steps" | "line"; "" without enough data
    requests: int  # of the longest series
    note: str


def classify(
    series: Sequence[MemorySeries], *, returned_at_boot: float = 0.0, seed: int = 1
) -> Growth:
    """One answer for all workers: they run the same code, so a leak shows in most of them.

    ``returned_at_boot``: bytes that a process gives back before any request; it is no growth.
    """
    each = [
        _classify_one(s, returned_at_boot, seed + i)
        for i, s in enumerate(_short_lives_as_one(series))
    ]
    judged = [g for g in each if g.leak_class != "not_enough_data"]
    if not judged:
        most = max((g.requests for g in each), default=0)
        note = f"no worker gave {MIN_SAMPLES} samples over {MIN_REQUESTS} requests"
        return Growth("not_enough_data", UNKNOWN, "", most, note)
    weights = np.array([g.requests for g in judged], dtype=np.float64)
    weights /= weights.sum()
    parts = {
        name: float(weights[[g.leak_class == name for g in judged]].sum())
        for name in ("leak", "fragmentation", "none")
    }
    if parts["leak"] > 0.5:
        called = _leak(judged, weights)
        if called is not None:
            return called
    requests = max(g.requests for g in judged)
    model = max(judged, key=lambda g: g.requests).model
    high = max(g.slope.high for g in judged if g.requests >= HEARD * requests)
    at_most = f"at most {format_bytes(high)} per request"
    if all(g.leak_class == "none" for g in judged):
        note = f"flat over {requests} requests, {at_most}"
        return Growth("none", Interval(0.0, 0.0, high), model, requests, note)
    value = min(max(float(weights @ np.array([g.slope.value for g in judged])), 0.0), high)
    if parts["fragmentation"] > 0.5:
        note = f"{requests} requests left memory that nothing uses, {at_most}"
        return Growth("fragmentation", Interval(value, 0.0, high), model, requests, note)
    note = f"still warming after {requests} requests, {at_most}"
    return Growth("still_warming", Interval(value, 0.0, high), model, requests, note)


def _leak(judged: Sequence[Growth], weights: Floats) -> Growth | None:
    """The leak that most workers show, unless another one contradicts."""
    values, lows, highs = (
        np.array([getattr(g.slope, end) for g in judged]) for end in ("value", "low", "high")
    )
    value = float(weights @ values)
    low = value - float(np.sqrt(np.sum((weights * (values - lows)) ** 2)))
    high = value + float(np.sqrt(np.sum((weights * (highs - values)) ** 2)))
    if low <= 0 or _contradicted(judged):
        return None
    requests = max(g.requests for g in judged)
    leaking = sum(g.leak_class == "leak" for g in judged)
    note = (
        f"private memory grew by {format_bytes(value)} per request over {requests} requests in "
        f"{leaking} of {len(judged)} workers and did not slow down"
    )
    return Growth("leak", Interval(value, low, high), "line", requests, note)


def warming(series: Sequence[MemorySeries]) -> Interval:
    """Bytes a worker may still grow by, going by how it grew: no line is drawn into the future.

    Warm-up grows as the logarithm of the requests or slower, so the last doubling of the requests
    says what the next one brings at most; that is the value. It is at most once more all it has
    grown by since its first requests. Of the worker that served most, since it is the furthest.
    """
    usable = [compact(s.requests, s.private_bytes) for s in series]
    usable = [(x, y) for x, y in usable if len(x) >= MIN_SAMPLES]
    if not usable:
        return Interval.exact(0.0)
    x, y = max(usable, key=lambda pair: float(pair[0][-1]))
    ends = max(1, len(x) // 10)
    last = float(np.median(y[-ends:]))
    middle = float(np.interp(np.median(x[-ends:]) / 2, x, y))
    doubling = max(0.0, last - middle)
    return Interval(doubling, 0.0, max(doubling, last - float(y[:ends].min())))


def _short_lives_as_one(series: Sequence[MemorySeries]) -> list[MemorySeries]:
    """Workers that were recycled soon lived the same life several times: laid upon each other.

    Each life starts from another level, so it is moved to where one common line fits all of them
    best; its own shape stays.
    """

    def short(s: MemorySeries) -> bool:
        return len(s.requests) < 2 * MIN_SAMPLES or float(np.ptp(s.time_s)) < LEAK_SECONDS

    lives = [s for s in map(_served, series) if len(s.requests) >= 3 and short(s)]
    others = [s for s in series if len(s.requests) and not short(_served(s))]
    if len(lives) < 2:
        return list(series)
    apart = [(s.requests - s.requests.mean(), s.grown_bytes - s.grown_bytes.mean()) for s in lives]
    across = sum(float(x @ x) for x, _ in apart)
    common = sum(float(x @ y) for x, y in apart) / across if across > 0 else 0.0
    level = float(np.mean([s.grown_bytes.mean() for s in lives]))
    middle = float(np.mean([s.requests.mean() for s in lives]))
    moved = [
        y + level + common * (s.requests.mean() - middle)
        for s, (_, y) in zip(lives, apart, strict=True)
    ]
    requests = np.concatenate([s.requests for s in lives])
    memory = np.concatenate(moved)
    order = np.argsort(requests, kind="stable")
    longest = max(float(np.ptp(s.time_s)) for s in lives)
    times = np.linspace(0.0, longest, len(requests))
    return [
        *others,
        replace(
            lives[0],
            time_s=times,
            requests=requests[order],
            private_bytes=memory[order],
            anon_bytes=None,
            settled=None,
        ),
    ]


def _served(series: MemorySeries) -> MemorySeries:
    """From the first request on: before it nobody looked into the worker's own count, perhaps."""
    good = series.requests > 0
    anon = None if series.anon_bytes is None else series.anon_bytes[good]
    return replace(
        series,
        time_s=series.time_s[good],
        requests=series.requests[good],
        private_bytes=series.private_bytes[good],
        anon_bytes=anon,
    )


def _classify_one(series: MemorySeries, returned_at_boot: float, seed: int) -> Growth:
    x, y = compact(series.requests, series.grown_bytes)
    requests = int(x[-1] - x[0]) if len(x) else 0
    if len(x) < MIN_SAMPLES or requests < MIN_REQUESTS:
        return Growth("not_enough_data", UNKNOWN, "", requests, "")
    rng = np.random.default_rng(seed)
    reach = x[-1] - x[0]
    u = (x - x[0]) / reach  # 0..1, for conditioning
    family, warmup, margin = choose(u, y)

    half = u >= 0.5
    tail = slope(u[half], y[half], None, rng).scaled(1 / reach)
    bound = max(tail.high, 0.0)

    def bounded(leak_class: str, high: float, value: float = 0.0) -> Growth:
        # What was free at boot may have taken in so much of a leak before anything was to be seen.
        bound = high + returned_at_boot / reach
        return Growth(leak_class, Interval(max(value, 0.0), 0.0, bound), family, requests, "")

    settled = max(SETTLED_BYTES, SETTLED_FRACTION * float(np.median(y)))
    # Below a page over the whole range nothing rises, whatever the interval's low end says.
    flat = tail.low <= 0 or tail.value * reach < PAGE or bound < NEGLIGIBLE
    if flat and bound * reach <= settled:
        return bounded("none", bound)
    if _held_by_nobody(series, tail.value * reach, returned_at_boot):
        return bounded("fragmentation", bound, tail.value)
    if family == "line" and margin >= DECISIVE and persists(u, y):
        whole = slope(u, y, warmup, rng).scaled(1 / reach)
        if whole.low > 0 and tail.low > 0 and whole.high >= NEGLIGIBLE:
            if _enough(series, whole.value * reach, float(y.min())):
                # A warm-up that ends late makes the whole steeper than what goes on.
                goes_on = tail if tail.high < FLATTER * whole.low else whole
                return Growth("leak", goes_on, family, requests, "")
            return bounded("still_warming", max(whole.high, tail.high), tail.value)
    return bounded("still_warming", bound, tail.value)


def _held_by_nobody(series: MemorySeries, grown: float, returned_at_boot: float) -> bool:
    """Return whether most of ``grown`` bytes was only waiting to be given back."""
    settled = series.settled
    if settled is None:
        return False
    if settled.gc_enabled and settled.garbage_fraction >= NOT_HELD:
        return True
    collected = settled.collected_bytes if settled.gc_enabled else 0.0
    free = max(0.0, settled.trimmed_bytes - returned_at_boot)
    return grown > 0 and collected + free >= NOT_HELD * grown


def _enough(series: MemorySeries, grown: float, size: float) -> bool:
    """Return whether a straight rise by ``grown`` bytes may be called a leak."""
    if float(np.ptp(series.time_s)) < LEAK_SECONDS:
        return False
    beyond_warmup = grown >= max(LEAK_BYTES, LEAK_FRACTION * size)
    return beyond_warmup or float(np.ptp(series.requests)) >= LEAK_REQUESTS


def _contradicted(judged: Sequence[Growth]) -> bool:
    """Return whether the steepest leak is certainly much flatter in another worker."""
    fewest = CONTRADICTING_REQUESTS * max(g.requests for g in judged)
    heard = [g for g in judged if g.requests >= fewest]
    steepest = max((g.slope.value for g in heard if g.leak_class == "leak"), default=0.0)
    return any(g.slope.high < CONTRADICTING_SLOPE * steepest for g in heard)
