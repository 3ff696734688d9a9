"""Samples one trial from outside: a thread that looks ten times a second and pays for each look.

The profiler may cost one percent of one core. Every tick measures its own CPU; when the light
readings alone would cost more than their part, ticks come less often, and what is left of the
budget buys readings of smaps_rollup, the oldest reading first and never twice a second for one
process. Between two such readings the reducer moves PSS along with private memory, which is read
at every tick. One full round before and one after the load are outside the budget, because
nothing is measured then; their cost is stated apart.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pretune.advisor.profiler import notes
from pretune.advisor.profiler.fronting import FrontWatch
from pretune.advisor.profiler.processes import ROLES, ProcessTree, Usage, marked, run_mark
from pretune.advisor.profiler.reservoir import Kept
from pretune.advisor.profiler.samples import DATABASE, FRONT, Cost, Samples
from pretune.advisor.profiler.telemetry import RingReader
from pretune.advisor.resources import limits
from pretune.advisor.resources.kernel import Machine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.resources.trial_cgroup import TrialCgroup

INTERVAL_S = 0.1
SCAN_S = 1.0  # new processes, new rings, descriptors, the machine as a whole
THREADS_BUDGET = 0.001  # of one core, for the switches of every thread
FOOTPRINT_S = 1.0  # at most one smaps_rollup per process in this time
BUDGET = 0.009  # of one core, for everything; it may be overdrawn by one reading
LIGHT_BUDGET = 0.006  # of one core, for what is read at every tick

_MASTER, _ZYGOTE, _WORKER = range(len(ROLES))


class DatabaseWatch(Protocol):
    """The part of ``profiler.database.DatabaseObserver`` that the profiler needs."""

    postmaster_pid: int | None
    pooler_pid: int | None  # of a pooler on this machine, between the app and Postgres

    def start(self, worker_pids: Callable[[], tuple[int, ...]]) -> None: ...

    def stop(self) -> NDArray[np.void] | None:
        """Rows of SESSION; None when it could not be watched."""

    def server(self) -> NDArray[np.void]:
        """Rows of DATABASE, after ``stop``."""

    def cpu_s(self) -> float:
        """CPU its own thread has spent."""


class Profiler:
    """``start()`` before the load, ``stop()`` after it; nothing it reads can make it raise."""

    def __init__(
        self,
        master_pid: int,
        *,
        worker_pids: Callable[[], tuple[int, ...]],
        telemetry: Path | None,
        database: DatabaseWatch | None = None,
        generator_pid: int | None = None,
        cgroup: TrialCgroup | None = None,
        front_pid: int | None = None,
    ) -> None:
        self._master_pid = master_pid
        self._worker_pids = worker_pids
        self._telemetry = telemetry
        self._rings = RingReader(telemetry) if telemetry else None
        self._database = database
        self._cgroup = cgroup
        self._machine = Machine(limits.cpu_stat())
        self._tree = ProcessTree(master_pid)
        self._generator = ProcessTree(generator_pid) if generator_pid else None
        self._front = FrontWatch(front_pid) if front_pid else None
        postmaster = database.postmaster_pid if database else None
        self._postgres = ProcessTree(postmaster) if postmaster else None

        self._services: list[ProcessTree] = []
        self._workers: set[int] = set()  # every pid that ever was one
        self._fds: dict[int, int] = {}
        self._footprint_at: dict[int, float] = {}
        self._threads_due = 0.0
        self._cores_shape = (len(self._machine.cores()), 3)
        self._kept = Kept(self._cores_shape)

        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._sampling_cpu_s = 0.0
        self._sampling_wall_s = 0.0
        self._rounds_cpu_s = 0.0
        self._ticks = 0

    def start(self) -> None:
        """Take a full round now, then go on in a thread."""
        before = time.thread_time()
        self._find_services()
        self._round()
        self._rounds_cpu_s += time.thread_time() - before
        if self._database:
            self._database.start(self._worker_pids)
        self._thread = threading.Thread(target=self._run, name="profiler", daemon=True)
        self._thread.start()

    def stop(self) -> Samples:
        """End the thread, take the last round, give everything. Call it while the server runs."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        before = time.thread_time()
        self._round()
        postgres_pss = self._postgres.pss_bytes() if self._postgres else None
        if self._rings:
            self._kept.requests.extend(self._rings.poll(final=True))
        self._rounds_cpu_s += time.thread_time() - before
        sessions = None
        if self._database:
            sessions = self._database.stop()
            self._sampling_cpu_s += self._database.cpu_s()
        for tree in self._trees():
            tree.close()
        return Samples(
            **self._kept.arrays(),
            master_pid=self._master_pid,
            sessions=sessions,
            telemetry_lost=self._rings.lost if self._rings else 0,
            postgres_local=self._postgres is not None,
            cost=Cost(self._sampling_cpu_s, self._sampling_wall_s, self._rounds_cpu_s, self._ticks),
            postgres_pss_bytes=postgres_pss,
            database=self._database.server() if self._database else np.empty(0, DATABASE),
            notes=notes.read(self._telemetry) if self._telemetry else None,
            front=self._front.array() if self._front else np.empty(0, FRONT),
        )

    def _run(self) -> None:
        began, last_scan, light_s = time.monotonic(), 0.0, 0.0
        while not self._stop.is_set():
            now, before = time.monotonic(), time.thread_time()
            if now - last_scan >= SCAN_S:
                self._scan()
                self._watch_machine(now)
                last_scan = now
            usages = self._tick(now)
            light_s = 0.9 * light_s + 0.1 * (time.thread_time() - before)
            self._ticks += 1
            self._sampling_cpu_s += time.thread_time() - before
            self._buy_footprints(usages, now, BUDGET * (now - began))
            pause = max(INTERVAL_S, light_s / LIGHT_BUDGET) - (time.monotonic() - now)
            self._stop.wait(max(pause, INTERVAL_S / 2))
        self._sampling_wall_s = time.monotonic() - began

    def _round(self) -> None:
        """Everything of every process, whatever it costs."""
        self._threads_due = 0.0
        self._scan()
        now = time.monotonic()
        usages = self._tick(now)
        self._watch_machine(now)
        for pid, usage in usages.items():
            self._read_footprint(pid, usage, now)

    def _trees(self) -> list[ProcessTree]:
        front = self._front.tree if self._front else None
        trees = (self._tree, self._generator, self._postgres, front, *self._services)
        return [tree for tree in trees if tree]

    def _find_services(self) -> None:
        """Other processes this run started, and a pooler: their CPU is no disturbance."""
        if self._database and self._database.pooler_pid:
            self._services.append(ProcessTree(self._database.pooler_pid))
        mark = run_mark(self._master_pid)
        if not mark:
            return
        pids = {os.getpid()}
        for tree in self._trees():
            tree.scan()
            pids |= tree.members.keys()
        for pid in marked(mark):
            if pid not in pids:
                self._services.append(tree := ProcessTree(pid))
                tree.scan()
                pids |= tree.members.keys()

    def _scan(self) -> None:
        for pid in self._worker_pids():
            self._workers.add(pid)
            self._tree.add(pid)
        for tree in self._trees():
            tree.scan()
        if self._rings:
            self._rings.scan()
        if self._front:
            self._front.weigh()
        for pid, process in self._tree.members.items():
            self._fds[pid] = process.fds() or self._fds.get(pid, 0)
        if time.monotonic() >= self._threads_due:
            self._look_at_threads()

    def _look_at_threads(self) -> None:
        """Again as soon as their number allows: an app may have a thousand."""
        before = time.thread_time()
        for process in self._tree.members.values():
            process.look_at_threads()
        cost = time.thread_time() - before
        self._threads_due = time.monotonic() + cost / THREADS_BUDGET

    def _tick(self, now: float) -> dict[int, Usage]:
        if self._rings:
            self._kept.requests.extend(self._rings.poll())
            served = self._rings.served()
        else:
            served = {}
        usages = self._tree.usages()
        rings, unseen = self._rings_bytes(), 0 if self._rings else -1
        append = self._kept.processes.append
        for pid, (cpu_s, rss, private, threads) in usages.items():
            append(
                (
                    now, pid, self._role(pid), cpu_s, rss - rings.get(pid, 0), private, threads,
                    self._fds.get(pid, 0), served.get(pid, unseen),
                    *self._tree.members[pid].activity,
                )
            )  # fmt: skip
        self._kept.processes.end_tick()
        if self._front:
            self._front.sample(now)
        return usages

    def _watch_machine(self, now: float) -> None:
        cores = np.array(self._machine.cores()).reshape(-1, 3)
        self._kept.machine.append(
            (
                now,
                *cores.sum(axis=0),
                self._tree.last_cpu_s,
                self._generator.cpu_s() if self._generator else 0.0,
                self._postgres.cpu_s() if self._postgres else 0.0,
                sum(tree.cpu_s() for tree in self._services)
                + (self._front.tree.last_cpu_s if self._front else 0.0),
                time.process_time(),
                self._machine.throttled_s(),
                *self._machine.pressure(),
                cores
                if cores.shape == self._cores_shape
                else np.zeros(self._cores_shape),  # unplugged
            )
        )
        self._kept.machine.end_tick()
        if self._cgroup:
            used, account = self._cgroup.usage(), self._cgroup.account()
            self._kept.cgroup.append(
                (now, used.total_bytes, used.kernel_bytes, used.cache_bytes, *account)
            )
            self._kept.cgroup.end_tick()

    def _buy_footprints(self, usages: dict[int, Usage], now: float, allowance_s: float) -> None:
        for pid in sorted(usages, key=lambda pid: self._footprint_at.get(pid, 0.0)):
            too_soon = now - self._footprint_at.get(pid, 0.0) < FOOTPRINT_S
            if too_soon or self._sampling_cpu_s > allowance_s or self._stop.is_set():
                return
            before = time.thread_time()
            self._read_footprint(pid, usages[pid], now)
            self._sampling_cpu_s += time.thread_time() - before

    def _read_footprint(self, pid: int, usage: Usage, now: float) -> None:
        self._footprint_at[pid] = now
        process = self._tree.members.get(pid)
        footprint = process.footprint() if process else None
        if footprint:
            # The ring is mapped by the worker and by this process: half is in the worker's PSS.
            ring = self._rings_bytes().get(pid, 0)
            footprint = footprint._replace(
                pss_bytes=footprint.pss_bytes - ring // 2, rss_bytes=footprint.rss_bytes - ring
            )
            row = (now, pid, self._role(pid), *footprint, usage.private_bytes)
            self._kept.memory.append(row)

    def _rings_bytes(self) -> dict[int, int]:
        return self._rings.sizes() if self._rings else {}

    def _role(self, pid: int) -> int:
        if pid in self._workers:
            return _WORKER  # the first process may be one: a server without a master
        return _MASTER if pid == self._master_pid else _ZYGOTE
