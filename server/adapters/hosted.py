"""Start a server that is not ours by its own command, with the target as its guest.

The address is chosen here: a socket that is bound and does not listen keeps the port from everybody
but the server, which binds with SO_REUSEADDR as all of them do. What happens to the workers comes
from ``server/hosted/hosted_app.py`` in each of them, over an abstract unix socket; that one has
ended, from the kernel (pidfd_open(2)), however it ended. Lines for ``ServerProcess`` are made of
both.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pretune.server.adapters import process
from pretune.server.adapters.launch import Launch, ServerKind
from pretune.server.adapters.process import ServerProcess, address
from pretune.server.adapters.server_log import ServerLog
from pretune.server.hosted.hosted_app import VARIABLE, Task

IMPORTABLE = Path(__file__).resolve().parent.parent / "importable"
APPLICATION = "pretune.server.entry:application"

_LOOK_S = 20.0
_TICK_S = 0.02  # between two tries to connect
_LARGEST = 1 << 20  # bytes of one datagram: a traceback may be long

# (launch, the address to listen on) -> the command line
Command = Callable[[Launch, tuple[str, int]], list[str]]


def installed(python: Path, module: str, distribution: str) -> str | None:
    """Version of a distribution whose module this interpreter would import; None without one."""
    code = (
        "import importlib.util, importlib.metadata as m, sys\n"
        "found = importlib.util.find_spec(sys.argv[1])\n"
        "print(m.version(sys.argv[2]) if found else '')"
    )
    try:
        done = subprocess.run(
            [python, "-c", code, module, distribution],
            capture_output=True, text=True, timeout=_LOOK_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def start(launch: Launch, command: Command, kind: ServerKind) -> ServerProcess:
    """Spawn the server and return at once."""
    log = ServerLog(launch.log)
    name = f"pretune-{secrets.token_hex(16)}"
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind("\0" + name)
    held = hold(launch.bind)
    where = held.getsockname()[:2]
    task = Task(
        target=launch.target,
        chdir=str(launch.chdir),
        events=name,
        telemetry=None if launch.telemetry is None else str(launch.telemetry),
        probes=launch.probes,
        max_requests=launch.settings.max_requests,
    )
    path = os.pathsep.join(p for p in (str(IMPORTABLE), launch.env.get("PYTHONPATH")) if p)
    env = {**launch.env, VARIABLE: task.to_json(), "PYTHONPATH": path}
    read, write = os.pipe()
    try:
        started = process.spawn(replace(launch, env=env), command(launch, where))
    except BaseException:
        for each in (ear, held):
            each.close()
        os.close(read)
        os.close(write)
        raise
    listener = _Listener(ear, held, write, started.pid, where)
    threading.Thread(target=listener.run, daemon=True).start()
    return process.watch(started, read, launch, kind, log)


def hold(bind: tuple[str, int]) -> socket.socket:
    """Bound, not listening: the port is ours, and nobody else is given it."""
    family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(bind)
    return held


class _Listener:
    """Writes the event lines of one server, until it has ended."""

    def __init__(
        self, ear: socket.socket, held: socket.socket, out: int, master: int, where: Any
    ) -> None:
        self._ear, self._held, self._out, self._where = ear, held, out, where
        self._master = os.pidfd_open(master)
        self._workers: dict[int, int] = {}  # pidfd -> pid
        self._listens = False

    def run(self) -> None:
        with contextlib.closing(self._ear), contextlib.suppress(BrokenPipeError):
            while True:
                tick = None if self._listens else _TICK_S
                watched: list[Any] = [self._ear, self._master, *self._workers]
                ready, _, _ = select.select(watched, [], [], tick)
                for line in self._heard():
                    self._write(line)
                self._look_for_ends(ready)
                if self._master in ready:
                    self._write({"event": "stopped", "time": time.monotonic()})
                    break
                if not self._listens and self._workers:
                    self._try_to_connect()
        for fd in (self._master, self._out, *self._workers):
            os.close(fd)
        self._held.close()

    def _heard(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                text = self._ear.recv(_LARGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            with contextlib.suppress(ValueError):
                line: dict[str, Any] = json.loads(text)
                if line["event"] == "worker_ready":
                    self._follow(line["pid"])
                yield line

    def _follow(self, pid: int) -> None:
        # One that has ended already is reaped, or will be: then its descriptor is readable.
        with contextlib.suppress(ProcessLookupError):
            self._workers[os.pidfd_open(pid)] = pid

    def _look_for_ends(self, ready: list[Any]) -> None:
        for fd in [fd for fd in self._workers if fd in ready]:
            pid = self._workers.pop(fd)
            os.close(fd)
            self._write(
                {
                    "event": "worker_exit", "time": time.monotonic(), "pid": pid,
                    "status": None, "reason": "crash", "shutdown_s": None,
                }
            )  # fmt: skip

    def _try_to_connect(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(self._where, 1.0):
            self._listens = True
            self._held.close()
            event = {
                "event": "listening",
                "time": time.monotonic(),
                "address": address(self._where),
            }
            self._write(event)

    def _write(self, line: Mapping[str, Any]) -> None:
        rest = json.dumps(line).encode() + b"\n"
        while rest:
            rest = rest[os.write(self._out, rest) :]
