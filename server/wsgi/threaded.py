"""Workers of class sync and gthread: threads that take turns at one epoll.

Every thread waits in the same epoll, and whoever is woken serves the request itself: nothing is
ever handed from one thread to another, which costs more than a trivial request. A connection that
has not sent a whole request holds no thread, and a worker whose threads are all busy asks for no
new connections, because nobody waits.

A connection is registered once, edge-triggered: an event says that something has changed since the
last one. Who owns a connection is said by ``parked`` alone: whoever pops it there. An event for a
connection that another thread owns is noted in ``missed``, and the owner looks there after it has
parked the connection. Each does its own part before it looks for the other's (Dekker's order), so
no event is lost, and a request costs no system call beside its recv and send.

A single thread asks for many events at a time; with several, each asks for one, or events would
wait in the hands of a busy thread while another is idle.

The main thread serves nothing: it listens to the master and to signals, closes what idles too long,
sends on what slow clients are behind with, passes connections to idle siblings while all threads
are busy (``relief``), and lets the worker go. sync is one thread and, as in gunicorn, no
keep-alive, so that all workers draw from the one queue of the kernel.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from pretune.server.process import listening
from pretune.server.process.scoreboard import NOT_SERVING
from pretune.server.workers import draining, limits
from pretune.server.workers.context import Context
from pretune.server.wsgi import connection as con
from pretune.server.wsgi.acceptor import Acceptor
from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.conversation import READ, WRITE, Conversation
from pretune.server.wsgi.offloading import Offloading
from pretune.server.wsgi.pump import Pump
from pretune.server.wsgi.request_handler import Service, ThreadSlot

_MASKS = {
    READ: select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET,
    WRITE: select.EPOLLOUT | select.EPOLLET,
}
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
        self.epoll = select.epoll()
        self.parked: dict[int, Connection] = {}  # by descriptor; whoever pops one owns it
        self.missed: set[int] = set()  # descriptors that moved while they were owned
        self.service = Service(context, multithread=self.threads > 1, keepalive=keepalive)
        self.pump = Pump()
        self.door = Acceptor(context, self.epoll, self.parked, self.pump, keepalive, self.wake)
        self.conversation = Conversation(context, self.service, self.door.drop, self._hush)
        self._step = self.conversation.step
        self.relief = Offloading(self)
        self.leaving: str | None = None  # leaving.STOP or leaving.RETIRE
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
        self.door.listen()
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
            now = time.monotonic()
            self.relief.look(now)
            self.door.resume(now)
            if now - swept >= limits.SWEEP:
                swept = now
                self._sweep(now)
        return self._leave(poll)

    def _patience(self) -> float:
        if self.door.paused_until:
            return 0.05
        self.resting = not self.door.connections
        return self.relief.patience(REST if self.resting else limits.SWEEP)

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
        self.leaving = self.leaving or draining.STOP

    def _obey(self) -> None:
        self.leaving = self.context.told() or self.leaving

    def _leave(self, poll: select.poll) -> int:
        self.door.leaving = True
        self.context.scoreboard.set_connections(self.context.slot, NOT_SERVING)
        self.service.leave()
        began = time.monotonic()
        patience = self.context.settings.graceful_timeout
        self._hear(poll, 0.0)  # a signal does not say how to leave, but the master may have
        while True:
            now = time.monotonic()
            assert self.leaving is not None
            doors, inside = self.door.waiting(), len(self.door.connections)
            step = draining.next_step(self.leaving, now - began, patience, doors, inside)
            for fd in step.close_doors:
                self.door.shut(fd)
            if step.close_idle:
                self._close_idle()
            if step.give_idle:
                self.relief.give_idle()
            if step.done and (now - began > patience or self.door.lock_up()):
                return 0
            self.relief.look(now)  # its threads may be stuck, and that be why it leaves
            self.door.resume(now)
            self._sweep(now)
            self._hear(poll, draining.LOOK)

    def _close_idle(self) -> None:
        for conn in tuple(self.parked.values()):
            if conn.phase != con.HEAD or conn.buffer or conn.sock.fileno() < 0:
                continue
            if listening.readable([conn.sock]):
                continue  # a request came in the meantime: a thread will answer it
            if self.parked.pop(conn.fd, None) is conn:
                self.door.drop(conn)

    def _sweep(self, now: float) -> None:
        """Close connections that wait for longer than they may."""
        self.context.scoreboard.beat(self.context.slot, now)
        if self.context.ring is not None:
            self.context.ring.check(now)
        for conn in tuple(self.parked.values()):
            if now <= conn.deadline or self.parked.get(conn.fd) is not conn:
                continue
            if self.parked.pop(conn.fd, None) is conn:
                self.conversation.expire(conn)

    # -- serving threads

    def _sit(self, index: int) -> None:
        seat = ThreadSlot(self.context, index)
        poll, parked, advance, batch = self.epoll.poll, self.parked, self._advance, self._batch
        relief, doors = self.relief, self.door.doors
        while True:
            visitors = []
            for fd, events in poll(-1, batch):
                conn = parked.pop(fd, None)
                if conn is None:
                    if fd in doors:
                        visitors.append(fd)
                        continue
                    conn = self._note(fd)
                    if conn is None:
                        continue
                if events & _ENDED:
                    conn.more = True  # the end comes after the bytes, and has no event of its own
                if relief.drowsy:
                    relief.rouse()
                advance(conn, seat)
            for fd in visitors:  # last: who is inside comes first
                if relief.drowsy:
                    relief.rouse()
                conn = self.door.accept(fd)
                if self.resting:
                    self.resting = False
                    self.wake()
                if conn is not None:
                    self.conversation.welcome(conn)
                    advance(conn, seat)

    def _note(self, fd: int) -> Connection | None:
        """Tell the owner of a connection that it has moved, unless it has just been parked."""
        self.missed.add(fd)
        conn = self.parked.pop(fd, None)
        if conn is not None:
            self.missed.discard(fd)
        return conn

    def _park(self, conn: Connection, mask: int) -> bool:
        """Let go of the connection until an event of ``mask``; True if it must be seen to now."""
        fd = conn.fd
        # Before it is parked: afterwards another thread may own it and change the mask.
        if conn.mask != mask or conn.more:
            conn.more = False
            if conn.mask:
                self.epoll.modify(fd, mask)  # also asks for an event if there is something now
            else:
                self.epoll.register(fd, mask)
            conn.mask = mask
        self.parked[fd] = conn
        if fd in self.missed:
            self.missed.discard(fd)
            return self.parked.pop(fd, None) is not None
        return False

    def _advance(self, conn: Connection, seat: ThreadSlot) -> None:
        """Go as far as it goes without waiting for the client; then park it, if it goes on."""
        step = self._step
        while next_ := step(conn, seat):
            if not self._park(conn, _MASKS[next_]):
                return

    def _hush(self, conn: Connection) -> None:
        """The app reads the rest of a long body itself: its bytes shall wake no other thread."""
        if conn.mask:
            conn.mask = select.EPOLLET
            self.epoll.modify(conn.fd, conn.mask)
