"""The process that answers those who ask for metrics.

A child of the master that reads the scoreboard, so that nothing a client sends can reach the master
or a worker. It speaks just enough HTTP for a scraper; few connections at a time, none for long.
"""

from __future__ import annotations

import errno
import select
import signal
import socket

from pretune.server import VERSION
from pretune.server.clock import Clock
from pretune.server.config.config import Config
from pretune.server.master import backlog, metrics, recycling
from pretune.server.process import listening, proctitle
from pretune.server.process.channel import Channel
from pretune.server.process.scoreboard import STARTED, Scoreboard
from pretune.server.workers.inheritance import Inheritance

CONNECTIONS = 16  # beyond these, the one that has been open for longest is closed
PATIENCE = 5.0  # s a connection may last
PAUSE = 0.1  # s without new connections after the descriptors ran out
HEAD = 8192  # bytes of a request
FRESH = 5.0  # s for which a worker's memory is not read again
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)  # the master decides
BUDGET = 0.02  # s a scrape may spend reading memory; the rest is as it was


class Memory:
    """PSS by slot, read in turn: reading it holds up the process that is read."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._sizes: dict[int, tuple[int, float, int]] = {}  # pid -> slot, when, bytes

    def read(self, now: float) -> list[tuple[int, int]]:
        seen = {worker.pid: worker.slot for worker in self._scoreboard.seen() if worker.pid}
        self._sizes = {pid: v for pid, v in self._sizes.items() if pid in seen}
        never = (0, -FRESH, 0)
        for pid in sorted(seen, key=lambda pid: self._sizes.get(pid, never)[1]):
            old = self._sizes.get(pid, never)[1] > now - FRESH
            if old or Clock.monotonic() > now + BUDGET:
                break
            try:
                self._sizes[pid] = (seen[pid], now, recycling.read_pss(pid))
            except OSError:
                continue  # it has just ended, or its memory is none of our business
        return sorted((slot, size) for slot, _, size in self._sizes.values())


class Exporter:
    """Serves until the master is gone or says stop."""

    def __init__(
        self,
        config: Config,
        inheritance: Inheritance,
        entrances: list[socket.socket],
        channel: Channel,
    ) -> None:
        self._scoreboard = inheritance.scoreboard
        self._listeners = list(inheritance.listeners)
        self._entrances = {sock.fileno(): sock for sock in entrances}
        self._channel = channel
        self._memory = Memory(self._scoreboard)
        # The difference of two clocks: the scoreboard has the other one.
        self._started = Clock.time() - Clock.monotonic() + self._scoreboard.value(STARTED)
        self._open: dict[int, tuple[socket.socket, float, bytearray, bytes]] = {}
        proctitle.set_title(proctitle.compose("metrics", config.proc_name or config.target))

    def run(self) -> int:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        for fd in self._entrances:
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll(1000 if self._open else None):
                if fd == self._channel.fileno():
                    message, _ = self._channel.receive()
                    if message is None or "stop" in message:
                        return 0
                    for sock in self._listeners:  # {"closed": true}: the server listens no more
                        sock.close()
                    self._listeners = []
                elif fd in self._entrances:
                    self._accept(poll, self._entrances[fd])
                elif fd in self._open:  # not closed in this round for a newer one
                    self._advance(poll, fd)
            now = Clock.monotonic()
            for fd, (_, began, _, _) in tuple(self._open.items()):
                if now > began + PATIENCE:
                    self._drop(poll, fd)

    def _accept(self, poll: select.poll, entrance: socket.socket) -> None:
        try:
            sock, _ = entrance.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                Clock.sleep(PAUSE)  # it stays in the queue: to try again at once is to spin
            return
        sock.setblocking(False)
        if len(self._open) >= CONNECTIONS:
            self._drop(poll, next(iter(self._open)))
        self._open[sock.fileno()] = (sock, Clock.monotonic(), bytearray(), b"")
        poll.register(sock.fileno(), select.POLLIN)

    def _drop(self, poll: select.poll, fd: int) -> None:
        sock, *_ = self._open.pop(fd)
        poll.unregister(fd)
        sock.close()

    def _advance(self, poll: select.poll, fd: int) -> None:
        sock, began, head, answer = self._open[fd]
        try:
            if not answer:
                part = sock.recv(HEAD)
                head += part
                if not part:
                    self._drop(poll, fd)
                    return
                answer = self.answer(bytes(head))
                if not answer:
                    return
                poll.modify(fd, select.POLLOUT)
            answer = answer[sock.send(answer) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(poll, fd)
            return
        if answer:
            self._open[fd] = (sock, began, head, answer)
        else:
            self._drop(poll, fd)

    def answer(self, head: bytes) -> bytes:
        """The response to a request's head; empty while it is not whole."""
        if b"\r\n\r\n" not in head and b"\n\n" not in head:
            return b"" if len(head) < HEAD else _response("431 Request Header Fields Too Large")
        words = head.split(b"\n", 1)[0].strip().split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request")
        method, target, _ = words
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", extra="Allow: GET, HEAD\r\n")
        if target.split(b"?")[0] not in (b"/metrics", b"/"):
            return _response("404 Not Found")
        response = _response("200 OK", self.text(), metrics.CONTENT_TYPE)
        return response if method == b"GET" else response.split(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def text(self) -> str:
        now = Clock.monotonic()
        queues = [(listening.name(s), backlog.length(s)) for s in self._listeners]
        return metrics.text(
            metrics.families(
                self._scoreboard,
                now,
                self._started,
                [(name, *lengths) for name, lengths in queues if lengths is not None],
                self._memory.read(now),
                VERSION,
            )
        )


def _response(
    status: str, body: str = "", kind: str = "text/plain; charset=utf-8", extra: str = ""
) -> bytes:
    data = (body or status + "\n").encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
        f"{extra}Connection: close\r\n\r\n"
    ).encode() + data
