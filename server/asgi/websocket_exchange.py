"""ASGI over WebSocket: one connection from its handshake to its close.

The handshake is the request: it is what is recorded, logged and counted towards ``max_requests``,
with the status the client was told (101, or a denial) and the time until then. What the connection
costs afterwards belongs to no request.

A client may send faster than the app takes, and in a compressed message a thousand times more than
comes over the wire. So frames are taken out of what was read one message at a time, and no more of
them while enough is waiting; the worker bounds what all its connections hold (message_memory).

The server pings a client that has been silent, and gives it up only when it stays silent: any byte
is a sign of life, and while we ourselves do not read, or the loop stands still, no time passes for
the client. A client that takes nothing of what we send is given up after SEND_PATIENCE.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from http import HTTPStatus
from sys import getsizeof
from typing import Any
from urllib.parse import unquote

from pretune.server.asgi import messages
from pretune.server.asgi.call import Call, ClientGone, Host
from pretune.server.asgi.transport import HIGH_WATER, Wire, wait_in
from pretune.server.clock import Clock
from pretune.server.http11 import deflate, websocket
from pretune.server.http11.http1 import Request
from pretune.server.http11.response import Head, raw_lines, refusal
from pretune.server.http11.websocket import Closed, Pinged, Ponged, Violation
from pretune.server.workers import limits

SWEEPS_TO_PING = 40  # of SWEEP s without a byte from the client: 20 s ...
SWEEPS_TO_END = 120  # ... and 60 s; sweeps, not seconds: a loop that stood still made none
CLOSE_PATIENCE = 10.0  # s for the client to answer our close
MOST_MESSAGES = 1024  # the app has not taken, before reading stops

# States. OPENING until the app has decided; CLOSING once our close frame is sent; OVER when
# nothing will be sent any more.
OPENING, DENYING, OPEN, CLOSING, OVER = range(5)

_OURS = frozenset(
    (b"connection", b"upgrade", b"sec-websocket-accept", b"sec-websocket-extensions",
     b"sec-websocket-protocol", b"content-length", b"transfer-encoding")
)  # fmt: skip
_LINES = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t -~\x80-\xff]*\r\n)*")


class SocketProtocol(Wire, Call):
    """One connection and the one call of the app that serves it."""

    def __init__(
        self,
        worker: Host,
        before: Wire,
        request: Request,
        scheme: str,
        client: tuple[str, int] | None,
        early: bytes,
    ) -> None:
        """Goes on where ``before`` has read the handshake, and ``early`` behind it."""
        Wire.__init__(self)
        Call.__init__(self, worker, request, scheme, client)
        self.transport = before.transport
        self.sock = before.sock
        self.server = before.server
        self.served = 1
        self.quiet = before.quiet
        self.state = OPENING
        self.deadline = 0.0  # in CLOSING and OVER
        self._connected = False  # the app has taken the first of its messages
        # Not as messages for the app yet: those are large beside what most carry.
        self._inbox: deque[str | bytes] = deque()
        self._waiting = 0  # bytes of memory it takes
        self._more = False  # the reader may hold whole messages, for which there was no room
        self._counted = False  # in the worker's sum of what is held
        self._disconnect: dict[str, Any] | None = None
        self._receivers: list[asyncio.Future[None]] = []
        self._offered = websocket.subprotocols(request.shared)
        self._agreement = deflate.agree(request.shared.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", ""))
        most = worker.context.config.limits.message
        self._reader = websocket.Reader(limit=most or websocket.ANY_SIZE)
        self._early = early  # frames before the app has decided
        self._reading = True
        self._silent = 0  # sweeps without a byte
        self._denial: Any = None
        self._denied: Head | None = None

    def launch(self) -> None:
        super().launch()
        self._regulate()  # much may have come behind the handshake

    # -- asyncio's calls

    def connection_lost(self, error: Exception | None) -> None:
        self.worker.lost(self)
        self._disconnected(websocket.ABNORMAL)
        self.state = OVER
        self._discard()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        if self.state in (OPENING, DENYING):
            self._early += data
            self._regulate()
        elif self.state != OVER:
            self._feed(data)

    def eof_received(self) -> bool:
        return False  # a WebSocket knows no half-closed state: RFC 6455 section 7.1.1

    def pause_writing(self) -> None:
        super().pause_writing()
        self._regulate()  # or a client could make us hold any number of pongs

    def resume_writing(self) -> None:
        super().resume_writing()
        self._regulate()

    # -- what the client says

    def _feed(self, data: bytes) -> None:
        """Take frames as far as there is room for messages; the reader keeps the rest."""
        pongs = []
        self._more = False
        try:
            for event in self._reader.feed(data):
                if isinstance(event, Pinged):
                    pongs.append(websocket.frame(websocket.PONG, event.payload))
                elif isinstance(event, Closed):
                    self.write(b"".join(pongs))
                    self._on_close(event)
                    return
                elif self.state == OPEN and not isinstance(event, Ponged):
                    self._inbox.append(event)
                    self._waiting += getsizeof(event)
                    self._tell()
                    if self._full:
                        self._more = True
                        break
        except Violation as violation:
            self.write(b"".join(pongs))
            self._end(violation.code, str(violation))
            self._hang_up()
            return
        if pongs and self.state == OPEN:
            self.write(b"".join(pongs))
        self._count()
        self._regulate()

    @property
    def _full(self) -> bool:
        """Return whether more than enough waits for the app."""
        return self._waiting > HIGH_WATER or len(self._inbox) >= MOST_MESSAGES

    def _count(self) -> None:
        """Tell the worker what is held for this client, if it is much."""
        size = self._waiting + self._reader.waiting
        if size > HIGH_WATER or self._counted:
            self._counted = size > HIGH_WATER
            self.worker.messages.hold(self, size if self._counted else 0)

    def _discard(self) -> None:
        """Nothing more will be read: what is not whole never will be."""
        self._reader.discard()
        self._early = b""
        self._more = False
        self._count()

    def shed(self) -> None:
        """The worker holds too much, and most of it for this client."""
        self._inbox.clear()
        self._waiting = 0
        self._counted = False
        self._reader.discard()
        self._end(1009, "the server holds too many messages")
        self._hang_up()

    def _on_close(self, event: Closed) -> None:
        if self.state == OPEN:
            # The same code back: RFC 6455 section 5.5.1.
            self._end(event.code, event.reason, answer=True)
        self._hang_up()

    def _end(self, code: int, reason: str = "", *, answer: bool = False) -> None:
        """Send our close frame. The app hears of it as of the client's."""
        if self.state != OPEN:
            return
        self.state = CLOSING
        self.deadline = Clock.monotonic() + CLOSE_PATIENCE
        self.write(websocket.close_frame(code, "" if answer else reason))
        self._disconnected(code, reason)

    def _hang_up(self) -> None:
        """The server closes first: RFC 6455 section 7.1.1. What the client still sends is lost."""
        if self.state == OVER:
            return
        self.state = OVER
        self.deadline = Clock.monotonic() + limits.LINGER
        self._discard()
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()
        self.shut_sending()

    def _disconnected(self, code: int, reason: str = "") -> None:
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._tell()

    def _tell(self) -> None:
        receivers, self._receivers = self._receivers, []
        for receiver in receivers:
            if not receiver.done():
                receiver.set_result(None)

    def _regulate(self) -> None:
        """Read as fast as the app takes and the client is answered, not faster."""
        full = not self.writable or self._full or self._more or len(self._early) > HIGH_WATER
        if self.state == OVER or self.transport.is_closing() or full != self._reading:
            return
        self._reading = not full
        if full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    # -- the worker's calls

    def go_away(self) -> None:
        """The worker leaves: the client should open another connection."""
        if self.state == OPEN:
            self._end(websocket.GOING_AWAY)

    def expire(self, now: float) -> None:
        if self.stuck(now):
            self.transport.abort()
        elif self.state >= CLOSING:
            if self.state == OVER and not self._shut and self.shut_sending():
                self.deadline = now + limits.LINGER
            if now >= self.deadline and not self.transport.is_closing():
                self.transport.abort() if self.state == CLOSING else self.transport.close()
        elif self.state == OPEN and self._reading:
            self._silent += 1
            if self._silent == SWEEPS_TO_PING:
                self.write(websocket.frame(websocket.PING))
            elif self._silent > SWEEPS_TO_END:
                self.transport.abort()

    # -- the app

    def _scope(self) -> dict[str, Any]:
        request, path = self.request, self.request.path
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if self.scheme == "https" else "ws",
            "path": unquote(path) if "%" in path else path,
            "raw_path": path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "root_path": "",
            "headers": request.headers(),
            "client": self.client,
            "server": self.server,
            "subprotocols": list(self._offered),
            "state": self.worker.state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    async def _run(self) -> None:
        try:
            await self.call(self._scope(), self.receive, self.send)
            if self.state == OPENING and not self._lost:
                self._fail("the application returned without answering the handshake")
            elif self.state == DENYING and not self._lost:
                self._fail("the application returned without a whole response")
            self._end(1000)
        except BaseException as error:
            fault = self.fault(error, self._lost)
            if fault is not None:
                self._fail(fault)
        finally:
            try:
                if not self.ended:
                    self.ended = Clock.monotonic()
                    self.finish()
            finally:
                self.worker.sockets.discard(self)
                self._inbox.clear()
                self._waiting = 0
                self._make_room()
                if self.state in (OPENING, DENYING):
                    self.transport.abort()  # cut short: the client must see it is not whole

    @property
    def _lost(self) -> bool:
        """Return whether nobody is there any more."""
        return self._disconnect is not None or self.transport.is_closing()

    def _fail(self, text: str) -> None:
        path = self.request.path
        self.worker.context.log.error(f"error handling WebSocket {path}\n{text}")
        if self.state in (OPENING, DENYING):
            if not self._lost and self._denied is None:
                self._answer(500, refusal(500))
                self._hang_up()
        else:
            self._end(websocket.FAILED)

    def _answer(self, status: int, data: bytes) -> None:
        """The handshake is decided: this is the end of the request."""
        self.status, self.sent = status, len(data)
        self.ended = Clock.monotonic()
        self.write(data)
        self.worker.sockets.add(self)
        self.finish()

    async def receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while True:
            if self._inbox:
                event = self._inbox.popleft()
                self._waiting -= getsizeof(event)
                if not self._reading or self._counted:
                    self._make_room()
                kind = "text" if isinstance(event, str) else "bytes"
                return {"type": "websocket.receive", kind: event}
            if self._disconnect is not None:
                return self._disconnect.copy()
            await wait_in(self._receivers, self.worker.loop)

    def _make_room(self) -> None:
        """The app has taken something, or will take nothing more."""
        if self._more and not self._full:
            self._feed(b"")
        else:
            self._count()
            self._regulate()

    async def send(self, message: Any) -> None:
        kind = messages.kind_of(message)
        allowed = _ALLOWED[self.state]
        if kind not in allowed:
            if self._disconnect is not None or self.state >= CLOSING:
                raise ClientGone(f"{kind} after the WebSocket was closed")
            raise RuntimeError(
                f"unexpected message {kind!r}, this should be {' or '.join(allowed)}"
            )
        if self._lost:
            raise ClientGone("the client is gone")
        getattr(self, allowed[kind])(message)
        await self.drain(len(message.get("bytes") or message.get("text") or ""))

    def _accept(self, message: Any) -> None:
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self._offered:
            raise ValueError(f"the client has not offered the subprotocol {subprotocol!r}")
        headers = messages.headers_of(message)
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        if _LINES.fullmatch(lines) is None or lines.count(b"\r\n") != len(headers):
            raise ValueError("malformed header")
        for name, _ in headers:
            if name.lower() in _OURS:
                raise ValueError(f"{name.decode('latin-1')} is the server's to send")
        if self._agreement is not None:
            self._reader.codec = deflate.Codec(self._agreement)
        self.state = OPEN
        key = self.request.shared["HTTP_SEC_WEBSOCKET_KEY"]
        extension = str(self._agreement) if self._agreement is not None else None
        self._answer(101, websocket.opening(key, subprotocol, extension, headers))
        if self.worker.leaving is not None:
            self.go_away()
        early, self._early = self._early, b""
        if early:
            self._feed(early)
        self._regulate()

    def _send(self, message: Any) -> None:
        text, data = message.get("text"), message.get("bytes")
        if (text is None) == (data is None):
            raise ValueError("websocket.send takes either text or bytes")
        opcode = websocket.TEXT if data is None else websocket.BINARY
        if data is None:
            payload = messages.expect(message, "text", str).encode()
        else:
            payload = data if type(data) is bytes else messages.bytes_of(message, "bytes")
        codec = self._reader.codec
        compressed = codec is not None and len(payload) >= deflate.SMALLEST
        if compressed:
            assert codec is not None
            payload = codec.deflate(payload)
        self.write(websocket.frame(opcode, payload, compressed=compressed))

    def _close(self, message: Any) -> None:
        code, reason = message.get("code", 1000), message.get("reason") or ""
        if not (isinstance(code, int) and websocket.may_stand(code)):
            raise ValueError(f"{code!r} cannot be sent as the code of a close")
        self._end(code, reason and messages.expect(message, "reason", str))

    def _reject(self, message: Any) -> None:
        """Closed before it was accepted: 403, as the specification says."""
        self._answer(403, refusal(403))
        self._disconnected(websocket.ABNORMAL)
        self._hang_up()

    def _deny(self, message: Any) -> None:
        status = messages.expect(message, "status", int)
        if not 200 <= status <= 599:
            raise ValueError(f"{status} does not deny a WebSocket")
        messages.headers_of(message)
        self._denial = message
        self.state = DENYING

    def _deny_body(self, message: Any) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if type(body) is not bytes:
            body = messages.bytes_of(message, "body")
        data = b""
        if self._denied is None:
            status = self._denial["status"]
            self._denied = Head(
                f"{status} {HTTPStatus(status).phrase}",
                self._denial.get("headers", ()),
                method="GET",
                minor=1,
                keep_alive=False,
                length=None if more else len(body),
                known=raw_lines,
            )
            data = self._denied.data
        if self._denied.chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body += b"" if more else b"0\r\n\r\n"
        self.sent += len(data) + len(body)
        if more:
            self.write(data + body)
            return
        sent = self.sent
        self._answer(self._denied.status, data + body)
        self.sent = sent
        self._disconnected(websocket.ABNORMAL)
        self._hang_up()


# state -> what the app may send then, and what does it
_ALLOWED: dict[int, dict[str, str]] = {
    OPENING: {
        "websocket.accept": "_accept",
        "websocket.close": "_reject",
        "websocket.http.response.start": "_deny",
    },
    DENYING: {"websocket.http.response.body": "_deny_body"},
    OPEN: {"websocket.send": "_send", "websocket.close": "_close"},
    CLOSING: {},
    OVER: {},
}
