"""Workers of class sync and gthread: threads that take turns at one epoll.

Every thread waits in the same epoll, and whoever is woken serves the request itself: nothing is
ever handed from one thread to another, which costs more than a trivial request. A connection that
has not sent a whole request holds no thread, and a worker whose threads are all busy asks for no
new connections, because nobody waits.

A single thread asks for many events at a time; with several, each asks for one, or events would
wait in the hands of a busy thread while another is idle.

The main thread serves nothing: it listens to the master and to signals, closes what idles too long,
sends on what slow clients are behind with, passes connections to idle siblings while all threads
are busy (``offloading``), and lets the worker go. sync is one thread and, as in gunicorn, no
keep-alive, so that all workers draw from the one queue of the kernel.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from pretune.server.clock import Clock
from pretune.server.process.scoreboard import NOT_SERVING
from pretune.server.workers import draining, limits
from pretune.server.workers.context import Context
from pretune.server.workers.silence import unheard
from pretune.server.wsgi.acceptor import Acceptor
from pretune.server.wsgi.buffers import Room
from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.conversation import Conversation
from pretune.server.wsgi.offloading import Offloading
from pretune.server.wsgi.parking import Parking
from pretune.server.wsgi.pump import Pump
from pretune.server.wsgi.request_handler import RequestHandler, ThreadSlot

_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

BATCH = 64  # events a single thread takes at once
REST = 5.0  # s between two looks when there is none


class ThreadedWorker:
    """Serves a WSGI app until told to leave."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        threaded = settings.worker_class == "gthread"
        self.context = context
        self.threads = settings.threads if threaded else 1
        keepalive = settings.keepalive if threaded else 0.0
        config = context.config
        self.parking = Parking()
        self.room = Room(
            config.worker_buffer_memory,
            config.worker_buffer_files,
            config.tmp_upload_dir,
            context.log,
        )
        self.pump = Pump()
        self.handler = RequestHandler(context, multithread=self.threads > 1, keepalive=keepalive)
        self.acceptor = Acceptor(context, self.parking, self.room, self.pump, keepalive, self.wake)
        self.conversation = Conversation(context, self.handler, self.acceptor.drop)
        self._step, self._park = self.conversation.step, self.parking.park
        give = self.acceptor.give if context.exchange is not None else None
        self.offloading = Offloading(
            context.scoreboard, context.slot, self.parking, give, self.wake
        )
        self.leaving: str | None = None  # how: draining.STOP, RETIRE or YIELD
        self._signalled = False  # TERM came, and nobody has asked the master yet what it means
        self.resting = False  # the main thread waits for a first connection
        self._batch = BATCH if self.threads == 1 and keepalive else 1
        self._bell = os.pipe()

    # -- the main thread

    def run(self, ready: Callable[[], None]) -> int:
        bell, ring = self._bell
        for fd in self._bell:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: os._exit(0))
        self.acceptor.listen()
        # Before the first thread: a request that keeps the GIL would keep the word from the master,
        # who watches no clocks of a worker that still boots.
        ready()
        if self.context.journal is not None:
            self.context.sample_stacks()
        for index in range(self.threads):
            name = f"pretune-{index}"
            threading.Thread(target=self._sit, args=(index,), name=name, daemon=True).start()
        poll = select.poll()
        for fd in (self.context.channel.fileno(), bell, self.pump.epoll.fileno()):
            poll.register(fd, select.POLLIN)
        swept = 0.0
        while self.leaving is None:
            self._hear(poll, self._patience())
            if self._signalled:
                self._signalled = False
                self._obey()  # a signal does not say how to leave, but the master may have
                if self.leaving is None:
                    self.context.ask_for_successor()
            now = Clock.monotonic()
            self.offloading.give_waiting(now)
            self.acceptor.resume(now)
            if now - swept >= limits.SWEEP:
                swept = now
                self._sweep(now)
        return self._leave(poll)

    def _patience(self) -> float:
        if self.acceptor.paused_until:
            return 0.05
        self.resting = not self.acceptor.connections
        return self.offloading.patience(REST if self.resting else limits.SWEEP)

    def _hear(self, poll: select.poll, seconds: float) -> None:
        """Wait for the master, a signal, or a slow client."""
        for fd, _ in poll.poll(seconds * 1000):
            if fd == self._bell[0]:
                os.read(fd, 512)
            elif fd == self.pump.epoll.fileno():
                self.pump.run()
            else:
                self._obey()

    def wake(self) -> None:
        with suppress(BlockingIOError):  # it is full of wake-ups
            os.write(self._bell[1], b".")

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def _obey(self) -> None:
        self.leaving = self.context.poll_master() or self.leaving

    def _leave(self, poll: select.poll) -> int:
        self.acceptor.leaving = True
        self.context.scoreboard.set_connections(self.context.slot, NOT_SERVING)
        self.handler.leave()
        began = Clock.monotonic()
        patience = self.context.settings.graceful_timeout
        while True:
            now = Clock.monotonic()
            assert self.leaving is not None
            if self.leaving == draining.STOP:
                self.acceptor.queues.seal()
            step = draining.next_step(
                self.leaving,
                now - began,
                patience,
                self.acceptor.waiting(),
                len(self.acceptor.connections),
                self.acceptor.sealed(),
            )
            for fd in step.shut_queues:
                self.acceptor.shut(fd)
            if step.close_idle:
                self._close_idle(now)
            if step.give_idle:
                self.offloading.give_idle()
            if step.done and (now - began > patience or self.acceptor.lock_up()):
                return 0
            if self.leaving == draining.RETIRE or self.acceptor.taking:
                # Its threads may be stuck, and that be why it leaves. Siblings that leave, too, may
                # not take any more what they are given: then it has to come back.
                self.offloading.give_waiting(now)
            self.acceptor.resume(now)
            self._sweep(now)
            self._hear(poll, draining.LOOK)

    def _close_idle(self, now: float) -> None:
        """A request that came in the meantime will be answered."""

        def still(conn: Connection) -> bool:
            return conn.idles(now) and bool(unheard([conn]))

        parked = tuple(self.parking.parked.values())
        for conn in unheard(conn for conn in parked if conn.idles(now)):
            if self.parking.own_if(conn, still):
                self.acceptor.drop(conn)

    def _sweep(self, now: float) -> None:
        """Close connections that wait for longer than they may."""
        self.context.scoreboard.beat(self.context.slot, now)
        if self.context.ring is not None:
            self.context.ring.check(now)
        for conn in tuple(self.parking.parked.values()):
            if conn.overdue(now) and self.parking.own_if(conn, lambda one: one.given_up(now)):
                self.conversation.expire(conn)
        self.pump.sweep(now)

    # -- serving threads

    def _sit(self, index: int) -> None:
        slot = ThreadSlot(self.context, index)
        parking = self.parking
        poll, parked, advance, batch = (
            parking.epoll.poll,
            parking.parked,
            self._advance,
            self._batch,
        )
        offloading, entrances = self.offloading, self.acceptor.entrances
        while True:
            visitors = []
            for fd, events in poll(-1, batch):
                conn = parked.pop(fd, None)
                if conn is None:
                    if fd in entrances:
                        visitors.append(fd)
                        continue
                    conn = parking.note(fd)
                    if conn is None:
                        continue
                if events & _ENDED:
                    conn.more = True  # the end comes after the bytes, and has no event of its own
                if offloading.idle:
                    offloading.wake()
                advance(conn, slot)
            for fd in visitors:  # last: who is inside comes first
                if offloading.idle:
                    offloading.wake()
                conn = self.acceptor.accept(fd)
                if self.resting:
                    self.resting = False
                    self.wake()
                if conn is not None:
                    self.conversation.welcome(conn)
                    advance(conn, slot)

    def _advance(self, conn: Connection, slot: ThreadSlot) -> None:
        """Go as far as it goes without waiting for the client; then park it, if it goes on."""
        step, park = self._step, self._park
        while wish := step(conn, slot):
            if not park(conn, wish):
                return
