"""Connections that go from one worker to another."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from pretune.server.workers import inheritance
from pretune.server.wsgi import fd_passing
from pretune.server.wsgi.fd_passing import Passed


def get(sock: socket.socket, path: str) -> None:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def body(sock: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        assert part, data
        data += part
    head, _, text = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(text) < length:
        text += sock.recv(65536)
    return text.decode()


def by_worker(served, count: int) -> dict[str, list[socket.socket]]:
    """Connections on keep-alive, by the worker that has them."""
    found: dict[str, list[socket.socket]] = {}
    for _ in range(count):
        sock = served.connect()
        get(sock, "/pid")
        found.setdefault(body(sock), []).append(sock)
    return found


def test_a_connection_and_its_state_arrive():
    give, take = inheritance.exchange()
    ours, theirs = socket.socketpair()
    with give, take, ours, theirs:
        assert fd_passing.take(take) is None
        sent = Passed(ours, "127.0.0.1:80", ("10.1.2.3", "4"), 7)
        assert fd_passing.give(give, sent)
        taken = fd_passing.take(take)
        assert taken is not None
        with taken.sock:
            assert taken[1:] == sent[1:]
            assert not taken.sock.getblocking()
            assert not os.get_inheritable(taken.sock.fileno())
            theirs.sendall(b"through")
            assert taken.sock.recv(10) == b"through"


def test_a_full_pair_takes_no_more_and_loses_nothing():
    give, take = inheritance.exchange()
    ours, theirs = socket.socketpair()
    with give, take, ours, theirs:
        given = 0
        while fd_passing.give(give, Passed(ours, "x", ("", ""), given)):
            given += 1
            assert given < 100_000
        for n in range(given):
            taken = fd_passing.take(take)
            assert taken is not None
            assert taken.served == n
            taken.sock.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_request_at_a_busy_worker_is_answered_by_an_idle_one(serve, tmp_path, threads):
    served = serve(
        "held", workers=2, threads=threads, keepalive=60, timeout=120, env={"STATE": str(tmp_path)}
    )
    held = by_worker(served, 16)
    busy = max(held, key=lambda pid: len(held[pid]))
    (other,) = {str(pid) for pid in served.running.worker_pids()} - {busy}
    *stuck, third = held[busy][: threads + 1]
    for n, sock in enumerate(stuck):
        get(sock, f"/held/{n}")
        # One after the other: a second would be passed on, too.
        served.wait_for(lambda n=n: (tmp_path / f"{n}.begun").exists())
    get(third, "/pid")
    assert body(third) == other
    get(third, "/pid")
    assert body(third) == other  # it stays there
    for n, sock in enumerate(stuck):
        (tmp_path / f"{n}.release").touch()
        assert body(sock) == busy
    for sock in (s for socks in held.values() for s in socks):
        sock.close()


def test_idle_connections_survive_a_reload(serve, tmp_path):
    served = serve("held", workers=2, threads=2, keepalive=60)
    held = by_worker(served, 8)
    old = set(served.running.worker_pids())
    served.signal(signal.SIGHUP)
    served.wait_for(lambda: len(served.events("worker_exit")) == 2)
    assert not old & set(served.running.worker_pids())
    for sock in (s for socks in held.values() for s in socks):
        get(sock, "/pid")
        assert body(sock) not in held
        sock.close()


LEAVING_WORKER = """
import os, socket, sys, types
from pretune.server.workers import inheritance
from pretune.server.wsgi import fd_passing
from pretune.server.process.scoreboard import Scoreboard
from pretune.server.process.channel import pair
from pretune.server.config.config import Config
from pretune.server.workers.context import Context
from pretune.server.wsgi.fd_passing import Passed
from pretune.server.process.log import Log
from pretune.server.settings import Settings
from pretune.server.wsgi.threaded import ThreadedWorker

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "8")])
    return [b"answered"]

listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
settings = Settings(worker_class="gthread", threads=1)
board = Scoreboard(1)
master, worker = pair()
give, take = inheritance.exchange()
clients = []
for n in range(5):
    client, served = socket.socketpair()
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    assert fd_passing.give(give, Passed(served, "gone", ("", ""), 1))
    served.close()
    clients.append(client)
context = Context(
    config=Config(target="x", settings=settings), settings=settings,
    loaded=types.SimpleNamespace(app=app), listeners=(listener,), channel=worker, scoreboard=board,
    slot=board.allot(), log=Log(), ring=None, exchange=(give, take),
)
code = ThreadedWorker(context).run(lambda: master.send({"leave": "stop"}))
for client in clients:
    client.settimeout(20)
    assert client.recv(1000).endswith(b"answered")
os._exit(code)
"""


def test_what_waits_in_the_pair_is_answered_by_a_worker_that_stops():
    subprocess.run([sys.executable, "-c", LEAVING_WORKER], check=True, timeout=60)
