"""A client's connection in a threaded worker: buffers, and where it stands between requests.

Its socket never blocks. Between requests, and while a head, a small body or the rest of a response
is on its way, it is parked in the worker's epoll and holds no thread.
"""

from __future__ import annotations

import io
import os
import select
import socket
from collections.abc import Callable

from pretune.server.http1 import ChunkedBody, FixedBody, Request, body_of

# What a parked connection waits for.
HEAD = 0  # a request
BODY = 1  # the rest of a body
FLUSH = 2  # the client to take the rest of a response
LINGER = 3  # the client to close; what it still sends is thrown away

CHUNK = 65536
MAX_BUFFERED_BODY = 1 << 20  # a body up to this is read before a thread is taken
PATIENCE = 30.0  # s without progress after which a slow client is given up


class Gone(Exception):
    """The client is gone, or too slow."""


class Connection:
    """State of one client connection. One thread at a time touches it."""

    __slots__ = (
        "address", "body", "buffer", "closing", "deadline", "fd", "on_wait", "out", "parts",
        "peer", "phase", "registered", "request", "served", "size", "sock", "started", "trusted",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, address: int, peer: tuple[str, str], trusted: bool):
        self.sock = sock
        self.fd = sock.fileno()
        self.address = address  # number of the listening address it came through
        self.peer = peer
        self.trusted = trusted
        self.phase = HEAD
        self.buffer = b""
        self.out: bytes | memoryview = b""
        self.closing = False  # after FLUSH
        self.deadline = 0.0
        self.registered = False  # in the worker's epoll
        self.served = 0  # responses
        self.started = 0  # `served` when the bytes of the next request began to come
        self.request: Request | None = None
        self.body: FixedBody | ChunkedBody | None = None
        self.parts: list[bytes] = []
        self.size = 0
        self.on_wait: Callable[[bool], None] | None = None

    def read(self) -> bool:
        """Take what is there; False if nothing is yet. Raises Gone."""
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        self.buffer = self.buffer + data if self.buffer else data
        return True

    def expect_body(self, request: Request) -> None:
        self.request = request
        self.body = body_of(request)
        self.parts = []
        self.size = 0
        self.phase = BODY
        if request.expects and not self.buffer:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n", last=True)

    def collect(self) -> bool:
        """Move the buffer into the body; True once a thread should be taken for it."""
        assert self.body is not None
        part, self.buffer = self.body.feed(self.buffer)
        if part:
            self.parts.append(part)
            self.size += len(part)
        return self.body.done or self.size >= MAX_BUFFERED_BODY

    def input(self) -> io.BufferedIOBase:
        """The body as ``wsgi.input``."""
        if self.body is None or self.body.done:
            return io.BytesIO(b"".join(self.parts))
        return io.BufferedReader(_Rest(self), CHUNK)

    def send(self, data: bytes, *, last: bool = False) -> None:
        """See wsgi.Sink. Raises Gone."""
        if self.out:
            data, self.out = bytes(self.out) + data, b""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise Gone from None
        if sent == len(data):
            return
        view = memoryview(data)[sent:]
        if last:
            self.out = view
            return
        while view:
            self.wait(select.POLLOUT)
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                continue
            except OSError:
                raise Gone from None

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """See wsgi.Sink. Raises Gone."""
        if self.out:
            self.send(b"")
        copied = 0
        while copied < count:
            try:
                n = os.sendfile(self.fd, fd, offset + copied, count - copied)
            except BlockingIOError:
                self.wait(select.POLLOUT)
                continue
            except OSError:
                raise Gone from None
            if not n:
                break  # the file shrank
            copied += n
        return copied

    def flush(self) -> bool:
        """Send what was left; False while some still is. Raises Gone."""
        try:
            self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            return False
        except OSError:
            raise Gone from None
        return not self.out

    def wait(self, event: int) -> None:
        """Hold the thread until the client moves. Raises Gone after PATIENCE."""
        poll = select.poll()
        poll.register(self.fd, event)
        if self.on_wait is not None:
            self.on_wait(True)
        try:
            if not poll.poll(PATIENCE * 1000):
                raise Gone
        finally:
            if self.on_wait is not None:
                self.on_wait(False)

    def reset_request(self) -> None:
        self.request = self.body = None
        if self.parts:
            self.parts = []
        self.phase = HEAD

    def close(self) -> None:
        self.sock.close()


class _Rest(io.RawIOBase):
    """A long body: what was collected, then what still comes, the thread waiting for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready = b"".join(connection.parts)
        connection.parts = []

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        connection = self._connection
        body = connection.body
        assert body is not None
        while not self._ready and not body.done:
            if not connection.buffer and not connection.read():
                connection.wait(select.POLLIN)
                continue
            self._ready, connection.buffer = body.feed(connection.buffer)
        part = self._ready[: len(target)]
        target[: len(part)] = part
        self._ready = self._ready[len(part) :]
        return len(part)
