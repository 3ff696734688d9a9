"""One trial's records and samples become one Measurement. Pure, and total: a trial in which nothing
answered gives a Measurement full of unknowns, with a note, never an exception.

The window is the client's steady part. Rates, times and errors are the client's; CPU, memory and
connections are the profiler's; the records of telemetry are those that started in the window.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.profiler import memory as memory_of
from pretune.advisor.profiler.accounting import account, database_time
from pretune.advisor.profiler.counters import Blocks, growth, per_request, spent, workers_cpu
from pretune.advisor.profiler.measurement import (
    Conditions,
    EndpointMeasurement,
    ErrorCause,
    FrontMeasurement,
    Latency,
    Measurement,
    MemorySeries,
    RequestCounts,
    Role,
    Settled,
    WorkerMeasurement,
)
from pretune.advisor.profiler.samples import Samples
from pretune.advisor.profiler.statistics import (
    BLOCKS,
    of_any_start,
    percentiles,
    proportion,
    rate,
    ratio,
)
from pretune.advisor.profiler.steady import Window, find_window
from pretune.advisor.profiler.surroundings import disturbed, observe_surroundings
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
# An open load of which 1% is sent later than this, or than this part of the p95, tells no latency.
MOST_LATE_S, MOST_LATE_PART = 0.002, 0.05
# So few small objects are no growth worth a word.
FEW_OBJECTS = 1000


def measure(
    name: str,
    settings: Settings,
    load: Load,
    conditions: Conditions,
    workload: Workload,
    samples: Samples,
    client_records: NDArray[np.void],
    events: Sequence[Event],
    *,
    role: Role | None = None,
    stopped_under_load: bool = False,
    unanswered: int = 0,
    causes: tuple[ErrorCause, ...] = (),
) -> Measurement:
    """``unanswered``: requests that are in no record, still waiting at the end. ``causes``: what
    answers, log and database name as the reason of errors.

    ``client_records`` as ``loadtests.records.dtype()``; ``events`` as the server wrote them."""
    good = client_records[client_records["error"] == 0]
    until = float(client_records["start"].max()) if len(client_records) else None
    window = find_window(good["start"], good["wall"], until)
    note = _boot_note(events) or window.note
    blocks = Blocks(window)
    inside = client_records[blocks.contain(client_records["start"] + client_records["wall"])]
    answered = inside[inside["error"] == 0]
    failed = len(inside) - len(answered)
    counts = blocks.sums(answered["start"] + answered["wall"])
    telemetry = samples.telemetry[
        (samples.telemetry["start"] >= window.start) & (samples.telemetry["start"] < window.end)
    ]
    sessions = _Sessions.from_samples(samples)
    tree = memory_of.tree(samples.processes, samples.memory)
    surroundings = observe_surroundings(samples, blocks)
    generator_s = spent(samples, "generator_s", window)
    generator = generator_s / window.length_s if window.length_s > 0 else 0.0
    latency, late_s, late = _latency(answered, blocks), None, ""
    if load.rps is not None and len(inside):
        late_s = float(np.quantile(inside["late_us"], 0.99)) / 1e6
        late = _describe_late(late_s, latency)
        latency = Latency(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN) if late else latency
    return Measurement(
        name=name,
        settings=settings,
        load=load,
        conditions=conditions,
        steady=window.settled and not note.startswith("boot"),
        steady_note=note,
        window_s=window.length_s,
        requests=len(inside),
        counts=RequestCounts(len(good), len(client_records) - len(good), unanswered),
        throughput_rps=_throughput(counts, blocks),
        latency=latency,
        error_rate=failed / len(inside) if len(inside) else _overall_errors(client_records),
        errors=_errors(inside if len(inside) else client_records, workload),
        by_endpoint=_by_endpoint(inside, blocks, workload),
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
        disturbed="; ".join(filter(None, (disturbed(surroundings), late))),
        late_s_p99=late_s,
        worker_exits=_exits(events),
        error_interval=_error_interval(inside, blocks),
        pg_connections_interval=sessions.peak_interval if sessions else None,
        database_time=database_time(samples, telemetry, _ends(inside), blocks),
        cpu_accounting=account(samples, telemetry, _ends(inside), blocks),
        surroundings=surroundings,
        stopped_under_load=stopped_under_load,
        notes=samples.notes.within(window.start, window.end) if samples.notes else None,
        front=_front(samples, blocks, inside),
        role=role,
        causes=causes,
    )


def _throughput(counts: NDArray[np.float64], blocks: Blocks) -> Interval:
    return of_any_start(rate(counts, blocks.length_s)) if blocks.length_s > 0 else UNKNOWN


def _latency(answered: NDArray[np.void], blocks: Blocks) -> Latency:
    if not len(answered):
        return Latency(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    ends, wall = answered["start"] + answered["wall"], answered["wall"]
    mean = ratio(blocks.sums(ends, wall), blocks.sums(ends))
    quantiles = percentiles(wall, blocks.place(ends), BLOCKS, (0.5, 0.95, 0.99))
    return Latency(*map(of_any_start, (mean, *quantiles)))


def _describe_late(late_s: float, latency: Latency) -> str:
    """Say that the generator kept so badly to the intended starts that no latency can be stated."""
    p95_s = latency.p95.value
    if late_s <= MOST_LATE_S and not late_s > MOST_LATE_PART * p95_s:
        return ""
    return (
        f"1% of the requests were sent {late_s * 1e3:.3g} ms late or later, which is not the "
        "server's doing: no latency is stated"
    )


def _by_endpoint(
    inside: NDArray[np.void], blocks: Blocks, workload: Workload
) -> tuple[EndpointMeasurement, ...]:
    endpoints = []
    for number, endpoint in enumerate(workload.endpoints, start=1):
        mine = inside[inside["endpoint"] == number]
        answered = mine[mine["error"] == 0]
        enough = len(answered) >= MIN_FOR_PERCENTILES
        latency = _latency(answered, blocks) if enough else None
        endpoints.append(
            EndpointMeasurement(endpoint.name, len(mine), len(mine) - len(answered), latency)
        )
    return tuple(endpoints)


def _error_interval(inside: NDArray[np.void], blocks: Blocks) -> Interval:
    """Few errors: Wilson. Errors in clusters: blocks. The wider end of both."""
    if not len(inside):
        return UNKNOWN
    wrong = inside["error"] != 0
    one_by_one = proportion(int(np.count_nonzero(wrong)), len(inside))
    ends = _ends(inside)
    by_block = ratio(blocks.sums(ends, wrong.astype(np.float64)), blocks.sums(ends))
    return Interval(
        one_by_one.value,
        float(np.fmin(one_by_one.low, by_block.low)),
        float(np.fmax(one_by_one.high, min(by_block.high, 1.0))),
    )


def _errors(rows: NDArray[np.void], workload: Workload) -> tuple[tuple[str, int], ...]:
    failed = rows[rows["error"] != 0]
    counted: Counter[str] = Counter()
    kinds, numbers = np.unique(failed[["error", "status", "endpoint"]], return_counts=True)
    for (kind, status, endpoint), number in zip(kinds.tolist(), numbers.tolist(), strict=True):
        what = records.ERRORS[kind] if kind < len(records.ERRORS) else "other"
        what = str(status) if what in ("status", "redirect") else what
        in_workload = 1 <= endpoint <= len(workload.endpoints)
        where = workload.endpoints[endpoint - 1].name if in_workload else "another path"
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


def _postgres_cpu_per_request(
    samples: Samples, blocks: Blocks, inside: NDArray[np.void]
) -> Interval | None:
    if not samples.postgres_local:
        return None
    times = samples.machine["time"]
    ticks = blocks.ticks(times)
    used = np.interp(ticks, times, samples.machine["postgres_s"])
    return per_request(ticks, used, _ends(inside))


def _workers_cpu_per_request(
    samples: Samples, blocks: Blocks, inside: NDArray[np.void]
) -> Interval:
    ticks = blocks.ticks(np.unique(samples.processes["time"]))
    return per_request(ticks, workers_cpu(samples, ticks), _ends(inside))


def _front(samples: Samples, blocks: Blocks, inside: NDArray[np.void]) -> FrontMeasurement | None:
    rows = samples.front
    if not len(rows):
        return None
    ticks = blocks.ticks(rows["time"])
    used = np.interp(ticks, rows["time"], rows["cpu_s"])
    peak, at_rest = float(rows["pss_bytes"].max()), float(rows["pss_bytes"][0])
    # what it grew by under load is what looks ten times a second could have missed
    return FrontMeasurement(
        cpu_s_per_request=per_request(ticks, used, _ends(inside)),
        pss_bytes=Interval(peak, peak, peak + max(0.0, peak - at_rest)),
    )


def _ends(rows: NDArray[np.void]) -> NDArray[np.float64]:
    return np.asarray(rows["start"] + rows["wall"])


# Workers


_STATES = ("active", "idle", "idle_in_transaction", "unseen")


class _Sessions:
    """Connections as Postgres counted them."""

    def __init__(self, rows: NDArray[np.void]) -> None:
        self._rows = rows
        self._held = np.sum([rows[state] for state in _STATES], axis=0)
        looks, place = np.unique(rows["time"], return_inverse=True)
        together = np.bincount(place, self._held, minlength=len(looks))
        waiting = np.bincount(place, rows["idle_in_transaction"], minlength=len(looks))
        self.peak = int(together.max()) if len(looks) else 0
        self.idle_in_transaction_peak = int(waiting.max()) if len(looks) else 0

    @classmethod
    def from_samples(cls, samples: Samples) -> _Sessions | None:
        return None if samples.sessions is None else cls(samples.sessions)

    @property
    def peak_interval(self) -> Interval:
        """A look sees a moment; between two looks all may have been at their own peak at once."""
        apart = sum(self.of_worker(pid)["held"] for pid in np.unique(self._rows["pid"]).tolist())
        return Interval(float(self.peak), float(self.peak), float(max(apart, self.peak)))

    def of_worker(self, pid: int) -> dict[str, int]:
        """The most at one look, by state, and ``held`` in all."""
        mine = self._rows["pid"] == pid
        rows, held = self._rows[mine], self._held[mine]
        peaks = {state: int(rows[state].max()) if len(rows) else 0 for state in _STATES}
        return peaks | {"held": int(held.max()) if len(held) else 0}


def _workers(
    samples: Samples,
    window: Window,
    events: Sequence[Event],
    sessions: _Sessions | None,
    requests: int,
) -> tuple[WorkerMeasurement, ...]:
    rows = samples.processes[samples.processes["role"] == memory_of.WORKER]
    pids = np.unique(rows["pid"])
    boots = _last_values(events, "worker_ready", "boot_s")
    shutdowns = _last_values(events, "worker_exit", "shutdown_s")
    workers = []
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
        held = sessions.of_worker(pid) if sessions else dict.fromkeys((*_STATES, "held"), 0)
        grown = {
            name: growth(mine["time"], mine[name].astype(np.float64), window)
            for name in ("cpu_s", "voluntary", "forced", "run_delay_s")
        }
        workers.append(
            WorkerMeasurement(
                pid=pid,
                boot_s=boots.get(pid, math.nan),
                requests=round(float(share)),
                cpu_s=grown["cpu_s"],
                pss_bytes=float(pss.max()),
                uss_bytes=float(uss.max()),
                rss_bytes=float(mine["rss_bytes"].max()),
                fds=int(mine["fds"].max()),
                threads=int(mine["threads"].max()),
                pg_connections=held["held"],
                shutdown_s=shutdowns.get(pid),
                voluntary_switches=round(grown["voluntary"]),
                forced_switches=round(grown["forced"]),
                run_delay_s=grown["run_delay_s"],
                pg_active=held["active"],
                pg_idle=held["idle"],
                pg_idle_in_transaction=held["idle_in_transaction"],
                pg_unseen=held["unseen"],
            )
        )
    return tuple(workers)


def _last_values(events: Sequence[Event], name: str, value: str) -> dict[int, float]:
    """pid -> the value of its last event of that name."""
    return {
        int(event.data["pid"]): float(event.data[value])
        for event in events
        if event.name == name
        and event.data.get("pid") is not None
        and event.data.get(value) is not None
    }


def _garbage(row: np.void) -> float:
    """Return the share of objects since boot that waited for the collector; 0 where few came."""
    came = float(row["blocks"] - row["blocks_at_boot"])
    if came < FEW_OBJECTS:
        return 0.0
    return min(1.0, max(0.0, float(row["blocks"] - row["blocks_collected"]) / came))


def _memory_series(samples: Samples) -> tuple[MemorySeries, ...]:
    """Reduce each worker's memory; without telemetry there are no requests beside it."""
    settled = {
        int(row["pid"]): Settled(
            float(row["before_bytes"] - row["collected_bytes"]),
            float(row["collected_bytes"] - row["trimmed_bytes"]),
            bool(row["gc_enabled"]),
            _garbage(row),
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
