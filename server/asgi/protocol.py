"""A client's connection to an ASGI worker, as an asyncio protocol.

Requests are served one after the other, also when pipelined. A connection is free for the next
request as soon as the response is complete; what the app still does then (background tasks) holds
nobody up.

A client that has said all it will say (half-closed) is answered. It cannot be told from one that
is gone: only the fate of what we send tells. So the app hears of a disconnect when the kernel does,
or HALF_CLOSED sweeps after the end of the client's words unless the client has taken what was
sent since. (Sweeps, not seconds: a loop that stood still made none, and sent nothing.)
"""

from __future__ import annotations

import math
import select
import socket
from typing import Any

from pretune.server.asgi.call import Host
from pretune.server.asgi.http_exchange import Exchange
from pretune.server.asgi.transport import HIGH_WATER, Wire
from pretune.server.clock import Clock
from pretune.server.http11 import proxy_protocol
from pretune.server.http11.forwarded import client_of, scheme_of
from pretune.server.http11.http1 import Reader, Request, body_of
from pretune.server.http11.refused import Refused
from pretune.server.http11.response import refusal
from pretune.server.http11.websocket import check_opening
from pretune.server.process.sockets import unacknowledged
from pretune.server.telemetry import COARSE, queued
from pretune.server.workers import limits
from pretune.server.workers.silence import unheard

HALF_CLOSED = 4  # sweeps after which a silent half-closed client counts as gone: 2 s

# Fields that belong to a refusal.
_SAYS = {426: b"\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"}


class HttpProtocol(Wire):
    """One client connection."""

    def __init__(self, worker: Host, sock: socket.socket, server: tuple[str, int | None]) -> None:
        super().__init__()
        self.worker = worker
        self.sock = sock
        self._answered = 0.0  # when the last response was complete
        self.quiet = Clock.monotonic()  # since when it idles
        self.server = server
        self.client: tuple[str, int] | None = None
        self.trusted = False
        self.buffer = b""
        self.reader = Reader(worker.context.config.limits)
        self.exchange: Exchange | None = None  # whose response is not complete
        self.body: Any = None  # of the latest request; None: without, or complete
        self.deadline = self.quiet + limits.HEAD_PATIENCE
        self.lingering = False
        self.served = 0
        self._begun = False  # some of a head has come
        self._droppable = 0  # bytes of a body nobody wants that may still come
        self._ended = False  # the client has half-closed
        self._idle_sweeps = 0  # sweeps since then, or since it has last taken anything
        self._sent_before = 0
        self._reading = True
        self._proxied = worker.context.config.proxy_protocol  # its header is still to come

    # -- asyncio's calls

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.worker.connections[self] = None
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.client = (peer[0], peer[1])
        self.trusted = self.worker.trust.covers(self._peer)

    def connection_lost(self, error: Exception | None) -> None:
        self.worker.lost(self)
        if self.exchange is not None:
            self.exchange.disconnected()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            return
        self.buffer = self.buffer + data if self.buffer else data
        try:
            if self.body is not None:
                self._take_body()
            elif self.exchange is None and self.writable:
                self._take_head()
        except Refused as refused:
            self.refuse(refused)
        if len(self.buffer) > HIGH_WATER:
            self.regulate()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.exchange is None and (self.buffer or self._ended):
            # Requests that came while the client did not take the answers to earlier ones.
            self.worker.loop.call_soon(self._next)

    def eof_received(self) -> bool:
        """Return whether to keep the connection: if an answer is still due."""
        exchange = self.exchange
        if self.body is not None or (exchange is None and (self._begun or not self.buffer)):
            return False
        self._ended = True
        self._sent_before = exchange.sent if exchange is not None else 0
        return True

    # -- requests

    def _take_head(self) -> None:
        """Serve the next request of the buffer if it is whole. Raises Refused."""
        if self._proxied and not self._take_addresses():
            return
        request, self.buffer = self.reader.take(self.buffer)
        if request is None:
            if self._ended:
                self.transport.close()
            elif not self._begun and self.buffer:
                self._begun = True
                self.deadline = Clock.monotonic() + limits.HEAD_PATIENCE
            return
        self._begun = False
        scheme, client = "http", self.client
        if self.trusted:
            scheme = scheme_of(request.shared, True)
            if "HTTP_X_FORWARDED_FOR" in request.shared:
                client = client_of(request.shared, client, self.worker.trust)
        if request.upgrade == "websocket":
            self._change(request, scheme, client)
            return
        self.exchange = exchange = Exchange(self, request, scheme, client)
        if request.length != 0:
            self.body = body_of(request)
            self.deadline = Clock.monotonic() + limits.BODY_PATIENCE
            if self.buffer:
                self._take_body()
        exchange.begin(self._queue())
        exchange.launch()

    def _queue(self) -> float:
        """Return how long the request has waited for the loop, for the record; s, NaN: unknown."""
        if self.worker.meter is None or self.sock.family == socket.AF_UNIX:
            return math.nan
        if Clock.monotonic() - self._answered < COARSE:
            return 0.0  # it cannot have come before the last answer went
        return queued(self.sock)

    def _take_addresses(self) -> bool:
        """The PROXY header, before the first request; False while it is not whole."""
        proxy_protocol.allowed(self.worker.proxy_trust, self._peer)
        if not self.buffer:
            return False
        addresses, self.buffer = proxy_protocol.take(self.buffer)
        if addresses is None:
            return False
        self._proxied = False
        self.client = addresses.source or self.client
        self.server = addresses.target or self.server
        self.trusted = self.worker.trust.covers(self._peer)
        return True

    @property
    def _peer(self) -> str:
        """The client's address for a Trust: "" is the peer of a unix socket."""
        if self.client is not None:
            return self.client[0]
        return "" if self.sock.family == socket.AF_UNIX else "unknown"  # it has reset already

    def _take_body(self) -> None:
        """Hand on what has come of the body. Raises Refused."""
        size = len(self.buffer)
        part, self.buffer = self.body.feed(self.buffer)
        done = self.body.done
        if done:
            self.body = None
        else:
            self.deadline = limits.extend_body(self.deadline, size, Clock.monotonic())
        exchange = self.exchange
        if exchange is not None:
            exchange.take(part, done)
            if exchange.waiting > HIGH_WATER:
                self.regulate()
        elif done:
            self._idle(Clock.monotonic())
        elif not self._may_drop(len(part)):
            self.linger()

    def regulate(self) -> None:
        """Stop reading while more than enough is waiting, unless it is a head still unfinished."""
        waiting = len(self.buffer) + (self.exchange.waiting if self.exchange is not None else 0)
        full = waiting > HIGH_WATER and not self._begun
        if full and self._reading:
            self._reading = False
            self.transport.pause_reading()
        elif not full and not self._reading:
            self._reading = True
            if self.body is not None:
                self.deadline = Clock.monotonic() + limits.BODY_PATIENCE
            if not self._ended:
                self.transport.resume_reading()

    def answered(self, keep_alive: bool, now: float) -> None:
        """The response is complete, or never will be."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        self.served += 1
        if self._behind is not None:
            self._behind.given += exchange.sent
        self._answered = now
        if self.transport.is_closing():
            return
        if self.body is not None:
            length = exchange.request.length
            self._droppable = HIGH_WATER
            if keep_alive and not exchange.expects and self._may_drop(length or 0):
                self.deadline = now + limits.BODY_PATIENCE
                if not self._reading:
                    self.regulate()
            else:
                self.linger()
        elif not keep_alive:
            if self.buffer:
                self.linger()
            else:
                self.transport.close()
        else:
            self._idle(now)

    def over(self, exchange: Exchange) -> None:
        """The app returned, and the response is not whole."""
        if self.exchange is exchange:
            self.answered(False, exchange.ended)

    def invite(self) -> None:
        """The app wants the body of a client that asked first: RFC 9110 section 10.1.1."""
        self.deadline = Clock.monotonic() + limits.BODY_PATIENCE
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _may_drop(self, size: int) -> bool:
        """A short rest that nobody wants is read and dropped; a long one may take forever."""
        self._droppable -= size
        return self._droppable >= 0

    def _idle(self, now: float) -> None:
        self.quiet = now
        self.worker.idles(self)
        self.deadline = now + self.worker.promised
        if self.worker.paused:
            self.worker.resume_accepting()  # there is somebody now who can make room
        if self.buffer or self._ended:
            # Not from within the ending task: a pipelined flood would nest without end.
            self.worker.loop.call_soon(self._next)
        elif not self._reading:
            self.regulate()

    def _next(self) -> None:
        if self.exchange is None and self.body is None and not self.transport.is_closing():
            self.data_received(b"")
            if not self._reading:
                self.regulate()

    def _change(self, request: Request, scheme: str, client: tuple[str, int] | None) -> None:
        """Go on as a WebSocket. Raises Refused."""
        check_opening(request.method, request.length, request.shared)
        early, self.buffer = self.buffer, b""  # frames before the app has decided
        self.worker.change_protocol(self, request, scheme, client, early, self._queue())

    # -- ends

    def refuse(self, refused: Refused) -> None:
        exchange, self.exchange, self.body = self.exchange, None, None
        if exchange is not None:  # in its body: what was begun cannot be answered twice
            exchange.disconnected()
            if self._behind is not None:
                self._behind.given += exchange.sent
            if exchange.head is not None:
                self.transport.close()
                return
            exchange.answered = True
            exchange.status = refused.status
            exchange.ended = Clock.monotonic()
        head, _, rest = refusal(refused.status, str(refused)).partition(b"\r\n")
        self.write(head + _SAYS.get(refused.status, b"") + b"\r\n" + rest)
        self.linger()

    def linger(self) -> None:
        """Close, but not over bytes still coming: that would reset what we just said."""
        self.lingering = True
        self.buffer, self.body = b"", None
        self.deadline = Clock.monotonic() + limits.LINGER
        if self._ended:
            self.transport.close()
            return
        self.shut_sending()
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    @property
    def idle(self) -> bool:
        """True where nothing is lost if it is closed now."""
        return (
            self.exchange is None and self.body is None and not self.buffer and not self.lingering
        )

    def is_silent(self, now: float, grace: float) -> bool:
        """Return whether it has said nothing, or not all of a head, ``grace`` s after it could."""
        return (
            self.exchange is None
            and self.body is None
            and (self._begun or not self.buffer)
            and now > self.quiet + grace
            and not self.transport.is_closing()
        )

    def expire(self, now: float) -> None:
        """Close if the client has kept us waiting for too long."""
        exchange = self.exchange
        if self.stuck(now, exchange.sent if exchange is not None else 0):
            self.transport.abort()
            return
        if self.lingering and not self._shut and self.shut_sending():
            self.deadline = now + limits.LINGER
        if exchange is not None:
            if self._ended:
                self._expire_half_closed(exchange)
            # While we do not read, or the client waits for a 100, no time passes for it.
            elif self._owes_body(exchange) and self._late(now):
                self.refuse(Refused(408, "the body came too slowly"))
        elif self._behind is None and not self.transport.is_closing() and self._late(now):
            if (self._begun or self.body is not None) and not self.lingering:
                self.write(refusal(408))
                self.transport.close()
            else:
                self.close_at_once()

    def _late(self, now: float) -> bool:
        """Return whether its time is up, and nothing of what it owes waits in the kernel.

        What does has come while the loop was busy: that is no delay of the client.
        """
        if now < self.deadline:
            return False
        if self.lingering or not self._reading or self.sock.fileno() < 0:
            return True
        return bool(unheard([self]))

    def _owes_body(self, exchange: Exchange) -> bool:
        return self.body is not None and self._reading and not exchange.expects

    def _expire_half_closed(self, exchange: Exchange) -> None:
        poll = select.poll()
        poll.register(self.sock.fileno(), 0)
        if poll.poll(0):  # the kernel knows: an error, or a hang-up
            self.transport.abort()
            return
        self._idle_sweeps += 1
        if exchange.sent > self._sent_before and not unacknowledged(self.sock.fileno()):
            # A closed socket would have answered with a reset.
            self._idle_sweeps, self._sent_before = 0, exchange.sent
        elif self._idle_sweeps > HALF_CLOSED:
            exchange.disconnected()
