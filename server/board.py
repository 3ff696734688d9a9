"""Memory that the master and all workers share: who is busy since when, and with how much.

A row per worker: the number of its open connections (NOT_SERVING while it should get no new ones),
then a cell per thread, the monotonic time at which it became busy, 0 while it is idle. Each
value has one writer and is one aligned store, so nobody locks. The master allots the rows and
keeps in the first value how many are in use.
"""

from __future__ import annotations

import math
import mmap

ROWS = 1024
NOT_SERVING = -1.0


class Board:
    """Made once, before anything is forked."""

    def __init__(self, threads: int) -> None:
        self._stride = 1 + max(1, threads)
        memory = mmap.mmap(-1, 8 * (1 + ROWS * self._stride))
        self._values = memoryview(memory).cast("d")
        self._used: set[int] = set()  # the master's

    def allot(self) -> int:
        """A free row for a new worker. Raises OverflowError if there are too many workers."""
        row = next((n for n in range(ROWS) if n not in self._used), None)
        if row is None:
            raise OverflowError(f"more than {ROWS} workers")
        self._used.add(row)
        self._clear(row)
        return row

    def release(self, row: int) -> None:
        self._used.discard(row)
        self._clear(row)

    def _clear(self, row: int) -> None:
        self.set_connections(row, NOT_SERVING)
        cells = self.cells(row)
        for n in range(len(cells)):
            cells[n] = 0.0
        self._values[0] = float(max(self._used, default=-1) + 1)

    def cells(self, row: int) -> memoryview[float]:
        """The cells of a worker's threads."""
        start = 1 + row * self._stride
        return self._values[start + 1 : start + self._stride]

    def set_connections(self, row: int, count: float) -> None:
        self._values[1 + row * self._stride] = count

    def fewest_connections(self, *, idle: bool = False) -> float:
        """Of any worker that takes new ones (``idle``: and has an idle thread), inf if none does.

        Under asgi the only cell is the loop's beat, so no worker counts as idle there.
        """
        fewest = math.inf
        for row in range(int(self._values[0])):
            count = self._values[1 + row * self._stride]
            if 0 <= count < fewest and (not idle or 0.0 in self.cells(row)):
                fewest = count
        return fewest
