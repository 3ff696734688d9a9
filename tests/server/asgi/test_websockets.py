"""WebSockets through a real worker, with a client of another make (wsproto)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from pathlib import Path

import pytest
import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from pretune.server.telemetry import CAPACITY, FIELDS, HEADER_SIZE, RECORD

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Client:
    """One connection; events are taken one by one, messages in one piece."""

    def __init__(self, served, path: str, **options) -> None:
        self.sock = served.connect()
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.events = self.protocol.events()
        self.send(Request(host="x", target=path, **options))

    def send(self, event) -> None:
        self.sock.sendall(self.protocol.send(event))

    def next(self):
        text, data = "", b""
        while True:
            for event in self.events:
                if isinstance(event, TextMessage | BytesMessage):
                    if isinstance(event, TextMessage):
                        text += event.data
                    else:
                        data += event.data
                    if not event.message_finished:
                        continue
                    return text or bytes(data)
                return event
            received = self.sock.recv(65536)
            self.protocol.receive_data(received or None)
            self.events = self.protocol.events()
            if not received:
                return None

    def close(self, code: int = 1000) -> CloseConnection:
        self.send(CloseConnection(code=code))
        return self.next()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


@pytest.fixture
def sockets(serve):
    def start(**options):
        return serve("sockets", worker_class="asgi", **options)

    return start


def client(served, path: str, **options) -> Client:
    opened = Client(served, path, **options)
    assert isinstance(opened.next(), AcceptConnection)
    return opened


def test_echo_ping_and_close(sockets):
    served = sockets()
    with client(served, "/echo") as c:
        c.send(TextMessage(data="Grüße"))
        assert c.next() == "Grüße"
        big = os.urandom(3_000_000)
        c.send(BytesMessage(data=big))
        assert c.next() == big
        for n in range(10):
            c.send(Ping(payload=b"%d" % n))
        assert [c.next() for _ in range(10)] == [Pong(payload=b"%d" % n) for n in range(10)]
        assert c.close(4001).code == 4001
        assert c.sock.recv(1) == b""  # the server closes first
    served.wait_for(lambda: "ended: 4001 ''" in served.log())


def test_the_handshake_says_what_was_agreed(sockets):
    served = sockets()
    c = Client(
        served, "/echo", subprotocols=["old", "new"], extensions=[PerMessageDeflate()],
        extra_headers=[(b"X-Forwarded-Proto", b"https")],
    )  # fmt: skip
    with c:
        accepted = c.next()
        assert accepted.subprotocol == "new"
        assert (b"x-scheme", b"wss") in accepted.extra_headers
        assert [extension.name for extension in accepted.extensions] == ["permessage-deflate"]
        for _ in range(3):
            c.send(TextMessage(data="compress me " * 1000))
            assert c.next() == "compress me " * 1000


def test_early_frames_wait_for_the_app(sockets):
    served = sockets()
    with served.connect() as sock:
        head = HANDSHAKE.replace(b"/echo", b"/late/0.2") + b"\r\n"
        sock.sendall(head + b"\x81\x82\0\0\0\0hi")
        data = b""
        while b"\x81\x02hi" not in data:
            data += sock.recv(1000)
        assert data.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/reject", 403, b""), ("/deny", 401, b"not you"), ("/silent", 500, b""),
     ("/broken", 500, b"")],
)  # fmt: skip
def test_denials(sockets, path, status, body):
    served = sockets()
    with Client(served, path) as c:
        denied = c.next()
        assert isinstance(denied, RejectConnection)
        assert denied.status_code == status
        if body:
            assert (b"x-why", b"because") in denied.headers
            found = b""
            while isinstance(event := c.next(), RejectData):
                found += event.data
                if event.body_finished:
                    break
            assert found == body


def test_bad_handshakes_and_plain_requests(sockets):
    served = sockets()
    answer = served.raw(HANDSHAKE.replace(b"13", b"8") + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer
    assert served.raw(HANDSHAKE.replace(b"==", b"") + b"\r\n").startswith(b"HTTP/1.1 400 ")
    plain = HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: close") + b"\r\n"
    assert served.raw(plain).endswith(b"plain")


def test_how_the_app_ends_it(sockets):
    served = sockets()
    with client(served, "/close/4003") as c:
        assert c.next() == CloseConnection(code=4003, reason="said the app")
        assert c.close(4003) is None
    served.wait_for(lambda: "too late: ClientGone" in served.log())
    assert "then came websocket.disconnect" in served.log()
    with client(served, "/broken/later") as c:
        assert c.next().code == 1011
    assert "RuntimeError: the app is broken here" in served.log()
    assert "websocket_exchange.py" not in served.log()
    with client(served, "/close/1006") as c:  # a code no frame may carry
        assert c.next().code == 1011


VIOLATIONS = {
    "unmasked": (b"\x81\x02hi", 1002),
    "reserved bit": (b"\x91\x80\0\0\0\0", 1002),
    "not UTF-8": (b"\x81\x81\0\0\0\0\xff", 1007),
    "too long": (b"\x82\xff\0\0\0\0\xff\0\0\0\0\0\0\0", 1009),
    "bad close": (b"\x88\x82\0\0\0\0\x03\xed", 1002),
}


def test_violations_are_closed_with_their_code_after_what_came_before(sockets):
    served = sockets()
    for data, code in VIOLATIONS.values():
        with client(served, "/echo") as c:
            c.sock.sendall(b"\x81\x86\0\0\0\0before\x89\x80\0\0\0\0" + data)
            events = [c.next() for _ in range(2)]
            # The app may or may not have answered before the violation was seen.
            closing = next(e for e in [*events, c.next()] if isinstance(e, CloseConnection))
            assert closing.code == code
            assert Pong(payload=b"") in events
        served.wait_for(lambda code=code: f"ended: {code} " in served.log())


def test_an_abnormal_end_is_1006(sockets):
    served = sockets()
    c = client(served, "/echo")
    c.sock.close()
    served.wait_for(lambda: "ended: 1006" in served.log())


def test_a_client_that_does_not_read_stops_the_app_not_the_worker(sockets):
    served = sockets()
    with client(served, "/flood") as c:
        served.wait_for(lambda: "sent 2" in served.log())
        count, before = served.log().count("sent "), -1
        while count != before:
            with client(served, "/echo") as other:
                other.send(TextMessage(data="still here"))
                assert other.next() == "still here"
            count, before = served.log().count("sent "), count
            select.select([], [], [], 0.3)
        for _ in range(5):
            assert len(c.next()) == 100_000
    served.wait_for(lambda: "the flood ended" in served.log())


def test_an_app_that_does_not_take_stops_the_client(sockets):
    served = sockets()
    with client(served, "/count") as c:
        c.sock.setblocking(False)
        frame = b"\x82\xfe\xff\xff\0\0\0\0" + bytes(65535)
        sent, pending = 0, b""
        poll = select.poll()
        poll.register(c.sock, select.POLLOUT)
        while poll.poll(300) and sent < 2000:
            pending = pending or frame
            with contextlib.suppress(BlockingIOError):
                pending = pending[c.sock.send(pending) :]
                sent += not pending
        assert sent < 2000  # 130 MB would have been taken
        assert served.text("/release") == "plain"
        c.sock.settimeout(20)
        c.sock.sendall(pending)
        sent += bool(pending)
        while c.next() != str(sent * 65535):
            pass


def test_stopping_says_1001_and_waits(sockets):
    served = sockets(graceful_timeout=20.0)
    with client(served, "/echo") as one, client(served, "/echo") as two:
        served.signal(signal.SIGTERM)
        assert one.next().code == 1001
        assert two.next().code == 1001
        one.send(CloseConnection(code=1001))
        two.send(CloseConnection(code=1001))
        assert one.next() is None
        assert two.next() is None
    served.wait_for(lambda: "stopped" in served.log())
    assert served.log().count("ended: 1001") == 2


def test_recycling_and_records_count_handshakes(sockets, tmp_path):
    served = sockets(workers=1, max_requests=3, telemetry=tmp_path)
    with client(served, "/echo") as c:
        first = served.running.worker_pids()
        for _ in range(5):
            c.send(TextMessage(data="not a request"))
            assert c.next() == "not a request"
        for _ in range(2):
            with Client(served, "/reject") as other:
                other.next()
        assert c.next().code == 1001  # the successor is there: open another connection
        c.send(CloseConnection(code=1001))
    served.wait_for(lambda: served.events("worker_exit"))
    assert served.events("worker_exit")[0]["reason"] == "max_requests"
    (ring,) = (tmp_path / f"{pid}.ring" for pid in first)
    data, names = ring.read_bytes()[HEADER_SIZE:], [name for name, _, _ in FIELDS]
    assert len(data) == CAPACITY * RECORD.size
    records = [dict(zip(names, values, strict=True)) for values in RECORD.iter_unpack(data)]
    mine = [record for record in records if record["seq"]]
    assert [record["status"] for record in mine] == [101, 403, 403]
    assert all(0 < record["cpu"] < 1 for record in mine)


PINGING = """
import sys
sys.path.insert(0, {apps!r})
from pretune.server.asgi import websocket_exchange
from pretune.server.workers import limits
limits.SWEEP = 0.1
websocket_exchange.SWEEPS_TO_PING, websocket_exchange.SWEEPS_TO_END = 1, 30
from sockets import app
"""


def test_a_silent_client_is_pinged_and_lives_if_it_answers(serve, tmp_path):
    apps = Path(__file__).parents[1] / "apps"
    (tmp_path / "pinging.py").write_text(PINGING.format(apps=str(apps)))
    served = serve("pinging", chdir=tmp_path, worker_class="asgi")
    with client(served, "/echo") as dead, client(served, "/echo") as living:
        for _ in range(6):
            ping = living.next()
            assert isinstance(ping, Ping)
            living.send(ping.response())
        dead.sock.settimeout(20)
        while dead.sock.recv(1000):  # pings, then the end
            pass
        living.send(TextMessage(data="alive"))
        while isinstance(event := living.next(), Ping):
            living.send(event.response())
        assert event == "alive"
    served.wait_for(lambda: "ended: 1006" in served.log())


def test_on_every_python(sockets, python):
    if python == sys.executable:
        pytest.skip("tested above")
    served = sockets(python=python)
    with client(served, "/echo", extensions=[PerMessageDeflate()]) as c:
        c.send(TextMessage(data="x" * 1000))
        assert c.next() == "x" * 1000
        assert c.close().code == 1000


def test_thousands_of_pings_are_answered_in_order(sockets):
    served = sockets()
    with client(served, "/echo") as c:
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.sock.sendall(b"".join(b"\x89\x84\0\0\0\0%04d" % n for n in range(5000)))
        assert [c.next().payload for _ in range(5000)] == [b"%04d" % n for n in range(5000)]
