"""The journal of the probes, besides the ring: a file of JSON lines per worker, read by the
profiler.

``<directory>/<pid>.notes``, each line an array that begins with its kind:

    place   number, file, line, function, own         a place stacks were seen at
    route   number, pattern                           what a record's ``route`` means
    sample  time, endpoint, route, kind, held, place  one look at one request's stack
    out     time, endpoint, route, host, calls, s     outbound calls of one request to one host
    lag     time, s                                   how long the loop took to hear of something
    block   time, s, endpoint, place                  how long a turn of the loop held it, at least
    cost    time, s, looks, late                      CPU of the thread that notes, all so far

Times are CLOCK_MONOTONIC s. Serving threads append to a queue; the thread that samples writes it
out, so that what it costs is its own. A file that has grown to ``LARGEST`` takes nothing more.
"""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any

from pretune.server.probes import routed
from pretune.server.probes.account import Account
from pretune.server.probes.user_frames import UserFrame

LARGEST = 16 << 20  # bytes
PENDING = 20_000  # notes kept until they are written


class Journal:
    """The writing end, one per worker."""

    def __init__(self, directory: str, pid: int) -> None:
        self.path = os.path.join(directory, f"{pid}.notes")
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._pending: deque[tuple[Any, ...]] = deque()
        self._numbers: dict[UserFrame, int] = {}
        self._routes = 0  # of routed.numbers that are written
        self._size = 0

    @property
    def full(self) -> bool:
        return self._size > LARGEST

    def add(self, *note: Any) -> None:
        """From any thread."""
        if len(self._pending) < PENDING:
            self._pending.append(note)

    def number(self, frame: UserFrame) -> int:
        """Its number. From the thread that samples only."""
        number = self._numbers.get(frame)
        if number is None:
            number = self._numbers[frame] = len(self._numbers) + 1
            self.add("place", number, *frame)
        return number

    def request(self, account: Account, ended: float) -> None:
        """Note what a request leaves behind, when it is over."""
        for host, (calls, waited) in (account.hosts or {}).items():
            self.add("out", ended, account.endpoint, account.route, host, calls, waited)

    def flush(self) -> None:
        """Write what has come together."""
        patterns = list(routed.numbers)
        pending: list[tuple[Any, ...]] = [
            ("route", n + 1, patterns[n]) for n in range(self._routes, len(patterns))
        ]
        while self._pending:
            pending.append(self._pending.popleft())
        self._routes = len(patterns)
        if not pending or self.full:
            return
        data = "".join(json.dumps(note) + "\n" for note in pending).encode("utf-8", "replace")
        self._size += os.write(self._fd, data)
