"""The application as a guest of a server that is not ours: imported, wrapped, and telling.

The server runs as its own command starts it and loads ``pretune.server.entry:application``. What
that is stands in the environment, as JSON under ``VARIABLE``: a ``Task``. Each worker says what
happens to it in datagrams to an abstract unix socket (unix(7)): any number of processes can reach
it, whoever started them and under whatever user, and no file stays behind.

A worker is ready when the app is imported, or, under ASGI, its lifespan begun. uWSGI may import
once and fork then; every other server's workers import for themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pretune.server.clock import Clock
from pretune.server.hosted.wrapping import Asgi, Recorder, Wsgi
from pretune.server.process.importing import TargetError, load

VARIABLE = "PRETUNE_GUEST"


@dataclass(frozen=True)
class Task:
    """``events``: name of the abstract socket, without its leading zero byte."""

    target: str
    chdir: str
    events: str
    telemetry: str | None = None
    probes: bool = False
    max_requests: int = 0  # a worker leaves after so many; only to say why it left

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def given(cls) -> Task:
        """The one in the environment."""
        return cls(**json.loads(os.environ[VARIABLE]))


class Voice:
    """The voice of one process. When nobody listens any more nothing happens."""

    def __init__(self, name: str) -> None:
        self._address = "\0" + name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def say(self, event: str, **data: Any) -> None:
        line = {"event": event, "time": Clock.monotonic(), "pid": os.getpid(), **data}
        with contextlib.suppress(OSError):
            self._socket.sendto(json.dumps(line).encode(), self._address)


class HostedApp:
    """The application in one worker, or in the process that forks the workers."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._voice = Voice(task.events)
        self._recorder = Recorder(task.telemetry, probes=task.probes)

    def load(self) -> Any:
        """The wrapped target. Raises TargetError, after saying so."""
        task = self._task
        self._name_sessions()
        install_probes(telemetry=task.telemetry is not None, probes=task.probes)
        try:
            loaded = load(task.target, task.chdir)
        except TargetError as error:
            self._voice.say("boot_failed", message=str(error), traceback=error.traceback)
            raise
        if loaded.interface == "asgi":
            self._open()
            return Asgi(loaded.app, self._recorder, self._lifespan_began)
        _in_worker(self._begin)
        return Wsgi(loaded.app, self._recorder)

    def _name_sessions(self) -> None:
        """libpq tells it to Postgres, which tells the profiler whose session is whose."""
        if self._task.telemetry is not None:
            os.environ["PGAPPNAME"] = f"pretune-{os.getpid()}"

    def _lifespan_began(self, failure: str) -> None:
        if failure:
            self._voice.say("boot_failed", message=failure, traceback="")
        else:
            self._say_ready()

    def _begin(self) -> None:
        self._name_sessions()
        self._open()
        self._say_ready()

    def _open(self) -> None:
        """In a worker: its ring, and its last word."""
        self._recorder.open(os.getpid())
        in_main = threading.current_thread() is threading.main_thread()
        if self._task.telemetry is not None and in_main:
            from pretune.server.probes import reclaimable

            reclaimable.answer_on_signal(self._task.telemetry)
        atexit.register(self._leave)

    def _say_ready(self) -> None:
        self._voice.say("worker_ready", boot_s=age())

    def _leave(self) -> None:
        most = self._task.max_requests
        reached = most and self._recorder.served >= most
        self._voice.say("worker_leaving", reason="max_requests" if reached else "stop")


def install_probes(*, telemetry: bool, probes: bool) -> None:
    """Install what must be there before the app is imported."""
    if telemetry:
        from pretune.server.probes import executors

        executors.install()
    if probes:
        from pretune.server.probes import database, outbound, routed

        database.install()
        outbound.install()
        routed.install()


def _in_worker(begin: Callable[[], None]) -> None:
    """Call ``begin`` in this process or, where uWSGI forks after the import, in each child."""
    try:
        import uwsgi  # it is there inside of uWSGI only
    except ImportError:
        begin()
        return
    if uwsgi.worker_id():
        begin()
    else:
        uwsgi.post_fork_hook = begin


def age() -> float:
    """Seconds since this process was made, which the kernel notes in ticks (proc(5), starttime)."""
    with open("/proc/self/stat", "rb") as file:
        started = int(file.read().rpartition(b")")[2].split()[19])
    return Clock.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
