"""An app that does not boot, and what the server makes of it: whoever deploys must get to know.

It is not the user's app but one that raises when it is imported; how often it is, it notes itself.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pretune.server.adapters.launch import Launch, RunningServer

WORDS = "broken on purpose, to see what becomes of it"
MODULE = "pretune_broken_app"
TARGET = f"{MODULE}:application"
WATCH_S = 5.0  # after the first import
BEGIN_S = 30.0  # for that import to come
STOP_S = 3.0
_LOOK_S = 0.05
_ASK_EVERY_S = 0.5
_SOURCE = """\
with open({tries!r}, "a") as tries:
    tries.write("x")
raise RuntimeError({words!r})
"""


@dataclass(frozen=True)
class BootFailure:
    """``exit_code`` and ``took_s`` None: ``WATCH_S`` later it was still running, and ``answer`` is
    what a client got meanwhile: a status, "no answer", or "" when nobody listened. ``said``: the
    app's own error stands in its output. ``tries``: how often the app was imported."""

    exit_code: int | None
    took_s: float | None
    said: bool
    tries: int
    answer: str = ""

    @property
    def seen(self) -> bool:
        """True where whoever started it can know: a failing end, and the reason in the output."""
        return self.said and self.exit_code not in (None, 0)


def write(directory: Path) -> Path:
    """The app, into ``directory``; the file in which it counts."""
    tries = directory / "tries"
    tries.touch()
    tries.chmod(0o666)  # Apache's daemons run under another user
    (directory / f"{MODULE}.py").write_text(_SOURCE.format(tries=str(tries), words=WORDS))
    return tries


def watch(start: Callable[[Launch], RunningServer], launch: Launch, tries: Path) -> BootFailure:
    """``launch`` is of TARGET, with an address of its own, in the directory of ``write``."""
    tries.write_text("")
    said_before = launch.log.stat().st_size if launch.log.exists() else 0
    began = time.monotonic()
    until, tried = began + BEGIN_S, False
    server = start(launch)
    answer, asked = "", began
    try:
        while server.exit_code is None and time.monotonic() < until:
            time.sleep(_LOOK_S)
            if not tried and tries.stat().st_size:
                until, tried = time.monotonic() + WATCH_S, True
            if time.monotonic() > asked + _ASK_EVERY_S:
                answer, asked = _ask(launch.bind) or answer, time.monotonic()
        code, took = server.exit_code, time.monotonic() - began
    finally:
        server.stop(STOP_S)
    text = launch.log.read_bytes()[said_before:] if launch.log.exists() else b""
    count = len(tries.read_text())
    if code is None:
        return BootFailure(None, None, WORDS.encode() in text, count, answer)
    return BootFailure(code, took, WORDS.encode() in text, count, answer)


def free_address() -> tuple[str, int]:
    """Find an address of this machine that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        return host, port


def _ask(address: tuple[str, int]) -> str:
    """The status of an answer, "no answer", or "" when nobody listens."""
    try:
        with socket.create_connection(address, timeout=1.0) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                words = sock.recv(64).split()
                if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit():
                    return words[1].decode()
            return "no answer"
    except OSError:
        return ""
