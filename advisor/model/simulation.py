"""A discrete-event simulation of a pre-fork server: the one source of predicted times.

What is modelled, and why so:

*Slots.* ``workers`` x ``threads`` requests can be inside the app. A request waits outside for a
slot. Under asgi a worker's slots are its ``worker_connections``.

*The GIL*, one per worker, is a queue served in turn with a quantum. CPython hands it over when its
holder waits for I/O, or 5 ms after a waiting thread began to want it
(``sys.getswitchinterval``); segments shorter than that run through. Processor sharing would be
as cheap, but wrong for the usual sub-millisecond segment (no sharing happens) and wrong about the
convoy behind a long one (a thread back from I/O waits a whole interval). Under asgi the event loop
never preempts: the same queue with an endless quantum.

*Cores.* Whoever holds a GIL, runs outside it, or is a Postgres backend shares the cores of its
pool equally, none faster than one core: processor sharing, which is what the kernel's fair
scheduler tends to for bursts beyond its slice of some ms; for shorter ones its wake-up
preemption keeps the newcomer's delay low in the same way. One virtual clock per pool, advancing
at ``min(1, cores / runnable)``, turns sharing into one heap operation per burst. A fractional
number of cores is a CFS quota: ``ceil(cores)`` cores until ``cores`` x 100 ms are spent, then
nothing until the next period of 100 ms.

*Waits.* A database call is a delay and then CPU of Postgres on its pool; any other wait is a
delay. A request's CPU is cut into equal segments by its waits; under asgi the first is small, since
views look up first and render then.

*Tails.* Some of a request's CPU comes after its answer (``tail_cpu_s``): the worker owes it when
the answer leaves, works it off while cores are idle, and its next request has to wait for the rest.

*The application's own lock*, one per worker (or one of all, as on a file), which its threads (or
coroutines) hold while they wait: a mutex around a device, a pool of one connection. ``lock`` up to
1 is the part of every wait that is under it; above 1 all of every wait is, and of that part of the
requests beyond 1 the whole time inside. First come, first served.

*Connections.* See ``Discipline``. Where more workers than cores wait at one socket all of the idle
ones are woken for a connection, and if the one that gets it was not the last to begin a request its
caches are cold: ``wake_cpu_s`` more CPU. One that finds a request waiting when it is done goes on.
A backlog that is full drops the SYN; the client's kernel sends it again after 1 s.

*Ends of workers.* A request that is inside for longer than a timeout that kills is ended without an
answer, at the next look (once a second), and its worker with it. After ``max_requests`` and a
random part of the jitter a worker takes no more and leaves when what it has accepted is answered.
Its successor's boot is CPU on the server's cores; nobody serves in its place meanwhile, unless the
server lets them ``overlap``. Workers begin at random ages.

*The generator* is one more process, serving one request at a time: half of its CPU before the
request leaves, half when the response has come; both inside the latency that it measures.

Everything random comes from one seed. Compiled by numba; ``warm_up`` compiles or loads the cache.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pretune.advisor.model import engine
from pretune.advisor.model.state import ROW, new_state

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SWITCH_INTERVAL_S = 0.005
MAX_SEGMENTS = 6  # CPU segments per request; more waits than that are merged


@dataclass(frozen=True)
class Discipline:
    """The way in which a kind of server hands requests to its workers.

    ``when_free``: connections stay in the shared backlog until a worker has an idle slot (a central
    queue). Otherwise a worker takes a connection at once, idle or not, and requests queue inside.
    ``goes_on``: a thread that ends a request takes the next one that waits inside, and keeps the
    GIL meanwhile; those that wait for it get it when their interval is over.
    ``sticky``: the connection is kept alive and its later requests belong to the same worker.
    ``pick``: "random", "idlest" (fewest requests inside, ties at random), "awake" (any whose
    interpreter nobody holds: the others' accepting thread has to wait for it) or "first" (the
    lowest number: the kernel wakes waiters in a fixed order).
    ``favour``: the chance that the worker that got the last connection gets the next one, too,
    where its interpreter is free; of idle workers one is the kernel's favourite for a while.
    """

    when_free: bool = True
    sticky: bool = True
    pick: str = "idlest"
    goes_on: bool = False
    favour: float = 0.0

    @property
    def uneven(self) -> bool:
        """True where luck decides for a whole run how many connections a worker has."""
        return self.sticky and not self.when_free


@dataclass(frozen=True)
class Arrangement:
    """The server and the machine. ``shared_cores`` 0: Postgres and generator use ``cores``."""

    workers: int
    threads: int
    cores: float
    shared_cores: float = 0.0
    gil_fraction: float = 1.0
    switch_interval_s: float = SWITCH_INTERVAL_S  # inf: an event loop
    discipline: Discipline = Discipline()
    backlog: int = 2048
    generator_cpu_s: float = 0.0
    max_requests: int = 0  # 0: never recycled
    max_requests_jitter: int = 0
    boot_s: float = 0.0  # CPU of a worker's start
    overlap: bool = False  # the new worker is ready before the old one goes
    timeout_s: float = math.inf  # of one request; inf: nothing is killed for it
    wake_cpu_s: float = 0.0  # of a request that wakes another worker than the last
    lock: float = 0.0  # 0 to 2: how much of a request holds the lock of its worker's application
    one_lock: bool = False  # which is one for all workers
    tail_cpu_s: float = 0.0  # of a request's CPU, what comes after its answer
    front_cpu_s: float = 0.0  # per request, of a proxy on the same cores, outside of every slot


@dataclass(frozen=True)
class Closed:
    """``users`` each send, wait for the answer, think (exponential), send again."""

    users: int
    think_s: float = 0.0
    ramp_s: float = 0.0  # they begin at random moments of it; 0: each 1 ms after the one before


@dataclass(frozen=True)
class Open:
    """Poisson arrivals, each on a connection of its own."""

    rps: float
    most_inside: int = 20_000  # arrivals beyond are dropped and counted as refused


@dataclass(frozen=True)
class SimulatedRun:
    """``response_s`` and ``row``: one entry per request completed after the warm-up."""

    throughput_rps: float
    response_s: Floats
    row: Ints
    window_s: float
    cpu_busy: float  # fraction of ``cores``
    shared_busy: float  # fraction of ``shared_cores``
    gil_busy: float  # CPU under the GIL, as a fraction of one core, mean over workers
    slots_busy: float
    db_cores: float  # cores used by Postgres
    retries: int  # SYNs sent again because the backlog was full
    refused: int
    killed: int = 0  # requests that ended by the timeout, without an answer
    boots: int = 0  # workers started to take the place of others
    lock_busy: float = 0.0  # fraction of the time the application's own lock is held, over workers

    def paced(self, pace: float, think_s: float) -> SimulatedRun:
        """Run at another pace: at 0.8 a request takes 1/0.8 of its time, but no core does more than
        it can. Users think as long as before, ``think_s``; arrivals of an open load come as before,
        as from users who think for ever.
        """
        pace = min(pace, 1 / max(self.cpu_busy, 1e-9)) if pace > 1 else pace
        mean = float(self.response_s.mean())
        rate = 1.0 if math.isinf(think_s) else (think_s + mean) / (think_s + mean / pace)
        return replace(
            self,
            throughput_rps=self.throughput_rps * rate,
            response_s=self.response_s / pace,
            window_s=self.window_s / rate,
            cpu_busy=self.cpu_busy * rate,
            shared_busy=self.shared_busy * rate,
            gil_busy=self.gil_busy * rate,
            db_cores=self.db_cores * rate,
        )


def simulate(
    rows: NDArray[np.void],
    picks: Ints,
    arrangement: Arrangement,
    load: Closed | Open,
    *,
    requests: int,
    seed: int,
    warm_up_requests: int | None = None,
) -> SimulatedRun:
    """Simulate ``requests`` completions after the warm-up.

    ``rows``: of ``state.ROW``, one per measured request, seconds and counts. ``picks``: indices
    into them, consumed one per request and again from the start when used up. Raises ValueError
    for an arrangement that cannot serve anything.
    """
    a = arrangement
    jobs = load.users if isinstance(load, Closed) else load.most_inside
    if min(a.workers, a.threads, jobs, requests) < 1 or a.cores <= 0 or len(picks) == 0:
        raise ValueError(f"nothing to simulate: {a}, {load}, {requests} requests")
    if a.gil_fraction < 1 and (rows["pool"] > 0).any():
        raise ValueError("of an event loop all CPU needs the GIL")
    if warm_up_requests is None:
        warm_up_requests = max(200, requests // 8, 2 * jobs if isinstance(load, Closed) else 0)
    given = {
        "workers": a.workers,
        "threads": a.threads,
        "jobs": jobs,
        "backlog": a.backlog,
        "pick": engine.PICKS[a.discipline.pick],
        "when_free": a.discipline.when_free,
        "sticky": a.discipline.sticky and isinstance(load, Closed),
        "goes_on": a.discipline.goes_on,
        "hands": bool((rows["pool"] > 0).any()),
        "max_requests": a.max_requests,
        "jitter": a.max_requests_jitter,
        "overlap": a.overlap,
        "boot": a.boot_s,
        "timeout": a.timeout_s,
        "lock": a.lock,
        "one_lock": a.one_lock,
        "front": a.front_cpu_s,
        "wake": a.wake_cpu_s,
        "tail": a.tail_cpu_s,
        "favour": a.discipline.favour,
        "shared": 2 if a.shared_cores > 0 else 1,
        "gil": a.gil_fraction,
        "quantum": a.switch_interval_s,
        "generator": a.generator_cpu_s,
        "think": load.think_s if isinstance(load, Closed) else 0.0,
        "rate": load.rps if isinstance(load, Open) else 0.0,
        "ramp": load.ramp_s if isinstance(load, Closed) else 0.0,
        "quota": 0.0 if a.cores == int(a.cores) else a.cores * engine.CFS_PERIOD_S,
    }
    state = new_state(given, math.ceil(a.cores), a.shared_cores, rows, picks, seed)
    response = np.empty(requests)
    completed = np.empty(requests, np.int64)
    marks, busy_marks = np.zeros_like(state.g), np.zeros(len(state.pools))
    engine.drive(state, max(1, warm_up_requests), response, completed, marks, busy_marks)

    if state.g["done"][0] < max(1, warm_up_requests) + requests:
        if state.g["killed"][0]:
            raise ValueError("nothing is answered within the timeout")
        raise ValueError("the simulation stood still: a time that is not a number?")

    def rate(name: str) -> float:
        """Per second of the window; a window of no length saw requests that cost nothing."""
        return float(state.g[name][0] - marks[name][0]) / window if window > 0 else 0.0

    window = float(state.g["now"][0] - marks["now"][0])
    busy = (state.pools["busy"] - busy_marks) / (window if window > 0 else math.inf)
    return SimulatedRun(
        throughput_rps=requests / window if window > 0 else math.inf,
        response_s=response,
        row=completed,
        window_s=window,
        cpu_busy=float(busy[1]) / a.cores,
        shared_busy=float(busy[2]) / a.shared_cores if a.shared_cores > 0 else 0.0,
        gil_busy=rate("gil_s") / a.workers,
        lock_busy=rate("lock_s") / (1 if a.one_lock else a.workers),
        slots_busy=rate("slots_s") / (a.workers * a.threads),
        db_cores=rate("db_s"),
        retries=int(state.g["retries"][0]),
        refused=int(state.g["refused"][0]),
        killed=int(state.g["killed"][0] - marks["killed"][0]),
        boots=int(state.g["boots"][0] - marks["boots"][0]),
    )


def merged(runs: Sequence[SimulatedRun]) -> SimulatedRun:
    """Runs of one arrangement as one: all its requests, everything else the mean."""
    if len(runs) == 1:
        return runs[0]

    def mean(name: str) -> float:
        return float(np.mean([getattr(run, name) for run in runs]))

    return SimulatedRun(
        response_s=np.concatenate([run.response_s for run in runs]),
        row=np.concatenate([run.row for run in runs]),
        retries=sum(run.retries for run in runs),
        refused=sum(run.refused for run in runs),
        killed=sum(run.killed for run in runs),
        boots=sum(run.boots for run in runs),
        **{name: mean(name) for name in _MEANS},
    )


_MEANS = (
    "throughput_rps", "window_s", "cpu_busy", "shared_busy", "gil_busy", "slots_busy", "db_cores",
    "lock_busy",
)  # fmt: skip


def start_warm_up() -> threading.Thread:
    """Compile, or load from numba's cache, beside other work: seconds the first time."""
    thread = threading.Thread(target=warm_up, name="model-warm-up", daemon=True)
    thread.start()
    return thread


def warm_up() -> None:
    rows = np.ones(1, ROW)
    picks = np.zeros(1, np.int64)
    simulate(rows, picks, Arrangement(1, 1, 1.0), Closed(1), requests=1, seed=1)
