"""Three parsers under one interface: bytes in, requests and an end out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from pretune.server.http11.http1 import Reader, body_of
from pretune.server.http11.refused import Refused

OPEN = "open"  # ready for the next request
CLOSED = "closed"  # by the last request's own wish
WAITS = "waits"  # in the middle of a request
REFUSED = "refused"
UPGRADED = "upgraded"  # what follows is no HTTP, or so this parser thinks


@dataclass
class Result:
    requests: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)  # method, target, body
    end: str = OPEN
    why: str = ""
    begun: tuple[bytes, bytes] | None = None  # method and target of a request whose body lacks


def ours(parts: list[bytes]) -> Result:
    result, reader, buffer = Result(), Reader(), b""
    body: Any = None
    got: list[bytes] = []
    try:
        for part in parts:
            buffer += part
            while True:
                if body is None:
                    request, buffer = reader.take(buffer)
                    if request is None:
                        break
                    result.begun = request.method.encode(), request.target.encode()
                    body, got = body_of(request), []
                piece, buffer = body.feed(buffer)
                got.append(piece)
                if not body.done:
                    break
                assert result.begun is not None
                result.requests.append((*result.begun, b"".join(got)))
                result.begun = body = None
                if not request.keep_alive:
                    result.end = CLOSED
                    return result
    except Refused as refused:
        result.end, result.why = REFUSED, str(refused)
        return result
    result.end = WAITS if buffer or body is not None else OPEN
    return result


def by_h11(data: bytes) -> Result:
    result = Result()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    body = b""
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                result.end = (
                    WAITS
                    if connection.their_state is h11.SEND_BODY or connection.trailing_data[0]
                    else OPEN
                )
                return result
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                result.end = (
                    UPGRADED if connection.their_state is h11.MIGHT_SWITCH_PROTOCOL else CLOSED
                )
                return result
            if isinstance(event, h11.Request):
                result.begun, body = (event.method, event.target), b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert result.begun is not None
                result.requests.append((*result.begun, body))
                result.begun = None
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if (
                    connection.our_state is h11.MUST_CLOSE
                    or connection.their_state is h11.MUST_CLOSE
                ):
                    result.end = CLOSED
                    return result
                connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        result.end, result.why = REFUSED, str(error)
    except h11.LocalProtocolError as error:  # a wish of the request that h11's answer cannot meet
        result.end, result.why = CLOSED, str(error)
    return result


class _Listener:
    def __init__(self) -> None:
        self.result = Result()
        self.parser = httptools.HttpRequestParser(self)
        self.target = self.body = b""
        self.closed = False

    def on_message_begin(self) -> None:
        self.target = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_headers_complete(self) -> None:
        self.result.begun = self.parser.get_method(), self.target

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        assert self.result.begun is not None
        if not self.closed:
            self.result.requests.append((*self.result.begun, self.body))
        self.result.begun = None
        self.closed = self.closed or not self.parser.should_keep_alive()


def by_httptools(data: bytes) -> Result:
    listener = _Listener()
    result = listener.result
    try:
        listener.parser.feed_data(data)
        result.end = CLOSED if listener.closed else WAITS if result.begun else OPEN
    except httptools.HttpParserUpgrade:
        result.end = UPGRADED
    except httptools.HttpParserError as error:
        result.end, result.why = (CLOSED, "") if listener.closed else (REFUSED, str(error))
    return result


ORACLES = {"h11": by_h11, "httptools": by_httptools}
