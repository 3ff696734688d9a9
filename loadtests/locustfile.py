"""A user's own locustfile: imported once in the life of the driver, described, and recorded.

Only the driver process may import this module: it imports locust, which patches the interpreter.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
import locust
from locust import argument_parser
from locust.clients import HttpSession
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.exception import InterruptTaskSet, RescheduleTask
from locust.util.load_locustfile import load_locustfile

from pretune.loadtests.confinement import AddressRefused
from pretune.loadtests.user_errors import UserErrors, chain
from pretune.loadtests.users import UserLoop
from pretune.server.telemetry import ENDPOINT_HEADER

HTTP_USERS = (locust.HttpUser, locust.FastHttpUser)


class Locustfile:
    """The classes of a file, and the names of what they ask for.

    Requests are recorded through locust's request event, those of an ``on_start`` only where they
    fail: each user sends them once, so that in a long run they are no part of the traffic.
    Endpoints are numbered in the order in which their names turn up; the number also goes along as
    a header, so that the server's own records of a request can be joined.
    """

    def __init__(self, path: Path) -> None:
        """Raises what the file raises, and ValueError with a sentence."""
        global _current
        self.path = path
        for name, hook in _hooks().items():
            hook._handlers = list(_LISTENERS.get(name, []))
        classes, shapes = _load(path)
        self.classes = [item for item in classes.values() if issubclass(item, HTTP_USERS)]
        self.left_out = [(f"class {name}", "left out: it is no HttpUser or FastHttpUser")
                         for name, item in classes.items() if item not in self.classes]  # fmt: skip
        self.left_out += [
            (f"shape {type(shape).__name__}", "not run: the trials bring their own number of users")
            for shape in shapes
        ]
        self.classes = [item for item in self.classes if item.fixed_count or item.weight > 0]
        if not self.classes:
            raise ValueError(f"{path} has no HttpUser or FastHttpUser class")
        self.options = _parse_arguments(path)
        self.numbers: dict[str, int] = {}
        self.named: set[str] = set()  # those of them that the file gave itself
        self.errors = UserErrors(path)  # of the run in hand
        self._hosts = {_origin(item.host) for item in self.classes if item.host}
        self._hosts.add(_origin(getattr(self.options, "host", "") or ""))
        self._here = ""
        self._headers: dict[str, str] = {}
        # of requests in hand, by greenlet: intended and real start, number, user
        self._starts: dict[int, tuple[float, float, int, Any]] = {}
        self._failed: dict[int, bool] = {}  # the last request, by greenlet
        # Runners leave listeners behind; each run starts with those of the file alone.
        self._listeners = {name: list(hook._handlers) for name, hook in _hooks().items()}
        _current = self

    def make_environment(self, loop: UserLoop, headers: list[list[str]]) -> Environment:
        """One run's, with the file's own event hooks and one more that writes the run's records."""
        for name, hook in _hooks().items():
            hook._handlers = list(self._listeners.get(name, []))
        self._starts.clear()
        self._failed.clear()
        self.errors = UserErrors(self.path)
        locust.events.user_error._handlers.append(self._on_user_error)
        locust.events.request._handlers.append(self._make_recorder(loop))
        host = f"[{loop.address[0]}]" if ":" in loop.address[0] else loop.address[0]
        self._here = f"http://{host}:{loop.address[1]}"
        for item in self.classes:
            item.host = self._here
        self.options.host = self._here
        self._headers = {header[0]: header[1] for header in headers}
        return Environment(
            user_classes=list(self.classes),
            events=locust.events,
            host=self._here,
            locustfile=self.path.name,
            parsed_options=self.options,
        )

    def forget_request(self) -> None:
        """Note that what this greenlet sent is answered, whether or not its answer was judged."""
        self._starts.pop(id(gevent.getcurrent()), None)

    def take_unanswered(self) -> list[tuple[float, int, int]]:
        """Intended start, endpoint and place of each recorded request that is still in hand."""
        left = [
            (intended, number, user.place)
            for intended, _, number, user in self._starts.values()
            if number and user is not None
        ]
        self._starts.clear()
        return left

    def _number_of(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers) + 1)

    def _without_host(self, url: str) -> str:
        """An absolute URL that names the host of the file's own class means the server under test,
        and so does that server's own address."""
        origin = _origin(url)
        if origin and (origin == self._here or origin in self._hosts):
            return url[len(origin) :] or "/"
        if origin:
            self.errors.add_elsewhere(origin, sys._getframe(3))
        return url

    def note_request(
        self, client: Any, url: str, name: Any, options: dict[str, Any]
    ) -> tuple[str, str]:
        """The URL and the name of a request that is about to be sent; its headers are added to."""
        given = name or client.request_name
        url = self._without_host(url)
        label = given or url
        user = client.user
        if given:
            self.named.add(label)
        number = 0 if getattr(user, "silent", False) else self._number_of(label)
        options["headers"] = {
            **self._headers,
            **(options.get("headers") or {}),
            ENDPOINT_HEADER: str(number),
        }
        now = time.perf_counter()
        intended = getattr(user, "intended", None) or now
        if user is not None:
            user.intended = None
        self._starts[id(gevent.getcurrent())] = (intended, now, number, user)
        return url, label

    def _on_user_error(self, exception: BaseException, user_instance: Any = None, **_: Any) -> None:
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
            now = time.perf_counter()
            # a client of the file's own may not have come through our wrapper
            unknown = (now - wall, now - wall, 0, None)
            start, sent, _number, user = self._starts.pop(greenlet, unknown)
            status = int(getattr(response, "status_code", 0) or 0)
            kind = classify_exception(exception, status) if exception else ""
            self._failed[greenlet] = bool(kind)
            if user is not None:
                user.requests = getattr(user, "requests", 0) + 1
            if getattr(user, "silent", False) and not kind:
                return
            if status >= 500:
                loop.keep_error(str(getattr(response, "text", None) or ""))
            loop.writer.add(
                start, wall + sent - start, response_length or 0, self._number_of(name),
                getattr(user, "place", 0), status, kind, sent - start,
            )  # fmt: skip

        return on_request


def _load(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """The classes and shapes of a file, which may import what lies beside it at any time, and open
    what lies beside it by name."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        return load_locustfile(str(path))
    except FileNotFoundError as error:
        beside = path.parent / str(error.filename)
        if os.path.isabs(str(error.filename)) or not beside.exists():
            raise
    for hook in _hooks().values():  # those of the half that was imported
        hook._handlers = [each for each in hook._handlers if not _is_of(each, path)]
    os.chdir(path.parent)
    return load_locustfile(str(path))


def _is_of(handler: Any, path: Path) -> bool:
    return getattr(getattr(handler, "__code__", None), "co_filename", "") == str(path)


def _parse_arguments(path: Path) -> Any:
    """The options that a locustfile finds in ``environment.parsed_options``: defaults, LOCUST_*
    and a locust.conf, its own arguments among them. Raises ValueError."""
    parser = argument_parser.get_parser()

    def refuse(message: str) -> None:
        raise ValueError(
            f"{path}: its arguments for locust's command line cannot be filled in ({message}); "
            "give each a default, an env_var that is set, or a line in locust.conf"
        )

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args([])


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def classify_exception(error: BaseException, status: int) -> str:
    """The one of ``records.ERRORS`` that locust's exception is; wrapped causes are searched."""
    for each in chain(error):
        for types, kind in _EXCEPTIONS:
            if isinstance(each, types):
                return kind
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


def walk_tasks(holder: Any, above: str = "") -> Iterator[tuple[str, Any, int]]:
    """Name, task and weight of each task of a class of users or tasks, nested ones after theirs."""
    for task in dict.fromkeys(holder.tasks):
        name = f"{above}{task.__name__}"
        yield name, task, holder.tasks.count(task)
        if hasattr(task, "tasks"):
            yield from walk_tasks(task, f"{name}.")


# The file in hand, and locust's own listeners.
_current: Locustfile | None = None
_LISTENERS = {name: list(hook._handlers) for name, hook in _hooks().items()}


def _number_requests(session: Any) -> None:
    original: Callable[..., Any] = session.request

    def request(client: Any, method: str, url: Any, name: Any = None, **options: Any) -> Any:
        if _current is not None:
            url, name = _current.note_request(client, str(url), name, options)
        return original(client, method, url, name, **options)

    session.request = request


def _count_tasks(task_set: Any) -> None:
    original: Callable[..., Any] = task_set.execute_next_task

    def execute_next_task(running: Any) -> None:
        # a set of tasks begins with its own on_start, which is as silent as the user's
        begin, task = getattr(running.user, "begin", None), running._task_queue[0]
        if begin is not None and not hasattr(task, "tasks"):
            begin()
        try:
            original(running)
        except (InterruptTaskSet, RescheduleTask):  # how a nested set of tasks ends
            if _current is not None:
                _current.errors.complete()
            raise
        if _current is not None:
            _current.errors.complete()

    task_set.execute_next_task = execute_next_task


for each in (HttpSession, FastHttpSession):
    _number_requests(each)
_count_tasks(locust.TaskSet)
