"""The acceptor: how connections come into a threaded worker, how many there may be, and how they
leave.

Connections that stay must be spread evenly: every idle worker wakes up for a new one, and one that
has more than another lets it be first. Connections that go at once spread by themselves: the kernel
wakes one worker only. The taking end for connections that siblings pass on (``fd_passing``) is
waited at as a listener is.

When there are ``worker_connections``, or no descriptors, a silent one makes room. If none is silent
nobody is let in for a while: siblings, and the kernel's queue, take over.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from pretune.server.clock import Clock
from pretune.server.http11.forwarded import Trust
from pretune.server.process import listening
from pretune.server.workers import limits
from pretune.server.workers.context import Context
from pretune.server.workers.queues import Queues
from pretune.server.workers.shortage import Shortage
from pretune.server.workers.silence import silent
from pretune.server.wsgi import fd_passing
from pretune.server.wsgi.buffers import Room
from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.parking import Parking
from pretune.server.wsgi.pump import Pump

_ALONE = select.EPOLLIN | select.EPOLLEXCLUSIVE
_TOGETHER = select.EPOLLIN | select.EPOLLONESHOT


class Acceptor:
    """Takes connections in and lets them go."""

    def __init__(
        self,
        context: Context,
        parking: Parking,
        room: Room,
        pump: Pump,
        keepalive: float,
        wake: Callable[[], None],
    ) -> None:
        """``wake`` makes the main thread look."""
        self.connections: set[Connection] = set()
        self.leaving = False
        self.paused_until = 0.0  # 0: not paused
        self._context = context
        self._parking = parking
        self._epoll = parking.epoll
        self._room = room
        self._pump = pump
        self._shortage = Shortage(context.log)
        self._wake = wake
        self._balanced = keepalive > 0
        self._most = context.settings.worker_connections
        self._trust = Trust(context.config.forwarded_allow_ips)
        self._proxied = context.config.proxy_protocol
        self.queues = Queues(context.listeners, self._unwatch)
        self._listeners = self.queues.open.copy()
        self._numbers = {fd: n for n, fd in enumerate(self._listeners)}
        self._names = {listening.name(sock): n for n, sock in enumerate(context.listeners)}
        self._name_of = list(self._names)
        self.exchange = context.exchange
        self._take = self.exchange[1].fileno() if self.exchange is not None else -1
        # All there are; one that was shut stays in it.
        self.entrances = frozenset({*self._listeners, self._take} - {-1})
        self._spare = -1  # a descriptor that can be given up for another
        self._keep_place(True)
        self.taking = False  # waits at the taking end, too
        # Between the kernel's accept and our knowing of it nobody may decide that all is done.
        self._lock = threading.Lock()
        self._gone = False

    # -- where they come in

    def listen(self) -> None:
        self.taking = self.exchange is not None
        for fd in self._open():
            self._watch(fd)
        self._tell()

    def _open(self) -> list[int]:
        return [*self.queues.open, *([self._take] if self.taking else [])]

    def _watch(self, fd: int) -> None:
        together = self._balanced and fd != self._take
        with suppress(OSError):  # registered already
            self._epoll.register(fd, _TOGETHER if together else _ALONE)

    def _unwatch(self, fd: int) -> None:
        with suppress(OSError):  # not registered during a pause
            self._epoll.unregister(fd)

    def waiting(self) -> dict[int, bool]:
        """The open entrances, and whether somebody waits there."""
        passed = {self._take: bool(listening.readable([self._take]))} if self.taking else {}
        return self.queues.waiting() | passed

    def sealed(self) -> set[int]:
        """Those nobody new comes to when the whole server goes."""
        return self.queues.sealed | {self._take}

    def shut(self, fd: int) -> None:
        """Wait there no more; ``accept`` may still come for an event that was on its way."""
        if fd == self._take:
            self.taking = False
            self._unwatch(fd)
        else:
            self.queues.shut(fd)

    def _pause(self) -> None:
        """No room: without this, the epoll would report the same entrance again and again."""
        self.paused_until = Clock.monotonic() + limits.PAUSE
        for fd in self._open():
            self._unwatch(fd)
        self._wake()

    def resume(self, now: float) -> None:
        """The main thread's: end a pause when it is over."""
        if self.paused_until and now >= self.paused_until:
            self.paused_until = 0.0
            for fd in self._open():
                self._watch(fd)

    def lock_up(self) -> bool:
        """Take nobody in any more, if nobody is inside; whether that is so."""
        with self._lock:
            self._gone = not self.connections
        return self._gone

    # -- connections

    def accept(self, fd: int) -> Connection | None:
        """Take the next one; None if a sibling was faster or there is no room."""
        if self._balanced and fd != self._take:
            self._let_siblings_be_first()
        try:
            if len(self.connections) >= self._most and not self.evict():
                self._pause()
                return None
            with self._lock:
                if self._gone:
                    return None  # it stays in the queue, for a sibling
                connection = self._receive() if fd == self._take else self._admit(fd)
                if connection is None:
                    return None
                self.connections.add(connection)
        except OSError as error:
            self._fail(fd, error)
            return None
        finally:
            if self._balanced and fd != self._take:
                with suppress(OSError):  # it is no longer listened to
                    self._epoll.modify(fd, _TOGETHER)
        self._tell()
        return connection

    def _let_siblings_be_first(self) -> None:
        for _ in range(limits.YIELDS):
            fewest = self._context.scoreboard.fewest_connections(idle=True)
            if len(self.connections) <= fewest:
                break
            Clock.sleep(limits.YIELD)

    def _fail(self, fd: int, error: OSError) -> None:
        """There is nobody, or no descriptor for him."""
        if self._shortage.note(error, len(self.connections), Clock.monotonic()):
            if not self.evict():
                self._pause()
        else:
            self.queues.note_empty(fd)

    def _admit(self, fd: int) -> Connection:
        """Raises BlockingIOError, OSError."""
        listener = self._listeners[fd]
        sock, address = listener.accept()
        sock.setblocking(False)
        peer = ("", "") if listener.family == socket.AF_UNIX else (address[0], str(address[1]))
        connection = self._made(sock, self._numbers[fd], peer)
        connection.preamble = self._proxied
        return connection

    def _receive(self) -> Connection | None:
        """Raises OSError."""
        assert self.exchange is not None
        # A message whose descriptor does not fit is lost: keep a place free for it.
        self._keep_place(False)
        try:
            passed = fd_passing.take(self.exchange[1])
        finally:
            self._keep_place(True)
        if passed is None:
            return None
        connection = self._made(passed.sock, self._names.get(passed.listener, 0), passed.peer)
        connection.served = passed.served
        connection.started = -1
        return connection

    def _keep_place(self, keep: bool) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        if keep:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _made(self, sock: socket.socket, number: int, peer: tuple[str, str]) -> Connection:
        return Connection(
            sock,
            number,
            peer,
            self._trust.covers(peer[0]),
            self._room,
            self._pump,
            self._context.config.limits,
        )

    def give(self, connection: Connection) -> bool:
        """Pass one we own to whichever worker is free; False: it is still ours."""
        assert self.exchange is not None
        passed = fd_passing.Passed(
            connection.sock,
            self._name_of[connection.address],
            connection.peer,
            connection.served,
        )
        if not fd_passing.give(self.exchange[0], passed):
            return False
        # The descriptor lives on in the message: closing ours would not take it out of the epoll.
        with suppress(OSError):
            self._epoll.unregister(connection.fd)
        self.drop(connection)
        return True

    def evict(self) -> bool:
        """Close the connection that has been silent for longest; False if none is."""
        now, parked = Clock.monotonic(), tuple(self._parking.parked.values())
        for connection in silent(parked, now, limits.FRESH):
            if self._parking.own_if(connection, lambda one: bool(silent([one], now, limits.FRESH))):
                self.drop(connection)
                return True
        return False

    def drop(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._tell()
        connection.close()
        if self.paused_until:
            self.paused_until = 1.0  # long ago: there is room now
            self._wake()

    def _tell(self) -> None:
        """Let the siblings know how many we have."""
        if not self.leaving:
            self._context.scoreboard.set_connections(self._context.slot, len(self.connections))
