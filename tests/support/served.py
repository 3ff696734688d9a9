"""A running server of any kind behind the adapters' interface, and the ways to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable

from pretune.server.adapters.launch import Launch
from pretune.server.adapters.process import ServerProcess


class Served:
    def __init__(self, running: ServerProcess, launch: Launch) -> None:
        self.running, self.launch = running, launch
        self.address = ("", 0)

    def get(self, path: str = "/", **headers: str) -> str:
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            return connection.getresponse().read().decode()

    def reasons(self) -> list[str]:
        return [str(e.data["reason"]) for e in self.running.events() if e.name == "worker_exit"]

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, self.launch.log.read_text()
            time.sleep(0.02)
