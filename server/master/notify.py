"""Notifies systemd (sd_notify(3)): a datagram of NAME=value lines to a unix socket.

The variables are taken out of the environment: a worker, or a program the app starts, must not
speak for the server.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from pretune.server.clock import Clock


class Notifier:
    """Says nothing when nobody asked to be told."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        interval, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        meant = not pid or pid == str(os.getpid())
        # Twice as often as needed, as sd_watchdog_enabled(3) recommends.
        self._beat = int(interval) / 2e6 if interval.isdigit() and meant else 0.0
        if self._address is None:
            self._beat = 0.0
        self.next_beat = Clock.monotonic() if self._beat else float("inf")

    def ready(self, status: str) -> None:
        """Also what ends a reload, however it went. MAINPID: after an upgrade it is news."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        now = Clock.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nSTATUS=reloading\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def main_pid(self, pid: int) -> None:
        """Another process is the service from now on."""
        self._send(f"MAINPID={pid}")

    def beat(self, now: float) -> None:
        """Tell the watchdog that we live, if it is time."""
        if now >= self.next_beat:
            self.next_beat = now + self._beat
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        # A manager that does not read must not hold up the server.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.sendto(text.encode(), self._address)


def _address(text: str) -> str | None:
    """A path, or a name in the abstract namespace, written with ``@`` in front."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None
