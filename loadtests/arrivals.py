"""An open load: requests arrive at a rate, whether or not earlier ones have been answered.

Arrivals are a Poisson process whose times are drawn beforehand, from the seed, and kept: a request
that cannot be sent in time is sent late, and its latency is counted from the *intended* start. So a
server that stalls is charged with everybody who would have come meanwhile; a closed load only
charges it with the few who wait (coordinated omission). Each request has a connection of its own,
as many at once as it takes, up to a cap. An arrival beyond the cap is not sent and is an error
("not sent"); so is what is unanswered at the end ("timeout").
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import gevent

from pretune.loadtests.alarm import Alarm
from pretune.loadtests.exchange import Connection, Failure
from pretune.loadtests.records import kind_of_status
from pretune.loadtests.script import Script
from pretune.loadtests.users import Run

# Waiting at once. Each costs a descriptor; a server with so many ahead of it is lost anyway.
MOST_WAITING = 2_000
# Of the driver's descriptors, kept for everything else.
SPARE_FDS = 64


class Arrivals:
    """The arrivals of one run; see ``loadtests.driver`` for how a crowd is used."""

    def __init__(self, script: Script, run: Run, rps: float, most: int) -> None:
        self._script, self._run, self._rps, self._most = script, run, rps, most
        self._gate: gevent.Greenlet | None = None
        self._waiting: set[gevent.Greenlet] = set()
        self.not_sent = 0
        self.most_waiting = 0

    @property
    def running(self) -> bool:
        return self._gate is not None and not self._gate.dead

    def start(self) -> None:
        self._gate = gevent.spawn(self._open)

    def finish(self, grace_s: float) -> int:
        """Wait for the answers still due, at most ``grace_s``; how many did not come."""
        if self._gate is not None:
            self._gate.join()
        gevent.joinall(list(self._waiting), timeout=grace_s)
        run, now = self._run, time.perf_counter()
        left = dict(run.waiting)
        gevent.killall(list(self._waiting))
        for number, (intended, _) in left.items():
            run.writer.add(intended, now - intended, 0, self._numbers[number], number, 0, "timeout")
        return len(left)

    def intended(self, begin: float) -> Iterator[float]:
        """CLOCK_MONOTONIC s of every arrival after ``begin``."""
        dice, at = random.Random(f"{self._run.seed}:arrivals"), begin
        while True:
            at += dice.expovariate(self._rps)
            yield at

    def _open(self) -> None:
        alarm = Alarm()
        try:
            self._admit(alarm)
        finally:
            alarm.close()

    def _admit(self, alarm: Alarm) -> None:
        run, clock = self._run, time.perf_counter
        dice = random.Random(f"{run.seed}:endpoints")
        self._numbers: dict[int, int] = {}
        for number, at in enumerate(self.intended(clock())):
            while not run.over and (early := at - clock()) > 0:
                alarm.wait(min(early, 0.1))
            if run.over:
                return
            index, head = self._script.choose(dice)
            if len(self._waiting) >= self._most:
                self.not_sent += 1
                run.writer.add(at, 0.0, 0, index + 1, number, 0, "not sent")
                continue
            sender = gevent.spawn(self._send, number, at, index, head)
            self._waiting.add(sender)
            self.most_waiting = max(self.most_waiting, len(self._waiting))
            sender.link(self._waiting.discard)

    def _send(self, number: int, intended: float, index: int, head: bytes) -> None:
        run = self._run
        connection = Connection(run.address)
        run.waiting[number] = (intended, connection)
        self._numbers[number] = index + 1
        status = size = 0
        try:
            status, size = connection.exchange(
                head + b"Connection: close\r\n\r\n", self._script.head_only[index]
            )
            kind = kind_of_status(status)
        except Failure as failure:
            kind = failure.kind
        finally:
            connection.close()
        wall = time.perf_counter() - intended
        del run.waiting[number], self._numbers[number]
        run.writer.add(intended, wall, size, index + 1, number, status, kind)
