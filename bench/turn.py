"""CPU of one request in a worker, all of it but the kernel's: from bytes read to bytes written.

    python bench/turn.py [--rounds 15] [--tree ANOTHER_CHECKOUT ...]

The worker's own loop runs over a socket that answers from memory. Trees (a second checkout, before
a change) take turns in processes of their own; the least of the rounds counts. On a shared machine
this tells tenths of a microsecond apart, where ``bench/servers`` needs whole ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REQUESTS = {
    "short": b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8765\r\n\r\n",
    "browser": (
        b"GET /articles/some-title?page=2 HTTP/1.1\r\nHost: www.example.com\r\n"
        b"Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n"
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/124.0.0.0\r\n"
        b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
        b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
        b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
        b"Cookie: sessionid=abcde\r\n\r\n"
    ),
}
WAYS = ("gthread 1", "gthread 4", "asgi")
TURNS = 20_000  # requests of one measurement
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "13")]


class _Over(Exception):
    """Enough requests were served."""


def _wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", HEADERS.copy())
    return [b"Hello, World!"]


START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
}
BODY = {"type": "http.response.body", "body": b"Hello, World!"}


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


class _Socket:
    family = socket.AF_INET

    def __init__(self, data: bytes) -> None:
        self._data = data

    def fileno(self) -> int:
        return 1000

    def recv(self, size: int) -> bytes:
        return self._data

    def send(self, data: bytes) -> int:
        return len(data)

    def getsockopt(self, *_: int) -> bytes:
        return bytes(56)


class _Epoll:
    def __init__(self, left: int) -> None:
        self._left = left

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        self._left -= 1
        if self._left < 0:
            raise _Over
        return [(1000, 1)]

    def register(self, *_: int) -> None:
        pass

    modify = register


class _Transport:
    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1234) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        pass


def _context(way: str, telemetry: str | None, app: Any) -> Any:
    from pretune.server.config.config import Config
    from pretune.server.process.importing import Loaded
    from pretune.server.process.log import Log
    from pretune.server.process.scoreboard import Scoreboard
    from pretune.server.settings import Settings
    from pretune.server.telemetry import Ring
    from pretune.server.workers.context import Context

    name, _, threads = way.partition(" ")
    settings = Settings(worker_class=name, threads=int(threads or 1))
    board = Scoreboard(settings.threads)
    here, _ = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    # By place, not by name: trees differ in the names.
    return Context(
        Config("app", settings, telemetry=telemetry), settings,
        Loaded(app, "app", "app", settings.interface), (listener,), here,  # type: ignore[arg-type]
        board, board.allot(), Log(), Ring(telemetry, 1) if telemetry else None,
    )  # fmt: skip


def _threads(way: str, data: bytes, telemetry: str | None, turns: int) -> float:
    from pretune.server.wsgi.connection import Connection
    from pretune.server.wsgi.threaded import ThreadedWorker

    worker: Any = ThreadedWorker(_context(way, telemetry, _wsgi))
    # A tree from before the change has these under other names.
    room = (worker.room,) if hasattr(worker, "room") else ()
    parking = getattr(worker, "parking", worker)
    acceptor = worker.acceptor if hasattr(worker, "acceptor") else worker.door
    conn = Connection(_Socket(data), 0, ("127.0.0.1", "1234"), True, *room, worker.pump)  # type: ignore[arg-type]
    parking.epoll = _Epoll(turns)
    acceptor.connections.add(conn)
    conn.mask = parking.parked.setdefault(1000, conn) and 2**31
    began = time.thread_time()
    try:
        worker._sit(0)
    except _Over:
        return time.thread_time() - began
    raise AssertionError


def _loop(data: bytes, telemetry: str | None, turns: int) -> float:
    from pretune.server.asgi.protocol import HttpProtocol
    from pretune.server.asgi.worker import AsgiWorker

    worker: Any = AsgiWorker(_context("asgi", telemetry, _asgi))

    async def run() -> float:
        worker.loop = asyncio.get_running_loop()
        protocol = HttpProtocol(worker, _Socket(data), ("127.0.0.1", 80))  # type: ignore[arg-type]
        protocol.connection_made(_Transport())
        began = time.thread_time()
        for _ in range(turns):
            protocol.data_received(data)
            if protocol.exchange is not None:
                await asyncio.sleep(0)
        assert protocol.served == turns
        return time.thread_time() - began

    loop = asyncio.new_event_loop()
    if worker._meter is not None:
        loop.set_task_factory(worker._meter.task_factory)
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def measure(rounds: int) -> dict[str, float]:
    """Microseconds, the least of the rounds, in this process and its tree."""
    found: dict[str, float] = {}
    for _ in range(rounds):
        for way in WAYS:
            for kind, data in REQUESTS.items():
                for on in (False, True):
                    with tempfile.TemporaryDirectory() as scratch:
                        telemetry = scratch if on else None
                        if way == "asgi":
                            took = _loop(data, telemetry, TURNS)
                        else:
                            took = _threads(way, data, telemetry, TURNS)
                    name = f"{way}, {kind}{', telemetry' if on else ''}"
                    found[name] = min(found.get(name, 1e9), took / TURNS * 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tree", type=Path, action="append", help="measure these, not this one")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.json:  # a process of one tree
        sys.path.insert(0, str(options.json / "server"))
        from bootstrap import make_importable  # type: ignore[import-not-found]

        make_importable(str(options.json / "server"))
        print(json.dumps(measure(1)))
        return
    trees = options.tree or [Path(__file__).resolve().parents[1]]
    best: list[dict[str, float]] = [{} for _ in trees]
    for number in range(options.rounds):
        order = list(enumerate(trees))
        for index, tree in order if number % 2 else reversed(order):
            command = [options.python, __file__, "--json", str(tree)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            for name, value in json.loads(done.stdout).items():
                best[index][name] = min(best[index].get(name, 1e9), value)
    for name in best[0]:
        print(f"{name:32}", *(f"{each[name]:8.2f}" for each in best), "us")


if __name__ == "__main__":
    main()
