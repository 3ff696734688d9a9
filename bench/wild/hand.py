"""Arrangements run by hand: the server as people start it, nothing of ours in it, wrk as client.

The server has the first core, wrk and Postgres the last, as in the tool's own trials with one core.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.servers import machine
from bench.wild.stage import Stage
from pretune.advisor.workspace import cores
from pretune.server.adapters import catalogue
from pretune.server.settings import Settings

LUA = Path(__file__).with_name("wrk.lua")
PATIENCE_S = 90.0  # for all workers to answer
LINES = 2000  # requests in one turn of the mix
# pyuwsgi is uWSGI as a module
_UWSGI = "import sys, pyuwsgi; sys.argv[0] = 'uwsgi'; sys.exit(pyuwsgi.run())"


class NotServing(Exception):
    """The server did not answer; the message says what it said."""


@dataclass(frozen=True)
class Mix:
    """What is asked for: paths in turn, by their shares, and headers of each request.

    A header that one endpoint needs goes with all: a client by hand knows one set.
    """

    paths: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]


def mix_of(workload: Mapping[str, Any], seed: int = 1) -> Mix:
    """The mix of a report's workload, in an order of chance that is the same each time."""
    drawn = random.Random(seed)
    endpoints = workload["endpoints"]
    chosen = drawn.choices(endpoints, [each["share"] for each in endpoints], k=LINES)
    paths = tuple(drawn.choices(each["paths"], each.get("weights") or None)[0] for each in chosen)
    own = [pair for each in endpoints for pair in (each.get("headers") or {}).items()]
    return Mix(paths, tuple({**dict(own), **workload["headers"]}.items()))


def command(server: str, target: str, settings: Settings, port: int, python: Path) -> list[str]:
    """The command line as people type it. ``target``: module:name. Raises KeyError."""
    where = f"127.0.0.1:{port}"
    module = [str(python), "-m"]
    gunicorn = ["--workers", str(settings.workers), "--worker-class", settings.worker_class]
    gunicorn += ["--threads", str(settings.threads), "--timeout", f"{settings.timeout:g}"]
    gunicorn += ["--keep-alive", f"{max(1, settings.keepalive):g}", "--bind", where, target]
    gunicorn += ["--preload"] * settings.preload_app
    flags = catalogue.SERVERS[server].flags(settings) if server in catalogue.SERVERS else []
    bind = ["--host", "127.0.0.1", "--port", str(port)]
    wait = [f"--{name}={value}" for name, value in _options(server, settings)]
    factory = target.endswith(")") and server != "gunicorn"
    if factory:
        raise KeyError(f"{server} takes no factory with arguments")
    return {
        "gunicorn": lambda: [*module, "gunicorn", *gunicorn],
        "uvicorn": lambda: [*module, "uvicorn", target, *bind, "--no-access-log", *flags],
        "granian": lambda: [
            *module, "granian", "--interface", settings.interface, *bind, *flags, target
        ],
        "hypercorn": lambda: [*module, "hypercorn", "--bind", where, *flags, target],
        "waitress": lambda: [*module, "waitress", f"--listen={where}", *wait, target],
        "uwsgi": lambda: [
            str(python), "-c", _UWSGI, "--http-socket", where, "--binary-path", str(python), *flags,
            "--module", target, "--disable-logging",
        ],
    }[server]()  # fmt: skip


def _options(server: str, settings: Settings) -> list[tuple[str, str]]:
    return catalogue.SERVERS[server].options(settings) if server in catalogue.SERVERS else []


@dataclass
class Served:
    """A server that answers."""

    port: int
    process: subprocess.Popen[bytes]

    def pss(self) -> int:
        """Bytes of all its processes, each page counted once."""
        total = 0
        for pid in machine.session(self.process.pid):
            with contextlib.suppress(OSError):
                total += machine.memory(pid)["pss"]
        return total


@contextmanager
def served(
    stage: Stage, server: str, target: str, settings: Settings, path: str
) -> Iterator[Served]:
    """Serve the application until left. ``path`` has to answer first. Raises NotServing."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        words = command(server, target, settings, port, stage.python)
    except KeyError as error:
        raise NotServing(f"no command line for {server}: {error}") from error
    available = frozenset(os.sched_getaffinity(0))
    core = min(cores.plan(available, 1.0).server)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *words],
            cwd=stage.directory, env=stage.environ, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            until = time.monotonic() + PATIENCE_S
            while not _answers(port, path):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    said = log.read()[-800:].decode(errors="replace")
                    raise NotServing(f"{server} does not answer: {said}")
                time.sleep(0.1)
            yield Served(port, process)
        finally:
            _end(process)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """TERM, then KILL; nothing of its session is left."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for _ in range(100):
        left = machine.session(process.pid)
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.02)
    process.wait()


def drive(port: int, mix: Mix, connections: int, seconds: float) -> dict[str, float]:
    """One round of wrk: requests/s, mean, p50 and p95 in ms, errors."""
    available = frozenset(os.sched_getaffinity(0))
    core = max(cores.plan(available, 1.0).generator)
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
        file.write("\n".join(mix.paths) + "\n")
        file.flush()
        done = subprocess.run(
            [
                "taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}",
                f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(LUA),
                f"http://127.0.0.1:{port}/",
            ],
            env={
                **os.environ,
                "PATHS": file.name,
                "HEADERS": "".join(f"{name}: {value}\n" for name, value in mix.headers),
            },
            check=True, capture_output=True, text=True, timeout=seconds + 90,
        )  # fmt: skip
    said = json.loads(done.stdout.strip().splitlines()[-1])
    took = said["micros"] / 1e6
    return {
        "rps": said["requests"] / took,
        "mean_ms": said["mean"] / 1e3,
        "p50_ms": said["p50"] / 1e3,
        "p95_ms": said["p95"] / 1e3,
        "errors": said["errors"],
        "requests": said["requests"],
    }


def neighbours(
    answer: Settings, today: Settings | None, named: Sequence[Settings]
) -> list[Settings]:
    """Six other arrangements: what is deployed, what the sentences name, then usual ones."""
    if answer.interface == "asgi":
        usual = [(workers, 1) for workers in (1, 2, 3, 4, 5, 6, 8)]
        classes = [answer.worker_class]
    else:
        usual = [(1, 1), (3, 1), (1, 4), (2, 4), (3, 4), (1, 16), (5, 1), (4, 2)]
        classes = ["gthread"]
    found: dict[tuple[int, int, str], Settings] = {}
    wanted = [*([today] if today else []), *named]
    wanted += [
        Settings(workers=w, threads=t, worker_class=kind) for kind in classes for w, t in usual
    ]
    for each in wanted:
        shape = (each.workers, each.threads, each.worker_class)
        if shape != (answer.workers, answer.threads, answer.worker_class):
            found.setdefault(shape, each)
    return list(found.values())[:OTHERS]


OTHERS = 6
