"""Follows the rings in which the server's workers leave one record per request.

Reading takes no lock. Slot ``(seq - 1) % capacity`` holds record ``seq`` or it does not, and
``seq`` is written last; so the reader walks from the last record it has while the numbers fit, and
stops at the first that is not there yet. When the writer is a whole lap ahead, what it wrote over
is counted as lost. A record is copied first and trusted after: if by then the writer has come
within ``MARGIN`` slots of lapping it, its fields may already be of the next lap under the old
number, and it counts as lost too.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pretune.server import telemetry as layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODES = {"Q": "<u8", "d": "<f8", "I": "<u4", "H": "<u2"}
# The padding carries the worker's pid once a record has left its ring.
RECORD = np.dtype(
    [("pid" if name == "pad" else name, _CODES[code]) for name, code, _ in layout.FIELDS]
)
assert RECORD.itemsize == layout.RECORD.size

# More slots than a worker has threads that could be writing at once.
MARGIN = 256
# Polls a number may be missing while later ones are there (its thread was descheduled between
# taking the number and writing it) before it is given up.
PATIENCE = 20
_STEP = 128
_FEW = 8
LOOK_S = layout.FORGOTTEN / 10  # how often the writers are told that somebody reads
# One poll in so many looks for numbers further on even if the next two are missing.
_THOROUGH = 16
_FIRST_WORD, _WORDS = layout.HEADER_SIZE // 8, RECORD.itemsize // 8
_LOOKED = struct.Struct("<d")
_NONE = np.empty(0, RECORD)


class Ring:
    """One worker's ring. It stays readable after the worker died and the file was removed."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when there is no file, ValueError when it is not a ring (yet)."""
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        magic, capacity, size, pid = layout.HEADER.unpack(
            self._map[: layout.HEADER.size].ljust(layout.HEADER.size, b"\0")
        )
        whole = layout.HEADER_SIZE + capacity * size
        if magic != layout.MAGIC or size != RECORD.itemsize or len(self._map) < whole:
            self._map.close()
            raise ValueError(f"{path} is not a telemetry ring of this version")
        self.pid = int(pid)
        self.lost = 0
        self._capacity = int(capacity)
        self._margin = min(MARGIN, self._capacity // 8)
        self._records: NDArray[np.void] = np.frombuffer(
            self._map, dtype=RECORD, count=capacity, offset=layout.HEADER_SIZE
        )
        self._seq: NDArray[np.uint64] = self._records["seq"]
        self._words = memoryview(self._map).cast("Q")
        # Maps every page here too: from now on each counts half in the worker's PSS.
        self._seq.max()
        self.size = -(-len(self._map) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._next = 1
        self._waited = 0
        self._polls = 0

    @property
    def seen(self) -> int:
        """Requests this worker has finished, lost records included."""
        return self._next - 1

    def poll(self, *, final: bool = False) -> NDArray[np.void]:
        """The records since the last poll, in order of their numbers; ``final`` waits for none."""
        patience = 0 if final else PATIENCE
        self._polls += 1
        if not final and self._polls % _THOROUGH and self._quiet():
            return _NONE
        parts = []
        while True:
            part = self._walk()
            if len(part):
                parts.append(part)
                self._waited = 0
                at_the_end = (self._next - 1) % self._capacity == 0
                if not (at_the_end or final):
                    break  # the next number is not there yet; the next poll sees to it
            elif not self._skip(patience):
                break
        if not parts:
            return _NONE
        records = parts[0] if len(parts) == 1 else np.concatenate(parts)
        records["pid"] = self.pid
        return records

    def mark_read(self, now: float) -> None:
        """Somebody reads: without that the writer stops after a while."""
        _LOOKED.pack_into(self._map, layout.READER, now)

    def _quiet(self) -> bool:
        """Return whether neither the next record nor the one after it is there: the common case by
        far with many workers, and worth not waking numpy for.
        """
        number, words, capacity = self._next, self._words, self._capacity
        return (
            words[_FIRST_WORD + (number - 1) % capacity * _WORDS] < number
            and words[_FIRST_WORD + number % capacity * _WORDS] <= number
        )

    def _walk(self) -> NDArray[np.void]:
        """Copy consecutive records from the next expected one to the first that is missing."""
        slot = (self._next - 1) % self._capacity
        room = self._capacity - slot
        ready, step = self._first(min(room, _FEW)), _STEP
        while _FEW <= ready < room:
            step = min(step * 2, room - ready)
            numbers = self._seq[slot + ready : slot + ready + step]
            wrong = np.flatnonzero(
                numbers != np.arange(self._next + ready, self._next + ready + step, dtype=np.uint64)
            )
            if len(wrong):
                ready += int(wrong[0])
                break
            ready += step
        if not ready:
            return _NONE
        copied = self._records[slot : slot + ready].copy()
        overtaken = self._overtaken(ready)
        self._next += ready
        self.lost += overtaken
        return copied[overtaken:]

    def _first(self, most: int) -> int:
        """Count the consecutive records that are there, one by one: mostly they are few."""
        words, number, capacity = self._words, self._next, self._capacity
        for ready in range(most):
            if words[_FIRST_WORD + (number - 1) % capacity * _WORDS] != number:
                return ready
            number += 1
        return most

    def _overtaken(self, count: int) -> int:
        """Count the copied records that the writer may have begun to write over."""
        near = self._next + self._capacity - self._margin
        if self._words[_FIRST_WORD + (near - 1) % self._capacity * _WORDS] < near:
            return 0
        newest = int(self._seq.max())
        return min(max(newest + self._margin - self._capacity - self._next + 1, 0), count)

    def _skip(self, patience: int) -> bool:
        """Step over records that will never come; True when the walk may go on."""
        last = int(self._seq[(self._next - 1) % self._capacity])
        if last > self._next:  # lapped: go to the oldest record that is safe to read
            newest = int(self._seq.max())
            oldest = newest - self._capacity + 1 + self._margin
            self.lost += oldest - self._next
            self._next = oldest
            return True
        following = np.arange(self._next + 1, self._next + 1 + self._margin, dtype=np.uint64)
        present = np.flatnonzero(self._seq[(following - 1) % self._capacity] == following)
        if not len(present):
            return False
        self._waited += 1
        if self._waited < patience:
            return False
        gap = int(present[0]) + 1
        self.lost += gap
        self._next += gap
        self._waited = 0
        return True


class RingReader:
    """All rings of a directory, those of dead workers too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._rings: dict[str, Ring] = {}
        self._looked_at = 0.0

    def poll(self, *, final: bool = False) -> NDArray[np.void]:
        """New records of all workers since the last poll."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            for ring in self._rings.values():
                ring.mark_read(now)
        parts = [new for ring in self._rings.values() if len(new := ring.poll(final=final))]
        return np.concatenate(parts) if parts else _NONE

    def scan(self) -> None:
        """Open rings that appeared; one still being written is taken at the next scan."""
        try:
            names = os.listdir(self.directory)
        except OSError:
            return
        for name in names:
            if name.endswith(".ring") and name not in self._rings:
                try:
                    self._rings[name] = ring = Ring(self.directory / name)
                    ring.mark_read(time.monotonic())
                except (OSError, ValueError):
                    continue

    def served(self) -> dict[int, int]:
        """pid -> requests finished so far."""
        return {ring.pid: ring.seen for ring in self._rings.values()}

    def sizes(self) -> dict[int, int]:
        """pid -> bytes of the ring, all resident, half of them in the worker's PSS."""
        return {ring.pid: ring.size for ring in self._rings.values()}

    @property
    def lost(self) -> int:
        return sum(ring.lost for ring in self._rings.values())
