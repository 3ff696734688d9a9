"""Connections that no thread owns: they wait in one epoll for their clients.

A connection is registered once, edge-triggered: an event says that something has changed since the
last one. Who owns a connection is said by ``parked`` alone: whoever pops it there. An event for a
connection that another thread owns is noted in ``missed``, and the owner looks there after it has
parked the connection. Each does its own part before it looks for the other's (Dekker's order), so
no event is lost, and a request costs no system call beside its recv and send.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress

from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.conversation import READ, WRITE

_MASKS = {
    READ: select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET,
    WRITE: select.EPOLLOUT | select.EPOLLET,
}


class Parking:
    """``parked``: by descriptor, the longest parked first; whoever pops one owns it."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.parked: dict[int, Connection] = {}
        self.missed: set[int] = set()  # descriptors that moved while they were owned

    def park(self, conn: Connection, wish: int) -> bool:
        """Let go of it until the client did what is wished; True if it must be seen to now."""
        fd, mask = conn.fd, _MASKS[wish]
        # Before it is parked: afterwards another thread may own it and change the mask.
        if conn.mask != mask or conn.more:
            conn.more = False
            if conn.mask:
                self.epoll.modify(fd, mask)  # also asks for an event if there is something now
            else:
                self.epoll.register(fd, mask)
            conn.mask = mask
        self.parked[fd] = conn
        if fd in self.missed:
            self.missed.discard(fd)
            return self.parked.pop(fd, None) is not None
        return False

    def note(self, fd: int) -> Connection | None:
        """Tell the owner of a connection that it has moved, unless it has just been parked."""
        self.missed.add(fd)
        conn = self.parked.pop(fd, None)
        if conn is not None:
            self.missed.discard(fd)
        return conn

    def own(self, conn: Connection) -> bool:
        """Take one out; False if somebody was faster."""
        parked, fd = self.parked, conn.fd
        return parked.get(fd) is conn and parked.pop(fd, None) is conn

    def own_if(self, conn: Connection, still: Callable[[Connection], bool]) -> bool:
        """Own it if what was decided of it still holds: a thread may have served it since."""
        if not self.own(conn):
            return False
        if still(conn):
            return True
        self.put_back(conn)
        return False

    def put_back(self, conn: Connection) -> None:
        """Park one again that was just taken out."""
        self.parked[conn.fd] = conn
        # An event may have been lost on us meanwhile: this asks the kernel for it again.
        with suppress(OSError):
            self.epoll.modify(conn.fd, conn.mask)
