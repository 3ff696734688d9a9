"""The last queue: who waits at the listening sockets when the server stops was let in, and is to be
answered.

Workers that are ready empty the queue as they leave (workers/draining.py). But TERM may come while
none is: all still boot, or have just crashed. So the master holds its sockets, sealed, until nobody
waits there; as long as somebody does, boots go on, and one that is ready is told to leave then,
which empties the queue. ``graceful_timeout`` bounds it, and an empty queue ends it at once.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from pretune.server.master import backlog
from pretune.server.process import listening
from pretune.server.workers.draining import STOP, next_step


class LastQueue:
    """Those of ``listeners`` that nobody else will take from, sealed; all are closed together.

    Not one by one: a worker forked meanwhile needs them all.
    """

    def __init__(self, listeners: Iterable[socket.socket] = (), *, ours: bool = True) -> None:
        """``ours``: no other master serves on, on the same sockets."""
        self._listeners = tuple(listeners)
        self._held = [s for s in self._listeners if ours and not listening.is_lent(s)]
        self._sealed = {sock.fileno() for sock in self._held if listening.seal(sock)}
        if not self._held:
            self.close()

    @property
    def open(self) -> bool:
        return bool(self._held)

    def look(self, elapsed: float, patience: float) -> int:
        """Return how many wait; close all if nobody does, or after ``patience`` s of the stop."""
        if not self._held:
            return 0
        waiting = {sock.fileno(): _waiting(sock) for sock in self._held}
        waits = {fd: count > 0 for fd, count in waiting.items()}
        if next_step(STOP, elapsed, patience, waits, 0, self._sealed).done:
            self.close()
            return 0
        return sum(waiting.values())

    def close(self) -> None:
        """Whoever still waits is reset, unless a worker holds the sockets, too."""
        self._held = []
        for sock in self._listeners:
            sock.close()


def _waiting(sock: socket.socket) -> int:
    length = backlog.length(sock)
    if sock.family == socket.AF_UNIX:  # sealed, it is always readable
        return length[0] if length is not None else 0
    if not listening.readable([sock]):
        return 0
    return max(1, length[0] if length is not None else 1)
