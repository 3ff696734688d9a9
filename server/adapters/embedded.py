"""Start and stop the embedded server; it runs in the app's interpreter, this in the tool's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from pretune.server import listening
from pretune.server.adapters.launch import BootFailed, Event, Launch
from pretune.server.settings import Settings

_BOOTSTRAP = Path(__file__).resolve().parent.parent / "bootstrap.py"

# field of Settings -> flag
_FLAGS = {
    "workers": "--workers",
    "threads": "--threads",
    "worker_class": "--worker-class",
    "timeout": "--timeout",
    "graceful_timeout": "--graceful-timeout",
    "keepalive": "--keep-alive",
    "max_requests": "--max-requests",
    "max_requests_jitter": "--max-requests-jitter",
    "backlog": "--backlog",
    "worker_connections": "--worker-connections",
}


def start(launch: Launch) -> EmbeddedServer:
    """Start the server and return at once; ``wait_ready`` says when it answers."""
    read, write = os.pipe()
    try:
        with launch.log.open("ab") as log:
            process = subprocess.Popen(
                command(launch, write),
                cwd=launch.chdir,
                env=dict(launch.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(write,),
                start_new_session=True,
            )
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    launch.on_spawn(process.pid)
    return EmbeddedServer(process, read, pinned=_pin(process.pid, launch.cores))


def command(launch: Launch, events_fd: int) -> list[str]:
    """The command line of a launch."""
    host, port = launch.bind
    line = [str(launch.python), str(_BOOTSTRAP), "serve", launch.target]
    line += ["--bind", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    line += ["--chdir", str(launch.chdir), "--events-fd", str(events_fd)]
    line += ["--forwarded-allow-ips", launch.forwarded_allow_ips]
    # A file that happens to lie there would change what is measured.
    line += ["--no-config"] if launch.config is None else ["--config", str(launch.config)]
    line += _setting_flags(launch.settings)
    if launch.telemetry is not None:
        line += ["--telemetry", str(launch.telemetry)]
    if launch.probes:
        line.append("--probes")
    return line


def _setting_flags(settings: Settings) -> list[str]:
    line: list[str] = []
    for name, flag in _FLAGS.items():
        line += [flag, str(getattr(settings, name))]
    return [*line, "--preload"] if settings.preload_app else line


def _pin(pid: int, cores: frozenset[int] | None) -> bool:
    """Whether the process now runs on ``cores`` only; a container may forbid it."""
    if cores is None:
        return False
    try:
        os.sched_setaffinity(pid, cores)
    except OSError:
        return False
    return True


class EmbeddedServer:
    """A started server; see launch.RunningServer. ``pinned``: whether its affinity could be set."""

    def __init__(self, process: subprocess.Popen[bytes], events_fd: int, *, pinned: bool) -> None:
        self._process = process
        self.master_pid = process.pid
        self.pinned = pinned
        self._events: list[Event] = []
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
                event = Event(data.pop("event"), data.pop("time"), data)
                with self._changed:
                    self._events.append(event)
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def events(self) -> tuple[Event, ...]:
        with self._changed:
            return tuple(self._events)

    def _first(self, name: str) -> Event | None:
        return next((e for e in self._events if e.name == name), None)

    def wait_ready(self, timeout: float) -> tuple[str, int]:
        """The address, once every worker can answer. Raises BootFailed, TimeoutError."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._over or self._first("ready") or self._first("boot_failed"), timeout
            )
            failed, ready = self._first("boot_failed"), self._first("ready")
            if ready is not None:
                listening_ = self._first("listening")
                assert listening_ is not None
                return listening.split(listening_.data["address"])
            if failed is not None:
                raise BootFailed(failed.data["message"], failed.data["traceback"])
            if self._over:
                raise BootFailed("the server ended before it was ready; see its log")
        raise TimeoutError(f"the server was not ready after {timeout:g} s")

    def worker_pids(self) -> tuple[int, ...]:
        """Workers that are ready and have not ended."""
        pids: dict[int, None] = {}
        for event in self.events():
            if event.name == "worker_ready":
                pids[event.data["pid"]] = None
            elif event.name == "worker_exit":
                pids.pop(event.data["pid"], None)
        return tuple(pids) if self._process.poll() is None else ()

    def stop(self, timeout: float) -> float:
        """TERM, wait, KILL after ``timeout``; seconds it took. Leaves no process."""
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        took = time.monotonic() - began
        _end_session(self.master_pid)
        self._reader.join(1.0)
        return took


def _end_session(session: int) -> None:
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
