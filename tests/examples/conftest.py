"""Runs the examples as pretune would: their hooks in a session of their own, then a real server.

One set of services and one server per application serves all tests of its file.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

ROOT = Path(__file__).parents[2]
# In the environment of what a run has started: by it, and by nothing wider, tests end processes.
MARK = "PRETUNE_EXAMPLES_TEST"

# The examples are not installed; only while they are found does the root have to be on the path.
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT)
    importlib.import_module("examples")


@dataclass
class Hooks:
    """The setup and teardown of one pyproject.toml, run the way the contract says."""

    commands: Mapping[str, str]
    directory: Path
    run: Path
    environment: dict[str, str] = field(init=False)
    session: int = 0

    def __post_init__(self) -> None:
        kept = {n: v for n, v in os.environ.items() if n not in ("DATABASE_URL", "UPSTREAM_URL")}
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PRETUNE_RUN_DIR": str(self.run),
            "PRETUNE_ENV": str(self.run / "environment"),
            MARK: str(self.run),
        }

    def begin(self, name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            shlex.split(self.commands[name]),
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if name == "setup":
            self.session = process.pid
        return process

    def finish(self, name: str) -> str:
        """Run to the end, which is when no process left behind holds the pipe either."""
        process = self.begin(name)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        return output

    def published(self) -> dict[str, str]:
        lines = (self.run / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def marked(self) -> list[psutil.Process]:
        """What carries this run's own mark in its environment: only what we have started can."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if alive(process) and process.environ().get(MARK) == str(self.run):
                    found.append(process)
        return found

    def processes(self) -> list[psutil.Process]:
        """The marked and their descendants; Postgres writes over its children's environment."""
        found = set(self.marked())
        for process in list(found):
            with contextlib.suppress(psutil.Error):
                found.update(process.children(recursive=True))
        return [p for p in found if alive(p)]

    def end(self) -> None:
        """Tear down, and end what a test that failed has left: the marked and no others."""
        try:
            self.begin("teardown").communicate(timeout=30)
        finally:
            for process in self.marked():
                with contextlib.suppress(psutil.Error):
                    process.kill()


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def project_hooks(app: str, run: Path) -> Hooks:
    project = ROOT / "examples" / app
    table = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["pretune"]
    return Hooks(table, (project / table["chdir"]).resolve(), run)


def bare_postgres(run: Path) -> Hooks:
    command = "python -m examples.postgres"
    return Hooks({"setup": f"{command} start", "teardown": f"{command} stop"}, ROOT, run)


@pytest.fixture
def postgres_hooks(tmp_path: Path) -> Iterator[Hooks]:
    """The throw-away Postgres alone, in a directory that, for root, nobody else can enter."""
    hooks = bare_postgres(tmp_path)
    yield hooks
    hooks.end()


@pytest.fixture(scope="module")
def postgres_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    """One that has been set up, for tests that only look at it."""
    hooks = bare_postgres(tmp_path_factory.mktemp("postgres"))
    try:
        hooks.finish("setup")
        yield hooks
    finally:
        hooks.end()


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """One application behind a running server."""

    port: int
    database_url: str
    headers: dict[str, str]
    connections_at_start: int = -1

    def request(
        self, method: str, path: str, body: str | None = None, **headers: str | None
    ) -> Answer:
        sent = self.headers | {n.replace("_", "-"): v for n, v in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, {n: v for n, v in sent.items() if v is not None})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode("latin-1"))

    def get(self, path: str, **headers: str | None) -> Answer:
        return self.request("GET", path, **headers)

    def post_json(self, path: str, value: object) -> Answer:
        return self.request("POST", path, json.dumps(value), Content_Type="application/json")

    def at_once(self, callers: int, call: Callable[[], Answer]) -> list[Answer]:
        with ThreadPoolExecutor(callers) as pool:
            return [f.result() for f in [pool.submit(call) for _ in range(callers)]]

    def query(self, query: str, *values: object) -> list[Any]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query, values).fetchall()

    def connections(self) -> int:
        """How many the application holds."""
        [(count,)] = self.query(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE usename = current_user AND pid <> pg_backend_pid()"
        )
        return int(count)


@contextlib.contextmanager
def services(app: str, run: Path) -> Iterator[Hooks]:
    hooks = project_hooks(app, run)
    try:
        hooks.finish("setup")
        yield hooks
    finally:
        hooks.end()


@contextlib.contextmanager
def serve(hooks: Hooks, *command: str, **headers: str) -> Iterator[Site]:
    """Run a server on a free port until the block ends."""
    log = hooks.run / f"server-{time.monotonic_ns()}.log"
    published = hooks.published()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=hooks.directory,
            # gunicorn writes a socket to the home directory.
            env=hooks.environment | published | {"HOME": str(hooks.run)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        site = Site(_port(server, log), published["DATABASE_URL"], headers)
        site.connections_at_start = site.connections()
        yield site
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:([1-9]\d*)", log.read_text()):
            return int(found[1])
        time.sleep(0.02)
    raise AssertionError(log.read_text())


GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "gthread")


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractContextManager[Site]]:
    """Serves a target with gunicorn, given the hooks that have set it up."""
    return lambda hooks, target: serve(hooks, *GUNICORN, target)


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """A directory that any user may pass through, which pytest's own are not."""
    with tempfile.TemporaryDirectory(
        prefix="pretune-examples-", ignore_cleanup_errors=True
    ) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def shop(open_directory: Path) -> Iterator[Site]:
    """The shop, loaded before the fork, on two workers of four threads."""
    scale = ("--preload", "--workers", "2", "--threads", "4")
    headers = {"Host": "shop.example", "X-Forwarded-Proto": "https"}
    with (
        services("shop", open_directory) as hooks,
        serve(hooks, *GUNICORN, *scale, "examples.shop.wsgi", **headers) as site,
    ):
        yield site


@pytest.fixture(scope="module")
def board_hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    with services("board", tmp_path_factory.mktemp("board")) as hooks:
        yield hooks


@pytest.fixture(scope="module")
def board(board_hooks: Hooks) -> Iterator[Site]:
    """The board from its factory, on one worker with more threads than its pool has connections."""
    scale = ("--preload", "--workers", "1", "--threads", "14")
    with serve(board_hooks, *GUNICORN, *scale, "examples.board.app:create_app()") as site:
        yield site


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    pytest.importorskip("uvicorn")
    with (
        services("tickets", tmp_path_factory.mktemp("tickets")) as hooks,
        serve(hooks, "uvicorn", "--port", "0", "examples.tickets.main:app") as site,
    ):
        yield site
