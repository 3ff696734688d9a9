"""The user's functions that run at moments of the server's life, under gunicorn's names.

They come from the configuration file and are inherited by every process through the fork. A hook
that raises is the caller's to handle; ``get`` gives None for a hook nobody set, so that the path of
a request pays one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
