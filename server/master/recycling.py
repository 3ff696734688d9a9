"""Recycling: a worker that has served long enough, or has grown too large, gets a successor.

Requests are counted by the worker itself; age and memory are the master's to see. Reading how much
memory is a process's own (PSS) costs the kernel milliseconds, its RSS microseconds, and PSS is
never more than RSS: so PSS is read only above the limit, one worker at a time, and the less often
the longer it takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pretune.server.clock import Clock
from pretune.server.master.child import Worker
from pretune.server.process.log import Log

LOOK = 2.0  # s between two looks at the memory
SHARE = 0.001  # of a core that the looks may take

_PAGE = os.sysconf("SC_PAGE_SIZE")


def too_old(ready_at: float, now: float, limit: float) -> bool:
    """``limit`` in s; 0: no worker is."""
    return limit > 0 and now >= ready_at + limit


class MemoryScan:
    """Reads the memory of workers in turn.

    ``rss`` and ``pss`` give the bytes of a pid, or raise OSError.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        rss: Callable[[int], int] | None = None,
        pss: Callable[[int], int] | None = None,
    ) -> None:
        self._clock = clock
        self._rss = rss or read_rss
        self._pss = pss or read_pss
        self._turn = 0
        self.next_scan = 0.0  # monotonic s of the next look
        self.blind = False  # PSS may not be read here: RSS stands for it

    def find_larger(self, pids: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        """The first of ``(pid, limit)`` found to be larger than its limit, and its bytes."""
        now = self._clock()
        self.next_scan = now + LOOK
        suspects = [(pid, limit) for pid, limit in pids if self._or_zero(self._rss, pid) > limit]
        if not suspects:
            return None
        self._turn += 1
        pid, limit = suspects[self._turn % len(suspects)]
        try:
            size = self._pss(pid)
        except PermissionError:
            self.blind = True
            size = self._or_zero(self._rss, pid)
        except OSError:
            return None  # it has just ended
        took = self._clock() - now
        self.next_scan = now + max(LOOK / len(suspects), took / SHARE)
        return (pid, size) if size > limit else None

    @staticmethod
    def _or_zero(read: Callable[[int], int], pid: int) -> int:
        try:
            return read(pid)
        except OSError:
            return 0


def read_rss(pid: int) -> int:
    """Resident bytes. Raises OSError."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def read_pss(pid: int) -> int:
    """Proportional bytes: private ones and a share of each shared page. Raises OSError."""
    with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


class Recycling:
    """Finds the workers whose time has come; by requests, a worker asks by itself."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._scan = MemoryScan(Clock.monotonic)
        self._said_blind = False

    def next_check(self, workers: Sequence[Worker]) -> float:
        """When to look again."""
        nearest = float("inf")
        for each in workers:
            if each.asks is not None:
                continue
            if each.config.max_worker_age:
                nearest = min(nearest, (each.ready_at or 0.0) + each.config.max_worker_age)
            if each.config.max_worker_memory:
                nearest = min(nearest, self._scan.next_scan)
        return nearest

    def ask_due(self, workers: Sequence[Worker], now: float) -> None:
        """Have those ask for a successor."""
        heavy = []
        for each in workers:
            if each.asks is not None:
                continue
            if too_old(each.ready_at or now, now, each.config.max_worker_age):
                each.ask_for_successor("max_age", now)
            elif each.config.max_worker_memory:
                heavy.append(each)
        if not heavy or now < self._scan.next_scan:
            return
        larger = self._scan.find_larger([(w.pid, w.config.max_worker_memory) for w in heavy])
        if self._scan.blind and not self._said_blind:
            self._said_blind = True
            self._log.warning("the PSS of workers cannot be read here; their RSS is used instead")
        if larger is not None:
            self._too_large(next(w for w in heavy if w.pid == larger[0]), larger[1], now)

    def _too_large(self, who: Worker, size: int, now: float) -> None:
        generation = who.generation
        if now < generation.restraint.not_before:
            return
        age = now - who.born
        restraint = generation.restraint = generation.restraint.recycled(age, now)
        who.ask_for_successor("max_memory", now)
        text = (
            f"worker {who.pid} has {megabytes(size)}, the limit is "
            f"{megabytes(who.config.max_worker_memory)}: it gets a successor"
        )
        if not restraint.delay:
            self._log.info(text)
            return
        self._log.warning(
            f"{text}; it was only {age:.0f} s old, so its successor will soon be as large: the "
            f"next one not before {restraint.delay:.0f} s have passed. Raise the limit"
        )
