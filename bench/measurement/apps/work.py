"""What the known applications do for a request, and the diary in which they write it down.

``KINDS`` says what each path costs by construction. The diary is the app's own account, taken by
other clocks than the tool's probes: per request one record in ``$KNOWN_DIARY/<pid>.diary``.
Standard library only: it runs in the app's interpreter. ``bench.measurement.truth`` reads it.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import math
import os
import random
import struct
import threading
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit


class Kind(NamedTuple):
    """Means per request by construction; seconds, counts, bytes. ``drawn``: not always the same."""

    name: str  # its path is "/name"
    cpu: float = 0.0
    wait: float = 0.0
    queries: int = 0  # of QUERY_S each
    connections: int = 0  # to Postgres that the serving thread then holds
    calls: int = 0  # to the service at KNOWN_UPSTREAM, which takes its time
    body: int = 2
    drawn: bool = False
    free: float = 0.0  # part of the CPU that is spent without the interpreter's lock


KINDS = (
    Kind("nothing"),
    Kind("burn", cpu=0.004),
    Kind("wait", wait=0.010),
    Kind("mixed", cpu=0.002, wait=0.005),
    Kind("drawn", cpu=0.003, wait=0.004, drawn=True),  # lognormal, exponential
    Kind("bimodal", cpu=0.0029, drawn=True),  # nine times 1 ms, once 20 ms
    Kind("queries", queries=7, connections=1),
    Kind("pair", queries=2, connections=2),
    Kind("outbound", calls=2),
    Kind("bytes", body=20_000),
    Kind("leak"),  # 500 bytes for good
    Kind("free", cpu=0.004, free=1.0),
    Kind("half", cpu=0.004, free=0.5),
    Kind("locked", cpu=0.0005, wait=0.004),  # its wait is under a lock of the process
)
NUMBER = {kind.name: number for number, kind in enumerate(KINDS)}
QUERY_S = 0.001
LEAKED = 500
BLOCK = bytes(range(256)) * 128
SIGMA = 0.5

# name, struct code, numpy type: seconds, but for the kind's number
FIELDS = (
    ("start", "d"),  # CLOCK_MONOTONIC at which the app was called
    ("left", "d"),  # clock of the thread's CPU when the app was done
    ("cpu_drawn", "d"),  # what the request was to burn
    ("wait_drawn", "d"),  # and to sleep
    ("wait", "d"),  # asleep, without standing in the run queue afterwards
    ("db", "d"),  # in queries, without CPU and run queue
    ("out", "d"),
    ("kind", "Q"),
    ("thread", "Q"),
)
RECORD = struct.Struct("<" + "".join(code for _, code in FIELDS))

held = [os.urandom(1 << 20) for _ in range(int(os.environ.get("KNOWN_HELD_MIB", "0")))]
# Made once and whole, so that a request leaks its object and no part of a growing list.
leaked = [b""] * 500_000
_leaks = itertools.count()
_random = random.Random()  # seeded by the system: every process draws its own


class Waited:
    """Seconds since it was made in which the calling thread neither ran nor could have run."""

    def __init__(self) -> None:
        self._queue_clock = _run_queue_clock()
        self._wall, self._cpu, self._queue = self._now()

    def __call__(self) -> float:
        wall, cpu, queue = self._now()
        return (wall - self._wall) - (cpu - self._cpu) - (queue - self._queue)

    def _now(self) -> tuple[float, float, float]:
        # as close together as can be: who is put off the core between two of them errs
        return time.monotonic(), time.thread_time(), self._queue_clock()


class Diary:
    """One request's record, written when it is complete."""

    def __init__(self, kind: int) -> None:
        self.start, self.kind = time.monotonic(), kind
        self.cpu_drawn = self.wait_drawn = self.wait = self.db = self.out = 0.0

    def write(self, thread: int) -> None:
        os.write(
            _file(),
            RECORD.pack(
                self.start, time.thread_time(), self.cpu_drawn, self.wait_drawn,
                self.wait, self.db, self.out, self.kind, thread,
            ),
        )  # fmt: skip


def draw(kind: Kind) -> tuple[float, float]:
    """CPU and sleep of one request."""
    if not kind.drawn:
        return kind.cpu, kind.wait
    if kind.name == "bimodal":
        return (0.020 if _random.random() < 0.1 else 0.001), 0.0
    cpu = kind.cpu * math.exp(SIGMA * _random.gauss(0.0, 1.0) - SIGMA**2 / 2)
    return cpu, _random.expovariate(1 / kind.wait)


def burn(seconds: float) -> None:
    """So much of the calling thread's CPU, by its own clock."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def burn_free(seconds: float) -> None:
    """So much of the thread's CPU in C that lets go of the lock: hashing and compressing."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(BLOCK)
        zlib.compress(BLOCK, 1)


def leak() -> None:
    leaked[next(_leaks)] = b"x" * (LEAKED - 33) + os.urandom(0)


def upstream() -> http.client.HTTPConnection:
    where = urlsplit(os.environ["KNOWN_UPSTREAM"])
    return http.client.HTTPConnection(where.hostname or "", where.port)


_files: dict[int, int] = {}


def _file() -> int:
    """Of this process; a forked worker opens its own."""
    pid = os.getpid()
    if pid not in _files:
        path = os.path.join(os.environ["KNOWN_DIARY"], f"{pid}.diary")
        _files[pid] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    return _files[pid]


_local = threading.local()


def _run_queue_clock() -> Callable[[], float]:
    """Seconds the calling thread was runnable and not running."""
    if not hasattr(_local, "fd"):
        _local.fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    fd = _local.fd
    return lambda: int(os.pread(fd, 64, 0).split()[1]) / 1e9
