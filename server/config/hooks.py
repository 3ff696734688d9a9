"""The user's functions that run at moments of the server's life, under gunicorn's names.

They come from the configuration file and are inherited by every process through the fork. A hook
that raises is the caller's to handle; ``get`` gives None for a hook nobody set, so that the path of
a request pays one comparison. What hooks are called with is read-only and has the attributes that
hooks in the wild read: ``server.log.info("... %s", worker.pid)``, ``worker.age``,
``server.cfg.bind``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretune.server.process.log import Log

# name -> how many arguments it is called with
ARGUMENTS = {
    "on_starting": 1,  # server
    "on_reload": 1,  # server
    "when_ready": 1,  # server
    "pre_fork": 2,  # server, worker
    "post_fork": 2,  # server, worker
    "post_worker_init": 1,  # worker
    "worker_int": 1,  # worker
    "worker_abort": 1,  # worker
    "pre_exec": 1,  # server
    "pre_request": 2,  # worker, request
    "post_request": 4,  # worker, request, environ, response
    "child_exit": 2,  # server, worker
    "worker_exit": 2,  # server, worker
    "nworkers_changed": 3,  # server, new value, old value
    "on_exit": 1,  # server
}


class Hooks:
    """The hooks that were set."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self._functions = dict(functions or {})

    def get(self, name: str) -> Callable[..., Any] | None:
        return self._functions.get(name)

    def call(self, name: str, *arguments: Any) -> None:
        """Run a hook if it is set. What it raises passes through."""
        function = self._functions.get(name)
        if function is not None:
            function(*arguments)


class View:
    """The ``cfg`` of a hook: settings by gunicorn's names, as attributes."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        try:
            return self._settings[name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r} here") from None


class Server:
    """The ``server`` of a hook. The master keeps ``num_workers`` and ``WORKERS`` up to date."""

    def __init__(
        self, settings: Mapping[str, Any], log: Log, addresses: Sequence[str], count: int
    ) -> None:
        self.pid = os.getpid()
        self.log = log
        self.cfg = View(settings)
        self.address = list(addresses)
        self.proc_name = settings["proc_name"]
        self.num_workers = count
        self.WORKERS: dict[int, Worker] = {}  # by pid


class Worker:
    """The ``worker`` of a hook. ``pid`` is 0 before the fork, ``nr`` the requests so far."""

    def __init__(self, settings: Mapping[str, Any], log: Log, age: int, pid: int = 0) -> None:
        self.pid = pid
        self.ppid = os.getpid()
        self.age = age
        self.log = log
        self.cfg = View(settings)
        self.nr = 0
        self.alive = True

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"
