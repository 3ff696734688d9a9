"""The launch of a server for a trial, whichever server it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pretune.server.settings import Settings

BOOT_SECONDS = 60.0  # for a server to be ready, its app imported


class BootFailed(Exception):
    """The app did not boot. ``traceback`` is the user's own, without our frames, or ""."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


@dataclass(frozen=True)
class Launch:
    """Everything needed to start a server; ``bind`` with port 0 lets the kernel choose."""

    target: str
    settings: Settings
    python: Path
    chdir: Path
    env: Mapping[str, str]  # the whole environment of the server, not additions
    log: Path  # stdout and stderr of the server and the app
    bind: tuple[str, int] = ("127.0.0.1", 0)
    telemetry: Path | None = None  # directory for rings; None: telemetry off
    config: Path | None = None  # a gunicorn.conf.py; what is given here goes before it
    probes: bool = False  # database and outbound probes (demand trials)
    cores: frozenset[int] | None = None  # affinity; None: leave it
    forwarded_allow_ips: str = "127.0.0.1"
    # called with the pid right after the spawn (a session leader), before anything else
    on_spawn: Callable[[int], None] = field(default=lambda pid: None)


@dataclass(frozen=True)
class Event:
    """A line of the server's event stream: listening, worker_ready, worker_exit, ..."""

    name: str
    time: float  # CLOCK_MONOTONIC s
    data: Mapping[str, Any]


# What a server may be told, and what it then does; each adapter has the numbers.
SIGNALS = {
    "reload": "serve with the configuration and, unless preloaded, the code as they are now",
    "add_worker": "one worker more",
    "remove_worker": "one worker less",
    "reopen_logs": "open the log files again",
    "upgrade": "start the program as it is now beside this one, on the same sockets",
    "stop": "answer what has begun, then end",
    "stop_now": "end",
}


@dataclass(frozen=True)
class ServerKind:
    """A server as its adapter knows it. ``signals``: what it understands, by the names of SIGNALS.

    ``refusals``: (pattern, times) of the lines by which its log says that the app cannot be loaded.
    """

    name: str
    signals: Mapping[str, int]
    refusals: tuple[tuple[str, int], ...] = ()


class RunningServer(Protocol):
    """A started server. None of these raises if the server is already gone.

    ``signals``: names of SIGNALS it understands, with their numbers. ``pinned``: whether its
    affinity could be set.
    """

    master_pid: int
    pinned: bool
    signals: Mapping[str, int]

    @property
    def exit_code(self) -> int | None:
        """Exit code of its first process, negative for a signal; None while that runs."""

    def wait_ready(self, timeout: float) -> tuple[str, int]:
        """The address, once every worker can answer. Raises BootFailed, TimeoutError."""

    def worker_pids(self) -> tuple[int, ...]: ...

    def events(self) -> tuple[Event, ...]:
        """All so far."""

    def send(self, what: str) -> None:
        """One of ``signals``. Raises KeyError for another."""

    def stop(self, timeout: float) -> float:
        """Its stop signal, wait, KILL after ``timeout``; seconds it took. Leaves no process."""
