"""A client resets in the n-th call of its transport, for every n; and what apps say wrongly."""

from __future__ import annotations

import asyncio
import time

import pytest
from hosted import Errors, connect, new_worker, turn_over

from pretune.server.asgi import http_exchange
from pretune.server.asgi.lifespan import Lifespan
from pretune.server.process.importing import TargetBroken
from pretune.server.workers import limits

START = {"type": "http.response.start", "status": 200, "headers": []}
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def body(data: bytes, more: bool = False) -> dict:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(scope, receive, send):
    await send(START)
    await send(body(b"hello"))


async def read(scope, receive, send):
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await answer(scope, receive, send)


async def stream(scope, receive, send):
    await send(START)
    for _ in range(5):
        await send(body(bytes(30_000), True))
        await asyncio.sleep(0)
    await send(body(b""))


async def go_on(scope, receive, send):
    await answer(scope, receive, send)
    await asyncio.sleep(0)
    await receive()
    await receive()


async def raise_at_once(scope, receive, send):
    raise RuntimeError("the app is broken here")


async def raise_in_between(scope, receive, send):
    await send(START)
    await send(body(b"half", True))
    raise RuntimeError("the app is broken here")


async def raise_on_disconnect(scope, receive, send):
    class ClientDisconnect(Exception):
        """As Starlette's."""

    while (message := await receive())["type"] != "http.disconnect":
        if not message["more_body"]:
            await answer(scope, receive, send)
            return
    raise ClientDisconnect


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def reject(scope, receive, send):
    await send({"type": "websocket.close"})


async def deny(scope, receive, send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    for more in (True, True, False):
        await send({"type": "websocket.http.response.body", "body": b"no", "more_body": more})


async def accept_and_return(scope, receive, send):
    await send({"type": "websocket.accept"})


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nand a rest"
LONG = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n"
EXPECT = POST.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
WRONG = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n"
HTTP = [
    GET * 3,
    POST * 2 + GET,
    CHUNKED + GET,
    CLOSE,
    EXPECT,
    EXPECT[:-5],
    LONG + b"hello",
    WRONG,
    GET + b"\0",
]
HELLO, END = b"\x81\x85\0\0\0\0hello", b"\x88\x82\0\0\0\0\x03\xe8"
SOCKET = [
    UPGRADE + HELLO * 2 + b"\x89\x80\0\0\0\0" + END,
    UPGRADE + b"\xff",
    UPGRADE + HELLO,
    UPGRADE + b"\x01\x85\0\0\0\0hello" + END,
]
HEALTHY = (answer, read, stream, go_on, raise_on_disconnect)


async def visit(app, request: bytes, pieces: int, reset_at: int) -> int:
    """Send in so many pieces with a reset in that call; how many calls there were."""
    worker = new_worker(app)
    transport = connect(worker, reset_at=reset_at)
    size = len(request) // pieces + 1
    for start in range(0, len(request), size):
        if not transport.closing and transport.reading:
            transport.protocol.data_received(request[start : start + size])
            await turn_over(3)
    await turn_over()
    # A reset that no call has met is met by the next look at the socket.
    transport.abort()
    await turn_over()
    assert transport.lost
    assert not worker.calls
    assert not worker.sockets
    assert not worker.connections
    assert worker.messages.held == 0
    if app not in (raise_at_once, raise_in_between):
        assert worker.context.log.errors == []
    return transport.steps


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize("request_", HTTP, ids=range(len(HTTP)))
@pytest.mark.parametrize("app", [*HEALTHY, raise_at_once, raise_in_between])
def test_http(app, request_, pieces):
    async def every() -> None:
        for reset_at in range(await visit(app, request_, pieces, -1) + 1):
            await visit(app, request_, pieces, reset_at)

    asyncio.run(every())


@pytest.mark.parametrize("pieces", [1, 2, 40])
@pytest.mark.parametrize("request_", SOCKET, ids=range(len(SOCKET)))
@pytest.mark.parametrize("app", [echo, reject, deny, accept_and_return])
def test_websocket(app, request_, pieces):
    async def every() -> None:
        for reset_at in range(await visit(app, request_, pieces, -1) + 1):
            await visit(app, request_, pieces, reset_at)

    asyncio.run(every())


def run(app, request: bytes):
    """Answer and log of one request."""

    async def one():
        worker = new_worker(app)
        transport = connect(worker)
        transport.protocol.data_received(request)
        await turn_over()
        assert not worker.calls
        return transport.sent, "\n".join(worker.context.log.errors)

    return asyncio.run(one())


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([START, body("text")], "http.response.body: 'body' must be bytes, not str: 'text'"),
        ([START, body(None)], "'body' must be bytes, not NoneType"),
        ([START, body([b"x"])], "'body' must be bytes, not list"),
        ([{**START, "status": "200"}, body(b"")], "'status' must be int, not str: '200'"),
        ([{"type": START["type"]}, body(b"")], "'status' must be int, and is missing"),
        ([{**START, "status": [200]}, body(b"")], "'status' must be int, not list"),
        ([{**START, "headers": [("a", "b")]}, body(b"")], "two of bytes, not ('a', 'b')"),
        ([{**START, "headers": [b"ab: c"]}, body(b"")], "two of bytes, not b'ab: c'"),
        ([{**START, "headers": {"a": "b"}}, body(b"")], "'headers' must be pairs of bytes"),
        ([{**START, "headers": 7}, body(b"")], "'headers' must be pairs of bytes"),
        (["text"], "a message is a dict with a 'type', not 'text'"),
        ([{}], "a message is a dict with a 'type', not {}"),
        ([None], "a message is a dict with a 'type', not None"),
        ([{"type": 5}], "unexpected message 5"),
        ([{"type": "http.response.early_hint", "links": ["a"]}], "a link must be bytes"),
        ([{"type": "http.response.early_hint"}], "'links'"),
        ([{"type": "http.request"}], "unexpected message 'http.request'"),
    ],
)
def test_a_wrong_message_is_a_500_and_named(messages, words):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    answered, log = run(app, GET)
    assert answered.startswith(b"HTTP/1.1 500 ")
    assert words in log


def test_what_is_like_bytes_is_sent():
    async def app(scope, receive, send):
        await send(START)
        await send(body(bytearray(b"a"), True))
        await send(body(memoryview(b"b")))

    answered, log = run(app, GET)
    assert answered.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert log == ""


def test_a_wrong_part_of_a_stream_cuts_it_and_is_named():
    async def app(scope, receive, send):
        await send(START)
        await send(body(b"a", True))
        await send(body("b"))

    answered, log = run(app, GET)
    assert answered.endswith(b"1\r\na\r\n")
    assert "'body' must be bytes, not str: 'b'" in log


DENIAL = {"type": "websocket.http.response.start", "status": 401, "headers": []}


@pytest.mark.parametrize(
    ("messages", "answer_", "words"),
    [
        (["text"], b"HTTP/1.1 500 ", "a message is a dict"),
        ([{"type": "websocket.accept", "headers": [("a", "b")]}], b"HTTP/1.1 500 ", "two of bytes"),
        ([{"type": "websocket.accept", "subprotocol": 5}], b"HTTP/1.1 500 ", "not offered"),
        ([{**DENIAL, "status": "401"}], b"HTTP/1.1 500 ", "'status' must be int, not str: '401'"),
        (
            [DENIAL, {"type": "websocket.http.response.body", "body": "no"}],
            b"HTTP/1.1 500 ", "'body' must be bytes, not str: 'no'",
        ),
        (
            [{"type": "websocket.accept"}, {"type": "websocket.send", "text": b"x"}],
            b"HTTP/1.1 101 ", "'text' must be str, not bytes: b'x'",
        ),
        (
            [{"type": "websocket.accept"}, {"type": "websocket.send", "bytes": "x"}],
            b"HTTP/1.1 101 ", "'bytes' must be bytes, not str: 'x'",
        ),
        (
            [{"type": "websocket.accept"}, {"type": "websocket.close", "code": "1000"}],
            b"HTTP/1.1 101 ", "'1000' cannot be sent",
        ),
        (
            [{"type": "websocket.accept"}, {"type": "websocket.close", "reason": b"x"}],
            b"HTTP/1.1 101 ", "'reason' must be str, not bytes: b'x'",
        ),
    ],
)  # fmt: skip
def test_a_wrong_message_of_a_websocket_is_named(messages, answer_, words):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    answered, log = run(app, UPGRADE)
    assert answered.startswith(answer_)
    if b" 101 " in answer_:
        assert answered.endswith(b"\x88\x02\x03\xf3")  # 1011
    assert words in log


def test_a_stream_to_a_client_that_was_refused_ends():
    """It must not spin: nothing it awaits would ever wait."""

    async def app(scope, receive, send):
        await receive()
        while True:
            if (await receive())["type"] == "http.disconnect":
                break
        await send(START)
        while True:
            await send(body(b"x", True))

    async def one():
        worker = new_worker(app)
        transport = connect(worker)
        transport.protocol.data_received(WRONG[:-3])
        await turn_over()
        transport.protocol.data_received(b"x\r\n")
        await asyncio.wait_for(turn_over(), 5)
        assert transport.sent.startswith(b"HTTP/1.1 400 ")
        assert not worker.calls
        assert worker.context.log.errors == []

    asyncio.run(one())


def test_a_refused_request_has_a_duration():
    durations = []

    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    async def one():
        worker = new_worker(app)
        worker._after = lambda view, request, scope, call: durations.append(call.ended - call.began)
        transport = connect(worker)
        transport.protocol.data_received(WRONG[:-3])
        transport.protocol.data_received(WRONG[-3:])
        await turn_over()

    asyncio.run(one())
    assert 0 <= durations[0] < 60


def test_who_waits_and_gives_up_leaves_nothing_behind():
    exchanges = []

    async def app(scope, receive, send):
        for _ in range(100):
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)
        exchanges.append(receive.__self__)
        await answer(scope, receive, send)

    answered, log = run_long(app, LONG)
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert log == ""
    assert not exchanges[0]._waiters


def run_long(app, request: bytes):
    async def one():
        worker = new_worker(app)
        transport = connect(worker)
        transport.protocol.data_received(request)
        await turn_over(500)
        return transport.sent, "\n".join(worker.context.log.errors)

    return asyncio.run(one())


def test_a_body_of_tiny_pieces_is_held_as_few():
    async def app(scope, receive, send):
        await asyncio.sleep(3600)

    async def one():
        worker = new_worker(app)
        transport = connect(worker)
        transport.protocol.data_received(LONG)
        for _ in range(20_000):
            transport.protocol.data_received(b"ab")
        exchange = transport.protocol.exchange
        assert exchange.waiting == 40_000
        assert len(exchange._parts) <= http_exchange.PIECES
        for call in worker.calls:
            call.task.cancel()
        await turn_over()

    asyncio.run(one())


@pytest.mark.parametrize(("rate", "lives"), [(limits.SEND_RATE * 2, True), (50, False)])
def test_a_reader_that_takes_too_little_is_given_up(rate, lives):
    async def app(scope, receive, send):
        await send(START)
        while True:
            await send(body(bytes(30_000), True))

    async def one():
        worker = new_worker(app)
        transport = connect(worker, room=0)
        transport.protocol.data_received(GET)
        await turn_over()
        now = time.monotonic()
        for second in range(4 * int(limits.SEND_PATIENCE)):
            transport.take(rate)
            transport.protocol.expire(now + second)
            await turn_over(3)
        assert transport.closing is not lives
        assert len(transport.sent) < (1 << 20)
        transport.abort()
        await turn_over()
        assert not worker.calls

    asyncio.run(one())


@pytest.mark.parametrize(
    ("message", "error", "words"),
    [
        ("startup", TypeError, "a message is a dict with a 'type', not 'startup'"),
        ({"type": "lifespan.startup.failed", "message": 7}, TargetBroken, "startup failed: 7"),
    ],
)
def test_a_wrong_message_of_a_lifespan_is_named(message, error, words):
    raised = []

    async def app(scope, receive, send):
        await receive()
        try:
            await send(message)
        except TypeError as wrong:
            raised.append(wrong)
            raise

    async def one():
        try:
            await Lifespan(app, {}, Errors()).startup()
        except TargetBroken as wrong:
            raised.append(wrong)

    asyncio.run(one())
    assert isinstance(raised[0], error)
    assert words in str(raised[0])
