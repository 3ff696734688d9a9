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

from pretune.server.adapters.launch import BootFailed, Event, Launch, ServerKind
from pretune.server.adapters.server_log import ServerLog, refuses
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


_TICK_S = 0.25  # between two looks at the log of a server that is not ready
_GRACE_S = 1.0  # for the event that says better what the log says


def start(
    launch: Launch, command: Callable[[Launch, int], list[str]], kind: ServerKind
) -> ServerProcess:
    """Spawn ``command(launch, events_fd)`` and return at once."""
    log = ServerLog(launch.log)
    read, write = os.pipe()
    try:
        process = spawn(launch, command(launch, write), (write,))
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    return watch(process, read, launch, kind, log)


class Place(Protocol):
    """The place of a launch, where its process lives."""

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
    process: subprocess.Popen[bytes],
    events_fd: int,
    launch: Launch,
    kind: ServerKind,
    log: ServerLog,
) -> ServerProcess:
    """A spawned process whose events come out of ``events_fd``, which is then ours to close.
    ``log``: made before the spawn."""
    launch.on_spawn(process.pid)
    pinned = pin(process.pid, launch.cores)
    return ServerProcess(process, events_fd, launch.settings.workers, kind, log, pinned=pinned)


def address(bind: tuple[str, int]) -> str:
    """``host:port``, with brackets where the host has colons."""
    host, port = bind
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def pin(pid: int, cores: frozenset[int] | None) -> bool:
    """Pin the process to ``cores``; return whether that worked: a container may forbid it."""
    if cores is None:
        return False
    try:
        os.sched_setaffinity(pid, cores)
    except OSError:
        return False
    return True


class ServerProcess:
    """A started server; see launch.RunningServer.

    ``pinned``: whether its affinity could be set.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        events_fd: int,
        workers: int,
        kind: ServerKind,
        log: ServerLog,
        *,
        pinned: bool,
    ) -> None:
        self._process = process
        self.master_pid = process.pid
        self.pinned = pinned
        self.signals = kind.signals
        self._kind, self._log = kind, log
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
        complete = self._first("ready") is not None or len(self._alive()) >= self._expected
        return complete and self._first("listening") is not None

    def wait_ready(self, timeout: float) -> tuple[str, int]:
        """The address, once every worker can answer. Raises BootFailed, also as soon as the server
        has said that it cannot load the app, and TimeoutError, with the server's own last error."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._settled():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(
                        f"{self._kind.name} was not ready after {timeout:g} s: {self._progress()}; "
                        f"{self._log.quote()}"
                    )
                if not self._alive() and refuses(self._log.text(), self._kind.refusals):
                    self._changed.wait_for(self._settled, _GRACE_S)
                    if not self._settled():
                        raise BootFailed(f"{self._kind.name} cannot start: {self._log.quote()}")
                self._changed.wait_for(self._settled, min(left, _TICK_S))
            failed, listens = self._first("boot_failed"), self._first("listening")
            if self._ready() and listens is not None:
                return listening.split(listens.data["address"])
            if failed is not None:
                raise BootFailed(failed.data["message"], failed.data["traceback"])
            raise BootFailed(self._end())

    def _settled(self) -> bool:
        """Nothing more to wait for: it is ready, has ended, or has said that the app failed."""
        return self._over or self._ready() or self._first("boot_failed") is not None

    def _progress(self) -> str:
        """The part of being ready that has happened."""
        if len(self._alive()) >= self._expected:
            return "its workers had loaded the app, but nothing listened on its address"
        return f"{len(self._alive())} of {self._expected} workers had loaded the app"

    def _end(self) -> str:
        """Say how it ended before it was ready."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        code = self._process.poll()
        how = "" if code is None else f" with exit code {code}"
        if code is not None and code < 0:
            how = f", killed by signal {-code},"
        return f"{self._kind.name} ended{how} before it was ready; {self._log.quote()}"

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
    pids = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                state, _, _, sid = file.read().rpartition(b")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state != b"Z":
            pids.append(int(entry))
    return pids
