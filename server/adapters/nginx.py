"""An nginx of our own in front of a started server, in a directory of its own.

It runs in the foreground as the leader of a session, so it ends with the run like every server.
Its address is chosen as a hosted server's is: a bound socket that does not listen holds the port.
Started as root, its processes are those of a user without rights, as a system's nginx has them;
that user has to be able to read what is served.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pretune.server.adapters import nginx_conf as text
from pretune.server.adapters import process
from pretune.server.adapters.hosted import hold
from pretune.server.adapters.nginx_conf import Front, Instance

# Where it lies without being on a user's PATH.
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin")
_USERS = ("www-data", "nginx", "nobody")
# Should we end before a word is said, nothing is started.
_WHEN_TOLD = 'read _ && exec "$0" "$@" </dev/null'
_LOOK_S = 20.0
_START_S = 10.0
_TICK_S = 0.02


class FrontFailed(Exception):
    """It did not start; the message has its own words."""


@dataclass(frozen=True)
class FrontLaunch:
    """``front``'s ``listen`` is replaced by ``bind``, whose port 0 lets the kernel choose.

    ``directory``: of its own, empty, passable for others.
    """

    front: Front
    binary: Path
    directory: Path
    env: Mapping[str, str]
    log: Path
    bind: tuple[str, int] = ("127.0.0.1", 0)
    cores: frozenset[int] | None = None
    on_spawn: Callable[[int], None] = field(default=lambda pid: None)

    @property
    def chdir(self) -> Path:
        return self.directory


def find() -> Path | None:
    """The program, None where it is not installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *_PLACES))
    binary = shutil.which("nginx", path=path)
    return None if binary is None else Path(binary)


def version(binary: Path) -> str:
    """``1.22.1``; "" when it does not say."""
    try:
        done = subprocess.run(
            [binary, "-v"], capture_output=True, text=True, timeout=_LOOK_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stderr.partition("nginx/")[2].split()[0] if "nginx/" in done.stderr else ""


def check(binary: Path, file: Path) -> str:
    """Return the complaint of ``nginx -t`` about a file; "" when it would start."""
    try:
        done = subprocess.run(
            [binary, "-t", "-q", "-p", file.parent, "-c", file],
            capture_output=True, text=True, timeout=_LOOK_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def user() -> str:
    """Return the user of its processes when we are root, "" otherwise: then they are ours."""
    if os.geteuid() != 0:
        return ""
    for name in _USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return "root"


def start(launch: FrontLaunch) -> RunningFront:
    """Start it and wait until it accepts. Raises FrontFailed."""
    held = hold(launch.bind)
    try:
        where: tuple[str, int] = held.getsockname()[:2]
        file = launch.directory / "nginx.conf"
        front = replace(launch.front, listen=process.address(where))
        file.write_text(text.render(front, Instance(str(launch.directory), user())))
        running = _spawn(launch, file, where)
        try:
            running.wait_ready(_START_S)
        except BaseException:
            running.stop(0.0)
            raise
    except FrontFailed as error:
        raise FrontFailed(f"nginx did not start: {error}; {_last_lines(launch.log)}") from None
    finally:
        held.close()
    return running


def _spawn(launch: FrontLaunch, file: Path, where: tuple[str, int]) -> RunningFront:
    """It forks within a millisecond: not before its group and its cores are settled."""
    command = ["sh", "-c", _WHEN_TOLD, str(launch.binary), "-p", str(launch.directory)]
    started = process.spawn(launch, [*command, "-c", str(file)], stdin=subprocess.PIPE)
    assert started.stdin is not None
    with started.stdin as word:
        launch.on_spawn(started.pid)
        pinned = process.pin(started.pid, launch.cores)
        word.write(b"go\n")
    return RunningFront(started, where, pinned)


def _last_lines(log: Path) -> str:
    try:
        return "; ".join(log.read_text(errors="replace").splitlines()[-3:])
    except OSError:
        return ""


class RunningFront:
    """A started nginx; ``pid`` leads its session."""

    def __init__(
        self, started: subprocess.Popen[bytes], address: tuple[str, int], pinned: bool
    ) -> None:
        self._process = started
        self.pid = started.pid
        self.address = address
        self.pinned = pinned

    def wait_ready(self, timeout: float) -> None:
        """Raises FrontFailed."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise FrontFailed(f"it ended with exit code {self._process.returncode}")
            try:
                socket.create_connection(self.address, 1.0).close()
            except OSError:
                time.sleep(_TICK_S)
            else:
                return
        raise FrontFailed(f"nginx did not listen within {timeout:g} s")

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self, timeout: float) -> float:
        """QUIT, which answers what has begun; KILL after ``timeout``. Seconds it took.

        Leaves no process.
        """
        began = time.monotonic()
        if self.alive():
            self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        took = time.monotonic() - began
        process.end_session(self.pid)
        return took
