"""The clients that count losses see each kind for what it is."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from bench.clients import SIZES, Clients, Failure, Kill, attribute

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Pid: 7\r\nX-Got: 0\r\n\r\n"


class Scripted:
    """Answers every connection's requests as it is told; ``then`` happens to the connection."""

    def __init__(self, data: bytes | None, then: str) -> None:
        self.data, self.then = data, then
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            while head := _request(sock):
                size = int(head.split()[1].strip(b"/"))
                if self.data is None:
                    got = (b"Content-Length" in head and b"20000") or b"0"
                    whole = (WHOLE % size).replace(b"X-Got: 0", b"X-Got: " + got)
                    sock.sendall(whole + b"x" * size)
                elif self.data:
                    sock.sendall(self.data)
                if self.then == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if self.then != "on":
                    return


def _request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    left = (20_000 if b"Content-Length" in head else 0) - len(body)
    while left > 0:
        left -= len(sock.recv(65536))
    return head


# what the server sends (None: all that is right), and does then -> the kind that is counted
CASES = {
    "closed": (b"", "close"),
    "reset": (b"", "reset"),
    "cut": (WHOLE % 100000 + b"x", "close"),
    "status": (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "close"),
    "wrong": (WHOLE % 1 + b"?", "close"),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_failure_is_counted_under_its_kind(kind):
    server = Scripted(*CASES[kind])
    with server.listener, Clients(server.address, keeping=1, closing=1) as clients:
        while len(clients.failures) < 10:
            time.sleep(0.01)
    assert set(clients.counts()) == {kind}
    assert clients.answers == 0
    assert clients.crashed == []


def test_nobody_who_listens_is_a_refusal():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with Clients(address, keeping=1, closing=0) as clients:
        while not clients.failures:
            time.sleep(0.01)
    assert set(clients.counts()) == {"refused"}


@pytest.mark.parametrize(("then", "again"), [("on", False), ("close", True)])
def test_an_idle_connection_that_ends_in_order_is_made_again(then, again):
    """Its client pauses; the end is there before the next request goes out."""
    server = Scripted(None, then)
    with server.listener, Clients(server.address, keeping=2, closing=1) as clients:
        while clients.answers < 20 or bool(clients.reconnects) != again:
            time.sleep(0.01)
    # A client that does not pause may be faster than the end of its connection.
    assert set(clients.counts()) <= ({"closed", "reset"} if again else set())
    assert clients.pids.keys() == {7}


def test_failures_are_explained_by_the_worker_that_was_killed():
    kills = [Kill(pid=5, begun=10.0, done=10.1)]

    def failure(**values) -> Failure:
        common = {"kind": "reset", "sent": 9.0, "seen": 11.0, "pid": 0, "served": 0, "keeps": True}
        return Failure(**{**common, **values})

    cases = {
        "pid": [failure(pid=5), failure(pid=5, sent=20.0, seen=21.0)],
        # the killer was held up between the clock and the kernel
        "time": [failure(), failure(pid=6), failure(sent=10.08, seen=12.0)],
        "none": [
            failure(sent=10.2, seen=12.0),  # sent when all was over
            failure(pid=6, seen=9.5),
            failure(kind="refused"),
            failure(kind="status", pid=5),  # an answer, and from no dead worker
        ],
    }
    found = attribute([one for group in cases.values() for one in group], kills)
    assert found == cases


def test_the_sizes_asked_for_need_more_than_one_packet():
    assert max(SIZES) > 65536
