"""ASGI over HTTP: a connection as an asyncio protocol, and one request with its response on it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pretune.server.http1 import Refused, Request, body_of, parse_head, take_head
from pretune.server.importing import user_traceback
from pretune.server.metering import Metered
from pretune.server.probes.account import Account, current
from pretune.server.response import Head, refusal

if TYPE_CHECKING:
    from pretune.server.asgi import AsgiWorker

HIGH_WATER = 65536  # bytes of a body, or of further requests, held before reading stops
HEAD_PATIENCE = 10.0  # s a client may take over a request's head
BODY_PATIENCE = 30.0  # s without progress after which a body is given up
LINGER = 2.0  # s for a client to see a refusal before the connection is reset


class HttpProtocol(asyncio.Protocol):
    """One client connection. Requests are served one after the other, also when pipelined."""

    def __init__(self, worker: AsgiWorker, server: tuple[str, int | None]) -> None:
        self.worker = worker
        self.server = server
        self.client: tuple[str, int] | None = None
        self.transport: Any = None
        self.trusted = False
        self.buffer = b""
        self.exchange: Exchange | None = None
        self.body: Any = None
        self.deadline = time.monotonic() + HEAD_PATIENCE
        self.lingering = False
        self.served = 0
        self._writable: asyncio.Event | None = None
        self._reading = True

    # -- asyncio's calls

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.client = (peer[0], peer[1])
        self.trusted = self.worker.context.trusts(self.client[0] if self.client else "")
        self.worker.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.worker.connections.discard(self)
        self.worker.accept_again()
        if self.exchange is not None:
            self.exchange.disconnected()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            return
        self.buffer = self.buffer + data if self.buffer else data
        try:
            self.advance()
        except Refused as refused:
            self.refuse(refused)

    def eof_received(self) -> bool:
        return False  # close: half-closed clients are rare, and dead ones look the same

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    # -- requests

    def advance(self) -> None:
        """Take from the buffer what can be used now. Raises Refused."""
        if self.exchange is None:
            began = time.thread_time() if self.worker.context.ring is not None else 0.0
            head, self.buffer = take_head(self.buffer)
            if head is None:
                return
            self._open(parse_head(head), began)
        exchange = self.exchange
        if exchange is not None and not self.body.done:
            part, self.buffer = self.body.feed(self.buffer)
            self.deadline = time.monotonic() + BODY_PATIENCE
            exchange.take(part, self.body.done)
        self.regulate()

    def regulate(self) -> None:
        """Stop reading while more than enough is waiting."""
        waiting = len(self.buffer) + (self.exchange.waiting if self.exchange is not None else 0)
        if self._reading and self.exchange is not None and waiting > HIGH_WATER:
            self.transport.pause_reading()
            self._reading = False
        elif not self._reading and waiting <= HIGH_WATER:
            self._reading = True
            self.transport.resume_reading()

    def _open(self, request: Request, began: float) -> None:
        self.body = body_of(request)
        self.exchange = exchange = Exchange(self, request)
        exchange.start(began)
        self.deadline = time.monotonic() + BODY_PATIENCE

    def finished(self, keep_alive: bool) -> None:
        """The exchange is over: the app returned and the response is complete, or never will be."""
        self.exchange = None
        self.served += 1
        if self.transport.is_closing():
            return
        if not keep_alive:
            self.transport.close()
        elif not self.body.done:
            # The app did not want the rest of the body; reading it to the end may take forever.
            self.linger()
        else:
            self.deadline = time.monotonic() + self.worker.promised
            if self.buffer:
                # Not from within the ending task: a pipelined flood would nest without end.
                asyncio.get_running_loop().call_soon(self._next)
            else:
                self.regulate()

    def _next(self) -> None:
        if self.exchange is None and not self.transport.is_closing():
            self.data_received(b"")

    def refuse(self, refused: Refused) -> None:
        if self.exchange is not None:  # in its body: what was begun cannot be answered twice
            self.exchange.disconnected()
            if self.exchange.head is not None:
                self.transport.close()
                return
            self.exchange.answered = True
        self.transport.write(refusal(refused.status, str(refused)))
        self.linger()

    def linger(self) -> None:
        """Close, but not over bytes still coming: that would reset what we just said."""
        self.lingering = True
        self.buffer = b""
        self.deadline = time.monotonic() + LINGER
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    @property
    def idle(self) -> bool:
        return self.exchange is None and not self.buffer and not self.lingering

    def expire(self, now: float) -> None:
        """Close if the client has kept us waiting for too long."""
        if now < self.deadline or (self.exchange is not None and self.body.done):
            return
        if self.buffer and self.exchange is None and not self.lingering:
            self.transport.write(refusal(408))
        if self.exchange is None or not self.lingering:
            self.transport.close()

    async def drain(self) -> None:
        if self._writable is not None:
            await self._writable.wait()


class Exchange:
    """One request and its response: the scope, receive and send of one call of the app."""

    def __init__(self, protocol: HttpProtocol, request: Request) -> None:
        self.protocol = protocol
        self.worker = protocol.worker
        self.request = request
        self.head: Head | None = None
        self.answered = False  # the response is complete
        self.waiting = 0  # bytes of body the app has not taken
        self.sent = 0
        self.status = 0
        self.ended = 0.0  # when the last byte was handed over
        self._parts: deque[bytes] = deque()
        self._whole = request.length == 0
        self._gone = False
        self._news = asyncio.Event()
        self._start: dict[str, Any] | None = None
        self._left: int | None = None
        self._expects = request.expects

    # -- the connection's calls

    def start(self, began: float) -> None:
        """Create the app's task; ``began`` is the thread's clock before the head was parsed."""
        worker = self.worker
        self.began = time.monotonic()
        self.account = Account()
        worker.inflight += 1
        self.inflight = worker.inflight
        loop = asyncio.get_running_loop()
        if worker.context.ring is None:
            worker.hold(loop.create_task(self._run(self._scope())))
            return
        endpoint = self.request.fields.pop("HTTP_X_PRETUNE_ENDPOINT", "")
        self.endpoint = int(endpoint) if endpoint.isdigit() and len(endpoint) < 10 else 0
        token = current.set(self.account)
        worker.hold(loop.create_task(Metered(self._run(self._scope()), self.account)))
        current.reset(token)
        spent = time.thread_time() - began
        self.account.cpu += spent

    def take(self, part: bytes, whole: bool) -> None:
        """More of the body came."""
        if part:
            self._parts.append(part)
            self.waiting += len(part)
        self._whole = whole
        self._news.set()

    def disconnected(self) -> None:
        self._gone = True
        self._news.set()

    # -- the app

    def _scope(self) -> dict[str, Any]:
        request, protocol = self.request, self.protocol
        scheme = "http"
        if protocol.trusted and (
            request.fields.get("HTTP_X_FORWARDED_PROTO", "").lower() == "https"
        ):
            scheme = "https"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": f"1.{request.minor}",
            "method": request.method,
            "scheme": scheme,
            "path": unquote(request.path) if "%" in request.path else request.path,
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "root_path": "",
            "headers": request.headers(),
            "client": protocol.client,
            "server": protocol.server,
            "state": dict(self.worker.state),
        }

    async def _run(self, scope: dict[str, Any]) -> None:
        protocol, keep_alive = self.protocol, False
        try:
            await self.worker.app(scope, self.receive, self.send)
            if not self.answered and not self._gone:
                self._fail("the application returned without a whole response")
            keep_alive = self.head is not None and self.head.keep_alive and not self._left
        except asyncio.CancelledError:
            if not self.worker.leaving:
                raise
        except BaseException as error:
            self._fail(user_traceback(error))
        finally:
            if not self.ended:
                self.ended = time.monotonic()
            self.worker.inflight -= 1
            self.worker.finished(self)
            protocol.finished(keep_alive)

    def _fail(self, text: str) -> None:
        line = f"{self.request.method} {self.request.path}"
        self.worker.context.log.error(f"error handling {line}\n{text}")
        if self.head is None and not self._gone and not self.answered:
            self.status = 500
            self.protocol.transport.write(refusal(500, method=self.request.method))
        elif not self.answered:
            self.protocol.transport.abort()  # cut short: the client must see it is not whole

    async def receive(self) -> dict[str, Any]:
        """The next part of the body, or the disconnect."""
        if self._expects and not self._parts and not self._whole:
            self._expects = False
            self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self._parts and not self._whole and not self._gone:
            self._news.clear()
            await self._news.wait()
        if self._parts or (self._whole and not self._gone and not self._told_whole):
            body = b"".join(self._parts)
            self._parts.clear()
            self.waiting = 0
            self._told_whole = self._whole
            self.protocol.regulate()
            return {"type": "http.request", "body": body, "more_body": not self._whole}
        while not self._gone and not self.answered:
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    _told_whole = False

    async def send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("http.response.start was sent twice")
            self._start = message
        elif kind == "http.response.body":
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected message {kind!r}")

    async def _send_body(self, body: bytes, more: bool) -> None:
        if self._start is None:
            raise RuntimeError("http.response.body came before http.response.start")
        if self.answered or self._gone:
            return
        data = b"" if self.head is not None else self._begin(None if more else len(body))
        head = self.head
        assert head is not None
        if head.bodiless:
            body = b""
        elif head.chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self._left is not None:
            body = body[: self._left]
            self._left -= len(body)
        data += body
        if data:
            self.protocol.transport.write(data)
            self.sent += len(data)
        if not more:
            self.answered = True
            self.ended = time.monotonic()
            self._news.set()
            if self._left:  # less than was said: only the end can say so
                self.protocol.transport.close()
        else:
            await self.protocol.drain()

    def _begin(self, length: int | None) -> bytes:
        assert self._start is not None
        status = self._start["status"]
        self.head = head = Head(
            f"{status} {_phrase(status)}",
            [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self._start.get("headers", ())
            ],
            method=self.request.method,
            minor=self.request.minor,
            keep_alive=self.request.keep_alive and self.worker.keepalive > 0,
            length=length,
        )
        self.status = head.status
        self._left = None if head.bodiless else head.length
        return head.data


def _phrase(status: int) -> str:
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
