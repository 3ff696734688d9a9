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
from collections.abc import Callable

from pretune.server.clock import Clock
from pretune.server.process.scoreboard import Scoreboard
from pretune.server.wsgi import connection as con
from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.parking import Parking

LOOK = 0.02  # s between two looks, and how long all threads have been busy before it matters
SHARE = 50  # a look is not repeated before so many times what it took
MOST = 16  # connections given in one look


class Offloading:
    """The main thread's look-out. ``idle`` is true when the next event should ``wake`` it."""

    def __init__(
        self,
        scoreboard: Scoreboard,
        slot: int,
        parking: Parking,
        give: Callable[[Connection], bool] | None,
        wake: Callable[[], None],
    ) -> None:
        """``give`` passes one on, None if that cannot be done; ``wake`` wakes the main thread."""
        self._scoreboard = scoreboard
        self._cells = scoreboard.cells(slot)
        self._parking = parking
        self._give = give
        self._wake = wake
        self._asleep = False
        self._not_before = 0.0
        self.idle = give is not None

    def wake(self) -> None:
        """A thread's: there is something to do again."""
        self.idle = False
        if self._asleep:
            self._asleep = False
            self._wake()

    def patience(self, longest: float) -> float:
        """Seconds until the next look."""
        if self._give is None:
            return longest
        # Announced before it is decided: a thread that comes in between wakes us.
        self._asleep = True
        if not self.idle or any(self._cells):
            self._asleep = False
            self.idle = True
            return LOOK
        return longest

    def give_waiting(self, now: float) -> None:
        """Give away what waits here in vain."""
        if self._give is None or now < self._not_before or not self._parking.parked:
            return
        latest = now - LOOK
        if not all(since and since < latest for since in self._cells):
            return
        if self._scoreboard.fewest_connections(idle=True) == math.inf:
            return
        for conn in self._waiting()[:MOST]:
            if self._scoreboard.fewest_connections(idle=True) == math.inf or not self._pass(conn):
                break
        self._not_before = now + SHARE * (Clock.monotonic() - now)

    def give_idle(self) -> None:
        """All idle connections, if there is a sibling to take them."""
        if self._give is None or self._scoreboard.fewest_connections() == math.inf:
            return
        for conn in self._between_requests():
            if not self._pass(conn):
                return

    def _between_requests(self) -> list[Connection]:
        return [conn for conn in tuple(self._parking.parked.values()) if _between_requests(conn)]

    def _waiting(self) -> list[Connection]:
        poll = select.poll()
        by_fd = {conn.fd: conn for conn in self._between_requests()}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        # What has ended too is not worth the way.
        return [by_fd[fd] for fd, events in poll.poll(0) if events == select.POLLIN]

    def _pass(self, conn: Connection) -> bool:
        """False if there is no room for more."""
        assert self._give is not None
        if not self._parking.own_if(conn, _between_requests):
            return True  # a thread was faster
        if self._give(conn):
            return True
        self._parking.put_back(conn)
        return False


def _between_requests(conn: Connection) -> bool:
    """Return whether nothing of a request was read."""
    return conn.phase == con.HEAD and not conn.buffer and not conn.preamble
