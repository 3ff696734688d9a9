"""A server as a process of ours that says on a pipe what happens to it: JSON lines, see ``Event``.

The same for every server whose app-side half is ours; what differs is the command that starts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pretune.server.adapters.launch import BootFailed, Event, Launch
from pretune.server.process import listening

BOOTSTRAP = Path(__file__).resolve().parent.parent / "bootstrap.py"

# gunicorn's, which the embedded server obeys, too
SIGNALS = {
    "reload": signal.SIGHUP,
    "add_worker": signal.SIGTTIN,
    "remove_worker": signal.SIGTTOU,
    "reopen_logs": signal.SIGUSR1,
    "upgrade": signal.SIGUSR2,
    "stop": signal.SIGTERM,
    "stop_now": signal.SIGQUIT,
}


def start(
    launch: Launch, command: Callable[[Launch, int], list[str]], signals: Mapping[str, int]
) -> ServerProcess:
    """Spawn ``command(launch, events_fd)`` and return at once; ``signals`` as in ServerProcess."""
    read, write = os.pipe()
    try:
        process = spawn(launch, command(launch, write), (write,))
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    return watch(process, read, launch, signals)


class Place(Protocol):
    """Of a launch, where its process lives."""

    @property
    def chdir(self) -> Path: ...

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def log(self) -> Path: ...


def spawn(
    launch: Place,
    command: Sequence[str],
    pass_fds: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """A session of its own with the launch's environment and log."""
    with launch.log.open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=launch.chdir,
            env=dict(launch.env),
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )


def watch(
    process: subprocess.Popen[bytes], events_fd: int, launch: Launch, signals: Mapping[str, int]
) -> ServerProcess:
    """Of a spawned process whose events come out of ``events_fd``, which is then ours to close."""
    launch.on_spawn(process.pid)
    pinned = pin(process.pid, launch.cores)
    return ServerProcess(process, events_fd, launch.settings.workers, signals, pinned=pinned)


def address(bind: tuple[str, int]) -> str:
    """``host:port``, with brackets where the host has colons."""
    host, port = bind
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def pin(pid: int, cores: frozenset[int] | None) -> bool:
    """Whether the process now runs on ``cores`` only; a container may forbid it."""
    if cores is None:
        return False
    try:
        os.sched_setaffinity(pid, cores)
    except OSError:
        return False
    return True


class ServerProcess:
    """A started server; see launch.RunningServer.

    ``signals``: what it understands, by the names of ``launch.SIGNALS``. ``pinned``: whether its
    affinity could be set.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        events_fd: int,
        workers: int,
        signals: Mapping[str, int],
        *,
        pinned: bool,
    ) -> None:
        self._process = process
        self.master_pid = process.pid
        self.pinned = pinned
        self.signals = signals
        self._expected = workers
        self._events: list[Event] = []
        self._said: dict[int, str] = {}  # why a worker is about to leave, in its own words
        self._told: set[int] = set()  # workers there when the server was told to end or renew them
        self._changed = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, args=(events_fd,), daemon=True)
        self._reader.start()

    def _read(self, fd: int) -> None:
        with open(fd, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    data: dict[str, Any] = json.loads(line)
                except ValueError:
                    continue  # the last line of a killed server
                with self._changed:
                    self._take(data.pop("event"), data.pop("time"), data)
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _take(self, name: str, time_: float, data: dict[str, Any]) -> None:
        if name == "worker_leaving":
            self._said.setdefault(data["pid"], data["reason"])  # the first word is the cause
            return
        if name == "worker_exit" and data["pid"] in self._said:
            data["reason"] = self._said.pop(data["pid"])
        elif name == "worker_exit" and data["pid"] in self._told and data["reason"] == "crash":
            data["reason"] = "stop"  # a server that ends its workers without their knowing
        self._events.append(Event(name, time_, data))

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def events(self) -> tuple[Event, ...]:
        with self._changed:
            return tuple(self._events)

    def _first(self, name: str) -> Event | None:
        return next((e for e in self._events if e.name == name), None)

    def _ready(self) -> bool:
        """All workers are there, and somebody listens for them."""
        there = self._first("ready") is not None or len(self._alive()) >= self._expected
        return there and self._first("listening") is not None

    def wait_ready(self, timeout: float) -> tuple[str, int]:
        """The address, once every worker can answer. Raises BootFailed, TimeoutError."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._over or self._ready() or self._first("boot_failed"), timeout
            )
            failed, listens = self._first("boot_failed"), self._first("listening")
            if self._ready() and listens is not None:
                return listening.split(listens.data["address"])
            if failed is not None:
                raise BootFailed(failed.data["message"], failed.data["traceback"])
            if self._over:
                raise BootFailed("the server ended before it was ready; see its log")
        raise TimeoutError(f"the server was not ready after {timeout:g} s")

    def _alive(self) -> dict[int, None]:
        pids: dict[int, None] = {}
        for event in self._events:
            if event.name == "worker_ready":
                pids[event.data["pid"]] = None
            elif event.name == "worker_exit":
                pids.pop(event.data["pid"], None)
        return pids

    def worker_pids(self) -> tuple[int, ...]:
        """Workers that are ready and have not ended."""
        with self._changed:
            pids = tuple(self._alive())
        return pids if self._process.poll() is None else ()

    def send(self, what: str) -> None:
        """One of ``signals``; nothing when the server is gone. Raises KeyError for another."""
        number = self.signals[what]
        if what in ("reload", "remove_worker", "stop", "stop_now"):
            self._tell()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _tell(self) -> None:
        with self._changed:
            self._told.update(self._alive())

    def stop(self, timeout: float) -> float:
        """Its stop signal, wait, KILL after ``timeout``; seconds it took. Leaves no process."""
        began = time.monotonic()
        self.send("stop")
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        took = time.monotonic() - began
        end_session(self.master_pid)
        self._reader.join(1.0)
        return took


def end_session(session: int) -> None:
    """Kill what is left of a session: a killed master's workers, processes the app started."""
    for _ in range(50):
        left = session_pids(session)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def session_pids(session: int) -> list[int]:
    """Processes of a session that are not zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                state, _, _, sid = file.read().rpartition(b")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state != b"Z":
            found.append(int(entry))
    return found
