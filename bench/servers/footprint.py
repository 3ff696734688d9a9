"""What a server costs beside requests: memory, boot, idling, telemetry."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.servers import load, machine
from bench.servers.contenders import BY_NAME, Contender
from bench.servers.process import Server, start
from bench.servers.ratios import estimate

FORKS = ("pretune gthread 1", "gunicorn gthread 1", "uwsgi http11-socket", "granian wsgi 1",
         "pretune asgi", "pretune asgi uvloop", "gunicorn uvicorn-worker",
         "uvicorn httptools")  # fmt: skip
IDLERS = ("pretune gthread 1", "gunicorn gthread 1")
MANY = 64
IDLE_S = 10.0
SETTLE_S = 3.0


def _worker(server: Server) -> int:
    """The process that answers: the youngest descendant, or the only process."""
    youngest = server.process.pid
    while below := machine.children(youngest):
        youngest = below[-1]
    return youngest


def _bare(python: Path, count: int, imported: str = "") -> list[dict[str, int]]:
    """Memory of ``count`` interpreters that import this and do nothing, at the same time."""
    code = f"import sys{imported and ', ' + imported}; print(flush=True); sys.stdin.read()"
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            one = subprocess.Popen(
                [str(python), "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.enter_context(one)
            assert one.stdout is not None
            one.stdout.readline()
            started.append(one)
        return [machine.memory(one.pid) for one in started]


def memory(contenders: Sequence[Contender], bin_: Path, *, core: int) -> list[dict[str, Any]]:
    """A worker over a bare interpreter, after a second of load, and what one more worker adds.

    USS misses what is shared with the master by fork, PSS halves it; one more worker (the sum of
    PSS with five workers less that with one, a quarter) is what the machine pays.
    """
    rows: list[dict[str, Any]] = []
    alone = _bare(bin_ / "python", 1)[0]
    for name, imported in (("bare interpreter", ""), ("the same with asyncio", "asyncio")):
        one = _bare(bin_ / "python", 1, imported)[0] if imported else alone
        among = _bare(bin_ / "python", 5, imported)
        rows.append(
            {
                "server": name,
                "worker_uss": one["uss"],
                "worker_pss": one["pss"],
                "over_uss": one["uss"] - alone["uss"],
                "over_pss": one["pss"] - alone["pss"],
                "marginal_pss": (sum(each["pss"] for each in among) - one["pss"]) / 4,
                "tree_pss": one["pss"],
            }
        )
    for contender in contenders:
        trees = []
        for workers in (1, 5):
            server = start(contender, bin_, workers=workers)
            try:
                load.drive(server, 1, "browser", core=core, server_core=core)
                time.sleep(0.2)
                pids = server.pids()
                trees.append(sum(machine.memory(pid)["pss"] for pid in pids))
                if workers == 1:
                    own = machine.memory(_worker(server))
            finally:
                server.stop()
        rows.append(
            {
                "server": contender.name,
                "worker_uss": own["uss"],
                "worker_pss": own["pss"],
                "over_uss": own["uss"] - alone["uss"],
                "over_pss": own["pss"] - alone["pss"],
                "marginal_pss": (trees[1] - trees[0]) / 4,
                "tree_pss": trees[0],
            }
        )
        print(f"memory  {contender.name}: {rows[-1]}", file=sys.stderr)
    return rows


def boot(contenders: Sequence[Contender], bin_: Path, *, rounds: int) -> list[dict[str, Any]]:
    """Seconds from the spawn to the first answer, in turns."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            server = start(contender, bin_)
            times[contender.name].append(server.boot_s)
            server.stop()
    return [{"server": n, "boot_s": estimate(v).to_json()} for n, v in times.items()]


def idle(
    contenders: Sequence[Contender], bin_: Path, *, workers: int = MANY
) -> list[dict[str, Any]]:
    """CPU of the master and of everything while nothing happens, as a share of one core."""
    rows = []
    for contender in contenders:
        server = start(contender, bin_, workers=workers)
        try:
            deadline = time.monotonic() + 120
            while len(server.pids()) < workers + 1 and time.monotonic() < deadline:
                time.sleep(0.2)
            time.sleep(SETTLE_S)
            pids = server.pids()
            began = time.monotonic()
            before = {pid: machine.cpu_exact(pid) for pid in pids}
            time.sleep(IDLE_S)
            took = time.monotonic() - began
            spent = {pid: machine.cpu_exact(pid) - before[pid] for pid in pids}
        finally:
            server.stop()
        rows.append(
            {
                "server": contender.name,
                "workers": workers,
                "master": spent[server.process.pid] / took,
                "all": sum(spent.values()) / took,
            }
        )
        print(f"idle    {rows[-1]}", file=sys.stderr)
    return rows


def telemetry(
    names: Sequence[str], bin_: Path, *, rounds: int, seconds: int, core: int, server_core: int
) -> list[dict[str, Any]]:
    """CPU per request with the ring on less that with it off, in pairs of rounds."""
    rows = []
    for name in names:
        pair = [BY_NAME[name], BY_NAME[f"{name} + telemetry"]]
        with ExitStack() as stack:
            servers = []
            for contender in pair:
                servers.append(start(contender, bin_, core=server_core))
                stack.callback(servers[-1].stop)
            for server in servers:
                load.drive(server, 1, "short", core=core, server_core=server_core)
            costs, offs = [], []
            for number in range(rounds):
                order = (0, 1) if number % 2 else (1, 0)
                got = {
                    n: load.drive(servers[n], seconds, "short", core=core, server_core=server_core)
                    for n in order
                }
                if got[0].valid and got[1].valid:
                    offs.append(got[0].cpu_us)
                    costs.append(got[1].cpu_us - got[0].cpu_us)
        rows.append(
            {
                "server": name,
                "off_us": statistics.median(offs),
                "cost_us": estimate(costs).to_json(),
                "rounds": len(costs),
            }
        )
        print(f"telemetry {rows[-1]}", file=sys.stderr)
    return rows
