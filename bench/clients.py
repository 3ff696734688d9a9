"""Clients that count every kind of failure exactly.

Nothing is retried in silence. The one thing a client may do again is to connect, when it sees,
before it has sent anything, that an idle connection was closed in order. A request that was sent
and not answered whole is a failure, with its kind, whoever answered last on its connection, and
when.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

Address = tuple[str, int]

PATIENCE = 30.0  # s for a connection or a part of an answer
SIZES = (13, 13, 13, 13, 900, 70_000)  # bytes of an answer
BODY = 20_000  # bytes of one request in ten

# kind of failure -> what the client saw
KINDS = {
    "refused": "nobody listened",
    "connect": "the connection was not made, for another reason",
    "idle reset": "a connection was reset between two requests",
    "reset": "reset before any byte of the answer",
    "closed": "closed before any byte of the answer",
    "cut": "closed or reset in the middle of the answer",
    "status": "an answer other than 200",
    "wrong": "an answer that is not the app's",
    "timeout": f"nothing came for {PATIENCE:g} s",
}


@dataclass(frozen=True)
class Failure:
    """One request that was not answered. Times are monotonic s."""

    kind: str
    sent: float  # when the request, or the attempt to connect, began
    seen: float
    pid: int  # who answered last on the connection, or began to answer; 0: nobody yet
    served: int  # requests answered on this connection before
    keeps: bool  # the client keeps its connection
    detail: str = ""

    def since(self, began: float) -> dict[str, Any]:
        """Its fields, the times in s after ``began``."""
        return {**asdict(self), "sent": self.sent - began, "seen": self.seen - began}


class Failed(Exception):
    """A request was not answered; ``kind`` is one of KINDS."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.kind, self.detail = kind, detail


def connect(address: Address) -> socket.socket:
    """Raises Failed."""
    try:
        return socket.create_connection(address, timeout=PATIENCE)
    except ConnectionRefusedError:
        raise Failed("refused") from None
    except OSError as error:
        raise Failed("connect", repr(error)) from None


def receive(sock: socket.socket, before: int, size: int = 1 << 16) -> bytes:
    """The next part of an answer of which ``before`` bytes have come; b"" at its end.

    Raises Failed where no part comes, or the connection ends before the first.
    """
    try:
        part = sock.recv(size)
    except TimeoutError:
        raise Failed("timeout", f"after {before} bytes") from None
    except OSError as error:
        raise Failed("cut" if before else "reset", repr(error)) from None
    if not part and not before:
        raise Failed("closed")
    return part


@dataclass
class Clients:
    """``keeping`` keep-alive clients and ``closing`` ones, each a thread, until left.

    Every other client pauses between its requests, so that there are idle connections, too.
    """

    address: Address
    keeping: int = 4
    closing: int = 4
    seed: int = 1
    answers: int = 0
    pids: Counter[int] = field(default_factory=Counter)
    reconnects: int = 0  # after an orderly close between two requests
    slowest: float = 0.0  # s, of an answered request
    failures: list[Failure] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)  # errors of the clients themselves

    def __enter__(self) -> Clients:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        kinds = [True] * self.keeping + [False] * self.closing
        self._threads = [
            threading.Thread(target=self._guarded, args=(n, keeps), daemon=True)
            for n, keeps in enumerate(kinds)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
            if thread.is_alive():
                self.crashed.append("a client does not end")

    def counts(self) -> Counter[str]:
        """Failures by kind."""
        return Counter(failure.kind for failure in tuple(self.failures))

    def _guarded(self, number: int, keeps: bool) -> None:
        try:
            _Client(self, number, keeps).run(self._stop)
        except Exception as error:
            self.crashed.append(f"{type(error).__name__}: {error}")

    def answered(self, pid: int, took: float) -> None:
        with self._lock:
            self.answers += 1
            self.pids[pid] += 1
            self.slowest = max(self.slowest, took)


class _Client:
    def __init__(self, clients: Clients, number: int, keeps: bool) -> None:
        self.clients = clients
        self.keeps = keeps
        self.pauses = number % 2 == 1
        self.draw = random.Random(clients.seed * 1000 + number)
        self.sock: socket.socket | None = None
        self.pid = 0
        self.served = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                self._request()
            except Failed as failed:
                self.clients.failures.append(
                    Failure(
                        failed.kind, began, time.monotonic(), self.pid, self.served, self.keeps,
                        failed.detail,
                    )
                )  # fmt: skip
                self._close()
                if failed.kind in ("refused", "connect"):
                    stop.wait(0.05)
            else:
                self.clients.answered(self.pid, time.monotonic() - began)
                self.served += 1
                if not self.keeps or self._told_to_close:
                    self._close()
            if self.pauses:
                stop.wait(self.draw.uniform(0, 0.02))
        self._close()

    def _close(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock, self.pid, self.served = None, 0, 0

    def _request(self) -> None:
        if self.sock is not None and self._was_closed(self.sock):
            self.clients.reconnects += 1
            self._close()
        if self.sock is None:
            self.sock = connect(self.clients.address)
        sock = self.sock
        size = self.draw.choice(SIZES)
        body = BODY if self.draw.random() < 0.1 else 0
        lines = [f"{'POST' if body else 'GET'} /{size} HTTP/1.1", "Host: localhost"]
        if body:
            lines.append(f"Content-Length: {body}")
        if not self.keeps:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""]).encode()
        with contextlib.suppress(ConnectionError):  # an early answer may be there to read
            sock.sendall(head + b"y" * body)
        status, fields, data = self._read(sock)
        self._told_to_close = fields.get("connection") == "close"
        if status != 200:
            raise Failed("status", str(status))
        if data != b"x" * size or fields.get("x-got") != str(body):
            raise Failed("wrong", f"{len(data)} bytes of {size}, got {fields.get('x-got')}")

    def _was_closed(self, sock: socket.socket) -> bool:
        """Whether the server has ended the idle connection in order."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(0):
            return False
        try:
            data = sock.recv(1)
        except ConnectionError as error:
            raise Failed("idle reset", repr(error)) from None
        if data:
            raise Failed("wrong", "bytes that nobody asked for")
        return True

    def _read(self, sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive(sock, data)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        fields = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
        self.pid = int(fields.get("x-pid", self.pid))
        length = int(fields.get("content-length", 0))
        while len(body) < length:
            body += self._receive(sock, data)
        return int(first.split()[1]), fields, body

    def _receive(self, sock: socket.socket, before: bytes) -> bytes:
        part = receive(sock, len(before))
        if not part:
            raise Failed("cut")
        return part


@dataclass(frozen=True)
class Kill:
    """A worker that was killed, between when and when (monotonic s).

    On a busy machine the killer may be held up on either side of the system call. Until it returns
    the worker may take connections; when its sockets close is the kernel's to say.
    """

    pid: int
    begun: float
    done: float


def attribute(
    failures: Iterable[Failure], kills: Iterable[Kill], slack: float = 0.05
) -> dict[str, list[Failure]]:
    """Failures by their explanation: "pid", "time" or "none".

    "pid": the worker that answered last on the connection was killed. "time": the connection was
    new, or may have been passed on to another worker, and a worker was killed between the sending
    of the request and the failure. Anything else is a request that was lost without a reason.
    ``slack``: s between a client's look at the clock and its first byte.
    """
    kills = tuple(kills)
    pids = {kill.pid for kill in kills}
    found: dict[str, list[Failure]] = {"pid": [], "time": [], "none": []}
    for failure in failures:
        owned = failure.kind not in ("refused", "status", "wrong")
        if owned and failure.pid in pids:
            found["pid"].append(failure)
        elif owned and any(_meets(failure, kill, slack) for kill in kills):
            found["time"].append(failure)
        else:
            found["none"].append(failure)
    return found


def _meets(failure: Failure, kill: Kill, slack: float) -> bool:
    """Return whether the worker may have had the request when it was killed."""
    return failure.sent - slack <= kill.done and kill.begun <= failure.seen
