"""The simulation's state: what ``engine`` works on, in a few arrays of records.

Few arrays of records rather than many of numbers: numba passes an array as seven arguments, and
compiles and calls accordingly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHARED_QUEUES = 2  # the backlog, the generator's; then four of each worker
OF_WORKER = 4
TIMERS = 3  # beside the jobs and two of each worker: next arrival, quota's period, the watch

ROW = np.dtype(
    # ``pool``: the part of ``cpu`` in which a thread works for the loop; above 0 it is handed there
    [(name, "f8") for name in ("cpu", "db_delay", "db_cpu", "wait", "pool")]
    + [(name, "i8") for name in ("db_calls", "wait_calls")]
)
GLOBAL = np.dtype(
    # what is given
    [(name, "i8") for name in ("workers", "threads", "jobs", "backlog", "pick", "when_free")]
    + [
        (name, "i8")
        for name in ("sticky", "goes_on", "hands", "shared", "max_requests", "jitter", "overlap")
    ]
    + [
        ("one_lock", "i8"),  # of all workers together
    ]
    + [(name, "f8") for name in ("gil", "quantum", "generator", "think", "rate", "quota", "ramp")]
    + [(name, "f8") for name in ("timeout", "boot", "lock", "front", "wake", "tail", "favour")]
    # what changes
    + [(name, "i8") for name in ("done", "next_pick", "inside", "free", "generating")]
    + [
        (name, "i8")
        for name in ("throttled", "retries", "refused", "killed", "boots", "last", "chosen")
    ]
    + [(name, "f8") for name in ("now", "tokens", "gil_s", "slots_s", "db_s", "lock_s", "idle_s")]
    + [("rng", "u8")]
)
POOL = np.dtype([("size", "i8"), ("cores", "f8"), ("clock", "f8"), ("busy", "f8")])
ITEM = np.dtype(
    [(name, "i8") for name in ("pos", "link", "phase", "worker", "bound", "row", "seg", "holds")]
    + [(name, "f8") for name in ("key", "left", "sent", "ready", "begun", "since", "extra")]
    + [("later", "f8")]
)
QUEUE = np.dtype([("head", "i8"), ("tail", "i8"), ("length", "i8")])
# ``holder`` of its GIL, ``locker`` of the application's own lock; ``left``: requests until it is
# recycled; ``leaving``: it takes no more; ``away``: it boots; ``pooled``: threads of its loop,
# not itself, have the GIL; ``owed``: CPU of its tails, when so much time had been ``idle``
WORKER = np.dtype(
    [(name, "i8") for name in ("holder", "locker", "inside", "left", "leaving", "away", "pooled")]
    + [(name, "f8") for name in ("owed", "idle")]
)


class State(NamedTuple):
    """Arrays of records, all mutable; ``g`` has one."""

    g: Any
    pools: Any
    items: Any
    queues: Any
    workers: Any
    heap: Any
    rows: Any
    picks: Any


def new_state(
    given: dict[str, float],
    cores: float,
    shared_cores: float,
    rows: NDArray[np.void],
    picks: NDArray[np.int64],
    seed: int,
) -> State:
    """A server at rest. ``given``: the first fields of GLOBAL, by name."""
    jobs, workers = int(given["jobs"]), int(given["workers"])
    ids = jobs + 2 * workers + TIMERS
    state = State(
        g=np.zeros(1, GLOBAL),
        pools=np.zeros(3, POOL),
        items=np.zeros(ids, ITEM),
        queues=np.zeros(SHARED_QUEUES + OF_WORKER * workers, QUEUE),
        workers=np.zeros(workers, WORKER),
        heap=np.zeros((3, ids), np.int64),
        rows=rows,
        picks=picks,
    )
    for name, value in given.items():
        state.g[name] = value
    state.g["tokens"] = given["quota"]
    state.g["rng"] = seed & 0xFFFFFFFFFFFFFFFF
    state.pools["cores"] = (0.0, cores, shared_cores)
    state.items["pos"] = -1
    state.items["bound"] = -1
    state.workers["holder"] = -1
    state.workers["locker"] = -1
    return state
