"""The users of a load: those of a workload, and those of a user's own locustfile.

Both hand every finished request to the run's ``records.Writer``. This module imports locust,
which patches the interpreter: only the driver process may import it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import gevent
import locust
from locust.clients import HttpSession
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.event import Events
from locust.exception import InterruptTaskSet, RescheduleTask, StopUser
from locust.util.load_locustfile import load_locustfile

from pretune.loadtests.confinement import AddressRefused
from pretune.loadtests.exchange import KEPT_OF_ERROR, Connection, Failure
from pretune.loadtests.records import Writer, classify_status
from pretune.loadtests.script import Script
from pretune.loadtests.user_errors import UserErrors
from pretune.server.telemetry import ENDPOINT_HEADER

MOST_BODIES = 24  # of answers that say what failed, of one run
# After a failed connection, so that a dead server is not answered with a busy loop.
BACK_OFF_S = 0.1


class UserLoop:
    """State that all users of one run share. ``over`` ends them after the request in hand."""

    def __init__(self, address: tuple[str, int], load: Mapping[str, Any], writer: Writer) -> None:
        self.address = address
        self.seed = int(load["seed"])
        self.think_s = float(load["think_s"])
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

    def __init__(self, environment: Environment, loop: UserLoop, users: int, own: bool) -> None:
        """``own``: the classes are of a user's locustfile, which gets its events as usual."""
        self._environment, self._loop = environment, loop
        self.most_waiting = users
        self._own = own
        self._runner = environment.create_local_runner()

    @property
    def running(self) -> bool:
        return bool(self._runner.user_count)

    def start(self) -> None:
        """Returns when every user has been spawned."""
        environment, runner, users = self._environment, self._runner, self.most_waiting
        if self._own:
            environment.events.init.fire(  # type: ignore[no-untyped-call]
                environment=environment, runner=runner, web_ui=None
            )
            runner.start(users, spawn_rate=users)
            gevent.joinall([runner.spawning_greenlet], raise_error=True)
        else:
            runner.spawn_users({item.__name__: users for item in environment.user_classes})

    def finish(self, grace_s: float) -> int:
        """Let requests in hand finish within ``grace_s``; the number of those that did not."""
        if self._own:
            self._environment.stop_timeout = grace_s
        else:
            self._runner.user_greenlets.join(timeout=grace_s)
        abandoned = len(self._loop.waiting)
        self._runner.quit()
        return abandoned


class Locustfile:
    """A user's own locustfile, imported once in the life of the driver.

    Its requests are recorded through locust's request event. Endpoints are numbered in the order
    in which their names turn up; the number also goes along as a header, so that the server's
    own records of a request can be joined.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        classes, _ = load_locustfile(str(path))
        self.classes = [
            item
            for item in classes.values()
            if issubclass(item, locust.HttpUser | locust.FastHttpUser)
        ]
        if not self.classes:
            raise ValueError(f"{path} has no HttpUser or FastHttpUser class")
        self.numbers: dict[str, int] = {}
        self.named: set[str] = set()  # those of them that the file gave itself
        self._headers: dict[str, str] = {}
        self._users: dict[int, int] = {}
        self._starts: dict[int, float] = {}  # of the request in hand, by greenlet
        self._failed: dict[int, bool] = {}  # the last request, by greenlet
        self.errors = UserErrors(path)  # of the run in hand
        # Runners leave listeners behind; each run starts with those of the file alone.
        self._listeners = {name: list(hook._handlers) for name, hook in _hooks().items()}
        for session in (HttpSession, FastHttpSession):
            self._number_requests(session)
        self._count_tasks(locust.TaskSet)

    def attach_recorder(self, loop: UserLoop) -> Events:
        """The file's own event hooks, with one more that writes the run's records."""
        for name, hook in _hooks().items():
            hook._handlers = list(self._listeners.get(name, []))
        self._users.clear()
        self._failed.clear()
        self.errors = UserErrors(self.path)
        locust.events.user_error._handlers.append(self._on_user_error)
        locust.events.request._handlers.append(self._make_recorder(loop))
        return locust.events

    def prepare(self, address: tuple[str, int], headers: list[list[str]]) -> None:
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        for item in self.classes:
            item.host = f"http://{host}:{address[1]}"
        self._headers = {header[0]: header[1] for header in headers}

    def _number_of(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers) + 1)

    def _number_requests(self, session: Any) -> None:
        original: Callable[..., Any] = session.request
        if getattr(original, "numbered", False):
            return

        def request(client: Any, method: str, url: str, name: Any = None, **options: Any) -> Any:
            given = name or client.request_name
            label = given or url
            if given:
                self.named.add(label)
            options["headers"] = {
                **self._headers,
                **(options.get("headers") or {}),
                ENDPOINT_HEADER: str(self._number_of(label)),
            }
            self._starts[id(gevent.getcurrent())] = time.perf_counter()
            return original(client, method, url, name, **options)

        request.numbered = True  # type: ignore[attr-defined]
        session.request = request

    def _count_tasks(self, task_set: Any) -> None:
        original: Callable[..., Any] = task_set.execute_next_task

        def execute_next_task(running: Any) -> None:
            try:
                original(running)
            except (InterruptTaskSet, RescheduleTask):  # how a nested set of tasks ends
                self.errors.complete()
                raise
            self.errors.complete()

        task_set.execute_next_task = execute_next_task

    def _on_user_error(self, exception: BaseException, **_: Any) -> None:
        after_failure = self._failed.get(id(gevent.getcurrent()), False)
        self.errors.add(exception, after_failure=after_failure)

    def _make_recorder(self, loop: UserLoop) -> Callable[..., None]:
        def on_request(
            name: str,
            response_time: float,
            response_length: int,
            response: Any = None,
            exception: BaseException | None = None,
            **_: Any,
        ) -> None:
            wall = response_time / 1000
            greenlet = id(gevent.getcurrent())
            # a client of the file's own may not have come through our wrapper
            start = self._starts.pop(greenlet, time.perf_counter() - wall)
            user = self._users.setdefault(greenlet, len(self._users))
            status = int(getattr(response, "status_code", 0) or 0)
            kind = classify_exception(exception, status) if exception else ""
            self._failed[greenlet] = bool(kind)
            if status >= 500:
                loop.keep_error(str(getattr(response, "text", None) or ""))
            loop.writer.add(
                start, wall, response_length or 0, self._number_of(name), user, status, kind
            )

        return on_request


def classify_exception(error: BaseException, status: int) -> str:
    """The one of ``records.ERRORS`` that locust's exception is; wrapped causes are searched."""
    seen: BaseException | None = error
    while seen is not None:
        for types, kind in _EXCEPTIONS:
            if isinstance(seen, types):
                return kind
        inner = [item for item in (*seen.args, getattr(seen, "reason", None)) if item is not seen]
        seen = (
            seen.__cause__
            or seen.__context__
            or next((item for item in inner if isinstance(item, BaseException)), None)
        )
    if status:
        return "status" if status >= 400 else "check failed"
    return "other"


_EXCEPTIONS: tuple[tuple[type[BaseException], str], ...] = (
    (AddressRefused, "address refused"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "connection reset"),
    (BrokenPipeError, "connection reset"),
    (TimeoutError, "timeout"),
    (gevent.Timeout, "timeout"),
)


def _hooks() -> dict[str, Any]:
    return {name: hook for name, hook in vars(locust.events).items() if hasattr(hook, "_handlers")}
