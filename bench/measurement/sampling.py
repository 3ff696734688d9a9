"""The cost of sampling from outside: many workers sampled, and a day of samples kept.

The profiler looks at a real server of so many workers, which clients keep a little busy; what it
says of its own cost stands beside what this whole process has spent meanwhile. The day is those
samples again and again, with moving figures, through what the profiler keeps them in: nothing but
the clock is made up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.measurement.result import Aim, Result, Table
from pretune.advisor.profiler.reservoir import Kept
from pretune.advisor.profiler.sampler import Profiler
from pretune.advisor.workspace.cores import plan
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import Launch
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from pretune.advisor.profiler.samples import Samples
    from pretune.server.adapters.process import ServerProcess

APPS = Path(__file__).parents[1] / "apps"
# workers -> most of one core that looking at them may take
LIMITS = {32: 0.01, 500: 0.05}
LOOKED_S, QUICK_LOOKED_S = 60.0, 15.0
ROUNDS = 3
DAY_S, QUICK_DAY_S = 86400.0, 8640.0
TICK_S = 0.1  # of the day
REQUESTS = 20  # of the day's tick
FILE_MB = 50
MEMORY_MB = 500  # what a day may add to this process

# One request each on a new connection, twenty a second: any worker may take it.
CLIENT = """
import socket, sys, time
address = (sys.argv[1], int(sys.argv[2]))
while True:
    with socket.create_connection(address) as sock:
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
        while sock.recv(65536):
            pass
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Looked:
    """``said`` by the profiler of itself, ``spent`` by this process meanwhile: of one core."""

    said: float
    spent: float
    ticks_hz: float
    pss_s: float  # between two readings of one worker's PSS, median
    rounds_s: float  # CPU of the two full rounds


@dataclass(frozen=True)
class Day:
    seen: int  # rows
    kept: int
    grew_mb: float
    file_mb: float
    took_s: float


def run(*, quick: bool) -> Result:
    seconds = QUICK_LOOKED_S if quick else LOOKED_S
    found: dict[int, list[Looked]] = {}
    samples: dict[int, Samples] = {}
    for workers in LIMITS:
        with _server(workers) as (server, rings):
            for number in range(1 if quick else ROUNDS):
                print(f"{workers} workers, {number + 1}", file=sys.stderr)
                looked, samples[workers] = _look(server, rings, seconds)
                found.setdefault(workers, []).append(looked)
    print("a day", file=sys.stderr)
    day_s = QUICK_DAY_S if quick else DAY_S
    day = live(samples[min(LIMITS)], day_s)
    return Result(
        title="The cost of sampling from outside",
        tables=(_costs(found), _kept(day, day_s)),
        aims=(*(_aim(n, looked) for n, looked in found.items()), *_bounded(day, day_s)),
        notes=(
            "A trivial app with one thread per worker at 20 requests/s, sampled for "
            f"{seconds:.0f} s, {len(found[min(LIMITS)])} times; the worst is shown. What this "
            "process spent includes all its threads.",
            f"The day: rows of {min(LIMITS)} workers {1 / TICK_S:.0f} times a second with "
            f"{REQUESTS / TICK_S:.0f} requests/s.",
        ),
        data={str(n): [vars(one) for one in looked] for n, looked in found.items()},
    )


def _worst(looked: list[Looked]) -> Looked:
    return max(looked, key=lambda one: max(one.said, one.spent))


def _costs(found: dict[int, list[Looked]]) -> Table:
    head = ("workers", "said of itself", "this process", "looks/s", "PSS of a worker every",
            "CPU of a full round")  # fmt: skip
    rows = [
        (
            str(n), f"{one.said:.2%}", f"{one.spent:.2%}", f"{one.ticks_hz:.1f}",
            f"{one.pss_s:.1f} s", f"{one.rounds_s / 2 * 1e3:.0f} ms",
        )
        for n, one in ((n, _worst(looked)) for n, looked in found.items())
    ]  # fmt: skip
    return Table(head, tuple(rows), "Of one core, while the load runs")


def _aim(workers: int, looked: list[Looked]) -> Aim:
    most = max(_worst(looked).said, _worst(looked).spent)
    return Aim(
        f"looking at {workers} workers", f"at most {LIMITS[workers]:.0%} of a core",
        f"{most:.2%}, {_worst(looked).ticks_hz:.1f} looks/s", most <= LIMITS[workers],
    )  # fmt: skip


def _kept(day: Day, seconds: float) -> Table:
    head = ("hours", "rows seen", "rows kept", "memory", "raw file", "replayed in")
    row = (
        f"{seconds / 3600:.1f}", f"{day.seen:,}", f"{day.kept:,}", f"{day.grew_mb:.0f} MB",
        f"{day.file_mb:.1f} MB", f"{day.took_s:.0f} s",
    )  # fmt: skip
    return Table(head, (row,), "A day of samples")


def _bounded(day: Day, seconds: float) -> Iterator[Aim]:
    hours = f"{seconds / 3600:.1f} hours of samples"
    yield Aim(f"raw file of {hours}", f"below {FILE_MB} MB", f"{day.file_mb:.1f} MB",
              day.file_mb < FILE_MB)  # fmt: skip
    yield Aim(f"memory for {hours}", f"at most {MEMORY_MB} MB at any time",
              f"{day.grew_mb:.0f} MB", day.grew_mb <= MEMORY_MB)  # fmt: skip


@contextmanager
def _server(workers: int) -> Iterator[tuple[ServerProcess, Path]]:
    """The server and the directory of its rings."""
    directory = Path(tempfile.mkdtemp(prefix="sampling-"))
    cores = plan(frozenset(os.sched_getaffinity(0)), 1.0)
    server = embedded.start(
        Launch(
            target="pid_wsgi.py",
            settings=Settings(workers=workers, threads=1, worker_class="gthread"),
            python=Path(sys.executable),
            chdir=APPS,
            env=dict(os.environ),
            log=directory / "log",
            telemetry=directory,
            cores=cores.server,
        )
    )
    client = None
    try:
        host, port = server.wait_ready(300)
        client = subprocess.Popen([sys.executable, "-c", CLIENT, host, str(port)])
        yield server, directory
    finally:
        if client:
            client.kill()
            client.wait()
        server.stop(60)
        shutil.rmtree(directory, ignore_errors=True)


def _look(server: ServerProcess, rings: Path, seconds: float) -> tuple[Looked, Samples]:
    profiler = Profiler(server.master_pid, worker_pids=server.worker_pids, telemetry=rings)
    profiler.start()
    began, before = time.monotonic(), time.process_time()
    time.sleep(seconds)
    spent = (time.process_time() - before) / (time.monotonic() - began)
    samples = profiler.stop()
    cost, memory = samples.cost, samples.memory
    apart = [np.diff(memory["time"][memory["pid"] == pid]) for pid in np.unique(memory["pid"])]
    every = np.concatenate(apart)
    looked = Looked(
        cost.core_fraction, spent, cost.ticks / cost.sampling_wall_s,
        float(np.median(every)) if len(every) else float("inf"), cost.rounds_cpu_s,
    )  # fmt: skip
    return looked, samples


def live(samples: Samples, seconds: float) -> Day:
    """The samples' rows again, tick by tick, as if the trial had gone on for so long."""
    kept = Kept(samples.cores.shape[1:])
    draw = np.random.default_rng(1)
    tick = samples.processes[samples.processes["time"] == samples.processes["time"][-1]]
    footprints = samples.memory[-len(tick) :]
    machine = _rows(samples.machine, samples.cores)
    requests = np.resize(samples.telemetry, REQUESTS)
    before = most = _resident()
    began, seen = time.perf_counter(), 0
    for number in range(round(seconds / TICK_S)):
        now = number * TICK_S
        requests["start"] = now
        kept.requests.extend(requests.copy())
        # They move up and down as memory does, so that every tick may have a peak.
        rows = tick.copy()
        rows["time"] = now
        rows["private_bytes"] += draw.integers(0, 1 << 20, len(rows))
        for row in rows.tolist():
            kept.processes.append(row)
        kept.processes.end_tick()
        seen += len(rows) + REQUESTS
        if number % 10 == 0:
            # As often as the budget lets the profiler read at most: one of each a second.
            for row in footprints.tolist():
                kept.memory.append((now, *row[1:]))
            kept.memory.end_tick()
            kept.machine.append((now, *machine[number // 10 % len(machine)][1:]))
            kept.machine.end_tick()
            seen += len(footprints) + 1
            most = max(most, _resident())
    took = time.perf_counter() - began
    arrays = kept.arrays()
    most = max(most, _resident())
    directory = Path(tempfile.mkdtemp(prefix="sampling-"))
    try:
        file = directory / "raw.npz"
        replace(samples, **arrays).save(file)
        size = file.stat().st_size
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    held = sum(len(rows) for name, rows in arrays.items() if name != "cores")
    return Day(seen, held, (most - before) / 1e6, size / 1e6, took)


def _rows(machine: np.ndarray, cores: np.ndarray) -> list[tuple[object, ...]]:  # type: ignore[type-arg]
    return [(*row, of_cores) for row, of_cores in zip(machine.tolist(), cores, strict=True)]


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
