"""Connections given to siblings: by a worker whose threads are all busy, or by one that leaves.

A connection parked at a worker whose threads are stuck in long requests would wait for one of them,
while a sibling is idle. The main thread looks for that: every LOOK seconds while threads work, and
not at all while none does (the first event then wakes it up). Looking at the parked connections is
dearer, so it is done only when all threads have been busy since the last look and the scoreboard
shows an idle sibling, and never for more than a fiftieth of the time.

What the main thread cannot do is run while a request holds the GIL.
"""

from __future__ import annotations

import math
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pretune.server.wsgi import connection as con
from pretune.server.wsgi.connection import Connection

if TYPE_CHECKING:
    from pretune.server.wsgi.threaded import ThreadedWorker

LOOK = 0.02  # s between two looks, and how long all threads have been busy before it matters
SHARE = 50  # a look is not repeated before so many times what it took
MOST = 16  # connections given in one look


class Offloading:
    """The main thread's look-out. ``drowsy`` is true when the next event should ``rouse`` it."""

    def __init__(self, worker: ThreadedWorker) -> None:
        context = worker.context
        self._worker = worker
        self._on = worker.door.exchange is not None
        self._scoreboard = context.scoreboard
        self._cells = context.scoreboard.cells(context.slot)
        self._asleep = False
        self._not_before = 0.0
        self.drowsy = self._on

    def rouse(self) -> None:
        """A thread's: there is something to do again."""
        self.drowsy = False
        if self._asleep:
            self._asleep = False
            self._worker.wake()

    def patience(self, longest: float) -> float:
        """Seconds until the next look."""
        if not self._on:
            return longest
        # Announced before it is decided: a thread that comes in between wakes us.
        self._asleep = True
        if not self.drowsy or any(self._cells):
            self._asleep = False
            self.drowsy = True
            return LOOK
        return longest

    def look(self, now: float) -> None:
        """Give away what waits here in vain."""
        if not self._on or now < self._not_before or not self._worker.parked:
            return
        latest = now - LOOK
        if not all(since and since < latest for since in self._cells):
            return
        if self._scoreboard.fewest_connections(idle=True) == math.inf:
            return
        waiting = self._readable()
        for conn in waiting[:MOST]:
            if self._scoreboard.fewest_connections(idle=True) == math.inf or not self._give(conn):
                break
        self._not_before = now + SHARE * (time.monotonic() - now)

    def give_idle(self) -> None:
        """All idle connections, if there is a sibling to take them."""
        if not self._on or self._scoreboard.fewest_connections() == math.inf:
            return
        for conn in self._between_requests():
            if not self._give(conn):
                return

    def _between_requests(self) -> list[Connection]:
        return [
            conn
            for conn in tuple(self._worker.parked.values())
            if conn.phase == con.HEAD and not conn.buffer and not conn.preamble
        ]

    def _readable(self) -> list[Connection]:
        poll = select.poll()
        found = {conn.fd: conn for conn in self._between_requests()}
        for fd in found:
            poll.register(fd, select.POLLIN)
        return [found[fd] for fd, events in poll.poll(0) if events == select.POLLIN]

    def _give(self, conn: Connection) -> bool:
        """False if there is no room for more."""
        worker = self._worker
        if worker.parked.get(conn.fd) is not conn or worker.parked.pop(conn.fd, None) is not conn:
            return True  # a thread was faster
        if worker.door.give(conn):
            return True
        worker.parked[conn.fd] = conn
        # An event may have been lost on us meanwhile: this asks the kernel for it again.
        with suppress(OSError):
            worker.epoll.modify(conn.fd, conn.mask)
        return False
