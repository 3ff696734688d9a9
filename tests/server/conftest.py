"""A server as a real process, on every Python found, and raw HTTP to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import APP, Started
from support.pythons import other_pythons
from support.serverprocess import start_server  # noqa: F401  (the fixture `start`)

from pretune.server.adapters import embedded
from pretune.server.adapters.launch import Launch
from pretune.server.adapters.process import ServerProcess, session_pids
from pretune.server.settings import Settings

APPS = Path(__file__).parent / "apps"


class Served:
    """A running server and the ways to talk to it."""

    def __init__(self, running: ServerProcess, launch: Launch) -> None:
        self.running = running
        self.launch = launch
        self.address: tuple[str, int] = ("", 0)

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        with contextlib.closing(connection):
            connection.request(
                method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}
            )
            response = connection.getresponse()
            response.text = response.read().decode()  # type: ignore[attr-defined]
            return response

    def text(self, path: str) -> str:
        return self.get(path).text

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def raw(self, data: bytes) -> bytes:
        """Everything the server answers to these bytes until it closes."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock)

    def log(self) -> str:
        return self.launch.log.read_text()

    def signal(self, number: int) -> None:
        os.kill(self.running.master_pid, number)

    def events(self, name: str) -> list[dict]:
        return [dict(e.data) for e in self.running.events() if e.name == name]

    def wait_for(self, condition: Callable[[], object], timeout: float = 20) -> None:
        wait_for(condition, timeout, self.log)


def wait_for(
    condition: Callable[[], object], timeout: float = 20, log: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain; the log:\n{log()}"
        time.sleep(0.02)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            data += part
    return data


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start a server; ends with a check that nothing of it is left."""
    started: list[Served] = []

    def start(target: str = "plain", *, ready: bool = True, env=None, **options) -> Served:
        fields = {f: options.pop(f) for f in list(options) if hasattr(Settings, f)}
        settings = Settings(**{"worker_class": "gthread", "graceful_timeout": 10.0, **fields})
        launch = Launch(
            target=target,
            settings=settings,
            python=Path(options.pop("python", sys.executable)),
            chdir=Path(options.pop("chdir", APPS)),
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            log=tmp_path / f"server-{len(started)}.log",
        )
        served = Served(embedded.start(replace(launch, **options)), launch)
        started.append(served)
        if ready:
            served.address = served.running.wait_ready(120)
        return served

    yield start
    for served in started:
        served.running.stop(15)
        assert session_pids(served.running.master_pid) == []


@pytest.fixture
def tune(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start ``tune serve`` by its flags in ``tmp_path``, where app.py lies; nothing is left."""
    (tmp_path / "app.py").write_text(APP)
    started: list[Started] = []

    def start(*flags: str, env=None, cwd: Path = tmp_path, **further) -> Started:
        started.append(Started(flags, cwd, env or {}, **further))
        return started[-1]

    yield start
    for each in started:
        each.stop()
        assert session_pids(each.pid) == []


@pytest.fixture(scope="session", params=other_pythons(), ids=lambda p: Path(p).parts[-3])
def python(request: pytest.FixtureRequest) -> str:
    """Each CPython found on this machine."""
    path: str = request.param
    return path
