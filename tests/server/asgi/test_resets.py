"""A client resets its connection after any byte, at any stage: nothing is left, none is blamed."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import threading
import time

import psutil
import pytest

UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nyou\r\n0\r\nX-T: 1\r\n\r\n"
FIXED = b"Content-Length: 8\r\n\r\nhelloyou"
EXPECT = b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\nhelloyou"


def get(path: str, rest: bytes = b"\r\n") -> bytes:
    return f"GET /{path} HTTP/1.1\r\nHost: x\r\n".encode() + rest


def post(path: str, rest: bytes) -> bytes:
    return f"POST /{path} HTTP/1.1\r\nHost: x\r\n".encode() + rest


# Apps that read, answer without reading, stream, ignore the disconnect, wait for it.
HEALTHY = [
    get("hello") * 3,
    get("hello", b"Connection: close\r\n\r\nand a rest"),
    get("hello/much/65536") + get("hello"),
    get("sleep/0.01") + get("stream/3/0.001"),
    get("endless", b"\r\nrest"),
    get("background/0.02") + get("hello"),
    post("count/0", FIXED) + get("hello"),
    post("count/0", CHUNKED) + get("stream/2/0"),
    post("count/0", EXPECT),
    post("ignore", FIXED) + post("ignore", CHUNKED),
    post("ignore", b"Content-Length: 99999\r\n\r\nhello"),
    post("watch/answers", CHUNKED),
    post("watch", FIXED),
    post("sleep/0.01", EXPECT),
]
BROKEN = [
    get("bad/raise", b"\r\nrest"),
    get("bad/raise-late", b"\r\nrest"),
    get("bad/half") + get("hello"),
    get("bad/nothing", b"Connection: close\r\n\r\nrest"),
    post("bad/raise", b"Content-Length: 99999\r\n\r\nhello"),
    post("bad/less", CHUNKED),
]
HELLO = b"\x81\x85\0\0\0\0hello"
PART = b"\x01\x83\0\0\0\0hel"
PING = b"\x89\x80\0\0\0\0"
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
SOCKETS = [
    get("echo", UPGRADE + HELLO * 3 + PING + CLOSE),
    get("echo", UPGRADE + PART + PING),
    get("echo", UPGRADE + b"\xff\xff"),
    get("reject", UPGRADE + HELLO),
    get("deny", UPGRADE + HELLO),
    get("silent/told", UPGRADE),
    get("close/1000", UPGRADE + HELLO),
    get("flood", UPGRADE + HELLO),
    get("late/0.01", UPGRADE + HELLO),
]


@pytest.fixture
def served(serve, request):
    return serve(
        request.param,
        worker_class="asgi",
        graceful_timeout=20.0,
        env={"PATIENCE_workers.limits.SWEEP": "0.05"},
    )


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def visit(served, request: bytes, pieces: tuple[int, ...], wanted: int | None) -> None:
    """Send the request in pieces that end there, read ``wanted`` bytes (None: no look), reset."""
    sock = served.connect()
    sock.settimeout(0.05)
    begin = 0
    with contextlib.suppress(OSError):
        for end in pieces:
            sock.sendall(request[begin:end])
            begin = end
        if wanted is not None:
            size = 0
            while size < wanted and (part := sock.recv(wanted - size)):
                size += len(part)
    reset(sock)


def assert_nothing_is_left(served, before: dict[str, int]) -> None:
    # What an app still does in the background is over in a moment.
    served.wait_for(lambda: json.loads(served.text("/inside")) == before, 10)
    began = time.monotonic()
    served.signal(signal.SIGTERM)
    served.wait_for(lambda: "stopped" in served.log())
    # No call, no connection is waited for. Less than what is granted to either.
    assert time.monotonic() - began < 9, served.log()


def assert_no_error(log: str) -> None:
    for word in ("ERROR", "Traceback", "exception", "Errno"):
        assert word not in log, log[log.index(word) - 200 :][:2000]


@pytest.mark.parametrize("served", ["exchanges"], indirect=True)
@pytest.mark.parametrize("requests", [HEALTHY, BROKEN], ids=["healthy", "broken"])
def test_after_every_byte_of_a_request(served, requests):
    before = json.loads(served.text("/inside"))
    for request in requests:
        for length in range(1, len(request) + 1):
            visit(served, request, (length,), None)
    assert_nothing_is_left(served, before)
    if requests is HEALTHY:
        assert_no_error(served.log())


@pytest.mark.parametrize("served", ["exchanges"], indirect=True)
@pytest.mark.parametrize("requests", [HEALTHY, BROKEN], ids=["healthy", "broken"])
def test_at_every_stage_of_a_response(served, requests):
    before = json.loads(served.text("/inside"))
    for request in requests:
        for wanted in (*range(1, 12), 20, 50, 90, 130, 170, 230, 300, 400, 1000, 100_000):
            visit(served, request, (len(request),), wanted)
        for end in range(5, len(request), 7):  # and while it is answered before it is whole
            visit(served, request, (end, len(request)), 1)
    assert_nothing_is_left(served, before)
    if requests is HEALTHY:
        assert_no_error(served.log())


@pytest.mark.parametrize("served", ["sockets"], indirect=True)
def test_after_every_byte_and_at_every_stage_of_a_websocket(served):
    before = json.loads(served.text("/inside"))
    for request in SOCKETS:
        start = request.index(b"\r\n\r\n")
        for length in (*range(1, start, 9), *range(start, len(request) + 1)):
            visit(served, request, (length,), None)
            if length > start:
                visit(served, request, (length,), 1)
        for wanted in (*range(1, 200, 13), 300, 1000, 300_000):
            visit(served, request, (start + 4, len(request)), wanted)
    assert_nothing_is_left(served, before)
    assert_no_error(served.log().replace("application/octet", ""))


@pytest.mark.parametrize("served", ["exchanges"], indirect=True)
def test_answers_nobody_reads_hold_back_further_requests(served):
    """A flood of requests is not answered into the server's own memory."""
    flood = get("hello/much/65536") * 2000
    with served.connect() as sock:
        sock.setblocking(False)
        sent, quiet = 0, time.monotonic()
        while sent < len(flood) and time.monotonic() - quiet < 1:
            try:
                sent += sock.send(flood[sent : sent + 4096])
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        # All answers together are 128 MiB; they would be made in less than a second.
        (pid,) = served.running.worker_pids()
        sizes = [psutil.Process(pid).memory_info().rss for _ in range(15) if not time.sleep(0.1)]
        assert max(sizes) < 60 << 20
        sock.settimeout(20)
        rest = threading.Thread(target=sock.sendall, args=(flood[sent:],))
        rest.start()
        answers, end = 0, b""
        while answers < 2000:
            part = sock.recv(1 << 20)
            assert part
            answers += (end + part).count(b"HTTP/1.1 200 OK")
            end = part[-14:]
        rest.join()
