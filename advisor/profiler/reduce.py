"""One trial's records and samples become one Measurement. Pure, and total: a trial in which nothing
answered gives a Measurement full of unknowns, with a note, never an exception.

The window is the client's steady part. Rates, times and errors are the client's; CPU, memory and
connections are the profiler's; the records of telemetry are those that started in the window.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pretune.advisor.measurement import (
    Conditions,
    EndpointMeasurement,
    Latency,
    Measurement,
    MemorySeries,
    Settled,
    WorkerMeasurement,
)
from pretune.advisor.profiler import memory as memory_of
from pretune.advisor.profiler.samples import Samples
from pretune.advisor.profiler.statistics import BLOCKS, percentiles, rate, ratio
from pretune.advisor.profiler.steady import Window, find_window
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.loadtests import records
from pretune.loadtests.workload import Load, Workload
from pretune.server.adapters.launch import Event
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Above this share of one core the generator may be what limits the throughput.
SATURATED = 0.9
MIN_FOR_PERCENTILES = 40


class Disturbance(NamedTuple):
    """A share that, above its threshold, makes a trial one to repeat."""

    threshold: float
    sentence: str


# of: time on all cores; cores; time in the window
DISTURBANCES = {
    "steal": Disturbance(0.02, "the hypervisor stole {:.1%} of the CPU time"),
    "others": Disturbance(0.3, "other processes used {:.1f} cores"),
    "throttled": Disturbance(0.02, "the CPU quota held the processes back {:.1%} of the time"),
}


def measure(
    name: str,
    settings: Settings,
    load: Load,
    conditions: Conditions,
    workload: Workload,
    samples: Samples,
    client_records: NDArray[np.void],
    events: Sequence[Event],
) -> Measurement:
    """``client_records`` as ``loadtests.records.dtype()``; ``events`` as the server wrote them."""
    good = client_records[client_records["error"] == 0]
    until = float(client_records["start"].max()) if len(client_records) else None
    window = find_window(good["start"], good["wall"], until)
    note = _boot_note(events) or window.note
    blocks = _Blocks(window)
    inside = client_records[blocks.contain(client_records["start"] + client_records["wall"])]
    answered = inside[inside["error"] == 0]
    failed = len(inside) - len(answered)
    counts = blocks.sums(answered["start"] + answered["wall"])
    telemetry = samples.telemetry[
        (samples.telemetry["start"] >= window.start) & (samples.telemetry["start"] < window.end)
    ]
    sessions = _Sessions.of(samples)
    tree = memory_of.tree(samples.processes, samples.memory)
    generator_s = _spent(samples, "generator_s", window)
    generator = generator_s / window.length_s if window.length_s > 0 else 0.0
    return Measurement(
        name=name,
        settings=settings,
        load=load,
        conditions=conditions,
        steady=window.settled and not note.startswith("boot"),
        steady_note=note,
        window_s=window.length_s,
        requests=len(inside),
        throughput_rps=rate(counts, blocks.length_s) if window.length_s > 0 else UNKNOWN,
        latency=_latency(answered, blocks, load.seed),
        error_rate=failed / len(inside) if len(inside) else _overall_errors(client_records),
        errors=_errors(inside if len(inside) else client_records, workload),
        by_endpoint=_by_endpoint(inside, blocks, workload, load.seed),
        pss_bytes=tree.pss,
        rss_bytes=memory_of.rss_peak(samples.processes),
        master_pss_bytes=memory_of.others_pss(samples.processes, samples.memory),
        anon_bytes=tree.anon,
        file_bytes=tree.file,
        master_anon_bytes=memory_of.others_anon(samples.processes),
        db_pss_bytes=samples.postgres_pss_bytes,
        kernel_bytes=float(samples.cgroup["kernel_bytes"].max()) if len(samples.cgroup) else 0.0,
        workers=_workers(samples, window, events, sessions, len(inside)),
        memory_series=_memory_series(samples),
        pg_connections_peak=sessions.peak if sessions else None,
        pg_idle_in_transaction_peak=sessions.idle_in_transaction_peak if sessions else None,
        db_cpu_s_per_request=_postgres_cpu_per_request(samples, blocks, inside),
        cpu_s_per_request=_workers_cpu_per_request(samples, blocks, inside),
        telemetry=telemetry,
        telemetry_lost=samples.telemetry_lost,
        generator_cpu=generator,
        generator_saturated=generator > SATURATED,
        disturbed=_disturbed(samples, window),
        worker_exits=_exits(events),
    )


class _Blocks:
    """The window in equal blocks of time, the unit of every interval."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.length_s = window.length_s / BLOCKS
        self.edges = np.linspace(window.start, window.end, BLOCKS + 1)

    def contain(self, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (times >= self.window.start) & (times < self.window.end)

    def place(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """The block of each time, all inside the window."""
        found = np.searchsorted(self.edges, times, side="right") - 1
        return np.clip(found, 0, BLOCKS - 1).astype(np.int64)

    def sums(
        self, times: NDArray[np.float64], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        return np.bincount(self.place(times), weights, minlength=BLOCKS).astype(np.float64)


def _latency(answered: NDArray[np.void], blocks: _Blocks, seed: int) -> Latency:
    if not len(answered):
        return Latency(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    ends, wall = answered["start"] + answered["wall"], answered["wall"]
    mean = ratio(blocks.sums(ends, wall), blocks.sums(ends))
    p50, p95, p99 = percentiles(wall, blocks.place(ends), BLOCKS, (0.5, 0.95, 0.99), seed)
    return Latency(mean, p50, p95, p99)


def _by_endpoint(
    inside: NDArray[np.void], blocks: _Blocks, workload: Workload, seed: int
) -> tuple[EndpointMeasurement, ...]:
    found = []
    for number, endpoint in enumerate(workload.endpoints, start=1):
        mine = inside[inside["endpoint"] == number]
        answered = mine[mine["error"] == 0]
        enough = len(answered) >= MIN_FOR_PERCENTILES
        latency = _latency(answered, blocks, seed) if enough else None
        found.append(
            EndpointMeasurement(endpoint.name, len(mine), len(mine) - len(answered), latency)
        )
    return tuple(found)


def _errors(found: NDArray[np.void], workload: Workload) -> tuple[tuple[str, int], ...]:
    failed = found[found["error"] != 0]
    counted: Counter[str] = Counter()
    kinds, numbers = np.unique(failed[["error", "status", "endpoint"]], return_counts=True)
    for (kind, status, endpoint), number in zip(kinds.tolist(), numbers.tolist(), strict=True):
        what = records.ERRORS[kind] if kind < len(records.ERRORS) else "other"
        what = str(status) if what in ("status", "redirect") else what
        known = 1 <= endpoint <= len(workload.endpoints)
        where = workload.endpoints[endpoint - 1].name if known else "another path"
        counted[f"{what} on {where}"] += number
    return tuple(counted.most_common())


def _overall_errors(client_records: NDArray[np.void]) -> float:
    if not len(client_records):
        return math.nan
    return float(np.count_nonzero(client_records["error"])) / len(client_records)


def _boot_note(events: Sequence[Event]) -> str:
    for event in events:
        if event.name == "boot_failed":
            return f"boot failed: {event.data.get('message', '')}"
    return ""


def _exits(events: Sequence[Event]) -> tuple[tuple[str, int], ...]:
    reasons = Counter(
        str(event.data.get("reason", "unknown")) for event in events if event.name == "worker_exit"
    )
    return tuple(reasons.most_common())


# Counters of the machine and of processes. They are read at ticks. A straight line between the last
# tick under load and the first after it would spread the load's CPU into the silence, so a counter
# is only ever compared between ticks inside the window, with the requests between these same ticks.


def _growth(times: NDArray[np.float64], counter: NDArray[np.float64], window: Window) -> float:
    """Growth of a counter over the window, at the rate between its ticks inside; 0 without any.

    A process that came or went during the window grew only while it was there.
    """
    if not len(times) or window.length_s <= 0:
        return 0.0
    inside = np.flatnonzero((times >= window.start) & (times <= window.end))
    if len(inside) < 2:
        first, last = np.interp([window.start, window.end], times, counter)
        return float(last - first)
    first, last = inside[0], inside[-1]
    rate_ = (counter[last] - counter[first]) / (times[last] - times[first])
    lived = min(window.end, times[-1]) - max(window.start, times[0])
    return float(rate_ * lived)


def _spent(samples: Samples, field: str, window: Window) -> float:
    """Growth of a column of MACHINE over the window; 0 without samples."""
    return _growth(samples.machine["time"], samples.machine[field], window)


def _ticks(times: NDArray[np.float64], blocks: _Blocks) -> NDArray[np.float64]:
    """For each edge of a block the last tick before it, those outside the window left out."""
    if not len(times):
        return times
    before = np.searchsorted(times, blocks.edges, side="right") - 1
    chosen = np.unique(times[before[before >= 0]])
    return chosen[chosen >= blocks.window.start]


def _per_request(
    ticks: NDArray[np.float64], counter: NDArray[np.float64], inside: NDArray[np.void]
) -> Interval:
    """``counter`` at the ticks, over the requests that ended between them."""
    if len(ticks) < 2 or not len(inside):
        return UNKNOWN
    requests, _ = np.histogram(inside["start"] + inside["wall"], ticks)
    return ratio(np.diff(counter), requests.astype(np.float64))


def _postgres_cpu_per_request(
    samples: Samples, blocks: _Blocks, inside: NDArray[np.void]
) -> Interval | None:
    if not samples.postgres_local:
        return None
    times = samples.machine["time"]
    ticks = _ticks(times, blocks)
    return _per_request(ticks, np.interp(ticks, times, samples.machine["postgres_s"]), inside)


def _workers_cpu(samples: Samples, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """CPU of all worker processes together at wanted ticks, counted from each one's start.

    A worker that ended keeps its last value. One that appeared after the profiler started counts
    from zero, its boot included: booting under load is part of what a recycled worker costs.
    """
    total = np.zeros(len(wanted))
    rows = samples.processes[samples.processes["role"] == memory_of.WORKER]
    begin = float(samples.processes["time"].min()) if len(samples.processes) else 0.0
    for pid in np.unique(rows["pid"]):
        mine = rows[rows["pid"] == pid]
        born = 0.0 if mine["time"][0] > begin else float(mine["cpu_s"][0])
        total += np.interp(wanted, mine["time"], mine["cpu_s"], left=born)
    return total


def _workers_cpu_per_request(
    samples: Samples, blocks: _Blocks, inside: NDArray[np.void]
) -> Interval:
    ticks = _ticks(np.unique(samples.processes["time"]), blocks)
    return _per_request(ticks, _workers_cpu(samples, ticks), inside)


def _disturbed(samples: Samples, window: Window) -> str:
    if window.length_s <= 0 or len(samples.machine) < 2:
        return ""
    ours = ("server_s", "generator_s", "postgres_s", "services_s", "tool_s")
    others = _spent(samples, "busy_s", window) - sum(
        _spent(samples, field, window) for field in ours
    )
    total = _spent(samples, "total_s", window)
    shares = {
        "steal": _spent(samples, "steal_s", window) / total if total > 0 else 0.0,
        "others": others / window.length_s,
        "throttled": _spent(samples, "throttled_s", window) / window.length_s,
    }
    said = [
        disturbance.sentence.format(shares[name])
        for name, disturbance in DISTURBANCES.items()
        if shares[name] > disturbance.threshold
    ]
    return "; ".join(said)


# Workers


class _Sessions:
    """Connections as Postgres counted them."""

    def __init__(self, rows: NDArray[np.void]) -> None:
        self._rows = rows
        held = rows["active"] + rows["idle"] + rows["idle_in_transaction"]
        looks, place = np.unique(rows["time"], return_inverse=True)
        together = np.bincount(place, held, minlength=len(looks))
        waiting = np.bincount(place, rows["idle_in_transaction"], minlength=len(looks))
        self.peak = int(together.max()) if len(looks) else 0
        self.idle_in_transaction_peak = int(waiting.max()) if len(looks) else 0
        self._held = held

    @classmethod
    def of(cls, samples: Samples) -> _Sessions | None:
        return None if samples.sessions is None else cls(samples.sessions)

    def of_worker(self, pid: int) -> int:
        mine = self._held[self._rows["pid"] == pid]
        return int(mine.max()) if len(mine) else 0


def _workers(
    samples: Samples,
    window: Window,
    events: Sequence[Event],
    sessions: _Sessions | None,
    requests: int,
) -> tuple[WorkerMeasurement, ...]:
    rows = samples.processes[samples.processes["role"] == memory_of.WORKER]
    pids = np.unique(rows["pid"])
    boots = _told(events, "worker_ready", "boot_s")
    shutdowns = _told(events, "worker_exit", "shutdown_s")
    found = []
    for pid in pids.tolist():
        mine = rows[rows["pid"] == pid]
        readings = samples.memory[samples.memory["pid"] == pid]
        pss, _ = memory_of.reconstruct(mine, readings, "pss_bytes")
        uss, _ = memory_of.reconstruct(mine, readings, "uss_bytes")
        ends = np.array([window.start, window.end])
        counted = mine["served"][0] >= 0
        served = np.interp(ends, mine["time"], mine["served"])
        # Without telemetry nobody counts per worker; an even share is the best that can be said.
        share = served[1] - served[0] if counted else requests / len(pids)
        found.append(
            WorkerMeasurement(
                pid=pid,
                boot_s=boots.get(pid, math.nan),
                requests=round(float(share)),
                cpu_s=_growth(mine["time"], mine["cpu_s"], window),
                pss_bytes=float(pss.max()),
                uss_bytes=float(uss.max()),
                rss_bytes=float(mine["rss_bytes"].max()),
                fds=int(mine["fds"].max()),
                threads=int(mine["threads"].max()),
                pg_connections=sessions.of_worker(pid) if sessions else 0,
                shutdown_s=shutdowns.get(pid),
            )
        )
    return tuple(found)


def _told(events: Sequence[Event], name: str, value: str) -> dict[int, float]:
    """pid -> the value of its last event of that name."""
    return {
        int(event.data["pid"]): float(event.data[value])
        for event in events
        if event.name == name
        and event.data.get("pid") is not None
        and event.data.get(value) is not None
    }


def _memory_series(samples: Samples) -> tuple[MemorySeries, ...]:
    """Of each worker; without telemetry there are no requests to hold its memory against."""
    settled = {
        int(row["pid"]): Settled(
            float(row["before_bytes"] - row["collected_bytes"]),
            float(row["collected_bytes"] - row["trimmed_bytes"]),
            bool(row["gc_enabled"]),
        )
        for row in samples.settled
    }
    rows = samples.processes
    rows = rows[(rows["role"] == memory_of.WORKER) & (rows["served"] >= 0)]
    series = []
    for pid in np.unique(rows["pid"]).tolist():
        mine = rows[rows["pid"] == pid]
        readings = samples.memory[samples.memory["pid"] == pid]
        uss, _ = memory_of.reconstruct(mine, readings, "uss_bytes")
        served = mine["served"].astype(np.float64)
        anon = mine["private_bytes"].copy()
        series.append(MemorySeries(pid, mine["time"].copy(), served, uss, anon, settled.get(pid)))
    return tuple(series)
