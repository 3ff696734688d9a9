"""A client's connection in a WSGI worker: buffers, and where it stands between requests.

Its socket never blocks. Between requests, and while a head, a small body or the rest of a response
is on its way, it is parked in the worker's epoll and holds no thread. A response that the app is
still making goes through a backlog when the client is slow (``pump``), and holds a thread only
beyond that.

A thread that must wait for its client does so for SEND_PATIENCE at most, and for as long again as
what came or went would take at SEND_RATE: neither silence nor a byte now and then holds it long.
"""

from __future__ import annotations

import io
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pretune.server.http11.http1 import ChunkedBody, FixedBody, Reader, Request, body_of
from pretune.server.http11.limits import Limits
from pretune.server.workers import limits

if TYPE_CHECKING:
    from pretune.server.wsgi.pump import Backlog, Pump

# What a parked connection waits for.
HEAD = 0  # a request
BODY = 1  # the rest of a body
FLUSH = 2  # the client to take the rest of a response
LINGER = 3  # the client to close; what it still sends is thrown away

CHUNK = 65536
MAX_BUFFERED_BODY = 1 << 20  # a body up to this is read before a thread is taken

_DEFAULT_LIMITS = Limits()


class Gone(Exception):
    """The client is gone, or too slow."""


class Connection:
    """State of one client connection. One thread at a time touches it."""

    lasting = True  # of all: until the worker leaves

    __slots__ = (
        "address", "backlog", "body", "buffer", "closing", "deadline", "ended", "environ", "fd",
        "fields", "file", "mask", "more", "on_wait", "out", "parts", "peer", "phase", "preamble",
        "pump", "reader", "recv", "repeated", "request", "served", "size", "sock", "started", "tcp",
        "trusted", "waited",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        address: int,
        peer: tuple[str, str],
        trusted: bool,
        pump: Pump | None = None,
        request_limits: Limits = _DEFAULT_LIMITS,
    ) -> None:
        self.sock = sock
        self.recv = sock.recv
        self.fd = sock.fileno()
        self.tcp = sock.family != socket.AF_UNIX
        self.address = address  # number of the listening address it came through
        self.peer = peer
        self.trusted = trusted
        self.preamble = False  # a PROXY header comes first
        self.environ: dict[str, Any] | None = None  # what is the same in all its requests
        self.fields: dict[str, str] | None = None  # of the last request
        self.repeated: dict[str, Any] | None = None  # environ of a request with the same
        self.reader = Reader(request_limits)
        self.pump = pump  # None: a slow client is waited for
        self.backlog: Backlog | None = None  # of the response being made
        self.phase = HEAD
        self.buffer = b""
        self.out: bytes | memoryview = b""  # rest of a response that is complete
        self.file: tuple[int, int, int] | None = None  # the same: descriptor, offset, count
        self.closing = False  # after FLUSH
        self.deadline = 0.0
        self.ended = 0.0  # when the last response was
        self.mask = 0  # as registered in the worker's epoll; 0: not, or for nothing
        self.more = False  # the last read may have left something, and no event will say so
        self.served = 0  # responses
        self.started = 0  # `served` when the bytes of the next request began to come
        self.request: Request | None = None
        self.body: FixedBody | ChunkedBody | None = None
        self.parts: list[bytes] = []
        self.size = 0  # bytes of body, or of response, that went through for this request
        self.waited = 0.0  # s a thread has waited for the client in this request
        self.on_wait: Callable[[bool], None] | None = None

    def read(self) -> bool:
        """Take what is there; False if nothing is yet. Raises Gone."""
        try:
            data = self.recv(CHUNK)
        except BlockingIOError:
            self.more = False
            return False
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        # Events come for new bytes only: a full read may have left some of the old ones, and the
        # end may have been told already. Then only a read that finds nothing settles it.
        self.more = self.more or len(data) == CHUNK
        self.buffer = self.buffer + data if self.buffer else data
        return True

    def expect_body(self, request: Request) -> None:
        self.request = request
        self.body = body_of(request)
        self.parts = []
        self.phase = BODY
        self.deadline = time.monotonic() + limits.BODY_PATIENCE
        if request.expects and not self.buffer:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n", last=True)

    def collect(self) -> bool:
        """Move the buffer into the body; True once a thread should be taken for it."""
        assert self.body is not None
        part, self.buffer = self.body.feed(self.buffer)
        if part:
            self.parts.append(part)
            self.size += len(part)
        if self.body.done or self.size >= MAX_BUFFERED_BODY:
            return True
        self.deadline = limits.extend_body(self.deadline, len(part), time.monotonic())
        return False

    def input(self) -> io.BufferedIOBase:
        """The body as ``wsgi.input``."""
        body = self.body
        if body is None:
            return io.BytesIO()
        if body.done:
            return io.BytesIO(b"".join(self.parts))
        return io.BufferedReader(_Rest(self), CHUNK)

    # -- sending

    def send(self, data: bytes, *, last: bool = False) -> None:
        """See wsgi.Sink. Raises Gone."""
        if self.backlog is not None:
            self.backlog.add(data)
            return
        if self.out:  # an interim response did not fit
            data, self.out = bytes(self.out) + data, b""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise Gone from None
        if sent == len(data):
            return
        if last:
            self.out = memoryview(data)[sent:]
        elif self.pump is not None:
            self.backlog = self.pump.backlog(self, data[sent:])
        else:
            self._push(memoryview(data)[sent:])

    def _push(self, view: memoryview) -> None:
        while view:
            try:
                sent = self.sock.send(view)
            except BlockingIOError:
                self.wait(select.POLLOUT)
                continue
            except OSError:
                raise Gone from None
            self.size += sent
            view = view[sent:]

    def settle(self) -> None:
        """The response is complete: what the client is behind with is left to FLUSH. Raises Gone"""
        if self.backlog is not None:
            backlog, self.backlog = self.backlog, None
            self.out = memoryview(backlog.close())

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """See wsgi.Sink. Raises Gone."""
        self.settle()
        out, self.out = self.out, b""
        if out:
            self._push(memoryview(out))
        end = offset + count
        while offset < end:
            try:
                sent = os.sendfile(self.fd, fd, offset, end - offset)
            except BlockingIOError:
                if self.pump is None:
                    self.wait(select.POLLOUT)
                    continue
                # A descriptor of our own: the app will close its file.
                self.file = (os.dup(fd), offset, end - offset)
                return count
            except OSError:
                raise Gone from None
            if not sent:
                return count - (end - offset)  # the file shrank
            self.size += sent
            offset += sent
        return count

    def flush(self) -> bool:
        """Send what was left; False while some still is. Raises Gone."""
        try:
            if self.out:
                self.out = self.out[self.sock.send(self.out) :]
            if not self.out and self.file is not None:
                fd, offset, count = self.file
                sent = os.sendfile(self.fd, fd, offset, count)
                if not sent:
                    raise Gone  # the file shrank: the client must see that it is not whole
                self.file = (fd, offset + sent, count - sent)
                if sent == count:
                    os.close(fd)
                    self.file = None
        except BlockingIOError:
            return False
        except OSError:
            raise Gone from None
        return not self.out and self.file is None

    def wait(self, event: int) -> None:
        """Hold the thread until the client moves. Raises Gone when it is too slow."""
        most = limits.SEND_PATIENCE
        patience = min(most, most + self.size / limits.SEND_RATE - self.waited)
        poll = select.poll()
        poll.register(self.fd, event)
        if self.on_wait is not None:
            self.on_wait(True)
        began = time.monotonic()
        try:
            if patience <= 0 or not poll.poll(patience * 1000):
                raise Gone
        finally:
            self.waited += time.monotonic() - began
            if self.on_wait is not None:
                self.on_wait(False)

    def reset_request(self) -> None:
        """After a request that was more than a head, or whose client was slow."""
        self.request = self.body = None
        if self.parts:
            self.parts = []
        self.size = 0
        self.waited = 0.0
        self.phase = HEAD

    def close(self) -> None:
        if self.backlog is not None:
            with suppress(Gone):
                self.backlog.close()
        if self.file is not None:
            os.close(self.file[0])
            self.file = None
        self.sock.close()


class _Rest(io.RawIOBase):
    """A long body: what was collected, then what still comes, the thread waiting for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready = memoryview(b"".join(connection.parts))
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
            data, connection.buffer = body.feed(connection.buffer)
            connection.size += len(data)
            self._ready = memoryview(data)
        part = self._ready[: len(target)]
        target[: len(part)] = part
        self._ready = self._ready[len(part) :]
        return len(part)
