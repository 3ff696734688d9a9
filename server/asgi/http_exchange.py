"""ASGI over HTTP: one request with its response, from the scope to the last byte.

``receive`` and ``send`` follow the HTTP part of ASGI's specification, version 2.3: the app hears
``http.disconnect`` when the client is gone or the response is complete, and its call is never
cancelled for that. What it sends to a client that is gone is dropped; only an endless stream hears
of it by an exception, or it would never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

from pretune.server.asgi import messages
from pretune.server.asgi.call import Call, ClientGone, Host
from pretune.server.asgi.transport import wait_in
from pretune.server.clock import Clock
from pretune.server.http11.http1 import Request
from pretune.server.http11.response import Head, interim, raw_lines, refusal

PIECES = 64  # of a body the app has not taken; more are joined, or tiny ones would fill the memory

_PHRASES = {int(status): f"{int(status)} {status.phrase}" for status in HTTPStatus}
_EMPTY: tuple[Any, ...] = ()


class Connection(Protocol):
    """The client's connection, as an exchange sees it."""

    @property
    def worker(self) -> Host: ...

    @property
    def transport(self) -> Any: ...

    @property
    def server(self) -> tuple[str, int | None]: ...

    def write(self, data: bytes) -> None: ...

    async def drain(self, size: int) -> None: ...

    def regulate(self) -> None: ...

    def invite(self) -> None: ...

    def answered(self, keep_alive: bool, now: float) -> None: ...

    def over(self, exchange: Exchange) -> None: ...


class Exchange(Call):
    """One call of the app."""

    __slots__ = (
        "_delivered",
        "_left",
        "_parts",
        "_start",
        "_waiters",
        "_whole",
        "answered",
        "expects",
        "gone",
        "head",
        "protocol",
        "waiting",
    )  # fmt: skip

    def __init__(
        self,
        protocol: Connection,
        request: Request,
        scheme: str,
        client: tuple[str, int] | None,
    ) -> None:
        super().__init__(protocol.worker, request, scheme, client)
        self.protocol = protocol
        self.head: Head | None = None
        self.answered = False  # the response is complete
        self.gone = False  # nobody is there for it
        self.waiting = 0  # bytes of body the app has not taken
        self.expects = request.expects  # the client waits for a 100
        self._parts: list[bytes] = []
        self._whole = request.length == 0
        self._delivered = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._start: Any = None
        self._left: int | None = None

    # -- the connection's calls

    def take(self, part: bytes, whole: bool) -> None:
        """More of the body came."""
        if part:
            parts = self._parts
            parts.append(part)
            if len(parts) > PIECES:
                parts[:] = [b"".join(parts)]
            self.waiting += len(part)
            self.expects = False
        self._whole = whole
        if self._waiters is not None:
            self._wake()

    def disconnected(self) -> None:
        self.gone = True
        if self._waiters is not None:
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    async def _news(self) -> None:
        if self._waiters is None:
            self._waiters = []
        await wait_in(self._waiters, self.worker.loop)

    # -- the app

    def _scope(self) -> dict[str, Any]:
        request, protocol = self.request, self.protocol
        path = request.path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1" if request.minor else "1.0",
            "method": request.method,
            "scheme": self.scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "root_path": "",
            "headers": request.headers(),
            "client": self.client,
            "server": protocol.server,
            "state": self.worker.state.copy(),
            "extensions": {"http.response.early_hint": {}},
        }

    async def _run(self) -> None:
        try:
            await self.call(self._scope(), self.receive, self.send)
            if not self.answered and not self._lost:
                self._fail("the application returned without a whole response")
        except BaseException as error:
            fault = self.fault(error, self._lost)
            if fault is not None:
                self._fail(fault)
        finally:
            try:
                if not self.answered:
                    self.answered = True
                    self.ended = Clock.monotonic()
                    self.protocol.over(self)
            finally:
                self.finish()

    @property
    def _lost(self) -> bool:
        """Return whether nobody is there for an answer."""
        return self.gone or self.protocol.transport.is_closing()

    def _fail(self, text: str) -> None:
        request, transport = self.request, self.protocol.transport
        self.worker.context.log.error(f"error handling {request.method} {request.path}\n{text}")
        if self.answered or self._lost:
            return
        if self.head is None:
            self.status = 500
            data = refusal(500, method=request.method)
            self.sent = len(data)
            transport.write(data)
        else:
            transport.abort()  # cut short: the client must see it is not whole

    @property
    def headers(self) -> list[tuple[str, str]]:
        headers = self._start.get("headers", _EMPTY) if self._start is not None else _EMPTY
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]

    async def receive(self) -> dict[str, Any]:
        """The next part of the body, or the disconnect."""
        if not self._delivered:
            if self.expects and not self._parts and not self.answered:
                self.expects = False
                self.protocol.invite()
            while not self._parts and not self._whole and not self.gone and not self.answered:
                await self._news()
            if self._parts or (self._whole and not self.gone):
                parts = self._parts
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                self._parts = []
                self.waiting = 0
                self._delivered = self._whole
                self.protocol.regulate()
                return {"type": "http.request", "body": body, "more_body": not self._whole}
        while not self.gone and not self.answered:
            await self._news()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Raises TypeError for what is no message, ClientGone to whom streams to nobody."""
        try:
            kind = message["type"]
        except (TypeError, KeyError):
            kind = messages.kind_of(message)
        if kind == "http.response.body":
            if self._start is None:
                raise RuntimeError("http.response.body came before http.response.start")
            body, more = message.get("body", b""), message.get("more_body", False)
            if type(body) is not bytes:
                body = messages.bytes_of(message, "body")
            # A transport that has failed says so at once, but calls connection_lost only when the
            # app lets the loop run: an app that streams without a pause never would.
            if self.answered or self.gone or self.protocol.transport.is_closing():
                if more and (self.gone or not self.answered):
                    self.gone = True
                    raise ClientGone("the client is gone")
                return
            self._send_body(body, more)
            if more:
                await self.protocol.drain(len(body))
        elif kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("http.response.start was sent twice")
            self._start = message
        elif kind == "http.response.early_hint":
            self._hint(message)
        else:
            raise RuntimeError(f"unexpected message {kind!r}")

    def _send_body(self, body: bytes, more: bool) -> None:
        if self.head is None:
            # Together with the first of the body: one write, and a length if this is all of it.
            self.head = head = self._begin(None if more else len(body))
            data = head.data
        else:
            head, data = self.head, b""
        if head.bodiless:
            body = b""
        elif head.chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self._left is not None:
            body = body[: self._left] if len(body) > self._left else body
            self._left -= len(body)
        data += body
        if data:
            self.sent += len(data)
            self.protocol.transport.write(data)
        if not more:
            self.answered = True
            self.ended = Clock.monotonic()
            if self._waiters is not None:
                self._wake()
            # Less than was said: only the end of the connection can say so.
            self.protocol.answered(head.keep_alive and not self._left, self.ended)

    def _hint(self, message: Any) -> None:
        """Send what the client may fetch while it waits: RFC 8297, and ASGI's extension of that
        name.
        """
        fields = []
        for link in messages.expect(message, "links", Iterable):
            if not isinstance(link, bytes):
                raise TypeError(f"http.response.early_hint: a link must be bytes, not {link!r}")
            fields.append(("Link", link.decode("latin-1")))
        if self._start is None and self.request.minor and not self._lost:
            self.protocol.write(interim("103 Early Hints", fields))

    def _begin(self, length: int | None) -> Head:
        """Raises ValueError, TypeError."""
        start, request = self._start, self.request
        try:
            status = _PHRASES[start["status"]]
        except (KeyError, TypeError):
            status = f"{messages.expect(start, 'status', int)} "
        try:
            head = Head(
                status,
                start.get("headers", _EMPTY),
                request.method,
                request.minor,
                request.keep_alive and self.worker.keepalive > 0 and not self.expects,
                length,
                raw_lines,
            )
        except (TypeError, ValueError):
            messages.headers_of(start)  # which may know better what is wrong
            raise
        self.status = head.status
        self._left = None if head.bodiless else head.length
        return head
