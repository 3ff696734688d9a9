"""One fixed-size record per request in a ring per worker, shared with a reader in another process.

Layout of the file ``<directory>/<pid>.ring``: a 64-byte header, then ``CAPACITY`` records of
``RECORD.size`` bytes. Only the worker writes; a record's ``seq`` (1, 2, ...) is its last field
to be written and says which lap of the ring it belongs to, so the reader needs no lock: slot
``(seq - 1) % CAPACITY`` holds record ``seq`` or it does not.

A ring is memory of ours in a process whose memory is being measured. So it is as small as the
reader allows, and all of it is there from the first request on: else it would grow by 112 bytes a
request, and the app would seem to leak. Its whole size is a constant that the reader subtracts.

The reader in the tool's interpreter builds its numpy type from ``FIELDS``; this module stays
free of anything outside the standard library.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
import socket
import struct
from collections.abc import Callable

MAGIC = b"pretune1"
HEADER_SIZE = 64
# magic, capacity, record size, pid; READER; the rest of the header is zero.
HEADER = struct.Struct("<8sIII")
# Where the reader keeps the time of its last look, CLOCK_MONOTONIC s as a double; 0: none yet.
READER = 24
FORGOTTEN = 10.0  # s without a look after which nobody reads any more, and nothing is written
# At 10,000 requests a second this is 0.8 s; the reader looks every 0.1 s, rarely 0.5 s late.
CAPACITY = 1 << 13

QUEUE_MEANING = (
    "s from the arrival of the request's last bytes in the kernel to start, in whole jiffies, the"
    " kernel's clock for connections (1 to 10 ms); NaN when unknown (unix sockets)"
)
# name, struct code, meaning
FIELDS: tuple[tuple[str, str, str], ...] = (
    ("seq", "Q", "1-based number of the request in this worker; 0 in a slot never written"),
    ("start", "d", "CLOCK_MONOTONIC s at which the request head was complete"),
    ("wall", "d", "s from start until the last byte of the response was handed to the kernel"),
    ("cpu", "d", "s of CPU spent for this request by the threads that served it"),
    ("db", "d", "s spent waiting in database drivers (0 without probes)"),
    ("out", "d", "s spent waiting in outbound calls (0 without probes)"),
    ("runq", "d", "s the serving thread was runnable but not running; NaN when unknown"),
    ("queue", "d", QUEUE_MEANING),
    ("bytes", "Q", "bytes of the response, head included"),
    ("db_calls", "I", "calls into database drivers"),
    ("out_calls", "I", "outbound calls"),
    ("endpoint", "I", "the workload's number of this endpoint; 0 when the request named none"),
    ("pad", "I", "unused"),
    ("thread", "H", "small number of the serving thread within the worker"),
    ("route", "H", "number of the route it took, as the worker's notes say; 0 when unknown"),
    ("status", "H", "status of the response; 0 when none was sent"),
    ("inflight", "H", "requests inside the app in this worker when this one started, itself too"),
    ("head", "d", "s of the CPU that were spent before start, on the head (0 without probes)"),
    ("pool", "d", "s of the CPU that threads spent to which an event loop handed calls"),
)
RECORD = struct.Struct("<" + "".join(code for _, code, _ in FIELDS))
_put = struct.Struct("<" + "".join(code for _, code, _ in FIELDS[1:])).pack_into
_WORDS = RECORD.size // 8
assert RECORD.size % 8 == 0
assert CAPACITY & (CAPACITY - 1) == 0

# The load driver numbers the endpoints of its workload and says the number in this header; the
# server takes it out before the app sees the request.
ENDPOINT_HEADER = "x-pretune-endpoint"

_TCP_INFO = getattr(socket, "TCP_INFO", 11)
_INFO_SIZE = 56  # bytes of struct tcp_info (linux/tcp.h) up to and with tcpi_last_data_recv
_LAST_DATA_RECV = struct.Struct("=I").unpack_from  # ms, at offset 52
COARSE = 0.004  # s; a shorter wait may be said to be none


def queued(sock: socket.socket) -> float:
    """Seconds since the connection last received bytes; NaN if the kernel does not say."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO_SIZE)
        return float(_LAST_DATA_RECV(info, 52)[0]) / 1e3
    except (OSError, struct.error):
        return math.nan


class Ring:
    """The writing end, one per worker. Threads may write at the same time: each has a slot."""

    def __init__(self, directory: str, pid: int) -> None:
        self.path = os.path.join(directory, f"{pid}.ring")
        size = HEADER_SIZE + CAPACITY * RECORD.size
        with open(self.path, "w+b") as file:
            file.truncate(size)
            self._memory = mmap.mmap(file.fileno(), size)
        for page in range(0, size, mmap.PAGESIZE):
            self._memory[page] = 0
        self._seqs = memoryview(self._memory).cast("Q")
        self._looked = memoryview(self._memory)[READER : READER + 8].cast("d")
        self.on = True  # whether somebody reads, as of the last ``check``
        self._next = itertools.count(1).__next__
        HEADER.pack_into(self._memory, 0, MAGIC, CAPACITY, RECORD.size, pid)

    def check(self, now: float) -> None:
        """Look whether there is a reader (or may be soon); a worker does now and then."""
        looked = self._looked[0]
        self.on = not looked or now - looked < FORGOTTEN

    def write(
        self,
        start: float,
        wall: float,
        cpu: float,
        db: float,
        out: float,
        runq: float,
        queue: float,
        sent: int,
        db_calls: int,
        out_calls: int,
        endpoint: int,
        thread: int,
        route: int,
        status: int,
        inflight: int,
        head: float = 0.0,
        pool: float = 0.0,
    ) -> None:
        """Record one request; the fields are those of FIELDS without ``seq``."""
        seq = self._next()
        seqs = self._seqs
        at = HEADER_SIZE // 8 + (seq - 1 & CAPACITY - 1) * _WORDS
        # Void while it is half-written; then one aligned store makes it whole.
        seqs[at] = 0
        _put(
            self._memory, 8 * at + 8, start, wall, cpu, db, out, runq, queue,
            sent, db_calls, out_calls, endpoint, 0, thread, route, status, inflight, head,
            pool,
        )  # fmt: skip
        seqs[at] = seq


class QueueClock:
    """Seconds the thread that made it was runnable and not running; NaN if unknown.

    It goes with its thread: a file stays open until then.
    """

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        self._fd = -1
        try:
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        if math.isnan(self()):
            self.close()

    def __call__(self) -> float:
        try:
            return int(_pread(self._fd, 64, 0).split(None, 2)[1]) / 1e9
        except (OSError, IndexError):
            return math.nan

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


_pread = os.pread


def run_queue_clock() -> Callable[[], float]:
    """A clock of the calling thread: seconds it was runnable and not running (NaN if unknown)."""
    return QueueClock()
