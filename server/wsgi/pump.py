"""Streamed responses whose client is slower than the app.

What the socket does not take is kept (``buffers.Rest``), and the app goes on. The pump, run by a
thread that serves nothing, sends it on when the client has read: the app may be silent for a while
just then, and what it has said must not wait for what it says next. Only when there is no room for
more does the app's thread wait for the client. Whoever takes too little is given up, whether a
thread waits for it or not.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from pretune.server.clock import Clock
from pretune.server.wsgi.buffers import Rest


class Gone(Exception):
    """The client is gone, or too slow."""


class Backlog:
    """The bytes that one client is behind with. The app's thread adds, the pump takes; both hold
    the lock.
    """

    def __init__(
        self, pump: Pump, sock: socket.socket, rest: Rest, wait: Callable[[float], None]
    ) -> None:
        """``wait`` holds the thread until the client takes more, or for so many seconds."""
        self._pump = pump
        self._sock = sock
        self._rest = rest
        self._wait = wait
        self._lock = threading.Lock()
        self._gone = False
        self._closed = False
        pump.register(sock.fileno(), self)

    def add(self, data: bytes | memoryview) -> None:
        """Send it after what is there, now or later. Raises Gone."""
        with self._lock:
            if not self._rest and not self._gone:
                self._rest.restart()
        while True:
            with self._lock:
                if self._gone:
                    raise Gone
                if not self._rest:
                    data = memoryview(data)[self._send_at_once(data) :]
                    if not data:
                        return
                if self._rest.add(data):
                    self._pump.register(self._sock.fileno(), self)
                    return
                if self._rest.overdue(Clock.monotonic()):
                    self._give_up()
                    raise Gone
            self._wait(self._rest.deadline - Clock.monotonic())
            self.flush()

    def _send_at_once(self, data: bytes | memoryview) -> int:
        """Raises Gone."""
        try:
            return self._rest.send_at_once(data)
        except OSError:
            self._give_up()
            raise Gone from None

    def flush(self) -> None:
        """Send what the client takes now.

        The pump may come late, when the rest is another's already.
        """
        with self._lock:
            if self._closed:
                return
            if self._rest and not self._gone:
                try:
                    self._rest.send()
                except BlockingIOError:
                    pass
                except (OSError, EOFError):
                    self._give_up()
            if not self._rest:
                self._pump.unregister(self._sock.fileno())

    def sweep(self, now: float) -> None:
        """Give up a client that takes too little."""
        with self._lock:
            if self._closed or self._gone:
                return
            if self._rest and self._rest.overdue(now):
                self._give_up()

    def _give_up(self) -> None:
        self._gone = True
        self._pump.unregister(self._sock.fileno())
        self._rest.close()
        with suppress(OSError):  # it may have gone by itself
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> Rest:
        """Hand back what is left; the pump lets go of it. Raises Gone."""
        with self._lock:
            self._closed = True
            self._pump.unregister(self._sock.fileno())
            if self._gone:
                self._rest.close()
                raise Gone
            return self._rest


class Pump:
    """All backlogs of a worker. ``epoll`` becomes readable when ``run`` has something to do."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._backlogs: dict[int, Backlog] = {}

    def register(self, fd: int, backlog: Backlog) -> None:
        if fd not in self._backlogs:
            self._backlogs[fd] = backlog
            self.epoll.register(fd, select.EPOLLOUT)

    def unregister(self, fd: int) -> None:
        if self._backlogs.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def run(self) -> None:
        """Send on what clients have made room for."""
        for fd, _ in self.epoll.poll(0, 64):
            backlog = self._backlogs.get(fd)
            if backlog is not None:
                backlog.flush()

    def sweep(self, now: float) -> None:
        """Give up clients that take too little."""
        for backlog in tuple(self._backlogs.values()):
            backlog.sweep(now)
