"""Memory that the master and all its children share: who is busy since when, and with how much.

All values are doubles. First what is the master's own: how many slots are in use, totals, counters
of exits. Then a slot per worker (_SLOT below), then the heap: for each worker a cell per thread,
the monotonic time at which it became busy (0 while it is idle), and, when somebody reads metrics, a
tally per thread. Each value has one writer and is one aligned store, so nobody locks; what the
master adds up when a worker has gone takes several stores, so a reader looks at VERSION before and
after (a sequence lock, Lameter 2005).

The memory is sparse: untouched pages cost nothing.
"""

from __future__ import annotations

import math
import mmap
from typing import NamedTuple

SLOTS = 1024
NOT_SERVING = -1.0
HEAP = 1 << 20  # doubles; 1,000 workers with 1,000 threads each, without tallies

# States of a slot.
FREE, BOOTING, SERVING, LEAVING = 0.0, 1.0, 2.0, 3.0

# The reasons of exits, as the event stream has them, in the order of their counters.
REASONS = ("stop", "max_requests", "max_age", "max_memory", "timeout", "crash", "boot")

# The master's values.
_USED, VERSION, STARTED, GENERATION, WANTED, RELOADS, ANSWERED = range(7)
_TOTALS = 7  # requests, busy s, 5xx of workers that are gone
_EXITS = _TOTALS + 3  # by reason
_MASTER = _EXITS + len(REASONS)
# A slot: connections, where its cells begin, threads; the last beat; pid, state; whether the cells
# hold beats of an event loop, which say nothing about how busy it is.
_CONNECTIONS, _START, _THREADS, _BEAT, _PID, _STATE, _LOOP = range(7)
_SLOT = 7
_TALLY = 3  # requests, busy s, 5xx


class Tally:
    """The count of what one thread has served. Only that thread adds to it."""

    __slots__ = ("_at", "_values")

    def __init__(self, values: memoryview[float], at: int) -> None:
        self._values = values
        self._at = at

    def add(self, seconds: float, status: int) -> None:
        """One response, ``seconds`` after its request was taken up."""
        values, at = self._values, self._at
        values[at] += 1.0
        values[at + 1] += seconds
        if status >= 500:
            values[at + 2] += 1.0


class Seen(NamedTuple):
    """One worker, as a reader of the scoreboard sees it."""

    slot: int
    pid: int
    state: float
    connections: int
    busy: int  # threads inside a request; 0 in an event loop, which has none
    threads: int


class Scoreboard:
    """Made once, before anything is forked. ``tallies``: whether threads count what they serve."""

    def __init__(self, threads: int, *, tallies: bool = False) -> None:
        self.tallies = tallies
        self._width = max(1, threads)  # of a slot, unless said otherwise
        self._heap = _MASTER + SLOTS * _SLOT
        self._values = memoryview(mmap.mmap(-1, 8 * (self._heap + HEAP))).cast("d")
        self._used: set[int] = set()  # the master's, as the three below
        self._top = self._heap
        self._spare: dict[int, list[int]] = {}  # threads -> starts of cells nobody uses

    # -- the master's

    def allot(self, threads: int | None = None) -> int:
        """A free slot for a new worker. Raises OverflowError if there are too many workers."""
        width = self._width if threads is None else max(1, threads)
        slot = next((n for n in range(SLOTS) if n not in self._used), None)
        if slot is None:
            raise OverflowError(f"more than {SLOTS} workers")
        spare = self._spare.get(width)
        size = width * (1 + (_TALLY if self.tallies else 0))
        if spare:
            start = spare.pop()
        elif self._top + size <= len(self._values):
            start, self._top = self._top, self._top + size
        else:
            raise OverflowError("the number of threads was changed too often: restart the server")
        at = self._at(slot)
        self._values[at + _CONNECTIONS] = NOT_SERVING
        self._values[at + _START], self._values[at + _THREADS] = start, width
        self._used.add(slot)
        self._clear(slot)
        self._values[at + _STATE] = BOOTING
        return slot

    def release(self, slot: int) -> None:
        """Its worker is gone: what it has served is added to the totals."""
        if slot not in self._used:
            return
        values, at = self._values, self._at(slot)
        values[VERSION] += 1.0  # odd: being changed
        for n, part in enumerate(self.served(slot)):
            values[_TOTALS + n] += part
        self._used.discard(slot)
        self._clear(slot)
        values[VERSION] += 1.0
        self._spare.setdefault(int(values[at + _THREADS]), []).append(int(values[at + _START]))

    def _clear(self, slot: int) -> None:
        values, at = self._values, self._at(slot)
        values[at + _CONNECTIONS] = NOT_SERVING
        for n in range(_BEAT, _SLOT):
            values[at + n] = 0.0
        start = int(values[at + _START])
        size = int(values[at + _THREADS]) * (1 + (_TALLY if self.tallies else 0))
        for n in range(start, start + size):
            values[n] = 0.0
        values[_USED] = float(max(self._used, default=-1) + 1)

    def set_state(self, slot: int, state: float, pid: int) -> None:
        at = self._at(slot)
        self._values[at + _PID] = pid
        self._values[at + _STATE] = state

    def count_exit(self, reason: str) -> None:
        self._values[_EXITS + REASONS.index(reason)] += 1.0

    def note(self, what: int, value: float) -> None:
        """Set one of STARTED, GENERATION, WANTED, RELOADS, ANSWERED."""
        self._values[what] = value

    # -- a worker's

    def _at(self, slot: int) -> int:
        return _MASTER + slot * _SLOT

    def cells(self, slot: int) -> memoryview[float]:
        """The cells of a worker's threads."""
        at = self._at(slot)
        start = int(self._values[at + _START])
        return self._values[start : start + int(self._values[at + _THREADS])]

    def tally(self, slot: int, thread: int) -> Tally:
        """Return the tally of one thread; only on a scoreboard with tallies."""
        at = self._at(slot)
        threads = int(self._values[at + _THREADS])
        if not 0 <= thread < threads:
            raise IndexError(f"thread {thread} of {threads}")
        start = int(self._values[at + _START])
        return Tally(self._values, start + threads + _TALLY * thread)

    def set_connections(self, slot: int, count: float) -> None:
        self._values[_MASTER + slot * _SLOT] = count

    def beats_in_cells(self, slot: int) -> None:
        """Say that this worker is an event loop."""
        self._values[_MASTER + slot * _SLOT + _LOOP] = 1.0

    def beat(self, slot: int, now: float) -> None:
        """A sign of life of the thread that hears the master; a worker may give none."""
        self._values[_MASTER + slot * _SLOT + _BEAT] = now

    def last_beat(self, slot: int) -> float:
        """Monotonic s, 0 if the worker gives no beats."""
        return self._values[_MASTER + slot * _SLOT + _BEAT]

    def fewest_connections(self, *, idle: bool = False) -> float:
        """Return the fewest connections of a worker that takes new ones (``idle``: and has an idle
        thread), inf if none does.

        Under asgi the only cell is the loop's beat, so no worker counts as idle there.
        """
        fewest = math.inf
        values = self._values
        for at in range(_MASTER, _MASTER + int(values[_USED]) * _SLOT, _SLOT):
            count = values[at]
            if 0 <= count < fewest:
                if idle:
                    start = int(values[at + _START])
                    if 0.0 not in values[start : start + int(values[at + _THREADS])]:
                        continue
                fewest = count
        return fewest

    # -- a reader's

    def value(self, what: int) -> float:
        return self._values[what]

    def served(self, slot: int) -> list[float]:
        """Requests, busy s and 5xx of one worker, summed over its threads."""
        if not self.tallies:
            return [0.0] * _TALLY
        at = self._at(slot)
        threads = int(self._values[at + _THREADS])
        start = int(self._values[at + _START]) + threads
        return [sum(self._values[start + n : start + threads * _TALLY : _TALLY]) for n in range(3)]

    def totals(self) -> list[float]:
        """Requests, busy s and 5xx of all workers there are and were; never less than before."""
        values = self._values
        for _ in range(1000):  # a killed master may leave it odd
            version = values[VERSION]
            sums = [values[_TOTALS + n] for n in range(3)]
            for slot in range(int(values[_USED])):
                for n, part in enumerate(self.served(slot)):
                    sums[n] += part
            if version == values[VERSION] and not version % 2:
                break
        return sums

    def exits(self) -> dict[str, float]:
        """Return how many workers have ended, by reason."""
        return {reason: self._values[_EXITS + n] for n, reason in enumerate(REASONS)}

    def seen(self) -> list[Seen]:
        """Every worker there is."""
        rows = []
        for slot in range(int(self._values[_USED])):
            at = self._at(slot)
            state = self._values[at + _STATE]
            if state == FREE:
                continue
            rows.append(
                Seen(
                    slot,
                    int(self._values[at + _PID]),
                    state,
                    max(0, int(self._values[at + _CONNECTIONS])),
                    0 if self._values[at + _LOOP] else sum(map(bool, self.cells(slot))),
                    int(self._values[at + _THREADS]),
                )
            )
        return rows
