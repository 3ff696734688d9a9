"""One round: wrk against one server, and what it cost that server."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.servers import machine
from bench.servers.process import Server

LUA = Path(__file__).with_name("wrk.lua")
CONNECTIONS = 32
HEADERS = ("short", "browser")
ERRORS = ("connect", "read", "write", "status")


@dataclass(frozen=True)
class Round:
    """What one round gave. ``got``: how much of its core the server had, 0 to 1."""

    rps: float
    cpu_us: float  # of all the server's processes, per request
    got: float
    steal: float  # the larger share of the two cores
    p50_ms: float
    p99_ms: float
    errors: int
    timeouts: int

    def disturbed(self, limit: float) -> bool:
        return self.steal > limit

    @property
    def valid(self) -> bool:
        return not self.errors and self.rps > 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def drive(server: Server, seconds: int, headers: str, *, core: int, server_core: int) -> Round:
    """Load from ``core`` for ``seconds``."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    command += ["--timeout", "10s", "-s", str(LUA), server.url]
    before = [machine.clock(each) for each in (server_core, core)]
    cpu = server.cpu()
    done = subprocess.run(
        command,
        env={**os.environ, "HEADERS": headers},
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    cpu = server.cpu() - cpu
    after = [machine.clock(each) for each in (server_core, core)]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    took = said["micros"] / 1e6
    if server.contender.mute:
        said["read"] = max(0, said["read"] - said["requests"] - CONNECTIONS)
    return Round(
        rps=said["requests"] / took,
        cpu_us=cpu / max(1, said["requests"]) * 1e6,
        got=cpu / took,
        steal=max(machine.steal_share(b, a) for b, a in zip(before, after, strict=True)),
        p50_ms=said["p50"] / 1e3,
        p99_ms=said["p99"] / 1e3,
        errors=sum(said[name] for name in ERRORS),
        timeouts=said["timeout"],
    )
