"""A server as a process group of its own: started on one core, asked once, ended to the last."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.servers import machine
from bench.servers.contenders import APPS, Contender, Place

ANSWER = b"Hello, World!"
PATIENCE = 60.0  # s for a server to answer its first request


class NotServing(Exception):
    """A server did not answer, or not with what the app says."""


@dataclass
class Server:
    contender: Contender
    place: Place
    process: subprocess.Popen[bytes]
    log: Path
    scratch: tempfile.TemporaryDirectory[str] = field(repr=False)
    boot_s: float = 0.0  # from the spawn to the first answer

    @property
    def url(self) -> str:
        return f"http://{self.place.bind}/"

    def pids(self) -> list[int]:
        return machine.session(self.process.pid)

    def cpu(self) -> float:
        """CPU seconds of all its processes so far."""
        return machine.cpu_ticks(self.pids())

    def stop(self) -> None:
        """TERM, then KILL; nothing is left."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        for _ in range(100):
            left = self.pids()
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.02)
        self.process.wait()
        self.scratch.cleanup()


def start(contender: Contender, bin_: Path, *, core: int | None = None, workers: int = 1) -> Server:
    """Start it and wait for its first answer. Raises NotServing."""
    scratch = tempfile.TemporaryDirectory(prefix="pretune-bench-")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = Place(bin_, port, Path(scratch.name), workers)
    if contender.tree is not None:
        place = replace(place, bootstrap=contender.tree / "server" / "bootstrap.py")
    log = Path(scratch.name) / "log"
    command = contender.command(place)
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=APPS,
            env={
                "PATH": f"{bin_}:{os.environ['PATH']}",
                "PYTHONPATH": str(APPS),
                "LANG": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    server = Server(contender, place, process, log, scratch)
    try:
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > began + PATIENCE:
                said = log.read_text(errors="replace")[-2000:]
                raise NotServing(f"{contender.name} does not answer:\n{said}")
            time.sleep(0.005)
    except BaseException:
        server.stop()
        raise
    server.boot_s = time.monotonic() - began
    return server


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
    except OSError:
        return False
    finally:
        connection.close()
    if response.status != 200 or body != ANSWER:
        raise NotServing(f"wrong answer: {response.status} {body[:100]!r}")
    return True
