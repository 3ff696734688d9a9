"""Measurement of a trial: its steady part, as numbers with intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pretune.advisor.profiler.notes import Notes


class Role(StrEnum):
    """The purpose of a trial. ``tune`` runs them in ``advisor.trials.sequence``'s order."""

    DEMAND = "demand"  # one worker, one thread, one user, probes on
    CONTRAST = "contrast"  # one worker with several requests at once, saturated
    SERVER = "server"  # the contrast again, on another server
    ALONE = "server-alone"  # one user on that server
    SYNC = "sync"  # workers of class sync, saturated
    SYNC_ALONE = "sync-alone"  # the same with one user
    CROWD = "crowd"  # more workers than cores
    FRONT = "front"  # the contrast again, through a reverse proxy
    PRELOAD = "preload"  # preloaded workers
    VERIFICATION = "verification"  # the recommended settings


@dataclass(frozen=True)
class Latency:
    """Seconds, as the client saw them."""

    mean: Interval
    p50: Interval
    p95: Interval
    p99: Interval

    def scaled(self, factor: float) -> Latency:
        """The same in another unit."""
        parts = (self.mean, self.p50, self.p95, self.p99)
        return Latency(*(each.scaled(factor) for each in parts))


@dataclass(frozen=True)
class Conditions:
    """The surroundings in which a trial ran, as far as the model has to know it.

    ``server_cores`` is what the server's workers could use; ``shared_cores`` further cores of the
    machine on which the generator and a local Postgres ran. ``server`` is the kind of server.
    """

    server_cores: float
    shared_cores: float
    pinned: bool
    database_local: bool
    generator_cpu_s_per_request: float = 0.0
    server: str = "embedded"
    front: str = ""  # what stood in front of it, "" for nothing
    front_keeps: bool = True  # its connections to the server


@dataclass(frozen=True)
class CpuAccounting:
    """CPU s per request, counted three ways, and what lies between them.

    The group's are None where no control group could be made.
    """

    requests_s: Interval  # by the clocks of the threads that served them
    workers_s: Interval  # by the clocks of the workers' processes
    cgroup_s: Interval | None  # by the trial's control group
    server_overhead_s: Interval  # workers' less requests'
    kernel_other_s: Interval | None  # group's less workers': master, zygote, children, kernel


@dataclass(frozen=True)
class DatabaseTime:
    """Database time per request, s, from both sides, and who else was connected.

    The app waits for more than the server works: the way there and back, waking up. The server's
    figures are of the whole database, without what our own looking took.
    """

    client_wait_s: Interval | None  # in drivers; None without probes
    server_active_s: Interval  # in queries
    server_idle_in_transaction_s: Interval
    transactions: Interval
    # its processes for the app could run and did not, because others had their core; None elsewhere
    server_delay_s: Interval | None
    sessions_active: Interval  # in a query at a moment, the mean
    others_peak: int  # most client sessions at one look that were neither the app's nor ours
    pooled_peak: int  # most sessions of a pooler's for the app; 0 without one


@dataclass(frozen=True)
class PressureShares:
    """Part of the time in which some task waited for the resource."""

    cpu: Interval
    memory: Interval
    io: Interval


@dataclass(frozen=True)
class MemoryEvents:
    """Counts of memory events of the trial's control group, over the whole trial; see
    trial_cgroup.CgroupAccount.
    """

    high: int
    max: int
    oom: int
    oom_kill: int


@dataclass(frozen=True)
class FrontMeasurement:
    """The processes of what stands in front of the server, in the window."""

    cpu_s_per_request: Interval
    pss_bytes: Interval  # peak of all of them


@dataclass(frozen=True)
class Surroundings:
    """The rest of the machine during the window."""

    steal: Interval  # part of the time of all cores
    others_cores: Interval  # cores busy with what is neither ours nor the app's
    throttled: Interval  # s a quota held processes back, per s, summed over cores
    throttled_periods: int
    pressure: PressureShares  # of the machine
    cgroup_pressure: PressureShares | None  # of the trial's group; None under version 1
    memory_events: MemoryEvents | None  # None without a group


@dataclass(frozen=True)
class WorkerMeasurement:
    """One worker process over the steady window. Bytes, seconds, counts."""

    pid: int
    boot_s: float
    requests: int
    cpu_s: float
    pss_bytes: float  # peak
    uss_bytes: float
    rss_bytes: float
    fds: int
    threads: int
    pg_connections: int
    shutdown_s: float | None = None  # under load where the trial was stopped so
    voluntary_switches: int = 0  # of all its threads, in the window
    forced_switches: int = 0
    run_delay_s: float = 0.0  # its threads could have run and did not
    # most at one look, by state
    pg_active: int = 0
    pg_idle: int = 0
    pg_idle_in_transaction: int = 0
    pg_unseen: int = 0  # behind a pooler, which hides the state


@dataclass(frozen=True)
class Settled:
    """Memory that a worker gave back on request after the load, in bytes.

    ``collected_bytes`` by its garbage collector, ``trimmed_bytes`` by malloc_trim after that.
    ``garbage_fraction``: of the small objects that had come since boot, those that only waited for
    the collector.
    """

    collected_bytes: float
    trimmed_bytes: float
    gc_enabled: bool  # whether the app left the collector on
    garbage_fraction: float = 0.0


@dataclass(frozen=True)
class MemorySeries:
    """Memory of one worker against the requests it had served; arrays of one length.

    ``private_bytes`` (USS) grows also as a forked worker copies what it shared; ``anon_bytes``
    (resident, backed by no file, shared or not) grows only by what is new.
    """

    pid: int
    time_s: NDArray[np.float64]
    requests: NDArray[np.float64]
    private_bytes: NDArray[np.float64]
    anon_bytes: NDArray[np.float64] | None = None
    settled: Settled | None = None  # None: it was not asked, or had ended

    @property
    def grown_bytes(self) -> NDArray[np.float64]:
        """The memory that shows growth apart from copying, where it is known."""
        return self.private_bytes if self.anon_bytes is None else self.anon_bytes

    def without(self, slope: float) -> MemorySeries:
        """As it were without a leak of so many bytes per request."""
        leaked = slope * self.requests
        anon = None if self.anon_bytes is None else self.anon_bytes - leaked
        return replace(self, private_bytes=self.private_bytes - leaked, anon_bytes=anon)

    def tells_growth(self, preloaded: bool) -> bool:
        """Return whether what grows here is new: a preloaded worker's USS also grows by copying."""
        return self.anon_bytes is not None or not preloaded


@dataclass(frozen=True)
class EndpointMeasurement:
    """Client side, steady window."""

    name: str
    requests: int
    errors: int
    latency: Latency | None  # None with too few requests for percentiles


@dataclass(frozen=True)
class RequestCounts:
    """Requests of a whole trial, its warm-up included, by what became of them.

    ``unanswered`` were waited for until after the load's end; under an open load they have failed.
    """

    answered: int
    failed: int
    unanswered: int

    @property
    def lost(self) -> int:
        return self.failed + self.unanswered

    @property
    def sent(self) -> int:
        return self.answered + self.lost


@dataclass(frozen=True)
class ErrorCause:
    """A reason of errors that answers, log or database named: a row of ``profiler.causes``, how
    often its words were seen, and the first of them."""

    kind: str
    times: int
    said: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One trial's result. Times in seconds, memory in bytes, rates per second."""

    name: str  # for files, progress and reports; what it is evidence of is its role
    role: Role | None = None  # None: nothing is concluded from it
    settings: Settings
    load: Load
    conditions: Conditions
    throughput_rps: Interval
    latency: Latency
    error_rate: float
    # the larger of Wilson's interval and that of batch means: errors come in clusters
    error_interval: Interval = UNKNOWN
    # the whole process tree of the server: master, zygote, workers
    pss_bytes: Interval  # peak of the tree's memory, each page once, nothing shared with others
    rss_bytes: float  # peak of summed RSS, the misleading figure people look at
    master_pss_bytes: float  # master and zygote, without workers
    # parts of pss_bytes; None and 0 where they were not told apart
    anon_bytes: Interval | None = None  # backed by no file and no shared memory
    file_bytes: float = 0.0  # the rest, which all processes of the tree share
    master_anon_bytes: float | None = None  # of master and zygote, with what workers share of it
    db_pss_bytes: float | None = None  # a local Postgres, all its processes, after the load
    kernel_bytes: float  # charged to the cgroup beyond the processes; 0 where unreadable
    pg_connections_peak: int | None  # of the app, as Postgres counts; None without Postgres
    # at least what one look saw, at most what all workers held at their own peaks
    pg_connections_interval: Interval | None = None
    pg_idle_in_transaction_peak: int | None
    cpu_s_per_request: Interval  # workers' process CPU over requests
    db_cpu_s_per_request: Interval | None  # Postgres's own CPU when local, else None
    requests: int
    counts: RequestCounts | None = None  # None in what was saved before they were kept
    window_s: float
    steady: bool
    steady_note: str  # why the window was chosen, or why none was found
    disturbed: str  # "" or what disturbed the trial: "steal 4.1%", "another process used 0.8 cores"
    late_s_p99: float | None = None  # by which requests of an open load were sent late
    generator_cpu: float  # busy fraction of one core
    generator_saturated: bool
    errors: tuple[tuple[str, int], ...]  # "500 on /search", count; most frequent first
    causes: tuple[ErrorCause, ...] = ()  # of errors
    by_endpoint: tuple[EndpointMeasurement, ...]
    workers: tuple[WorkerMeasurement, ...]
    worker_exits: tuple[tuple[str, int], ...] = ()  # reason, count
    telemetry_lost: int  # records overwritten before they were read
    stopped_under_load: bool = False  # so the workers' shutdown_s is what it takes under load
    database_time: DatabaseTime | None = None  # None without Postgres 14 or later
    cpu_accounting: CpuAccounting | None = None
    surroundings: Surroundings | None = None
    front: FrontMeasurement | None = None  # not in pss_bytes; None where nothing stood there
    memory_series: tuple[MemorySeries, ...]
    telemetry: NDArray[np.void]  # records of pretune.server.telemetry inside the window
    notes: Notes | None = None  # of the probes, inside the window; None without them
    further: tuple[Measurement, ...] = ()  # the same server under further loads, one after another

    @property
    def kind(self) -> tuple[str, str]:
        """(server, worker class) that it ran on."""
        return self.conditions.server, self.settings.worker_class

    @property
    def generator_cpu_s_per_request(self) -> float:
        return self.generator_cpu / max(self.throughput_rps.value, 1e-9)

    @property
    def requests_of_living(self) -> float:
        """Served by the workers that were there at the end of the trial, each since its boot."""
        series = [s for s in self.memory_series if len(s.requests)]
        end = max((float(s.time_s[-1]) for s in series), default=0.0)
        return sum(float(s.requests[-1]) for s in series if s.time_s[-1] > end - 1.0)
