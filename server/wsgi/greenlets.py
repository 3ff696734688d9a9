"""Workers of class gevent: a greenlet per connection, where the app's environment has gevent.

The standard library is patched before the app is imported (``patch``), so that the app's blocking
calls wait in gevent's hub. Parser, conversation and request handler are those of the threads; only
the waiting is different. ``timeout`` means how long the hub may stand still, as under asgi: a
single request is not limited, because an exception thrown into a greenlet wherever it happens to
wait leaves the app's locks and pools in any state, and killing the worker would end all its
requests.

CPU of one request is summed over its own steps: the tracer reads the thread's clock at every switch
and adds what has passed to the account of the greenlet that stops running. Greenlets started for a
request run in copies of its context, so their steps count, too.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pretune.server.clock import Clock
from pretune.server.http11.forwarded import Trust
from pretune.server.probes.account import Account, current
from pretune.server.process.importing import TargetBroken
from pretune.server.process.scoreboard import NOT_SERVING
from pretune.server.workers import draining, limits
from pretune.server.workers.context import Context
from pretune.server.workers.queues import Queues
from pretune.server.workers.shortage import Shortage
from pretune.server.workers.silence import silent, unheard
from pretune.server.wsgi.buffers import Room
from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.conversation import READ, WRITE, Conversation
from pretune.server.wsgi.request_handler import RequestHandler, ThreadSlot

_LATE, _IDLE = "late", "idle"  # why a connection is dismissed


def patch() -> None:
    """Make the standard library cooperative. Raises TargetBroken."""
    try:
        from gevent import monkey
    except ImportError as error:
        text = "worker class gevent needs gevent in the application's environment"
        raise TargetBroken(text, f"{text}: {error}") from None
    monkey.patch_all()


class _Dismissed(Exception):
    """Told to a connection that waits; ``why`` is _LATE or _IDLE."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Meter:
    """Whose steps took how much of the thread's CPU."""

    def __init__(self) -> None:
        self.last = Clock.thread_time()

    def run(self, on: bool) -> None:
        import greenlet  # type: ignore[import-untyped]

        self.last = Clock.thread_time()
        greenlet.settrace(self._switched if on else None)

    def _switched(self, event: str, greenlets: tuple[Any, Any]) -> None:
        now = Clock.thread_time()
        spent, self.last = now - self.last, now
        context = greenlets[0].gr_context
        account = context.get(current) if context is not None else None
        if account is not None:
            account.cpu += spent


class GreenletSlot(ThreadSlot):
    """The state of one connection's greenlet."""

    __slots__ = ("_meter",)

    def __init__(self, context: Context, index: int, meter: Meter) -> None:
        super().__init__(context, 0)
        self.index = index
        self.cells = {}  # type: ignore[assignment]  # the scoreboard's is the hub's
        self.runq = None  # the thread's, and so not one request's
        self._meter = meter

    def spend(self) -> float:
        """Return the CPU spent since the last call; what follows counts for the greenlet's next
        request.
        """
        now, meter = Clock.thread_time(), self._meter
        spent, meter.last = now - meter.last, now
        self.account = Account()
        current.set(self.account)
        return spent


class GreenletWorker:
    """Serves a WSGI app until told to leave."""

    def __init__(self, context: Context) -> None:
        import gevent
        import gevent.event

        if context.config.probes:
            from pretune.server.probes import waiting

            waiting.share_threads()
        self._gevent, self._hub = gevent, gevent.get_hub()
        self.context = context
        self.connections: dict[Connection, Any] = {}  # its greenlet
        self.parked: dict[Connection, None] = {}  # the longest idle first
        self.leaving: str | None = None
        self.handler = RequestHandler(
            context, multithread=True, keepalive=context.settings.keepalive
        )
        self.conversation = Conversation(context, self.handler, self._drop)
        self._told = gevent.event.Event()
        config = context.config
        self._trust = Trust(config.forwarded_allow_ips)
        self.room = Room(
            config.worker_buffer_memory,
            config.worker_buffer_files,
            config.tmp_upload_dir,
            context.log,
        )
        self._shortage = Shortage(context.log)
        self._numbers = itertools.count(1).__next__
        self._meter = Meter()
        self._queues = Queues(context.listeners)

    # -- the main greenlet

    def run(self, ready: Callable[[], None]) -> int:
        spawn = self._gevent.spawn
        self._gevent.signal_handler(signal.SIGTERM, self._on_term)
        for quick in (signal.SIGINT, signal.SIGQUIT):
            self._gevent.signal_handler(quick, os._exit, 0)
        self.context.scoreboard.beats_in_cells(self.context.slot)
        for number, sock in enumerate(self.context.listeners):
            spawn(self._listen, sock, number)
        for task in (self._beat, self._sweep, self._hear):
            spawn(task)
        self._count()
        ready()
        self._told.wait()
        return self._leave()

    def _beat(self) -> None:
        cells, timeout = (
            self.context.scoreboard.cells(self.context.slot),
            self.context.settings.timeout,
        )
        while True:
            cells[0] = Clock.monotonic()
            self._gevent.sleep(min(1.0, timeout / 5) if timeout else 1.0)

    def _sweep(self) -> None:
        ring, metered = self.context.ring, False
        while True:
            now = Clock.monotonic()
            self.context.scoreboard.beat(self.context.slot, now)
            for conn in tuple(self.parked):
                if conn in self.parked and conn.given_up(now):
                    self._dismiss(conn, _LATE)
            if ring is not None:
                ring.check(now)
                if ring.on != metered:
                    metered = ring.on
                    self._meter.run(metered)
            self._gevent.sleep(limits.SWEEP)

    def _hear(self) -> None:
        while True:
            self._await(self.context.channel.fileno(), select.POLLIN, None)
            self._obey()

    def _obey(self) -> None:
        how = self.context.poll_master()  # None, too, if a signal made us hear it before
        if how is not None:
            self._leave_as(how)

    def _on_term(self) -> None:
        """A signal does not say how to leave. The master has, if it was the master's."""
        self._obey()
        if self.leaving is None:
            self.context.ask_for_successor()

    def _leave_as(self, how: str) -> None:
        self.leaving = how
        self._told.set()

    def _leave(self) -> int:
        self.context.scoreboard.set_connections(self.context.slot, NOT_SERVING)
        self.handler.leave()
        began = Clock.monotonic()
        patience = self.context.settings.graceful_timeout
        while True:
            assert self.leaving is not None
            if self.leaving == draining.STOP:
                self._queues.seal()
            now = Clock.monotonic()
            step = draining.next_step(
                self.leaving,
                now - began,
                patience,
                self._queues.waiting(),
                len(self.connections),
                self._queues.sealed,
            )
            for fd in step.shut_queues:
                self._queues.shut(fd)
            if step.close_idle:
                self._close_idle(now)
            if step.done:
                return 0
            self._gevent.sleep(draining.LOOK)

    def _close_idle(self, now: float) -> None:
        """A request that came in the meantime will be answered."""
        for conn in unheard(conn for conn in self.parked if conn.idles(now)):
            if conn in self.parked:
                self._dismiss(conn, _IDLE)

    # -- connections

    def _listen(self, listener: socket.socket, number: int) -> None:
        fd, scoreboard = listener.fileno(), self.context.scoreboard
        most = self.context.settings.worker_connections
        while fd in self._queues.open:
            if not self._await(fd, select.POLLIN, draining.LOOK if self.leaving else 1.0):
                continue
            if len(self.connections) > scoreboard.fewest_connections():
                self._gevent.sleep(limits.YIELD)  # a sibling has fewer: it may be first
            if len(self.connections) >= most and not self._evict():
                self._gevent.sleep(limits.PAUSE)
                continue
            if fd not in self._queues.open:
                return
            try:
                # Not accept(): it would make a socket of gevent's class, which waits by itself.
                new, address = listener._accept()  # type: ignore[attr-defined]
            except OSError as error:
                if self._shortage.note(error, len(self.connections), Clock.monotonic()):
                    if not self._evict():
                        self._gevent.sleep(limits.PAUSE)
                else:
                    self._queues.note_empty(fd)
                continue
            self._admit(listener, number, new, address)

    def _admit(self, listener: socket.socket, number: int, fd: int, address: Any) -> None:
        sock = type(listener)(listener.family, listener.type, listener.proto, fileno=fd)
        sock.setblocking(False)
        peer = ("", "") if listener.family == socket.AF_UNIX else (address[0], str(address[1]))
        most = self.context.config.limits
        trusted = self._trust.covers(peer[0])
        conn = Connection(sock, number, peer, trusted, self.room, None, most)
        conn.preamble = self.context.config.proxy_protocol
        self.conversation.welcome(conn)
        self.connections[conn] = self._gevent.spawn(self._attend, conn)
        self._count()

    def _attend(self, conn: Connection) -> None:
        """One connection, from its first byte to its end."""
        slot = GreenletSlot(self.context, self._numbers(), self._meter)
        step, parked = self.conversation.step, self.parked
        loop, wait = self._hub.loop, self._hub.wait
        # poll would make such a watcher for each request.
        watchers = {READ: loop.io(conn.fd, 1), WRITE: loop.io(conn.fd, 2)}
        try:
            while next_ := step(conn, slot):
                parked[conn] = None
                try:
                    wait(watchers[next_])
                except _Dismissed as dismissed:
                    if self._end(conn, dismissed.why):
                        return
                finally:
                    parked.pop(conn, None)
        finally:
            for watcher in watchers.values():
                watcher.close()

    def _end(self, conn: Connection, why: str) -> bool:
        """False if it has moved after that was decided, and before it was told."""
        if why == _LATE and conn.given_up(Clock.monotonic()):
            self.conversation.expire(conn)
        elif why == _IDLE and unheard([conn]):
            self._drop(conn)
        else:
            return False
        return True

    def _await(self, fd: int, event: int, seconds: float | None) -> bool:
        """Until the event, or False after so long."""
        poll = select.poll()
        poll.register(fd, event)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def _dismiss(self, conn: Connection, why: str) -> None:
        """Tell a connection whose greenlet waits for its client that it is to end."""
        self._hub.loop.run_callback(self._tell, conn, why)

    def _tell(self, conn: Connection, why: str) -> None:
        """In the hub, where a greenlet that has not gone on yet still waits for its client: one
        that serves a request must not be interrupted."""
        if conn in self.parked:
            self.connections[conn].throw(_Dismissed(why))

    def _evict(self) -> bool:
        """Close the connection that has been silent for longest; False if none is."""
        for conn in silent(tuple(self.parked), Clock.monotonic(), limits.FRESH):
            if conn in self.parked:
                self._dismiss(conn, _IDLE)
                self._gevent.sleep(0)
            if conn not in self.connections:
                return True
        return False

    def _drop(self, conn: Connection) -> None:
        self.connections.pop(conn, None)
        self.parked.pop(conn, None)
        with suppress(OSError):
            conn.close()
        self._count()

    def _count(self) -> None:
        if self.leaving is None:
            self.context.scoreboard.set_connections(self.context.slot, len(self.connections))
