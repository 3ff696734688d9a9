"""ASGI over HTTP: one request with its response, from the scope to the last byte.

``receive`` and ``send`` follow the HTTP part of ASGI's specification, version 2.3: the app hears
``http.disconnect`` when the client is gone or the response is complete, and its call is never
cancelled for that. What it sends to a client that is gone is dropped; only an endless stream hears
of it by an exception, or it would never end.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pretune.server.asgi.metering import Call
from pretune.server.http11.http1 import Request
from pretune.server.http11.response import Head, interim, raw_lines, refusal
from pretune.server.process.importing import user_traceback

if TYPE_CHECKING:
    from pretune.server.asgi.protocol import HttpProtocol

_PHRASES = {int(status): f"{int(status)} {status.phrase}" for status in HTTPStatus}
_EMPTY: tuple[Any, ...] = ()


class ClientGone(OSError):
    """Nobody is there any more to send to."""


class Exchange(Call):
    """One call of the app."""

    __slots__ = (
        "_gone", "_left", "_parts", "_start", "_told_whole", "_waiters", "_whole", "answered",
        "expects", "head", "protocol", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        protocol: HttpProtocol,
        request: Request,
        scheme: str,
        client: tuple[str, int] | None,
    ) -> None:
        super().__init__(protocol.worker, request, scheme, client)
        self.protocol = protocol
        self.head: Head | None = None
        self.answered = False  # the response is complete
        self.waiting = 0  # bytes of body the app has not taken
        self.expects = request.expects  # the client waits for a 100
        self._parts: list[bytes] = []
        self._whole = request.length == 0
        self._told_whole = False
        self._gone = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._start: Any = None
        self._left: int | None = None

    # -- the connection's calls

    def take(self, part: bytes, whole: bool) -> None:
        """More of the body came."""
        if part:
            self._parts.append(part)
            self.waiting += len(part)
            self.expects = False
        self._whole = whole
        if self._waiters is not None:
            self._wake()

    def disconnected(self) -> None:
        self._gone = True
        if self._waiters is not None:
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    async def _news(self) -> None:
        waiter = self.worker.loop.create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        await waiter

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
            self._failed(error)
        finally:
            if not self.answered:
                self.answered = True
                self.ended = time.monotonic()
                self.protocol.over(self)
            self.finish()

    @property
    def _lost(self) -> bool:
        """Whether nobody is there for an answer."""
        return self._gone or self.protocol.transport.is_closing()

    def _failed(self, error: BaseException) -> None:
        if self._lost and caused_by_leaving(error):
            return
        if isinstance(error, asyncio.CancelledError) and self.worker.leaving is not None:
            self._fail("not finished within the graceful timeout")
        else:
            self._fail(user_traceback(error))

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
        if not self._told_whole:
            if self.expects and not self._parts:
                self.expects = False
                self.protocol.invite()
            while not self._parts and not self._whole and not self._gone and not self.answered:
                await self._news()
            if self._parts or (self._whole and not self._gone):
                parts = self._parts
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                self._parts = []
                self.waiting = 0
                self._told_whole = self._whole
                self.protocol.regulate()
                return {"type": "http.request", "body": body, "more_body": not self._whole}
        while not self._gone and not self.answered:
            await self._news()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            if self._start is None:
                raise RuntimeError("http.response.body came before http.response.start")
            body, more = message.get("body", b""), message.get("more_body", False)
            # A transport that has failed says so at once, but calls connection_lost only when the
            # app lets the loop run: an app that streams without a pause never would.
            if self.answered or self._gone or self.protocol.transport.is_closing():
                if more and not self.answered:
                    self._gone = True
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
            self._hint(message["links"])
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
            self.ended = time.monotonic()
            if self._waiters is not None:
                self._wake()
            # Less than was said: only the end of the connection can say so.
            self.protocol.answered(head.keep_alive and not self._left, self.ended)

    def _hint(self, links: Any) -> None:
        """What the client may fetch while it waits: RFC 8297, and ASGI's extension of that name."""
        if self._start is None and self.request.minor and not self._lost:
            fields = [("Link", link.decode("latin-1")) for link in links]
            self.protocol.transport.write(interim("103 Early Hints", fields))

    def _begin(self, length: int | None) -> Head:
        start, request = self._start, self.request
        status = start["status"]
        head = Head(
            _PHRASES.get(status) or f"{status} ",
            start.get("headers", _EMPTY),
            request.method,
            request.minor,
            request.keep_alive and self.worker.keepalive > 0 and not self.expects,
            length,
            raw_lines,
        )
        self.status = head.status
        self._left = None if head.bodiless else head.length
        return head


def caused_by_leaving(error: BaseException | None) -> bool:
    """Whether an exception comes from our saying that the client is gone."""
    pending, seen = [error], set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        if isinstance(each, ClientGone):
            return True
        seen.add(id(each))
        pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return False
