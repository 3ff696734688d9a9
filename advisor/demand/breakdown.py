"""Breakdown of a request's time: by line of the user's code, by host, and to locks and the loop.

What the model draws from is ``demand``; this explains it, from the same trial: the notes of the
probes say which lines and whom, the records say how long. Pure, like the rest.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.requests import means, select_workload, split_rows
from pretune.advisor.profiler.notes import COST
from pretune.advisor.profiler.statistics import BLOCKS, around, percentiles, proportion
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.server.probes import account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pretune.advisor.profiler.measurement import Measurement
    from pretune.advisor.profiler.notes import Notes
    from pretune.loadtests.workload import Workload
    from pretune.server.probes.user_frames import UserFrame

LINES = 6  # per endpoint, of CPU and of waiting
HOSTS = 8  # per endpoint
SAME_END_S = 1e-4  # a note and the record of one request say the same end, but for rounding
# A thread about to go on counts as computing at the line it waited at. In an app that burned 4 ms
# and slept twice, the burning lines lost 5% of the CPU's looks to the sleeping ones by that.
BLUR = 0.05
# Looks below which nothing is said of an endpoint.
FEWEST_LOOKS = 10


class _Place:
    """A source line, for those that have these fields."""

    file: str
    line: int
    function: str

    @property
    def shown(self) -> str:
        """``shop/views.py:41 in execute``."""
        return f"{self.file}:{self.line} in {self.function}"


@dataclass(frozen=True)
class Line(_Place):
    """``fraction`` is of the endpoint's CPU or of all its waiting; ``seconds`` per request."""

    kind: str  # one of account.KINDS: what the time is
    file: str
    line: int
    function: str  # what is called there
    own: bool  # False: no line of the user's own stood on the stack
    looks: int
    fraction: Interval
    seconds: Interval


@dataclass(frozen=True)
class Host:
    """Outbound calls to ``name`` (``host:port``), per request."""

    name: str
    calls: Interval
    wait_s: Interval


@dataclass(frozen=True)
class EndpointBreakdown:
    """``routes``: as the framework writes them, the most frequent first.

    ``held_fraction``: of the waiting, how much kept the event loop; None without a loop.
    """

    name: str
    routes: tuple[str, ...]
    out_s: Interval
    other_s: Interval
    hosts: tuple[Host, ...]
    lines: tuple[Line, ...]  # of each kind the longest first
    held_fraction: Interval | None


@dataclass(frozen=True)
class Blocking(_Place):
    """A line at which requests of ``endpoint`` held the loop for 50 ms or more at a time."""

    endpoint: str
    file: str
    line: int
    function: str
    times: int
    longest_s: float


@dataclass(frozen=True)
class Loop:
    """The lag of an event loop, and what blocks it."""

    asked: int
    lag_p50_s: Interval
    lag_p95_s: Interval
    lag_p99_s: Interval
    lag_max_s: float
    blocking: tuple[Blocking, ...]


@dataclass(frozen=True)
class Contention:
    """The time that requests of one worker wait for each other, per request, in the contrast trial.

    ``lock`` is "gil" (of ``requests`` threads) or "loop" (of so many requests at once): the time
    inside less CPU, run queue and what a request waits alone. A database or service that answers
    more slowly to several is in it. ``run_queue_s``: runnable without a core; UNKNOWN on a loop.
    """

    lock: str
    requests: int
    wait_s: Interval
    run_queue_s: Interval


@dataclass(frozen=True)
class Breakdown:
    """The breakdown of the demand trial; the mix weighs endpoints by the workload's shares."""

    out_s: Interval
    other_s: Interval
    hosts: tuple[Host, ...]
    endpoints: tuple[EndpointBreakdown, ...]
    loop: Loop | None
    contention: Contention | None
    looks: int
    late_fraction: float  # of them; they count for nothing
    looking_core_fraction: float  # of one core; it is in no figure of the app's

    def endpoint(self, name: str) -> EndpointBreakdown | None:
        return next((e for e in self.endpoints if e.name == name), None)


def assemble(
    workload: Workload, trial: Measurement, contrast: Measurement | None = None
) -> Breakdown | None:
    """None where the demand trial recorded no request of the workload."""
    kinds = len(workload.endpoints)
    rows = select_workload(trial.telemetry, kinds)
    if not len(rows):
        return None
    tuples = split_rows(rows, trial)
    shares = tuple(e.share for e in workload.endpoints)
    strata = tuples["endpoint"]
    out = np.clip(rows["out"], 0.0, tuples["wait"])
    notes = trial.notes
    asked = _outbound_by_host(notes, rows) if notes is not None else {}
    fields = [out, tuples["wait"] - out, tuples["cpu"], tuples["db"] + tuples["wait"]]
    for calls, waited in asked.values():
        fields += [calls, waited]
    mix, each = means(strata, np.column_stack(fields), shares)
    endpoints = []
    for k, endpoint in enumerate(workload.endpoints):
        lines: tuple[Line, ...] = ()
        held = None
        if notes is not None:
            lines = _lines(notes, k + 1, each[k][2], each[k][3])
            if trial.settings.worker_class == "asgi":
                held = _held(notes, k + 1)
        endpoints.append(
            EndpointBreakdown(
                endpoint.name,
                _routes(notes, rows[strata == k]),
                each[k][0],
                each[k][1],
                _hosts(tuple(asked), each[k][4:]),
                lines,
                held,
            )
        )
    names = [e.name for e in workload.endpoints]
    cost = notes.cost if notes is not None else np.empty(0, COST)
    return Breakdown(
        mix[0],
        mix[1],
        _hosts(tuple(asked), mix[4:]),
        tuple(endpoints),
        _loop(notes, names) if notes is not None else None,
        _contention(shares, mix[3], contrast),
        looks=int(_last(cost, "looks")),
        late_fraction=notes.late_fraction if notes is not None else 0.0,
        looking_core_fraction=_spent(cost),
    )


def _last(cost: NDArray[np.void], name: str) -> float:
    return float(cost[name].max()) if len(cost) else 0.0


def _spent(cost: NDArray[np.void]) -> float:
    if len(cost) < 2:
        return 0.0
    return float(np.ptp(cost["cpu_s"]) / max(np.ptp(cost["time"]), 1e-9))


def _routes(notes: Notes | None, rows: NDArray[np.void]) -> tuple[str, ...]:
    if notes is None:
        return ()
    counted = Counter(notes.routes_of(rows).tolist())
    return tuple(notes.routes[route] for route, _ in counted.most_common(LINES) if route)


# Hosts


def _outbound_by_host(
    notes: Notes, rows: NDArray[np.void]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Host -> calls and seconds of each row; the hosts most called come first."""
    ends = rows["start"] + rows["wall"]
    order = np.argsort(ends, kind="stable")
    ordered = ends[order]
    sums: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for note in notes.outbound:
        at = int(np.searchsorted(ordered, note["time"]))
        near = [order[i] for i in (at - 1, at) if 0 <= i < len(order)]
        best = min(near, key=lambda i: abs(float(ends[i] - note["time"])), default=None)
        if best is None or abs(float(ends[best] - note["time"])) > SAME_END_S:
            continue  # of a request that the rows do not hold
        calls, waited = sums.setdefault(
            int(note["host"]), (np.zeros(len(rows)), np.zeros(len(rows)))
        )
        calls[best] += note["calls"]
        waited[best] += note["wait_s"]
    most = sorted(sums.items(), key=lambda item: -float(item[1][0].sum()))[:HOSTS]
    return {notes.hosts[host]: columns for host, columns in most}


def _hosts(names: Sequence[str], columns: Sequence[Interval]) -> tuple[Host, ...]:
    hosts = [Host(name, columns[2 * i], columns[2 * i + 1]) for i, name in enumerate(names)]
    return tuple(h for h in hosts if h.calls.value > 0)


# Lines


def _lines(notes: Notes, endpoint: int, cpu_s: Interval, wait_s: Interval) -> tuple[Line, ...]:
    mine = notes.samples[notes.samples["endpoint"] == endpoint]
    computing = mine["kind"] == account.CPU
    blur = blur_of(notes)
    listed = []
    for looks, seconds in ((mine[computing], cpu_s), (mine[~computing], wait_s)):
        if len(looks) < FEWEST_LOOKS:
            continue
        whats = np.unique(looks[["kind", "place"]])
        lines = [_line(notes.places[what["place"]], what, looks, seconds, blur) for what in whats]
        listed += sorted(lines, key=lambda line: -line.looks)[:LINES]
    return tuple(listed)


def _line(
    place: UserFrame, what: np.void, looks: NDArray[np.void], seconds: Interval, blur: float
) -> Line:
    hit = looks[["kind", "place"]] == what
    fraction = share_of(looks["time"], hit, blur)
    return Line(
        kind=account.KINDS[int(what["kind"])],
        file=place.file,
        line=place.line,
        function=place.function,
        own=place.own,
        looks=int(np.count_nonzero(hit)),
        fraction=fraction,
        seconds=_product(fraction, seconds),
    )


def blur_of(notes: Notes) -> float:
    """Return the error of a share besides chance: looks that took one state for another, and those
    that were dropped, which on a busy machine come more often while the app computes.
    """
    return BLUR + notes.late_fraction / 2


def share_of(times: NDArray[np.float64], hit: NDArray[np.bool_], blur: float) -> Interval:
    """A share of looks: Wilson's interval for as many looks as they are worth, since looks at one
    request resemble each other (design effect over blocks of time, Kish 1965), and ``blur``."""
    n, count = len(hit), int(np.count_nonzero(hit))
    value = count / n
    effect = 1.0
    blocks = min(BLOCKS, n)
    if 0 < count < n and blocks > 1:
        block = (np.argsort(np.argsort(times, kind="stable"), kind="stable") * blocks) // n
        hits = np.bincount(block, hit, minlength=blocks)
        residuals = hits - value * np.bincount(block, minlength=blocks)
        variance = float(residuals @ residuals) * blocks / (blocks - 1)
        effect = max(1.0, variance / (n * value * (1 - value)))
    worth = max(1, round(n / effect))
    counted = proportion(round(value * worth), worth)
    low = min(counted.low, value) - blur
    high = max(counted.high, value) + blur
    return Interval(value, max(low, 0.0), min(high, 1.0))


def _product(fraction: Interval, seconds: Interval) -> Interval:
    value = fraction.value * seconds.value
    if not (math.isfinite(seconds.low) and math.isfinite(seconds.high)):
        return Interval(value, math.nan, math.nan)
    relative = (seconds.high - seconds.low) / 2 / seconds.value if seconds.value > 0 else 0.0
    low = math.hypot(fraction.value - fraction.low, fraction.value * relative) * seconds.value
    high = math.hypot(fraction.high - fraction.value, fraction.value * relative) * seconds.value
    return Interval(value, max(0.0, value - low), value + high)


# The loop, and waiting for each other


def _held(notes: Notes, endpoint: int) -> Interval | None:
    looks = notes.samples
    mine = looks[(looks["endpoint"] == endpoint) & (looks["kind"] != account.CPU)]
    held = mine["held"] > 0
    return share_of(mine["time"], held, blur_of(notes)) if len(mine) >= FEWEST_LOOKS else None


def _loop(notes: Notes, names: Sequence[str]) -> Loop | None:
    lags = notes.lags
    if len(lags) < 2:
        return None
    first, last = float(lags["time"].min()), float(lags["time"].max())
    place = np.clip((lags["time"] - first) / max(last - first, 1e-9) * BLOCKS, 0, BLOCKS - 1)
    p50, p95, p99 = percentiles(
        lags["lag_s"].astype(np.float64), place.astype(np.int64), BLOCKS, (0.5, 0.95, 0.99)
    )
    blocking = []
    for what in np.unique(notes.blocks[["endpoint", "place"]]):
        mine = notes.blocks[notes.blocks[["endpoint", "place"]] == what]
        number, at = int(what["endpoint"]), notes.places[what["place"]]
        blocking.append(
            Blocking(
                names[number - 1] if 1 <= number <= len(names) else "",
                at.file,
                at.line,
                at.function,
                len(mine),
                float(mine["length_s"].max()),
            )
        )
    blocking.sort(key=lambda b: -b.times * b.longest_s)
    return Loop(len(lags), p50, p95, p99, float(lags["lag_s"].max()), tuple(blocking[:LINES]))


def _contention(
    shares: Sequence[float], alone: Interval, contrast: Measurement | None
) -> Contention | None:
    """``alone``: what a request of the mix waits by itself."""
    if contrast is None or contrast.settings.workers != 1:
        return None
    settings = contrast.settings
    asgi = settings.worker_class == "asgi"
    at_once = contrast.load.users if asgi else min(settings.threads, contrast.load.users)
    rows = select_workload(contrast.telemetry, len(shares))
    if at_once < 2 or len(rows) < BLOCKS:
        return None
    strata = rows["endpoint"].astype(np.int64) - 1
    idle = np.maximum(rows["wall"] - np.maximum(rows["cpu"], 0.0), 0.0)
    (waits,), _ = means(strata, idle[:, None], shares)
    timed = np.isfinite(rows["runq"])
    queue = UNKNOWN
    if np.count_nonzero(timed) >= BLOCKS:
        (queue,), _ = means(strata[timed], rows["runq"][timed].astype(float)[:, None], shares)
    elif not asgi:
        return None  # the GIL and a core cannot be told apart
    queued = queue.value if math.isfinite(queue.value) else 0.0
    value = max(0.0, waits.value - queued - alone.value)
    half = math.hypot(*(_half(each) for each in (waits, queue, alone)))
    wait_s = around(value, half) if value > half else Interval(value, 0.0, value + half)
    return Contention("loop" if asgi else "gil", at_once, wait_s, queue)


def _half(interval: Interval) -> float:
    half = (interval.high - interval.low) / 2
    return half if math.isfinite(half) else 0.0
