"""Workers of class sync and gthread: threads that take turns at one epoll.

Every thread waits in the same epoll, and whoever is woken serves the request itself: nothing is
ever handed from one thread to another, which costs more than a trivial request. Connections are
registered one-shot, so one thread at a time owns one. A connection that has not sent a whole
request holds no thread, and a worker whose threads are all busy asks for no new connections,
because nobody waits.

The main thread serves nothing: it listens to the master and to signals, closes what idles too
long, and lets the worker go. sync is one thread and, as in gunicorn, no keep-alive, so that all
workers draw from the one queue of the kernel.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from pretune.server import connection as con
from pretune.server.board import NOT_SERVING
from pretune.server.connection import Connection, Gone
from pretune.server.context import Context
from pretune.server.http1 import Refused, Request, parse_head, take_head
from pretune.server.importing import user_traceback
from pretune.server.probes.account import Account, current
from pretune.server.response import refusal
from pretune.server.telemetry import ENDPOINT_HEADER, run_queue_clock
from pretune.server.wsgi import Response, base_environ, environ_of

_LISTEN = select.EPOLLIN | select.EPOLLEXCLUSIVE
_READ = select.EPOLLIN | select.EPOLLONESHOT
_WRITE = select.EPOLLOUT | select.EPOLLONESHOT
_ENDPOINT_KEY = "HTTP_" + ENDPOINT_HEADER.upper().replace("-", "_")

YIELD = 0.001  # s an idle sibling with fewer connections gets to accept first ...
YIELDS = 3  # ... so many times
HEAD_PATIENCE = 10.0  # s a client may take over a request's head
LINGER = 2.0  # s for a client to see a refusal before the connection is reset


class _Seat:
    """What belongs to one serving thread."""

    __slots__ = ("cells", "cpu", "index", "runq")

    def __init__(self, index: int, cells: memoryview[float], probes: bool) -> None:
        self.index = index
        self.cells = cells
        self.cpu = time.thread_time()  # up to here it is accounted for
        self.runq = run_queue_clock() if probes else None

    def waiting(self, begins: bool) -> None:
        """While it waits for a slow client, the app is not to blame: the clock stands still."""
        self.cells[self.index] = 0.0 if begins else time.monotonic()


class ThreadedWorker:
    """Serves a WSGI app until told to leave."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self.context = context
        self.app = context.loaded.app
        self.threads = settings.threads if settings.worker_class == "gthread" else 1
        self.keepalive = settings.keepalive if settings.worker_class == "gthread" else 0.0
        # What an answer already sent has promised: it holds while leaving, too.
        self.promised = self.keepalive
        # Connections that stay must be spread evenly: every idle worker wakes up for a new one,
        # and one that has more than another lets it be first. Connections that go at once
        # spread by themselves: the kernel wakes one worker only.
        self.balanced = self.keepalive > 0
        self.epoll = select.epoll()
        self.listeners = {sock.fileno(): sock for sock in context.listeners}
        self.numbers = {fd: n for n, fd in enumerate(self.listeners)}
        self.bases = [
            base_environ(
                _server_name(sock),
                multithread=self.threads > 1,
                multiprocess=settings.workers > 1,
            )
            for sock in context.listeners
        ]
        self.parked: dict[int, Connection] = {}  # by descriptor; whoever pops one owns it
        self.connections: set[Connection] = set()
        self.active: set[int] = set()  # seats inside the app
        self.leaving: str | None = None  # "stop" or "retire"
        # Between the kernel's accept and our knowing of it nobody may decide that all is done.
        self._door = threading.Lock()
        self._gone = False
        self._limit = context.request_limit()
        self._count = itertools.count(1).__next__
        self._unix = {
            n for n, sock in enumerate(context.listeners) if sock.family == socket.AF_UNIX
        }

    # -- the main thread

    def run(self, ready: Callable[[], None]) -> int:
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: os._exit(0))
        for fd in self.listeners:
            self.epoll.register(fd, _READ if self.balanced else _LISTEN)
        self.context.board.set_connections(self.context.row, 0)
        for index in range(self.threads):
            name = f"pretune-{index}"
            threading.Thread(target=self._sit, args=(index,), name=name, daemon=True).start()
        ready()
        channel = self.context.channel
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        poll.register(wake, select.POLLIN)
        while self.leaving is None:
            for fd, _ in poll.poll(1000 if self.parked else 5000):
                if fd == wake:
                    os.read(wake, 512)
                else:
                    self._obey()
            self._sweep(time.monotonic())
        return self._leave(poll, wake)

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self.leaving = self.leaving or "stop"

    def _obey(self) -> None:
        message, _ = self.context.channel.receive()
        if message is None:
            os._exit(1)  # the master is gone
        if "leave" in message:
            self.leaving = message["leave"]
        elif "reopen" in message:
            self.context.log.reopen()

    def _leave(self, poll: select.poll, wake: int) -> int:
        """Finish what was begun. A connection waiting in the kernel's queue was begun too."""
        self.context.board.set_connections(self.context.row, NOT_SERVING)
        self.keepalive = 0.0  # every answer from now on ends its connection
        began = time.monotonic()
        registered = dict(self.listeners)
        while True:
            now = time.monotonic()
            # When retiring, siblings go on accepting; do not wait for a queue they keep filling.
            impatient = self.leaving == "retire" and now > began + 0.5
            for fd, sock in tuple(registered.items()):
                if impatient or not _readable(sock):
                    self.epoll.unregister(fd)
                    del registered[fd]
            if self.leaving == "stop" and not registered:
                self._close_idle()
            self._sweep(now)
            if not registered:
                with self._door:
                    self._gone = not self.connections
                if self._gone:
                    return 0
            if now > began + self.context.settings.graceful_timeout:
                return 0
            for fd, _ in poll.poll(10):
                if fd == wake:
                    os.read(wake, 512)
                else:
                    self._obey()

    def _close_idle(self) -> None:
        for conn in tuple(self.parked.values()):
            if conn.phase != con.HEAD or conn.buffer or conn.sock.fileno() < 0:
                continue
            if _readable(conn.sock):
                continue  # a request came in the meantime: a thread will answer it
            if self.parked.pop(conn.fd, None) is conn:
                self._drop(conn)

    def _sweep(self, now: float) -> None:
        """Close connections that wait for longer than they may."""
        for conn in tuple(self.parked.values()):
            if now > conn.deadline and self.parked.get(conn.fd) is conn:
                self.parked.pop(conn.fd, None)
                if conn.phase == con.BODY or (conn.phase == con.HEAD and conn.buffer):
                    _try_send(conn, refusal(408))
                self._drop(conn)

    # -- serving threads

    def _sit(self, index: int) -> None:
        cells = self.context.board.cells(self.context.row)
        seat = _Seat(index, cells, self.context.config.probes)
        poll, parked, listeners = self.epoll.poll, self.parked, self.listeners
        while True:
            for fd, _ in poll(-1, 1):
                try:
                    conn = self._accept(fd) if fd in listeners else parked.pop(fd, None)
                    if conn is not None:
                        self._advance(conn, seat)
                except Exception as error:
                    self.context.log.error(f"error in the server: {error!r}")
                    if conn is not None:
                        self._drop(conn)

    def _accept(self, fd: int) -> Connection | None:
        board, row = self.context.board, self.context.row
        if self.balanced:
            for _ in range(YIELDS):
                if len(self.connections) <= board.fewest_connections(idle=True):
                    break
                time.sleep(YIELD)
        try:
            with self._door:
                if self._gone:
                    return None  # it stays in the queue, for a sibling
                sock, address = self.listeners[fd].accept()
                number = self.numbers[fd]
                peer = ("", "") if number in self._unix else (address[0], str(address[1]))
                conn = Connection(sock, number, peer, self.context.trusts(peer[0]))
                self.connections.add(conn)
        except BlockingIOError:
            return None  # a sibling was faster
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and not self._evict():
                time.sleep(0.05)
            return None
        finally:
            if self.balanced:
                with suppress(FileNotFoundError):  # it is no longer listened to: leaving
                    self.epoll.modify(fd, _READ)
        sock.setblocking(False)
        if len(self.connections) > self.context.settings.worker_connections:
            self._evict()
        if self.leaving is None:
            board.set_connections(row, len(self.connections))
        conn.deadline = time.monotonic() + HEAD_PATIENCE
        return conn

    def _evict(self) -> bool:
        """Close the connection that has been idle for longest; False if none is."""
        try:
            conn = self.parked.pop(next(iter(self.parked)))
        except (StopIteration, KeyError, RuntimeError):
            return False
        self._drop(conn)
        return True

    def _drop(self, conn: Connection) -> None:
        self.connections.discard(conn)
        if self.leaving is None:
            self.context.board.set_connections(self.context.row, len(self.connections))
        conn.close()

    def _park(self, conn: Connection, mask: int = _READ) -> None:
        """Give the connection back to the epoll; it is not ours any more after this."""
        self.parked[conn.fd] = conn
        if conn.registered:
            self.epoll.modify(conn.fd, mask)
        else:
            conn.registered = True
            self.epoll.register(conn.fd, mask)

    def _advance(self, conn: Connection, seat: _Seat) -> None:
        """A parked connection moved: go as far as it goes without waiting."""
        try:
            if conn.phase == con.FLUSH:
                if not conn.flush():
                    conn.deadline = time.monotonic() + con.PATIENCE
                    self._park(conn, _WRITE)
                    return
                if conn.closing:
                    self._close(conn)
                    return
                conn.reset_request()
            elif not conn.read():
                self._park(conn)
                return
            elif conn.phase == con.LINGER:
                conn.buffer = b""
                self._park(conn)
                return
            self._serve_buffer(conn, seat)
        except Gone:
            self._drop(conn)
        except Refused as refused:
            _try_send(conn, refusal(refused.status, str(refused)))
            self._linger(conn)

    def _serve_buffer(self, conn: Connection, seat: _Seat) -> None:
        """Serve every whole request the buffer holds. Raises Gone, Refused."""
        while True:
            if conn.phase == con.HEAD:
                fresh = not conn.buffer
                head, conn.buffer = take_head(conn.buffer)
                if head is None:
                    if fresh and conn.served:
                        conn.deadline = time.monotonic() + self.promised
                    elif conn.started != conn.served:
                        # The first bytes of a further request: from here it must hurry.
                        conn.started = conn.served
                        conn.deadline = time.monotonic() + HEAD_PATIENCE
                    self._park(conn)
                    return
                request = parse_head(head)
                if request.length != 0:
                    conn.expect_body(request)
            if conn.phase == con.BODY:
                assert conn.request is not None
                request = conn.request
                if not conn.collect():
                    conn.deadline = time.monotonic() + con.PATIENCE
                    self._park(conn)
                    return
            conn.closing = not self._respond(conn, request, seat)
            if conn.out:
                conn.phase = con.FLUSH
                conn.deadline = time.monotonic() + con.PATIENCE
                self._park(conn, _WRITE)
                return
            if conn.closing:
                self._close(conn)
                return
            conn.reset_request()
            if not conn.buffer:
                conn.deadline = time.monotonic() + self.promised
                self._park(conn)
                return

    def _close(self, conn: Connection) -> None:
        """Close after a response."""
        if conn.buffer or (conn.body is not None and not conn.body.done):
            self._linger(conn)
        else:
            self._drop(conn)

    def _linger(self, conn: Connection) -> None:
        """Close, but not over bytes still coming: that would reset what we just said."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        conn.phase = con.LINGER
        conn.buffer = b""
        conn.deadline = time.monotonic() + LINGER
        self._park(conn)

    def _respond(self, conn: Connection, request: Request, seat: _Seat) -> bool:
        """Run the app for one request; whether the connection may go on. Raises nothing."""
        context, index, cells = self.context, seat.index, seat.cells
        start = time.monotonic()
        cells[index] = start
        self.active.add(index)
        inflight = len(self.active)
        ring = context.ring
        if ring is not None:
            endpoint = _number(request.fields.pop(_ENDPOINT_KEY, ""))
            account = Account()
            current.set(account)
            runq = seat.runq() if seat.runq is not None else math.nan
        scheme = "http"
        if conn.trusted and request.fields.get("HTTP_X_FORWARDED_PROTO", "").lower() == "https":
            scheme = "https"
        environ = environ_of(self.bases[conn.address], request, conn.peer, scheme, conn.input())
        keep = request.keep_alive and self.keepalive > 0
        response = Response(request, conn, keep)
        conn.on_wait = seat.waiting
        try:
            response.run(self.app, environ)
            keep = response.keep_alive and (conn.body is None or conn.body.done)
        except Gone:
            keep = False
            conn.out = b""
        except BaseException as error:
            keep = False
            self._failed(conn, request, response, error)
        conn.served += 1
        self.active.discard(index)
        if ring is not None:
            end = time.monotonic()
            cpu = time.thread_time()
            ring.write(
                start, end - start, cpu - seat.cpu + account.cpu, account.db, account.out,
                seat.runq() - runq if seat.runq is not None else math.nan, math.nan,
                response.sent, account.db_calls, account.out_calls, endpoint, index,
                response.status, inflight,
            )  # fmt: skip
            seat.cpu = cpu
        cells[index] = 0.0
        if context.log.has_access:
            self._log(conn, request, response)
        if self._limit and self._count() == self._limit:
            context.channel.send({"retire": self._limit})
        return keep

    def _failed(
        self, conn: Connection, request: Request, response: Response, error: BaseException
    ) -> None:
        line = f"{request.method} {request.path}"
        self.context.log.error(f"error handling {line}\n{user_traceback(error)}")
        if response.head is None:
            with suppress(Gone):
                response.fail()
        else:
            conn.out = b""  # cut short: the client must see that it is not whole

    def _log(self, conn: Connection, request: Request, response: Response) -> None:
        fields = request.fields
        line = f"{request.method} {request.target} HTTP/1.{request.minor}"
        self.context.log.access(
            conn.peer[0], line, response.status, response.sent,
            fields.get("HTTP_REFERER", "-"), fields.get("HTTP_USER_AGENT", "-"),
        )  # fmt: skip


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _try_send(conn: Connection, data: bytes) -> None:
    with suppress(Gone):
        conn.send(data, last=True)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _server_name(sock: socket.socket) -> tuple[str, str]:
    if sock.family == socket.AF_UNIX:
        return "localhost", ""
    host, port = sock.getsockname()[:2]
    return host, str(port)
