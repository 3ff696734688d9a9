"""Streamed responses whose client is slower than the app.

What the socket does not take is kept, up to HELD bytes, and the app goes on. The pump, run by a
thread that serves nothing, sends it on when the client has read: the app may be silent for a while
just then, and what it has said must not wait for what it says next. Beyond HELD the app's thread
waits for the client, as long as ``Connection.wait`` allows. So a slow reader of a stream shorter
than HELD holds no thread at all.
"""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING

from pretune.server.wsgi.connection import Gone

if TYPE_CHECKING:
    from pretune.server.wsgi.connection import Connection

HELD = 1 << 20  # bytes of one response


class Backlog:
    """What one client is behind with. The app's thread adds, the pump takes; both hold the lock."""

    def __init__(self, pump: Pump, connection: Connection, rest: bytes) -> None:
        self._pump = pump
        self._connection = connection
        self._lock = threading.Lock()
        self._rest = bytearray(rest)
        self._gone = False
        pump.register(connection.fd, self)

    def add(self, data: bytes) -> None:
        """Raises Gone."""
        with self._lock:
            self._rest += data
            if len(data) and len(self._rest) == len(data):
                self._send()  # the client has caught up
                if self._rest:
                    self._pump.register(self._connection.fd, self)
        while len(self._rest) > HELD and not self._gone:
            self._connection.wait(select.POLLOUT)
            self.flush()
        if self._gone:
            raise Gone

    def flush(self) -> None:
        """Send what the client takes now."""
        with self._lock:
            if self._rest:
                self._send()
            if not self._rest or self._gone:
                self._pump.unregister(self._connection.fd)

    def _send(self) -> None:
        try:
            sent = self._connection.sock.send(self._rest)
        except BlockingIOError:
            return
        except OSError:
            self._gone = True
            self._rest.clear()
            return
        del self._rest[:sent]
        self._connection.size += sent

    def close(self) -> bytes:
        """What is left; the pump lets go of it. Raises Gone."""
        with self._lock:
            self._pump.unregister(self._connection.fd)
            if self._gone:
                raise Gone
            return bytes(self._rest)


class Pump:
    """All backlogs of a worker. ``epoll`` becomes readable when ``run`` has something to do."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._backlogs: dict[int, Backlog] = {}

    def backlog(self, connection: Connection, rest: bytes) -> Backlog:
        return Backlog(self, connection, rest)

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
