"""Samples of one trial: plain arrays, so a saved trial can be reduced again.

Times are CLOCK_MONOTONIC seconds, the clock of the server's events, its telemetry and the load
driver's records. CPU columns count up from some start; only differences mean something.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.advisor.profiler.notes import Notes
from pretune.advisor.profiler.telemetry import RECORD

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One row per process and tick. served: requests finished so far, -1 without telemetry. A worker's
# memory is without its telemetry ring, which is ours. The last three are of all its threads.
PROCESS = np.dtype(
    [
        ("time", "<f8"),
        ("pid", "<i4"),
        ("role", "u1"),  # index into processes.ROLES
        ("cpu_s", "<f8"),
        ("rss_bytes", "<f8"),
        ("private_bytes", "<f8"),
        ("threads", "<i4"),
        ("fds", "<i4"),
        ("served", "<i8"),
        ("voluntary", "<i8"),
        ("forced", "<i8"),
        ("run_delay_s", "<f8"),
    ]
)
# One row per reading of smaps_rollup; private_bytes as statm said at that moment.
MEMORY = np.dtype(
    [
        ("time", "<f8"),
        ("pid", "<i4"),
        ("role", "u1"),
        ("pss_bytes", "<f8"),
        ("uss_bytes", "<f8"),
        ("rss_bytes", "<f8"),
        ("anon_bytes", "<f8"),
        ("private_bytes", "<f8"),
    ]
)
# One row a second; all columns but time count up, in s.
MACHINE = np.dtype(
    [
        ("time", "<f8"),
        ("busy_s", "<f8"),
        ("steal_s", "<f8"),
        ("total_s", "<f8"),
        ("server_s", "<f8"),  # the tree of the server's master
        ("generator_s", "<f8"),
        ("postgres_s", "<f8"),  # the tree of a local postmaster
        ("services_s", "<f8"),  # what else this run started: the setup hook's services, a front
        ("tool_s", "<f8"),  # this process
        ("throttled_s", "<f8"),
        ("cpu_pressure_s", "<f8"),
        ("memory_pressure_s", "<f8"),
        ("io_pressure_s", "<f8"),
    ]
)
# One row per tick of what stands in front of the server, all its processes together.
FRONT = np.dtype([("time", "<f8"), ("cpu_s", "<f8"), ("pss_bytes", "<f8")])
# One row a second of the trial's own cgroup: bytes now, then counters.
CGROUP = np.dtype(
    [
        ("time", "<f8"),
        ("usage_bytes", "<f8"),
        ("kernel_bytes", "<f8"),
        ("cache_bytes", "<f8"),
        ("cpu_s", "<f8"),
        ("throttled_s", "<f8"),
        ("throttled_periods", "<i8"),
        ("memory_high", "<i8"),
        ("memory_max", "<i8"),
        ("memory_oom", "<i8"),
        ("oom_kills", "<i8"),
        ("cpu_pressure_s", "<f8"),
        ("memory_pressure_s", "<f8"),
        ("io_pressure_s", "<f8"),
    ]
)
# One row per worker and look at pg_stat_activity; pid 0: sessions no worker could be found for.
SESSION = np.dtype(
    [
        ("time", "<f8"),
        ("pid", "<i4"),
        ("active", "<i4"),
        ("idle", "<i4"),
        ("idle_in_transaction", "<i4"),
        ("unseen", "<i4"),  # held, but a pooler hides in what state
    ]
)
# One row per look at the server's own counters, which it brings up to date at most once a second
# (pg_stat_database), and of its processes here; all but the last two count up.
DATABASE = np.dtype(
    [
        ("time", "<f8"),
        ("active_s", "<f8"),  # in a query, all sessions of the database together
        ("idle_in_transaction_s", "<f8"),
        ("session_s", "<f8"),
        ("transactions", "<i8"),
        ("ours_s", "<f8"),  # what our own looking took of active_s
        ("delay_s", "<f8"),  # the app's backends on this machine could run and did not; else NaN
        ("others", "<i4"),  # client sessions now that are neither the app's nor ours
        ("pooled", "<i4"),  # a pooler's sessions for our role and database; 0 without one
    ]
)
# One row per worker that was asked after the load to give back what nobody holds: anonymous bytes
# before, after its garbage collector, after malloc_trim too; Python's small objects at boot, before
# and after the collector.
SETTLED = np.dtype(
    [
        ("pid", "<i4"),
        ("before_bytes", "<f8"),
        ("collected_bytes", "<f8"),
        ("trimmed_bytes", "<f8"),
        ("gc_enabled", "?"),
        ("blocks_at_boot", "<f8"),
        ("blocks", "<f8"),
        ("blocks_collected", "<f8"),
    ]
)


@dataclass(frozen=True)
class Cost:
    """CPU the profiler itself spent; the rounds before and after the load are apart."""

    sampling_cpu_s: float
    sampling_wall_s: float
    rounds_cpu_s: float
    ticks: int

    @property
    def core_fraction(self) -> float:
        return self.sampling_cpu_s / self.sampling_wall_s if self.sampling_wall_s > 0 else 0.0


@dataclass(frozen=True)
class Samples:
    """``cores``: per row of ``machine`` and core (busy, steal, total) s, shape (rows, cores, 3).

    ``sessions`` is None when no database was watched; ``database`` is empty then, and before
    Postgres 14, which keeps no such counters.
    """

    master_pid: int
    processes: NDArray[np.void]
    memory: NDArray[np.void]
    machine: NDArray[np.void]
    cores: NDArray[np.float64]
    cgroup: NDArray[np.void]
    sessions: NDArray[np.void] | None
    telemetry: NDArray[np.void]
    telemetry_lost: int
    postgres_local: bool
    cost: Cost
    postgres_pss_bytes: float | None = None  # of a local one's whole tree, after the load
    settled: NDArray[np.void] = field(default_factory=lambda: np.empty(0, SETTLED))
    database: NDArray[np.void] = field(default_factory=lambda: np.empty(0, DATABASE))
    notes: Notes | None = None  # what probes noted; None without them
    front: NDArray[np.void] = field(default_factory=lambda: np.empty(0, FRONT))

    def save(self, path: Path) -> None:
        """As one .npz file, without pickled objects."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        if self.sessions is not None:
            arrays["sessions"] = self.sessions
        about = {name: getattr(self, name) for name in _SCALARS} | {"cost": asdict(self.cost)}
        if len(self.front):
            arrays["front"] = self.front
        if self.notes is not None:
            arrays |= self.notes.arrays()
            about["notes"] = self.notes.names()
        with path.open("wb") as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Raises OSError, or ValueError or KeyError when the file holds something else."""
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            arrays = {name: file[name] for name in _ARRAYS}
            sessions = file.get("sessions")
            names = about.pop("notes", None)
            notes = None if names is None else Notes.from_arrays(file, names)
            front = file.get("front", np.empty(0, FRONT))
        cost = Cost(**about.pop("cost"))
        return cls(sessions=sessions, cost=cost, notes=notes, front=front, **about, **arrays)


_ARRAYS = ("processes", "memory", "machine", "cores", "cgroup", "telemetry", "settled", "database")
_SCALARS = ("master_pid", "telemetry_lost", "postgres_local", "postgres_pss_bytes")


def nothing(master_pid: int) -> Samples:
    """Return the samples of a trial that never ran."""
    return Samples(
        master_pid=master_pid,
        processes=np.empty(0, PROCESS),
        memory=np.empty(0, MEMORY),
        machine=np.empty(0, MACHINE),
        cores=np.empty((0, 0, 3)),
        cgroup=np.empty(0, CGROUP),
        sessions=None,
        telemetry=np.empty(0, RECORD),
        telemetry_lost=0,
        postgres_local=False,
        cost=Cost(0.0, 0.0, 0.0, 0),
    )
