"""Waiting for a core: how long the threads of a server's processes have, while they are watched.

A server that ends late on a crowded machine may have had nothing to end it with. The kernel counts
for each thread how long it ran and how long it waited for that (schedstat). A wait that has not
ended is not counted yet: a thread that wants to run and has not since the last look has waited all
the time between the two.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class _Thread:
    first: int  # ns waited when it was first seen
    ran: int  # ns
    waited: int  # ns
    pending: float = 0.0  # s of a wait that goes on


class CoreWaits:
    """``longest``: s that one of the threads has waited since it was first seen."""

    def __init__(self) -> None:
        self._threads: dict[tuple[int, int], _Thread] = {}
        self._looked = 0.0

    def look(self, pids: Iterable[int], now: float) -> None:
        """At all threads of these processes; ``now`` is monotonic, s."""
        since, self._looked = now - (self._looked or now), now
        for pid in pids:
            with suppress(OSError):  # it has ended
                for tid in map(int, os.listdir(f"/proc/{pid}/task")):
                    with suppress(OSError):
                        self._note(pid, tid, since)

    def _note(self, pid: int, tid: int, since: float) -> None:
        """Raises OSError."""
        task = Path(f"/proc/{pid}/task/{tid}")
        ran, waited = map(int, (task / "schedstat").read_text().split()[:2])
        wants = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "R"
        before = self._threads.get((pid, tid))
        if before is None:
            self._threads[pid, tid] = _Thread(waited, ran, waited)
            return
        stands = wants and (before.ran, before.waited) == (ran, waited)
        before.pending = before.pending + since if stands else 0.0
        before.ran, before.waited = ran, waited

    @property
    def longest(self) -> float:
        return max(
            ((each.waited - each.first) / 1e9 + each.pending for each in self._threads.values()),
            default=0.0,
        )
