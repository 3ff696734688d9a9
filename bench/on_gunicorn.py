"""The recommended settings under real gunicorn, with the traffic of the verification trial.

    python bench/on_gunicorn.py examples.shop.wsgi capacity/

Reads report.json and gunicorn.conf.py of a finished run, starts the target's set-up again, runs
gunicorn from the app's interpreter with that file, sends the same closed load, and prints what was
predicted, what the embedded server gave, and what gunicorn gives. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from pretune.advisor import cores, preflight
from pretune.advisor.location import locate
from pretune.advisor.measurement import Conditions
from pretune.advisor.options import resolve
from pretune.advisor.profiler.database import DatabaseObserver
from pretune.advisor.profiler.reduce import measure
from pretune.advisor.profiler.sampler import Profiler
from pretune.advisor.workspace import Workspace
from pretune.loadtests import records
from pretune.loadtests.session import Driver
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

READY_S = 60.0


class Silent:
    """Nobody watches a benchmark's preflight."""

    def phase(self, name: str, detail: str = "", expected_s: float = 0.0) -> None:
        print(f"{name}: {detail}", file=sys.stderr)

    def update(self, detail: str) -> None: ...

    def line(self, text: str) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("capacity", type=Path, nargs="?", default=Path("capacity"))
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    document = json.loads((arguments.capacity / "report.json").read_text())
    cwd = Path.cwd()
    location = locate(arguments.target, cwd=cwd, chdir=None, python=None, environ=os.environ)
    options = resolve({"out": "capacity-gunicorn"}, location, cwd, os.environ)
    workspace = Workspace(options.out)
    try:
        show(document, run(document, arguments, options, workspace))
    finally:
        workspace.close()


def run(document, arguments, options, workspace):  # type: ignore[no-untyped-def]
    known = preflight.run(options, workspace, Silent())
    verification = document["verification"]
    settings = Settings(**verification["settings"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    log = workspace.log("gunicorn").open("wb")
    command = [str(known.target.python), "-m", "gunicorn", "--no-control-socket"]
    command += ["-c", str((arguments.capacity / "gunicorn.conf.py").resolve())]
    command += ["--bind", f"127.0.0.1:{address[1]}", known.target.callable_name]
    server = subprocess.Popen(
        command,
        cwd=known.target.chdir,
        env=workspace.marked(known.environ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=lambda: os.sched_setaffinity(0, known.core_plan.server),
    )
    workspace.spawned(server.pid)
    await_answer(address, server)
    driver = Driver.start(
        cores=known.core_plan.generator,
        on_spawn=workspace.spawned,
        env=workspace.marked(os.environ),
    )
    observer = DatabaseObserver(known.database_url) if known.database_url else None
    profiler = Profiler(
        server.pid,
        worker_pids=lambda: tuple(child.pid for child in psutil.Process(server.pid).children()),
        telemetry=None,
        database=observer,
        generator_pid=driver.pid,
    )
    load = Load(verification["load"]["users"], arguments.seconds, verification["load"]["seed"])
    path = workspace.temporary / "records"
    with cores.confined(known.core_plan.generator):
        profiler.start()
        driver.run(address, known.workload, load, records=path).wait(arguments.seconds + 60)
        samples = profiler.stop()
    driver.close()
    server.send_signal(signal.SIGTERM)
    server.wait(30)
    conditions = Conditions(
        server_cores=len(known.core_plan.server),
        shared_cores=known.core_plan.shared,
        pinned=True,
        database_local=bool(known.database and known.database.local),
    )
    found = records.read(path)
    return measure("gunicorn", settings, load, conditions, known.workload, samples, found, ())


def await_answer(address, server) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(address, timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if connection.recv(1):
                    return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("gunicorn did not answer; see capacity-gunicorn/logs/gunicorn.log")


def show(document, measured) -> None:  # type: ignore[no-untyped-def]
    verification = document["verification"]
    predicted, embedded = verification["predicted"], verification["measured"]
    rows = [
        ("throughput, requests/s", "throughput_rps", measured.throughput_rps.value, 1.0),
        ("memory, MiB", "pss_bytes", measured.pss_bytes.value, 2.0**20),
    ]
    print(f"{'':24}{'predicted':>24}{'embedded':>12}{'gunicorn':>12}")
    for label, key, value, unit in rows:
        p = predicted[key]
        print(
            f"{label:24}{p['value'] / unit:>10.1f} ({p['low'] / unit:.1f}-{p['high'] / unit:.1f})"
            f"{embedded[key]['value'] / unit:>12.1f}{value / unit:>12.1f}"
        )
    for name in ("mean", "p95"):
        p = predicted["latency_ms"][name]
        value = getattr(measured.latency, name).value * 1e3
        print(
            f"{name + ', ms':24}{p['value']:>10.1f} ({p['low']:.1f}-{p['high']:.1f})"
            f"{embedded['latency_ms'][name]['value']:>12.1f}{value:>12.1f}"
        )
    budget = document["budget"]
    print(f"errors {measured.error_rate:.3%}; disturbed: {measured.disturbed or 'no'}")
    ram = measured.pss_bytes.value + measured.kernel_bytes + budget["reserve_bytes"]
    print(f"RAM with reserve {ram / 2**20:.0f} of {budget['ram_bytes'] / 2**20:.0f} MiB")
    peak = measured.pg_connections_peak
    print(f"Postgres connections {peak} of {budget['pg_connections']}")
    slo = document["slo"]["p95_ms"]
    print(f"p95 {measured.latency.p95.value * 1e3:.0f} ms, promised {slo:.0f} ms")


if __name__ == "__main__":
    main()
