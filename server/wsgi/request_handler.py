"""One request's turn in a WSGI app: its environ, the call, and what is told about it afterwards.

The same for threads and greenlets. What only some configurations need (telemetry, hooks, tallies,
the access log, a request limit) costs the others one comparison.
"""

from __future__ import annotations

import io
import itertools
import math
import socket
import threading
from contextlib import suppress

from pretune.server.clock import Clock
from pretune.server.http11.forwarded import scheme_of
from pretune.server.http11.http1 import Request
from pretune.server.probes.account import Account, current, serving
from pretune.server.process.importing import user_traceback
from pretune.server.telemetry import COARSE, ENDPOINT_HEADER, queued, run_queue_clock
from pretune.server.workers.context import Context
from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.environ import (
    Environ,
    Response,
    base_environ,
    connection_environ,
    fill,
    fill_line,
)
from pretune.server.wsgi.pump import Gone

_ENDPOINT_KEY = "HTTP_" + ENDPOINT_HEADER.upper().replace("-", "_")
EACH = 16  # requests: of so many one has its run-queue delay measured where probes are off
HELD = -1.0  # in a cell: a slow client holds the thread


class ThreadSlot:
    """The state of one serving thread."""

    __slots__ = ("account", "cells", "cpu", "ident", "index", "native", "runq", "served", "tally")

    def __init__(self, context: Context, index: int) -> None:
        self.index = index
        self.cells = context.scoreboard.cells(context.slot)
        self.tally = context.tally(index)
        self.cpu = Clock.thread_time()  # up to here it is accounted for; negative: unknown
        self.account = Account()
        if context.ring is not None:
            current.set(self.account)  # in this thread for good
        # None: not to be had for one request
        self.runq = run_queue_clock() if context.ring is not None else None
        self.served = 0
        self.ident = threading.get_ident()
        self.native = threading.get_native_id()

    def spend(self) -> float:
        """Seconds of the thread's CPU since the last call; negative if nobody was measuring."""
        cpu = Clock.thread_time()
        spent = cpu - self.cpu if self.cpu >= 0.0 else -1.0
        self.cpu = cpu
        return spent

    def waiting(self, begins: bool) -> None:
        """While it waits for a slow client, the app is not to blame: the clock stands still.

        The thread is not idle, either, so the cell is not 0.
        """
        self.cells[self.index] = HELD if begins else Clock.monotonic()


class RequestHandler:
    """Calls the app for requests, from several threads at once."""

    def __init__(self, context: Context, *, multithread: bool, keepalive: float) -> None:
        self.context = context
        self.keepalive = keepalive  # s; 0: every answer ends its connection
        self.active: set[int] = set()  # seats inside the app
        self._app = context.loaded.app
        self._ring = context.ring
        self._probes = context.config.probes
        self._journal = context.journal
        self._log = context.log
        self._limit = context.request_limit()
        self._answered = False
        self._count = itertools.count(1).__next__
        hooks = context.config.hooks
        self._before = hooks.get("pre_request")
        self._after = hooks.get("post_request")
        self._bases = [
            base_environ(
                server_of(sock),
                multithread=multithread,
                multiprocess=context.settings.workers > 1,
            )
            for sock in context.listeners
        ]

    def leave(self) -> None:
        """Every answer from now on ends its connection, also those to requests that have begun."""
        self.keepalive = 0.0
        Connection.lasting = False

    def handle(self, connection: Connection, request: Request, slot: ThreadSlot) -> bool:
        """Run the app for one request; whether the connection may go on. Raises Refused."""
        fields = request.shared
        body = io.BytesIO() if connection.body is None else connection.input()
        if connection.fields is fields:
            repeated = connection.repeated
            if repeated is None:
                repeated = connection.repeated = self._environ(connection, request, None)
            environ = fill_line(repeated.copy(), request, body)
        else:
            connection.fields, connection.repeated = fields, None
            environ = self._environ(connection, request, body)
        start = Clock.monotonic()
        index, ring = slot.index, self._ring
        slot.cells[index] = start
        if ring is not None:
            endpoint = environ.pop(_ENDPOINT_KEY, None)
            if endpoint is not None:
                request.fields.pop(_ENDPOINT_KEY)
            if ring.on:
                head = Clock.thread_time() - slot.cpu if self._probes else 0.0
                self.active.add(index)
                inflight = len(self.active)
                account = slot.account
                if self._probes or account.shared:
                    account = slot.account = Account()
                    current.set(account)
                if self._journal is not None:
                    if endpoint is not None:
                        account.endpoint = _number(endpoint)
                    serving[slot.ident] = slot.native, account
                # It takes two system calls: without probes some requests stand for all.
                slot.served += 1
                clock = slot.runq if self._probes or not slot.served % EACH else None
                runq = clock() if clock is not None else math.nan
                if not connection.tcp:
                    queue = math.nan
                elif start - connection.ended < COARSE:
                    queue = 0.0  # it cannot have come before the last answer went
                else:
                    queue = queued(connection.sock)
            else:
                ring = None
                slot.cpu = -1.0
        keep = request.keep_alive and self.keepalive > 0.0
        response = Response(request, connection, keep)
        if request.minor:
            environ["wsgi.early_hints"] = response.early_hints
        connection.on_wait = slot.waiting
        try:
            if self._before is not None:
                self._before(self.context.view, request)
            response.run(self._app, environ)
            if connection.backlog is not None:
                connection.leave_to_flush()
            keep = response.keep_alive
        except Gone:
            keep = False
            connection.forget_response()
        except BaseException as error:
            keep = False
            self._failed(connection, request, response, error)
        connection.served += 1
        end = connection.ended = Clock.monotonic()
        if ring is not None:
            self.active.discard(index)
            if self._journal is not None:
                serving.pop(slot.ident, None)
                if account.hosts is not None:
                    self._journal.request(account, end)
            cpu = slot.spend()
            if cpu >= 0.0:
                ring.write(
                    start, end - start, cpu + account.cpu, account.db, account.out,
                    clock() - runq if clock is not None else math.nan, queue,
                    response.sent, account.db_calls, account.out_calls,
                    _number(endpoint) if endpoint is not None else 0, index,
                    account.route, response.status, inflight, head,
                )  # fmt: skip
        slot.cells[index] = 0.0
        if not self._answered:
            self._answered = True
            self.context.note_answer()
        if slot.tally is not None:
            slot.tally.add(end - start, response.status)
        if self._after is not None:
            self._call_after(request, environ, response)
        if self._log.has_access:
            self._log_access(connection, request, environ, response, end - start)
        if self._limit and self._count() == self._limit:
            self.context.channel.send({"retire": self._limit})
        return keep

    def _environ(self, connection: Connection, request: Request, body: object) -> Environ:
        """Raises Refused."""
        base = connection.environ
        if base is None:
            base = connection.environ = connection_environ(
                self._bases[connection.address], connection.peer
            )
        environ = fill(base.copy(), request, body)
        scheme = scheme_of(request.shared, connection.trusted)
        if scheme != "http":
            environ["wsgi.url_scheme"] = scheme
        return environ

    def _failed(
        self, connection: Connection, request: Request, response: Response, error: BaseException
    ) -> None:
        line = f"{request.method} {request.path}"
        self._log.error(f"error handling {line}\n{user_traceback(error)}")
        try:
            if response.head is None:
                response.fail()
            else:
                # Cut short: the client gets what there is and must see that it is not whole.
                connection.leave_to_flush()
        except Gone:
            connection.forget_response()

    def _call_after(self, request: Request, environ: object, response: Response) -> None:
        assert self._after is not None
        try:
            self._after(self.context.view, request, environ, response)
        except Exception as error:
            self._log.error(f"error in post_request\n{user_traceback(error)}")

    def _log_access(
        self,
        connection: Connection,
        request: Request,
        environ: dict[str, object],
        response: Response,
        seconds: float,
    ) -> None:
        fields = request.shared
        with suppress(Exception):  # the app may have put anything into environ
            self._log.access(
                connection.peer[0],
                f"{request.method} {request.target} HTTP/1.{request.minor}",
                response.status, response.sent,
                fields.get("HTTP_REFERER", "-"), fields.get("HTTP_USER_AGENT", "-"),
                seconds, environ, response.headers,
            )  # fmt: skip


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def server_of(sock: socket.socket) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT of a listening socket."""
    if sock.family == socket.AF_UNIX:
        return "localhost", ""
    host, port = sock.getsockname()[:2]
    return host, str(port)
