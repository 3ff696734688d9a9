"""An open load: requests arrive at a rate, whether or not earlier ones have been answered.

Arrivals are a Poisson process whose times are drawn beforehand, from the seed, and kept: a request
that cannot be sent in time is sent late, and its latency is counted from the *intended* start. So a
server that stalls is charged with everybody who would have come meanwhile; a closed load only
charges it with the few who wait (coordinated omission). Each request has a connection of its own,
or, where the workload keeps them, any that is idle, a new one only where none is; as many at once
as it takes, up to a cap. A record says how late the request was sent. An arrival beyond the cap is
not sent and is an error ("not sent"); so is what is unanswered at the end ("timeout").
"""

from __future__ import annotations

import time

import gevent

from pretune.loadtests.alarm import Alarm
from pretune.loadtests.exchange import Connection, Failure
from pretune.loadtests.moments import draw_times
from pretune.loadtests.records import classify_status
from pretune.loadtests.script import Script
from pretune.loadtests.users import UserLoop

# Waiting at once. Each costs a descriptor; a server with so many ahead of it is lost anyway.
MOST_WAITING = 2_000
# Of the driver's descriptors, kept for everything else.
SPARE_FDS = 64


class Arrivals:
    """The senders of an open load; ``loadtests.driver`` says how they are used."""

    def __init__(
        self, script: Script, loop: UserLoop, rps: float, most: int, *, kept: bool = False
    ) -> None:
        self._kept = kept
        self._idle: list[Connection] = []
        self._script, self._loop, self._rps, self._most = script, loop, rps, most
        self._gate: gevent.Greenlet | None = None
        self._waiting: set[gevent.Greenlet] = set()
        self.not_sent = 0
        self.most_waiting = 0

    @property
    def running(self) -> bool:
        return self._gate is not None and not self._gate.dead

    def start(self) -> None:
        self._gate = gevent.spawn(self._admit_until_over)

    def finish(self, grace_s: float) -> int:
        """Wait for the answers still due, at most ``grace_s``; the number that did not come."""
        if self._gate is not None:
            self._gate.join()
        gevent.joinall(list(self._waiting), timeout=grace_s)
        loop, now = self._loop, time.perf_counter()
        left = dict(loop.waiting)
        gevent.killall(list(self._waiting))
        for connection in self._idle:
            connection.close()
        for number, (intended, _) in left.items():
            loop.writer.add(
                intended, now - intended, 0, self._numbers[number], number, 0, "timeout"
            )
        return len(left)

    def _admit_until_over(self) -> None:
        alarm = Alarm()
        try:
            self._admit(alarm)
        finally:
            alarm.close()

    def _admit(self, alarm: Alarm) -> None:
        loop, clock = self._loop, time.perf_counter
        self._numbers: dict[int, int] = {}
        for number, at in enumerate(draw_times(clock(), self._rps, loop.seed)):
            while not loop.over and (early := at - clock()) > 0:
                alarm.wait(min(early, 0.1))
            if loop.over:
                return
            index, head = self._script.deal()
            if len(self._waiting) >= self._most:
                self.not_sent += 1
                loop.writer.add(at, 0.0, 0, index + 1, number, 0, "not sent")
                continue
            sender = gevent.spawn(self._send, number, at, index, head)
            self._waiting.add(sender)
            self.most_waiting = max(self.most_waiting, len(self._waiting))
            sender.link(self._waiting.discard)

    def _send(self, number: int, intended: float, index: int, head: bytes) -> None:
        loop = self._loop
        connection = self._idle.pop() if self._idle else Connection(loop.address)
        late = time.perf_counter() - intended
        loop.waiting[number] = (intended, connection)
        self._numbers[number] = index + 1
        status = size = 0
        try:
            status, size = connection.exchange(
                head + (b"\r\n" if self._kept else b"Connection: close\r\n\r\n"),
                self._script.head_only[index],
            )
            kind = classify_status(status)
            if status >= 500:
                loop.keep_error(connection.error_body)
        except Failure as failure:
            kind = failure.kind
        finally:
            if self._kept and status:
                self._idle.append(connection)
            else:
                connection.close()
        wall = time.perf_counter() - intended
        del loop.waiting[number], self._numbers[number]
        loop.writer.add(intended, wall, size, index + 1, number, status, kind, late)
