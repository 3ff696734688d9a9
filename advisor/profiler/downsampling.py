"""A day of samples in the memory of an hour: what is kept when there are more than there is room.

Two ways, because two things are asked of what is kept. ``Rows`` are looked at as curves: their
peaks and both their ends must stay, and what stays should lie evenly in time. ``Requests`` are
drawn from as a sample: nothing may make one of them likelier to stay than another, and
neighbours must stay together, since requests resemble their neighbours. Both halve when they are
full, so what a run costs in memory does not depend on how long it runs. A trial of minutes is
never thinned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PENDING = 2048  # rows as tuples, which weigh ten times as much, before they join the array
BLOCK = 500  # neighbouring requests that stay or go together


class Rows:
    """At most ``capacity`` rows, all of one tick with the same ``time``.

    ``key`` names the column that tells whose a row is (a pid), if several share a tick; ``peaks``
    the columns whose maxima stay, of each key and of a tick's sum.
    """

    def __init__(
        self, dtype: np.dtype[np.void], capacity: int, peaks: Sequence[str], key: str | None = None
    ) -> None:
        self._dtype = dtype
        self._capacity = capacity
        self._peaks = tuple(peaks)
        self._key = key
        self._rows: NDArray[np.void] = np.empty(0, dtype)
        self._pending: list[tuple[object, ...]] = []
        self._spacing_s = 0.0

    def append(self, row: tuple[object, ...]) -> None:
        """``time`` never falls from one row to the next."""
        self._pending.append(row)

    def end_tick(self) -> None:
        """At the end of a tick: only whole ticks are thinned."""
        if len(self._pending) < min(_PENDING, self._capacity // 2):
            return
        self._join()
        if len(self._rows) <= self._capacity:
            return
        self._spacing_s = self._spacing_s or self._finest()
        key = self._key
        while len(self._rows) > self._capacity // 2:
            kept = thin(self._rows, self._spacing_s, self._peaks, key)
            if len(kept) > self._capacity // 2:
                if key is None and self._spacing_s > self._span():
                    break
                if self._spacing_s > self._span():
                    key = None  # there are more ends and peaks than rows may stay
                self._spacing_s *= 2
            self._rows = kept

    def array(self) -> NDArray[np.void]:
        self._join()
        return self._rows

    def _join(self) -> None:
        if self._pending:
            new = np.array(self._pending, self._dtype)
            self._rows = np.concatenate([self._rows, new]) if len(self._rows) else new
            self._pending.clear()

    def _finest(self) -> float:
        """Twice the usual distance of ticks."""
        times = np.unique(self._rows["time"])
        return 2 * float(np.median(np.diff(times))) if len(times) > 1 else 1.0

    def _span(self) -> float:
        return float(self._rows["time"][-1] - self._rows["time"][0])


def thin(
    rows: NDArray[np.void], spacing_s: float, peaks: Sequence[str], key: str | None = None
) -> NDArray[np.void]:
    """One tick for each ``spacing_s`` of time, that with the largest sum of the first of ``peaks``.

    The first tick and the last stay, and where the sum of any of ``peaks`` was largest. Of each
    ``key`` the first row, the last and those with its own peaks stay, without their ticks.
    """
    if not len(rows):
        return rows
    times, tick = np.unique(rows["time"], return_inverse=True)
    sums = [np.bincount(tick, rows[name], minlength=len(times)) for name in peaks]
    bucket = ((times - times[0]) // spacing_s).astype(np.int64)
    order = np.lexsort((sums[0], bucket))  # within a bucket the largest sum comes last
    ends = np.flatnonzero(np.diff(bucket[order], append=bucket[order[-1]] + 1))
    chosen = np.zeros(len(times), np.bool_)
    chosen[order[ends]] = True
    chosen[[0, -1]] = True
    for total in sums:
        chosen[int(np.argmax(total))] = True
    kept = chosen[tick]
    if key is not None:
        for values in (rows["time"], -rows["time"], *(rows[name] for name in peaks)):
            kept[_last_of_each(rows[key], values)] = True
    return rows[kept]


def _last_of_each(keys: NDArray[np.void], values: NDArray[np.void]) -> NDArray[np.int64]:
    """Index of a row with the largest value, for each key."""
    order = np.lexsort((values, keys))
    return order[np.flatnonzero(np.diff(keys[order], append=keys[order[-1]] + 1))]


class Requests:
    """At most ``capacity`` records, in order: every ``stride``-th block of ``BLOCK`` of them."""

    def __init__(self, dtype: np.dtype[np.void], capacity: int) -> None:
        self._dtype = dtype
        self._capacity = max(capacity, 2 * BLOCK)
        self._parts: list[NDArray[np.void]] = []
        self._blocks: list[NDArray[np.int64]] = []
        self._held = 0
        self.seen = 0
        self.stride = 1

    def extend(self, records: NDArray[np.void]) -> None:
        if not len(records):
            return
        block = np.arange(self.seen, self.seen + len(records)) // BLOCK
        self.seen += len(records)
        self._take(records, block)
        while self._held > self._capacity:
            self.stride *= 2
            records, block = np.concatenate(self._parts), np.concatenate(self._blocks)
            self._parts, self._blocks, self._held = [], [], 0
            self._take(records, block)

    def _take(self, records: NDArray[np.void], block: NDArray[np.int64]) -> None:
        kept = block % self.stride == 0
        if not kept.all():
            records, block = records[kept], block[kept]
        if len(records):
            self._parts.append(records)
            self._blocks.append(block)
            self._held += len(records)

    def array(self) -> NDArray[np.void]:
        return np.concatenate(self._parts) if self._parts else np.empty(0, self._dtype)
