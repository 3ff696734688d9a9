"""The server started as people start it: a command line, a directory, an environment."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pretune.server

BOOTSTRAP = str(Path(pretune.server.__file__).with_name("bootstrap.py"))

APP = """
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Tested", "yes")])
    path = environ["PATH_INFO"]
    if path == "/ids":
        text = repr((os.getuid(), os.getgid(), sorted(os.getgroups()), IMPORTED))
    elif path == "/umask":
        mask = os.umask(0); os.umask(mask); text = oct(mask)
    elif path == "/cwd":
        text = os.getcwd()
    elif path == "/pid":
        text = str(os.getpid())
    elif path.startswith("/env/"):
        text = os.environ.get(path[5:], "-")
    else:
        text = "hello"
    return [text.encode()]
IMPORTED = (os.getuid(), os.getgid())
"""


_EXEC = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


class Started:
    """A server by its command line. ``log`` is its stderr and stdout."""

    def __init__(
        self,
        flags: tuple[str, ...],
        cwd: Path,
        env: dict[str, str],
        pass_fds: tuple[int, ...] = (),
        first: str | None = None,
        python: str = sys.executable,
    ) -> None:
        self.path = cwd / f"said-{time.monotonic_ns()}"
        # ``first`` runs in the process before the server does.
        starter = ("-c", f"{first}\n{_EXEC}") if first else ()
        with self.path.open("wb") as out:
            self.process = subprocess.Popen(
                [python, *starter, BOOTSTRAP, "serve", *flags],
                cwd=cwd,
                env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self.pid = self.process.pid

    def log(self) -> str:
        return self.path.read_text()

    def wait_for(self, condition: Callable[[], object], timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; it said:\n{self.log()}"
            time.sleep(0.02)

    def ready(self, times: int = 1, log: Callable[[], str] | None = None) -> Started:
        said = log or self.log
        self.wait_for(lambda: said().count("] ready") >= times or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()
        return self

    def addresses(self) -> list[str]:
        found = re.search(r"listening at (.+), starting", self.log())
        assert found is not None
        return found[1].split(", ")

    def get(self, path: str = "/", address: str | None = None, **headers: str) -> str:
        address = address or self.addresses()[0]
        connection = http.client.HTTPConnection("there", timeout=40)
        connection.sock = connect(address)
        connection.request(
            "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        try:
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def workers(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"worker (\d+) is ready", self.log())]

    def stop(self) -> int:
        """TERM; the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
            raise

    def end(self) -> int:
        """The exit code of one that ends by itself."""
        return self.process.wait(60)


def connect(address: str, timeout: float = 40) -> socket.socket:
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(address[5:])
        except OSError:
            sock.close()
            raise
        return sock
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=timeout)
