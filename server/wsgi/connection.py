"""A client's connection in a WSGI worker: buffers, and where it stands between requests.

Its socket never blocks. Between requests, and while a head, a body or the rest of a response is on
its way, it is parked in the worker's epoll and holds no thread. A response that the app is still
making goes through a backlog when the client is slow (``pump``), and holds a thread only when there
is no room for more.
"""

from __future__ import annotations

import io
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from pretune.server.clock import Clock
from pretune.server.http11.bodies import ChunkedBody, FixedBody
from pretune.server.http11.http1 import Reader, Request, body_of
from pretune.server.http11.limits import Limits
from pretune.server.workers import draining, limits
from pretune.server.workers.silence import unheard
from pretune.server.wsgi.buffers import Body, Rest, Room
from pretune.server.wsgi.pump import Backlog, Gone, Pump

# What a parked connection waits for.
HEAD = 0  # a request
BODY = 1  # the rest of a body
FLUSH = 2  # the client to take the rest of a response
LINGER = 3  # the client to close; what it still sends is thrown away

CHUNK = 65536
LONG_CHUNK = 4 * CHUNK  # of a body of which as much is still to come

_DEFAULT_LIMITS = Limits()


class Connection:
    """State of one client connection. One thread at a time touches it."""

    lasting = True  # of all: until the worker leaves

    __slots__ = (
        "address", "backlog", "body", "buffer", "chunk", "closing", "coming", "deadline", "ended",
        "environ", "fd", "fields", "mask", "more", "on_wait", "peer", "phase", "preamble", "pump",
        "reader", "recv", "repeated", "request", "rest", "room", "served", "sock", "started", "tcp",
        "trusted", "welcomed", "whole",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        address: int,
        peer: tuple[str, str],
        trusted: bool,
        room: Room,
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
        self.room = room
        self.pump = pump  # None: a slow reader of a stream is waited for
        self.backlog: Backlog | None = None  # of the response being made
        self.phase = HEAD
        self.buffer = b""
        self.chunk = CHUNK  # bytes read at once
        self.rest: Rest | None = None  # of a response that is complete
        self.closing = False  # after FLUSH
        self.deadline = 0.0
        self.welcomed = 0.0  # when it came to this worker
        self.ended = 0.0  # when the last response was
        self.mask = 0  # as registered in the worker's epoll; 0: not, or for nothing
        self.more = False  # the last read may have left something, and no event will say so
        self.served = 0  # responses
        self.started = 0  # `served` when the bytes of the next request began to come
        self.request: Request | None = None
        self.body: FixedBody | ChunkedBody | None = None
        self.coming: Body | None = None  # the same, as long as some of it is missing, and after
        self.whole = b""  # a body that came at once
        self.on_wait: Callable[[bool], None] | None = None

    def read(self) -> bool:
        """Take what is there; False if nothing is yet. Raises Gone."""
        try:
            data = self.recv(self.chunk)
        except BlockingIOError:
            self.more = False
            return False
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        # Events come for new bytes only: a full read may have left some of the old ones, and the
        # end may have been told already. Then only a read that finds nothing settles it.
        self.more = self.more or len(data) == self.chunk
        self.buffer = self.buffer + data if self.buffer else data
        return True

    def expect_body(self, request: Request) -> None:
        """Raises Refused."""
        self.request = request
        self.body = body_of(request)
        self.phase = BODY
        self.deadline = Clock.monotonic() + limits.BODY_PATIENCE
        if not self.buffer:
            self.coming = Body(self.room, request.length)
            if request.expects:
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n", last=True)

    def collect(self) -> bool:
        """Move the buffer into the body; True once it is whole. Raises Refused."""
        body = self.body
        assert body is not None
        part, self.buffer = body.feed(self.buffer)
        if self.coming is None:
            if body.done:
                self.whole = part
                return True
            assert self.request is not None
            self.coming = Body(self.room, self.request.length)
        if part:
            self.coming.add(part)
        # No more than the body has: what follows it waits in the kernel.
        self.chunk = LONG_CHUNK if type(body) is FixedBody and body.left >= LONG_CHUNK else CHUNK
        if body.done:
            return True
        self.deadline = limits.extend_body(self.deadline, len(part), Clock.monotonic())
        return False

    def input(self) -> BinaryIO:
        """The body as ``wsgi.input``."""
        return io.BytesIO(self.whole) if self.coming is None else self.coming.input()

    # -- sending

    def send(self, data: bytes, *, last: bool = False) -> None:
        """See environ.Sink. Raises Gone."""
        if self.backlog is not None:
            self.backlog.add(data)
            return
        rest = self.rest
        if rest is None:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                raise Gone from None
            if sent == len(data):
                return
            rest = self.rest = Rest(self.room, self.sock)
            view = memoryview(data)[sent:]
        else:  # of an interim response
            view = memoryview(data)
        if last and rest.add(view, whole=True):
            return
        if last or self.pump is None:
            self._push(rest, view, whole=not last)
        else:
            self.rest = None
            self.backlog = Backlog(self.pump, self.sock, rest, self._wait)
            self.backlog.add(view)

    def _push(self, rest: Rest, view: memoryview, *, whole: bool) -> None:
        """Wait for the client until there is room for it, or the ``whole`` is sent. Raises Gone."""
        kept = rest.add(view, whole=True)
        while not kept or (rest and whole):
            try:
                if rest:
                    rest.send()
                    kept = kept or rest.add(view, whole=True)
                elif sent := rest.send_at_once(view):
                    view = view[sent:]
                    kept = not view
                else:
                    raise BlockingIOError
            except BlockingIOError:
                now = Clock.monotonic()
                if rest.overdue(now):
                    raise Gone from None
                self._wait(rest.deadline - now)
            except (OSError, EOFError):
                raise Gone from None
        if not rest:
            self._close_rest()

    def leave_to_flush(self) -> None:
        """The response is complete: what the client is behind with is left to FLUSH. Raises Gone"""
        if self.backlog is not None:
            backlog, self.backlog = self.backlog, None
            self.rest = backlog.close()
        if self.rest is not None and not self.rest:
            self._close_rest()

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """See environ.Sink. Raises Gone."""
        self.leave_to_flush()
        end = offset + count
        while self.rest is None and offset < end:
            try:
                sent = os.sendfile(self.fd, fd, offset, end - offset)
            except BlockingIOError:
                self.rest = Rest(self.room, self.sock)
                break
            except OSError:
                raise Gone from None
            if not sent:
                return count - (end - offset)  # the file shrank
            offset += sent
        if self.rest is not None and offset < end:
            self.rest.add_file(fd, offset, end - offset)
        return count

    def flush(self) -> bool:
        """Send what was left; False while some still is. Raises Gone."""
        rest = self.rest
        try:
            while rest:
                rest.send()
        except BlockingIOError:
            assert rest is not None
            self.deadline = rest.deadline
            return False
        except (OSError, EOFError):
            raise Gone from None  # if a file shrank, the client must see that it is not whole
        self._close_rest()
        return True

    def _close_rest(self) -> None:
        if self.rest is not None:
            self.rest.close()
            self.rest = None

    def _wait(self, seconds: float) -> None:
        """Hold the thread until the client takes more, or for so long."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        if self.on_wait is not None:
            self.on_wait(True)
        try:
            poll.poll(max(0.0, seconds) * 1000 + 1)
        finally:
            if self.on_wait is not None:
                self.on_wait(False)

    # -- between requests

    def overdue(self, now: float) -> bool:
        """Return whether its client, for whom nobody waits, has had its time."""
        if now <= self.deadline:
            return False
        rest = self.rest
        if rest is None or self.phase != FLUSH:
            return True
        late = rest.overdue(now)
        self.deadline = rest.deadline
        return late

    def given_up(self, now: float) -> bool:
        """Return whether it is overdue, and nothing of what it owes waits in the kernel.

        What does has come while all threads, or the hub, were busy: that is no delay of the client.
        """
        if not self.overdue(now):
            return False
        return self.phase not in (HEAD, BODY) or bool(unheard([self]))

    def idles(self, now: float) -> bool:
        """Return whether it is between two requests, or its first one does not come."""
        return (
            self.phase == HEAD
            and not self.buffer
            and self.sock.fileno() >= 0
            and (self.served > 0 or now > self.welcomed + draining.GRACE)
        )

    def is_silent(self, now: float, grace: float) -> bool:
        """Return whether it has said nothing, or not all of a head, ``grace`` s after it could."""
        return self.phase == HEAD and now > max(self.ended, self.welcomed) + grace

    def reset_request(self) -> None:
        """After a request that was more than a head."""
        self.request = self.body = None
        self.whole = b""
        if self.coming is not None:
            self.coming.close()
            self.coming = None
        self.phase = HEAD

    def forget_response(self) -> None:
        """The client is gone: what it has not taken is nobody's."""
        if self.backlog is not None:
            backlog, self.backlog = self.backlog, None
            with suppress(Gone):
                self.rest = backlog.close()
        self._close_rest()

    def close(self) -> None:
        self.forget_response()
        self.reset_request()
        self.sock.close()
