"""The service demand and what it consists of: per request, per endpoint, per worker, per server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.quantity import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One row for each measured request: number of its endpoint, seconds of each part.
TUPLE = np.dtype([("endpoint", "i8"), ("cpu", "f8"), ("db", "f8"), ("wait", "f8"), ("pool", "f8")])
# Standard deviation of a worker's memory between trials of one app at the same arrangement.
TRIAL_SCATTER = 0.01
LEAK_CLASSES = ("none", "leak", "fragmentation", "still_warming", "not_enough_data")
# (server, worker class)
Kind = tuple[str, str]


def loop_cpu_s(tuples: NDArray[np.void]) -> NDArray[np.float64]:
    """CPU of each request on the thread that serves it: not what executor threads spent."""
    cpu = np.asarray(tuples["cpu"], dtype=np.float64)
    if "pool" not in (tuples.dtype.names or ()):
        return cpu
    return np.asarray(np.maximum(cpu - tuples["pool"], 0.0), dtype=np.float64)


@dataclass(frozen=True)
class ServerCost:
    """The cost of a request, a worker and a master, the app's own included; seconds, bytes."""

    cpu_s: Interval
    generator_cpu_s: float
    worker_bytes: float  # backed by no file
    master_bytes: float
    file_bytes: float  # there once
    requests: float = 0.0  # that a worker had served when its memory was read
    further_threads: int = 0  # beyond the first, of a worker
    wake_cpu_s: float = 0.0  # more for a request that wakes another worker than the last
    tail_cpu_s: float = 0.0  # of cpu_s, what the server does after its answer

    def kept_bytes(self, slope: float) -> float:
        """A worker's, without what leaked: bytes per request."""
        return self.worker_bytes - slope * self.requests


@dataclass(frozen=True)
class EndpointDemand:
    """Per request of one endpoint; seconds, counts, bytes."""

    name: str
    share: float
    requests: int
    cpu_s: Interval
    db_s: Interval
    db_calls: Interval
    wait_s: Interval
    unloaded_p95_s: float
    response_bytes: float


@dataclass(frozen=True)
class WorkerDemand:
    """One worker process; bytes, seconds, counts."""

    base_pss_bytes: Interval  # a worker with one thread, warm; with its pages of files
    per_thread_bytes: Interval
    fixed_pss_bytes: float  # the master's, once per server
    preload_saving_bytes: Interval | None  # per further worker with preload; None: not measured
    leak_slope_bytes_per_request: Interval
    leak_class: str  # one of LEAK_CLASSES
    boot_s: float
    shutdown_s: float
    fds: int  # at one thread and one connection
    pg_connections: int  # held by a worker with one thread
    pg_connections_per_thread: float  # held for each further thread
    shared_file_bytes: float = 0.0  # the part of base_pss_bytes that all workers share
    preload_once_bytes: float = 0.0  # what preload adds once: the zygote's own
    # of base_pss_bytes, what only traffic brings; the same of a preloaded worker's own
    first_use_bytes: float = 0.0
    preload_first_use_bytes: float = 0.0
    # what a worker may still grow by, from how it grew so far
    warming_bytes: Interval = field(default_factory=lambda: Interval.exact(0.0))
    # Postgres on this machine: without the app's connections, and for each; 0 when elsewhere
    db_pss_bytes: Interval = field(default_factory=lambda: Interval.exact(0.0))
    db_pss_bytes_per_connection: float = 0.0
    # a proxy in front, on this machine; 0 without one
    front_pss_bytes: Interval = field(default_factory=lambda: Interval.exact(0.0))
    # connections that the app's own pools let a worker have; None: no limit known
    pg_most: int | None = None
    # requests of a worker that get on at once, where each holds a connection of such a pool from
    # beginning to end; None: as many as there are
    most_inside: int | None = None


@dataclass(frozen=True)
class Demand:
    """``tuples``: one row per measured request, fields endpoint (i8), cpu, db, wait, pool (s, f8).

    ``pool`` is the part of ``cpu`` that an event loop's threads spent.

    Whole rows are what the model draws from, so the correlation between the parts survives.
    """

    tuples: NDArray[np.void]
    shares: tuple[float, ...]  # of endpoint i, as in the workload
    cpu_s: Interval  # inside the app
    cpu_gil_fraction: Interval  # share of cpu_s that needs the GIL
    overhead_cpu_s: Interval  # server and kernel CPU per request outside the app
    db_s: Interval
    db_calls: Interval
    db_cpu_s: Interval | None  # Postgres's CPU per request; None when not local
    wait_s: Interval
    wait_calls: Interval
    by_endpoint: tuple[EndpointDemand, ...]
    worker: WorkerDemand
    unloaded_p95_s: float
    generator_cpu_s: float  # the generator's CPU per request, which competes in a local trial
    # further CPU of a request that wakes another worker than the last
    wake_cpu_s: float = 0.0
    # of the overhead, what comes after the answer
    tail_cpu_s: float = 0.0
    # (server, worker class) that this is of, and the costs of such (demand.server_costs)
    served_by: Kind = ("embedded", "gthread")
    costs: Mapping[Kind, ServerCost] = field(default_factory=dict)
    # CPU per request of a proxy in front, where the conditions have one
    front_cpu_s: Interval = field(default_factory=lambda: Interval.exact(0.0))
