"""A server started as people start it: with flags, a log and a pid file; and what grows from it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pretune.server.adapters.process import BOOTSTRAP, end_session, session_pids

APP = """\
import os
VERSION = {version!r}
def application(environ, start_response):
    start_response("200 OK", [])
    return [f"{{VERSION}} {{os.getppid()}}".encode()]
"""


class Started:
    """A server with a log and a pid file, and whatever grows out of it."""

    def __init__(
        self,
        directory: Path,
        *flags: str,
        bind: str = "127.0.0.1:0",
        python: str = sys.executable,
        command: Sequence[str] | None = None,
        prefix: Sequence[str] = (),
        environ: dict[str, str] | None = None,
    ) -> None:
        self.bind = bind
        self.log_file = directory / "log"
        self.pid_file = directory / "pid"
        line = command or [python, str(BOOTSTRAP), "serve", "app", "-b", bind]
        files = ["--pid", str(self.pid_file), "--error-logfile", str(self.log_file)]
        self.process = subprocess.Popen(
            [*prefix, *line, *([] if command else files), *flags],
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **(environ or {})},
            start_new_session=True,
        )

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def wait_for(self, condition, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; the log:\n{self.log()}"
            time.sleep(0.02)

    def wait_log(self, text: str, count: int = 1) -> None:
        self.wait_for(lambda: self.log().count(text) >= count)

    def pid(self, suffix: str = "") -> int:
        path = Path(str(self.pid_file) + suffix)
        return int(path.read_text() or 0) if path.exists() else 0

    def workers(self) -> list[int]:
        """Pids of those that have been ready, in order."""
        lines = [line for line in self.log().splitlines() if " is ready after " in line]
        return [int(line.split("worker ")[1].split()[0]) for line in lines]

    def connect(self) -> socket.socket:
        if self.bind.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(20)
            sock.connect(self.bind[5:])
            return sock
        return socket.create_connection(self.address(), timeout=20)

    def address(self, what: str = "listening at") -> tuple[str, int]:
        text = self.log().split(f"{what} ")[1].split(",")[0].split()[0]
        host, port = text.rsplit(":", 1)
        return host, int(port)

    def text(self, path: str = "/") -> str:
        connection = http.client.HTTPConnection("x")
        with contextlib.closing(self.connect()) as connection.sock:
            connection.request("GET", path, headers={"Connection": "close"})
            return connection.getresponse().read().decode()

    def get(self) -> tuple[str, int]:
        """Version of APP that answers, and the pid of its worker's parent."""
        version, parent = self.text().split()
        return version, int(parent)

    def end(self) -> None:
        """The new one first: it is not our child."""
        # Only what is of our session: in a namespace of its own a master's pid file says 1.
        ours = session_pids(self.process.pid)
        for pid in {self.pid(".2"), self.pid()} - {self.process.pid}:
            if pid in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(AssertionError):
            self.wait_for(lambda: not session_pids(self.process.pid), 15)
        left = session_pids(self.process.pid)
        end_session(self.process.pid)
        assert left == []


@pytest.fixture(name="start")
def start_server(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a server on ``app.py`` in tmp_path, which is written if it is not there."""
    started: list[Started] = []

    def begin(*flags: str, ready: bool = True, **options) -> Started:
        if not (tmp_path / "app.py").exists():
            (tmp_path / "app.py").write_text(APP.format(version="1"))
        one = Started(tmp_path, *flags, **options)
        started.append(one)
        if ready:
            one.wait_log("ready: ")
        return one

    yield begin
    for one in started:
        one.end()
