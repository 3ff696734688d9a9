"""The users of a workload's load, who hand every finished request to the run's ``records.Writer``.

This module imports locust, which patches the interpreter: only the driver process may import it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import gevent
import locust
from locust.env import Environment
from locust.exception import StopUser

from pretune.loadtests.exchange import KEPT_OF_ERROR, Connection, Failure
from pretune.loadtests.records import Writer, classify_status
from pretune.loadtests.script import Script

MOST_BODIES = 24  # of answers that say what failed, of one run
# After a failed connection, so that a dead server is not answered with a busy loop.
BACK_OFF_S = 0.1


class UserLoop:
    """State that all users of one run share. ``over`` ends them after the request in hand."""

    def __init__(self, address: tuple[str, int], load: Mapping[str, Any], writer: Writer) -> None:
        self.address = address
        self.seed = int(load["seed"])
        self.think_s = float(load["think_s"])  # a locustfile's users think as they are told, if any
        self.ramp_s = float(load.get("ramp_s", 0.0))
        self.writer = writer
        self.over = False
        # users with a request in hand: since when, and the connection it is on
        self.waiting: dict[int, tuple[float, Connection]] = {}
        self.error_bodies: list[str] = []  # the beginnings of the first answers of 500 and above

    def keep_error(self, body: bytes | str) -> None:
        """Keep what an answer of 500 or above says, of the first few."""
        if body and len(self.error_bodies) < MOST_BODIES:
            text = body if isinstance(body, str) else body.decode("utf-8", "replace")
            self.error_bodies.append(text[:KEPT_OF_ERROR])

    def abort_stuck(self, limit_s: float) -> None:
        """Fail every request that has waited longer than ``limit_s``."""
        now = time.perf_counter()
        for start, connection in list(self.waiting.values()):
            if now - start > limit_s:
                connection.abort()


class WorkloadUser(locust.User):
    """Sends the requests of a script, one after the other, on one connection."""

    abstract = True
    script: ClassVar[Script]
    loop: ClassVar[UserLoop]
    spawned: ClassVar[int]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.number = type(self).spawned
        type(self).spawned += 1

    @locust.task
    def browse(self) -> None:
        loop, script, number = self.loop, self.script, self.number
        connection = Connection(loop.address)
        clock, add, waiting = time.perf_counter, loop.writer.add, loop.waiting
        if loop.ramp_s:
            gevent.sleep(random.Random(f"{loop.seed}:{number}").random() * loop.ramp_s)
        try:
            while not loop.over:
                index, request = script.deal()
                if connection.cookies:
                    pairs = (name + b"=" + value for name, value in connection.cookies.items())
                    request += b"Cookie: " + b"; ".join(pairs) + b"\r\n"
                request += b"\r\n"
                status = size = 0
                start = clock()
                waiting[number] = (start, connection)
                try:
                    status, size = connection.exchange(request, script.head_only[index])
                    kind = classify_status(status)
                    if status >= 500:
                        loop.keep_error(connection.error_body)
                except Failure as failure:
                    kind = failure.kind
                wall = clock() - start
                del waiting[number]
                add(start, wall, size, index + 1, number, status, kind)
                if not status:
                    gevent.sleep(BACK_OFF_S)
                if loop.think_s:
                    gevent.sleep(loop.think_s)
        finally:
            connection.close()
        raise StopUser


def make_user_class(script: Script, loop: UserLoop) -> type[WorkloadUser]:
    """The user class of one run, with the state that its users share."""
    members = {"abstract": False, "script": script, "loop": loop, "spawned": 0}
    return type("Visitor", (WorkloadUser,), members)


class Users:
    """The senders of a closed load, run by locust; ``loadtests.driver`` says how they are used."""

    not_sent = 0

    def __init__(self, environment: Environment, loop: UserLoop, users: int) -> None:
        self._environment, self._loop = environment, loop
        self.most_waiting = users
        self._runner = environment.create_local_runner()

    @property
    def running(self) -> bool:
        return bool(self._runner.user_count)

    def start(self) -> None:
        """Returns when every user has been spawned."""
        self._runner.spawn_users(
            {item.__name__: self.most_waiting for item in self._environment.user_classes}
        )

    def finish(self, grace_s: float) -> int:
        """Let requests in hand finish within ``grace_s``; the number of those that did not."""
        self._runner.user_greenlets.join(timeout=grace_s)
        abandoned = len(self._loop.waiting)
        self._runner.quit()
        return abandoned
