"""A server started from a command line, and what a scenario may ask of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pretune.server
from pretune.server.adapters import embedded
from pretune.server.adapters.catalogue import FieldServer

HERE = Path(__file__).resolve().parent
APPS = (HERE / "apps", HERE.parents[1] / "bench" / "apps")
BOOTSTRAP = Path(pretune.server.__file__).with_name("bootstrap.py")

# name of a setting -> flags, with {} for its value; None: the server has no such thing
Flags = Mapping[str, "list[str] | None"]


class NotOffered(Exception):
    """A server lacks what the scenario is about."""


@dataclass(frozen=True)
class Kind:
    """A server under its name: how its command line is made of settings."""

    name: str
    command: list[str]  # up to the flags
    flags: Flags
    target: str = "{}:application"
    # worker class -> flags for it; a class that is missing is not offered
    classes: Mapping[str, list[str]] = field(default_factory=dict)
    before_target: list[str] = field(default_factory=list)
    unless: Mapping[str, list[str]] = field(default_factory=dict)  # a setting is given: these
    # scenario -> why it asks for something else than this server's users do
    means_otherwise: Mapping[str, str] = field(default_factory=dict)

    def line(self, app: str, port: int, worker_class: str, settings: dict[str, Any]) -> list[str]:
        """Raises NotOffered."""
        if worker_class not in self.classes:
            raise NotOffered(f"no worker class {worker_class}")
        line = [*self.command, *self.classes[worker_class]]
        for name, value in {"port": port, **settings}.items():
            flags = self.flags.get(name)
            if flags is None:
                raise NotOffered(f"no setting {name}")
            if value is not False:
                line += [flag.format(value) for flag in flags]
        for name, flags in self.unless.items():
            line += flags if name not in settings else []
        return [*line, *self.before_target, self.target.format(app)]


# gunicorn's, which the embedded server takes, too
GUNICORN_CLASSES = {name: ["--worker-class", name] for name in ("sync", "gthread", "asgi")}
GUNICORN_FLAGS: Flags = {
    "port": ["--bind", "127.0.0.1:{}"],
    **{name: [flag, "{}"] for name, flag in embedded.FLAGS.items()},
    "preload": ["--preload"],
}

PRETUNE = Kind(
    name="pretune",
    command=[os.environ.get("FIELD_PYTHON", sys.executable), str(BOOTSTRAP), "serve"],
    classes=GUNICORN_CLASSES,
    flags={
        **GUNICORN_FLAGS,
        "boot_timeout": ["--boot-timeout", "{}"],
        "max_worker_memory": ["--max-worker-memory", "{}"],
        "metrics": ["--metrics", "127.0.0.1:{}"],
    },
)


def flags_of(server: FieldServer, names: Sequence[str]) -> Flags:
    """Of a server's own options, those of ``names``, as the table of servers has them."""
    return {name: [f"--{server.settings[name].option}", "{}"] for name in names}


class Server:
    """One started server. ``patience`` in seconds is how long anything may take."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, home: Path, patience: float):
        self.process = process
        self.address = ("127.0.0.1", port)
        self.home = home  # the directory FIELD
        self.patience = patience

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not in {self.patience:g} s\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=self.patience)

    def ask(self, path: str, sock: socket.socket | None = None) -> str:
        """The body of the answer; by a connection of its own, or over ``sock``, which is kept."""
        if sock is not None:
            send(sock, path)
            return answer(sock)
        with self.connect() as own:
            send(own, path, close=True)
            return answer(own)

    def has_begun(self, name: str) -> bool:
        return (self.home / f"{name}.in").exists()

    def pid_of(self, name: str) -> int:
        """Who waits for ``name`` in the app, once somebody does."""
        self.wait_for(f"{name} is in the app", lambda: self.has_begun(name))
        return int((self.home / f"{name}.in").read_text())

    def release(self, name: str) -> None:
        (self.home / name).touch()

    def imports(self) -> int:
        """How often the app was imported."""
        file = self.home / "imports"
        return len(file.read_text().splitlines()) if file.exists() else 0


def send(sock: socket.socket, path: str, *, close: bool = False) -> None:
    end = "Connection: close\r\n" if close else ""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{end}\r\n".encode())


def answer(sock: socket.socket) -> str:
    """The body of one answer of 200. Raises AssertionError if it does not come whole."""
    data = bytearray()
    try:
        while b"\r\n\r\n" not in data:
            part = sock.recv(65536)
            assert part, f"closed after {bytes(data)!r}"
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], f"answered {bytes(head)!r}"
        fields = dict(bytes(line).lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        while len(body) < length:
            part = sock.recv(65536)
            assert part, f"closed in the middle of {length} bytes"
            body += part
    except TimeoutError:
        raise AssertionError("no answer in all the time") from None
    except ConnectionError as error:
        raise AssertionError(f"no answer: {error!r}") from None
    return body.decode()


def is_open(sock: socket.socket) -> bool:
    """Whether the server has left the connection open and said nothing."""
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLRDHUP)
    return not poll.poll(0)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Field:
    """Starts servers of one kind, and ends them."""

    def __init__(self, kind: Kind, home: Path, patience: float = 30.0) -> None:
        self.kind = kind
        self.home = home
        self.patience = patience
        self._started: list[Server] = []

    def start(
        self,
        app: str = "held",
        worker_class: str = "gthread",
        *,
        ready: bool = True,
        env: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Server:
        """Raises NotOffered; AssertionError if it does not come up."""
        home = self.home / f"server-{len(self._started)}"
        home.mkdir()
        port = free_port()
        line = self.kind.line(app, port, worker_class, settings)
        source = next(file for place in APPS if (file := place / f"{app}.py").exists())
        (home / f"{app}.py").write_text(source.read_text())  # a scenario may change it
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                line,
                cwd=home,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(home),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONUNBUFFERED": "1",
                    "FIELD": str(home),
                    **(env or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        server = Server(process, port, home, self.patience)
        self._started.append(server)
        if ready:
            server.wait_for("the server answers", lambda: _answers(server))
        return server

    def close(self) -> list[int]:
        """End everything; the processes that had to be killed."""
        killed = []
        for server in self._started:
            with contextlib.suppress(ProcessLookupError):
                server.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(5)
            for _ in range(100):
                left = list(session(server.process.pid))
                if not left:
                    break
                killed += left
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                server.process.poll()
                time.sleep(0.02)
            server.process.wait()
        return killed


def _answers(server: Server) -> bool:
    assert not server.ended, f"the server ended:\n{server.log()[-3000:]}"
    try:
        with socket.create_connection(server.address, timeout=1) as sock:
            send(sock, "/", close=True)
            return answer(sock) != ""
    except (OSError, AssertionError):
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def session(leader: int) -> Iterator[int]:
    """Processes of a session that are not zombies."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text(errors="replace")
            except OSError:
                continue
            state, _, _, sid = text.rpartition(")")[2].split()[:4]
            if int(sid) == leader and state != "Z":
                yield int(entry)


def pss(leader: int) -> int:
    """Bytes of PSS of a whole session."""
    total = 0
    for pid in session(leader):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
