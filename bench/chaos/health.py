"""What must not grow in workers that live: calls, connections, bytes held, descriptors, memory.

Of memory three things are watched: what the process has for itself (USS), what of it malloc has
given out, and how many blocks of up to 512 bytes Python has. The first also holds what was freed
and the C library has kept for the next: it grows until it has seen the worst that clients do, and
that is no leak. So what must be flat are the other two.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

from scipy import stats

from bench.clients import Address
from bench.servers import machine

ASKERS = 6  # connections that ask at once, so that every worker is asked
ROUNDS = 4
PAUSE = 0.2  # s between two rounds
PATIENCE = 10.0  # s for an answer
CONFIDENCE = 0.99
SERIES = ("descriptors", "memory", "in_use", "blocks")
# Growth below this is not told apart from an allocator's own steps, and caches that fill: per
# worker, over all of a run.
LEAST = {"descriptors": 1.0, "in_use": 256 * 1024.0, "blocks": 5000.0}


@dataclass
class Health:
    """Of the workers of one server. What is left over is what a census finds when all is quiet."""

    leaked_calls: int = 0
    left_connections: int = 0  # beyond those of the clients that are there
    held_bytes: int = 0
    censuses: int = 0
    # series -> worker's pid -> (monotonic s, value)
    series: dict[str, dict[int, list[tuple[float, float]]]] = field(
        default_factory=lambda: {name: defaultdict(list) for name in SERIES}
    )

    def take(self, address: Address, pids: list[int], worker_class: str, guests: int) -> None:
        """``guests``: connections of well-behaved clients, which go on."""
        replies: dict[int, list[dict[str, int]]] = defaultdict(list)
        for _ in range(ROUNDS):
            for reply in ask(address, one_by_one=worker_class != "sync"):
                replies[reply["pid"]].append(reply)
            time.sleep(PAUSE)
        now = time.monotonic()
        for pid, said in replies.items():
            least = {key: min(each[key] for each in said) for key in said[0]}
            for name in ("in_use", "blocks"):
                self.series[name][pid].append((now, least[name]))
            self.leaked_calls = max(self.leaked_calls, least["calls"] - 1)
            self.held_bytes = max(self.held_bytes, least["held"])
            beyond = least["connections"] - ASKERS - guests
            self.left_connections = max(self.left_connections, beyond)
        self.censuses += len(replies)
        for pid in pids:
            with suppress(OSError):  # it has just been replaced
                self.series["descriptors"][pid].append((now, len(os.listdir(f"/proc/{pid}/fd"))))
                self.series["memory"][pid].append((now, machine.memory(pid)["uss"]))

    def growth(self, name: str) -> dict[str, float] | None:
        """Per hour, with its interval, of the worker whose growth is surest; None: too few points.

        The first third is warming up and left out. Theil and Sen's slope.
        """
        fits = [fit for points in self.series[name].values() if (fit := slope(points))]
        return max(fits, key=lambda fit: fit["low"], default=None)

    def most(self, name: str) -> float:
        """The largest value that was seen."""
        return max((each for points in self.series[name].values() for _, each in points), default=0)

    def grows(self, name: str) -> bool:
        """Whether it grows that must not, surely and by more than LEAST."""
        fit = self.growth(name)
        return fit is not None and fit["low"] * fit["hours"] > LEAST[name]


def slope(points: list[tuple[float, float]]) -> dict[str, float] | None:
    kept = points[len(points) // 3 :]
    if len(kept) < 6:
        return None
    hours = [at / 3600 for at, _ in kept]
    value, _, low, high = stats.theilslopes([each for _, each in kept], hours, CONFIDENCE)
    return {"value": float(value), "low": float(low), "high": float(high),
            "hours": hours[-1] - hours[0], "points": len(kept), "last": kept[-1][1]}  # fmt: skip


def ask(address: Address, *, one_by_one: bool) -> list[dict[str, int]]:
    """A census of whichever workers answer. A worker without keep-alive has to be kept busy for
    another to be asked; others are chosen by how many connections they have."""
    socks: list[socket.socket] = []
    said: list[dict[str, int]] = []
    try:
        for _ in range(ASKERS):
            sock = socket.create_connection(address, timeout=PATIENCE)
            socks.append(sock)
            sock.sendall(b"GET /census HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if one_by_one:
                said.append(_reply(sock))
        if not one_by_one:
            said += [_reply(sock) for sock in socks]
    finally:
        for sock in socks:
            sock.close()
    return said


def _reply(sock: socket.socket) -> dict[str, int]:
    data = b""
    while b"}" not in data:
        part = sock.recv(65536)
        if not part:
            raise ConnectionError("no census")
        data += part
    start = data.index(b"{")
    reply: dict[str, int] = json.loads(data[start : data.index(b"}") + 1])
    return reply
