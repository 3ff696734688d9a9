"""Workers of class asgi: one event loop, HTTP and lifespan and WebSocket.

``timeout`` means how long the loop may stand still: the worker's cell holds the time of the last
beat, and the master sees when it grows old. A single request may take as long as it likes: on a
loop it is in nobody's way, and killing the worker for it would hit all others.

New connections are taken as long as no sibling has fewer. Beyond ``worker_connections`` one that
idles is closed for a new one; when none idles, new ones wait in the kernel's queue.

The loop is uvloop's where the app's environment has it, as under uvicorn, else asyncio's own.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from pretune.server.asgi.call import Call
from pretune.server.asgi.lifespan import Lifespan
from pretune.server.asgi.message_memory import MessageMemory
from pretune.server.asgi.metering import Meter
from pretune.server.asgi.protocol import HttpProtocol
from pretune.server.asgi.transport import Wire
from pretune.server.clock import Clock
from pretune.server.http11.forwarded import Trust
from pretune.server.http11.http1 import Request
from pretune.server.probes.journal import Journal
from pretune.server.process import listening
from pretune.server.process.importing import user_traceback
from pretune.server.process.scoreboard import NOT_SERVING
from pretune.server.telemetry import run_queue_clock
from pretune.server.workers import limits
from pretune.server.workers.context import Context
from pretune.server.workers.draining import GRACE, LOOK, STOP, next_step
from pretune.server.workers.queues import Queues
from pretune.server.workers.shortage import Shortage
from pretune.server.workers.silence import silent

BATCH = 16  # connections taken before others get their turn
LAST_WORDS = 2.0  # s of graceful_timeout, at most half, for the end of what was not finished


class AsgiWorker:
    """Serves an ASGI app until told to leave."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, context: Context) -> None:
        self.context = context
        self.app = context.loaded.app
        self.keepalive = context.settings.keepalive
        # What an answer already sent has promised: it holds while leaving, too.
        self.promised = self.keepalive
        self.meter = self._meter = self._new_meter()
        self.trust = Trust(context.config.forwarded_allow_ips)
        self.proxy_trust = Trust(context.config.proxy_allow_ips)
        self.connections: dict[Wire, None] = {}  # the longest idle before others that are
        self.messages = MessageMemory(context.config.limits.messages)
        self.calls: set[Call] = set()
        self.sockets: set[Call] = set()
        self.leaving: str | None = None  # how, once it was said: leaving.STOP or RETIRE
        self.state: dict[str, Any] = {}  # what the app's lifespan put there
        self._limit = context.request_limit()
        self._answered = False
        hooks = context.config.hooks
        self.before = hooks.get("pre_request")
        self._after = hooks.get("post_request")
        self._served = count(1)
        self._tally = context.tally(0)
        self.paused = False  # nobody is accepted for the time being
        self._opening: set[asyncio.Task[None]] = set()
        self._shortage = Shortage(context.log)
        self._cells = context.scoreboard.cells(context.slot)
        self._queues = Queues(context.listeners, lambda fd: self.loop.remove_reader(fd))

    def run(self, ready: Callable[[], None]) -> int:
        """Serve; the exit code. Raises TargetBroken if the app's lifespan does not start."""
        self.loop = loop = _new_loop()
        asyncio.set_event_loop(loop)
        if self._meter is not None:
            loop.set_task_factory(self._meter.task_factory)
            if self.context.journal is not None:
                self._watch(self._meter, self.context.journal)
        return loop.run_until_complete(self._main(ready))

    def _new_meter(self) -> Meter | None:
        if self.context.ring is None:
            return None
        return Meter(run_queue_clock() if self.context.config.probes else None)

    def _watch(self, meter: Meter, journal: Journal) -> None:
        from pretune.server.asgi.loop_lag import LoopLag

        meter.watched = True
        self.context.sample_stacks(LoopLag(self.loop, self.calls, meter, journal))

    async def _main(self, ready: Callable[[], None]) -> int:
        loop = self.loop
        self._departure = asyncio.Event()
        lifespan = Lifespan(self.app, self.state, self.context.log)
        await lifespan.startup()
        loop.add_signal_handler(signal.SIGTERM, self._on_term)
        for number in (signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, os._exit, 0)
        loop.add_reader(self.context.channel.fileno(), self._on_message)
        self._servers = {fd: _server_of(sock) for fd, sock in self._queues.open.items()}
        self.resume_accepting()
        self._beat()
        self._sweep()
        self.count()
        ready()
        await self._departure.wait()
        await self._finish()
        await lifespan.shutdown()
        await _wind_up(loop)
        return 0

    def _on_message(self) -> None:
        how = self.context.poll_master()  # None, too, if a signal made us hear it before
        if how is not None:
            self._leave(how)

    def _on_term(self) -> None:
        """A signal does not say how to leave. The master has, if it was the master's."""
        if self.leaving is None:
            how = self.context.poll_master()
            if how is None:
                self.context.ask_for_successor()
            else:
                self._leave(how)

    def _leave(self, how: str) -> None:
        self.leaving = how
        self.context.scoreboard.set_connections(self.context.slot, NOT_SERVING)
        self._departure.set()

    def _beat(self) -> None:
        self._cells[0] = now = Clock.monotonic()
        self.context.scoreboard.beat(self.context.slot, now)
        timeout = self.context.settings.timeout
        self.loop.call_later(min(1.0, timeout / 5) if timeout else 1.0, self._beat)

    def _sweep(self) -> None:
        self.loop.call_later(limits.SWEEP, self._sweep)
        now = Clock.monotonic()
        ring = self.context.ring
        if ring is not None:
            ring.check(now)
            self.meter = self._meter if ring.on else None
        for protocol in tuple(self.connections):
            protocol.expire(now)
        if self.paused:
            self.resume_accepting()  # somebody may idle for long enough now
        if self._meter is not None:
            self._meter.skip()

    # -- connections

    def resume_accepting(self) -> None:
        self.paused = False
        for fd, sock in self._queues.open.items():
            self.loop.add_reader(fd, self._accept, sock)

    def _pause_accepting(self) -> None:
        self.paused = True
        for fd in self._queues.open:
            self.loop.remove_reader(fd)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BATCH):
            held = len(self.connections) + len(self._opening)
            if held >= self.context.settings.worker_connections and not self._evict():
                self._pause_accepting()
                return
            if held > self.context.scoreboard.fewest_connections():
                # A sibling has fewer: give it the time to be first.
                self.loop.remove_reader(listener.fileno())
                self.loop.call_later(limits.YIELD, self._accept_late, listener)
                return
            if not self._take(listener):
                return

    def _accept_late(self, listener: socket.socket) -> None:
        if listener.fileno() in self._queues.open:
            self._take(listener)
            if not self.paused:
                self.loop.add_reader(listener.fileno(), self._accept, listener)

    def _take(self, listener: socket.socket) -> bool:
        """Accept one; False if there is none."""
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if self._shortage.note(error, len(self.connections), Clock.monotonic()):
                self._make_room()
            else:
                self._queues.note_empty(listener.fileno())
            return False  # else a sibling was faster, or the client has gone again
        sock.setblocking(False)
        opening = self.loop.create_task(self._open(sock, self._servers[listener.fileno()]))
        self._opening.add(opening)
        self.count()  # our own number must not make us wait for ourselves
        return True

    async def _open(self, sock: socket.socket, server: tuple[str, int | None]) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: HttpProtocol(self, sock, server), sock)
        except OSError:
            sock.close()
        finally:
            self._opening.discard(asyncio.current_task())
            self.count()

    def _make_room(self) -> None:
        """No descriptor is left: the queue would wake us again and again for nothing."""
        self._evict()
        self._pause_accepting()
        self.loop.call_later(limits.PAUSE, self.resume_accepting)

    def _evict(self) -> bool:
        """Close the connection that has been silent for longest; False if none is."""
        for protocol in silent(tuple(self.connections), Clock.monotonic(), limits.FRESH):
            protocol.close_at_once()
            return True
        return False

    def count(self) -> None:
        """Tell the siblings how many connections we have."""
        if self.leaving is None:
            held = len(self.connections) + len(self._opening)
            self.context.scoreboard.set_connections(self.context.slot, held)

    def idles(self, wire: Wire) -> None:
        """A connection waits for its next request, from now on."""
        if wire in self.connections:
            del self.connections[wire]
            self.connections[wire] = None

    def lost(self, wire: Wire) -> None:
        """A connection has ended; there is room for another."""
        self.connections.pop(wire, None)
        self.count()
        if self.paused:
            self.resume_accepting()

    def change_protocol(
        self,
        wire: Wire,
        request: Request,
        scheme: str,
        client: tuple[str, int] | None,
        early: bytes,
        queue: float,
    ) -> None:
        """Go on as a WebSocket, whose handshake is whole; ``early`` came behind it."""
        from pretune.server.asgi.websocket_exchange import SocketProtocol  # most apps never need it

        successor = SocketProtocol(self, wire, request, scheme, client, early)
        self.connections.pop(wire, None)
        self.connections[successor] = None
        wire.transport.set_protocol(successor)
        successor.begin(queue)
        successor.launch()

    # -- requests

    def finished(self, call: Call) -> None:
        """Record a request that is over."""
        context, account = self.context, call.account
        if account is not None:
            assert context.ring is not None
            assert self._meter is not None
            runq = account.runq if self._meter.queue is not None else math.nan
            context.ring.write(
                call.began, call.ended - call.began, account.cpu, account.db, account.out,
                runq, call.queue, call.sent, account.db_calls, account.out_calls,
                call.endpoint, 0, account.route, call.status, call.inflight, account.head,
                account.pool,
            )  # fmt: skip
            if account.hosts is not None and context.journal is not None:
                context.journal.request(account, call.ended)
        if not self._answered:
            self._answered = True
            context.note_answer()
        if self._tally is not None:
            self._tally.add(call.ended - call.began, call.status)
        if context.log.has_access:
            with suppress(Exception):  # the app may have given anything as a header
                self._log_access(call)
        if self._after is not None:
            self._call_after(call)
        if self._limit and next(self._served) == self._limit:
            context.channel.send({"retire": self._limit})

    def _log_access(self, call: Call) -> None:
        request, fields = call.request, call.request.shared
        self.context.log.access(
            call.client[0] if call.client else "",
            f"{request.method} {request.target} HTTP/1.{request.minor}",
            call.status, call.sent,
            fields.get("HTTP_REFERER", "-"), fields.get("HTTP_USER_AGENT", "-"),
            call.ended - call.began, fields, call.headers,
        )  # fmt: skip

    def _call_after(self, call: Call) -> None:
        assert self._after is not None
        try:
            self._after(self.context.view, call.request, call.scope, call)
        except Exception as error:
            self.context.log.error(f"error in post_request\n{user_traceback(error)}")

    # -- leaving

    async def _finish(self) -> None:
        """Finish what was begun."""
        self.keepalive = 0.0
        began = Clock.monotonic()
        patience = self.context.settings.graceful_timeout
        last_words = min(LAST_WORDS, patience / 2)
        patience -= last_words
        while True:
            if self.leaving == STOP:
                self._queues.seal()
            for protocol in tuple(self.connections):
                protocol.go_away()
            queues, sealed = self._queues.waiting(), self._queues.sealed
            held = (self.connections, self._opening, self.calls, self.sockets)
            elapsed = Clock.monotonic() - began
            inside = sum(map(len, held))
            step = next_step(self.leaving or STOP, elapsed, patience, queues, inside, sealed)
            for fd in step.shut_queues:
                self._queues.shut(fd)
            if step.close_idle:
                self._close_idle()
            if step.done:
                break
            await asyncio.sleep(LOOK)
        left = [call.task for call in (*self.calls, *self.sockets)]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=last_words / 2)

    def _close_idle(self) -> None:
        idle = {}
        now = Clock.monotonic()
        for protocol in self.connections:
            if protocol.idle and protocol.sock.fileno() >= 0:
                if not protocol.served and now < protocol.quiet + GRACE:
                    continue  # it has only just come
                idle[protocol.sock.fileno()] = protocol
        # A request may have come in the meantime: it will be answered.
        waiting = listening.readable(idle)
        for fd, protocol in idle.items():
            if fd not in waiting:
                protocol.close_at_once()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        plain = asyncio.new_event_loop()
        plain.time = Clock.monotonic  # type: ignore[method-assign]
        return plain
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """Let the app's stray tasks and generators hear of the end; they do not delay it."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=1.0)
    await loop.shutdown_asyncgens()


def _server_of(listener: socket.socket) -> tuple[str, int | None]:
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(address), None
    return address[0], address[1]
