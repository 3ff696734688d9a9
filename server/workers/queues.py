"""The kernel's queues a worker takes connections from, and how it leaves them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from pretune.server.process import listening


class Queues:
    """Listening sockets by descriptor. ``open``: those still taken from.

    ``sealed``: those of them that nobody new gets into, because the whole server goes.
    """

    def __init__(
        self, listeners: Iterable[socket.socket], unwatch: Callable[[int], object] | None = None
    ) -> None:
        """``unwatch``: how to wait at a descriptor no more."""
        self.open = {sock.fileno(): sock for sock in listeners}
        self.sealed: set[int] = set()
        self._unwatch = unwatch

    def waiting(self) -> dict[int, bool]:
        """The open ones, and whether somebody waits there."""
        fds = tuple(self.open)
        waiting = listening.readable(fds)
        return {fd: fd in waiting for fd in fds}

    def seal(self) -> None:
        """Let those that are ours end with who is in them; leave the others to who lent them."""
        for fd, listener in tuple(self.open.items()):
            if listening.is_lent(listener):
                self.shut(fd)
            elif fd not in self.sealed and listening.seal(listener):
                self.sealed.add(fd)

    def note_empty(self, fd: int) -> None:
        """Nobody was there. Of a sealed unix socket no event will ever say so again."""
        listener = self.open.get(fd)
        if listener is not None and fd in self.sealed and listener.family == socket.AF_UNIX:
            self.shut(fd)

    def shut(self, fd: int) -> None:
        """Take from it no more; an event that was on its way may still be acted on."""
        listener = self.open.pop(fd, None)
        if listener is not None:
            if self._unwatch is not None:
                self._unwatch(fd)
            listening.let_go(listener)
