"""The cost of the probes inside: servers without telemetry, with it, and with probes, in turns.

Three servers of one app stand side by side on one core; rounds of requests go to each in random
order, one at a time over one connection, from another core. CPU is the worker's own process clock.
What is compared is always the same round, so that what the machine does meanwhile is in both. The
three are started anew several times, and it is the starts that count: where a process's pages
happen to lie is worth more than what is measured here.
"""

from __future__ import annotations

import operator
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.measurement.result import Aim, Result, Table
from bench.servers.ratios import Estimate, estimate
from pretune.advisor.profiler import notes
from pretune.advisor.profiler.telemetry import RingReader
from pretune.advisor.workspace.cores import plan
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import Launch
from pretune.server.settings import Settings

REPOSITORY = Path(__file__).parents[2]
MODES = ("off", "telemetry", "probes")
STARTS, QUICK_STARTS = 10, 3
ROUNDS = 8  # after each start
BATCH_S = 0.25
WARM = 200  # requests before anything counts
# Of a request alone on an idle core, where all is cold; what telemetry costs a busy server is in
# docs/BENCHMARKS.md, with an aim of its own.
TELEMETRY_US, PROBES_US, THROUGHPUT = 10.0, 10.0, 0.01


@dataclass(frozen=True)
class App:
    """``real``: the one whose throughput must not suffer."""

    name: str
    target: str
    chdir: Path
    path: str
    worker_class: str
    services: str = ""  # a module with start and stop, as a hook
    fields: str = "Host: localhost"
    real: bool = False


APPS = (
    App("trivial, WSGI", "pid_wsgi.py", REPOSITORY / "bench/apps", "/", "gthread"),
    App("trivial, ASGI", "pid_asgi.py", REPOSITORY / "bench/apps", "/", "asgi"),
    App(
        "shop: Django, Postgres", "examples.shop.wsgi", REPOSITORY, "/", "gthread",
        "examples.shop.services", "Host: shop.example\r\nX-Forwarded-Proto: https", real=True,
    ),
)  # fmt: skip


@dataclass
class Subject:
    """One running server. ``cpu``: of the worker, s; ``looking``: of its thread that looks."""

    worker: int
    address: tuple[str, int]
    directory: Path
    rings: RingReader
    sock: socket.socket
    fields: str
    cpu_us: list[float] = field(default_factory=list)  # per request, of each round
    rps: list[float] = field(default_factory=list)

    def cpu(self) -> float:
        return time.clock_gettime((~self.worker << 3) | 2)  # linux/posix-timers.h

    def ask(self, path: str, times: int) -> None:
        fields = f"{self.fields}\r\nx-pretune-endpoint: 1"
        request = f"GET {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode()
        for _ in range(times):
            self.sock.sendall(request)
            _read_answer(self.sock)

    def batch(self, path: str, times: int) -> None:
        before, began = self.cpu(), time.perf_counter()
        self.ask(path, times)
        took = time.perf_counter() - began
        self.cpu_us.append((self.cpu() - before) / times * 1e6)
        self.rps.append(times / took)
        self.rings.poll()

    def looking(self) -> tuple[float, float]:
        """CPU s and looks of the thread that looks, up to its last note."""
        found = notes.read(self.directory)
        if found is None or not len(found.cost):
            return 0.0, 0.0
        return float(found.cost["cpu_s"].max()), float(found.cost["looks"].max())


def _read_answer(sock: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"the app answered {head.splitlines()[0]!r}")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    while len(body) < int(length) if length else not body.endswith(b"\r\n0\r\n\r\n"):
        body += _some(sock)


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 16)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def run(*, quick: bool) -> Result:
    starts = QUICK_STARTS if quick else STARTS
    measured = {app: [_measure(app, number) for number in range(starts)] for app in APPS}
    rows, aims, data = [], [], {}
    for app, found in measured.items():
        more = {m: estimate([one.more_us[m] for one in found]) for m in MODES[1:]}
        rate = {m: estimate([one.rps_ratio[m] for one in found]) for m in MODES[1:]}
        looked = found[len(found) // 2].looked
        rows.append(
            (
                app.name,
                f"{np.median([one.off_us for one in found]):.1f}",
                _shown(more["telemetry"], "+.2f"),
                _shown(more["probes"], "+.2f"),
                f"{looked.us_per_request:.2f}",
                f"{looked.core_fraction:.2%}, {looked.us_per_look:.0f} us a look",
                _shown(rate["telemetry"], ".3f"),
                _shown(rate["probes"], ".3f"),
            )
        )
        aims.append(_aim(app, "telemetry costs", more["telemetry"], TELEMETRY_US))
        aims.append(_aim(app, "probes and looking cost", more["probes"], PROBES_US))
        if app.real:
            lost = 1 - rate["telemetry"].value
            aims.append(
                Aim(
                    f"telemetry's part of the throughput, {app.name}",
                    f"at most {THROUGHPUT:.0%}",
                    f"{lost:.2%} ({1 - rate['telemetry'].high:.2%} to "
                    f"{1 - rate['telemetry'].low:.2%})",
                    lost <= THROUGHPUT,
                )
            )
        data[app.name] = {
            "more_us": [one.more_us for one in found],
            "rps_ratio": [one.rps_ratio for one in found],
        }
    head = (
        "app", "CPU us", "telemetry us", "probes us", "of it looking us", "looking",
        "rps, telemetry", "rps, probes",
    )  # fmt: skip
    return Result(
        title="The cost of the probes inside",
        tables=(Table(head, tuple(rows)),),
        aims=tuple(aims),
        notes=(
            f"{starts} starts, {ROUNDS} rounds of {BATCH_S:g} s to each server after each, in "
            "random order; medians over starts of the median difference, or ratio, within a round, "
            "with bootstrap intervals over starts.",
            "CPU of the worker's process per request; the thread that samples stacks is "
            "in 'probes us', and in no figure that the tool reports.",
        ),
        data=data,
    )


@dataclass(frozen=True)
class Looked:
    us_per_request: float
    core_fraction: float
    us_per_look: float


@dataclass(frozen=True)
class Start:
    """Of one start: medians over its rounds, by mode."""

    off_us: float
    more_us: dict[str, float]
    rps_ratio: dict[str, float]
    looked: Looked


def _measure(app: App, number: int) -> Start:
    print(f"{app.name}, start {number + 1}", file=sys.stderr)
    cores = plan(frozenset(os.sched_getaffinity(0)), 1.0)
    before = os.sched_getaffinity(0)
    with ExitStack() as stack:
        environ = stack.enter_context(_services(app.services))
        draw = random.Random(number)
        subjects = {
            mode: stack.enter_context(_subject(app, mode, cores.server, environ))
            for mode in draw.sample(MODES, len(MODES))
        }
        os.sched_setaffinity(0, cores.generator or before)
        stack.callback(os.sched_setaffinity, 0, before)
        for subject in subjects.values():
            # Not before: a server waits only so long for a first request.
            subject.sock.connect(subject.address)
            subject.ask(app.path, WARM)
        began = time.perf_counter()
        subjects["off"].ask(app.path, WARM)
        times = max(5, round(WARM * BATCH_S / (time.perf_counter() - began)))
        start, (spent, looks) = time.perf_counter(), subjects["probes"].looking()
        for _ in range(ROUNDS):
            for mode in draw.sample(MODES, len(MODES)):
                subjects[mode].batch(app.path, times)
        took = time.perf_counter() - start
        end_spent, end_looks = subjects["probes"].looking()
        # it looks while its server idles, too; only its own rounds are requests
        share = 1 / len(MODES)
        looked = Looked(
            (end_spent - spent) * share / (ROUNDS * times) * 1e6,
            (end_spent - spent) / took,
            (end_spent - spent) / max(end_looks - looks, 1) * 1e6,
        )
    off, others = subjects["off"], MODES[1:]
    return Start(
        float(np.median(off.cpu_us)),
        {mode: _middle(subjects[mode].cpu_us, off.cpu_us, operator.sub) for mode in others},
        {mode: _middle(subjects[mode].rps, off.rps, operator.truediv) for mode in others},
        looked,
    )


@contextmanager
def _subject(
    app: App, mode: str, cores: frozenset[int], environ: dict[str, str]
) -> Iterator[Subject]:
    directory = Path(tempfile.mkdtemp(prefix="probes-"))
    server = embedded.start(
        Launch(
            target=app.target,
            settings=Settings(workers=1, threads=1, worker_class=app.worker_class, keepalive=600.0),
            python=Path(sys.executable),
            chdir=app.chdir,
            env={**os.environ, **environ},
            log=directory / "log",
            telemetry=None if mode == "off" else directory,
            probes=mode == "probes",
            cores=cores,
        )
    )
    try:
        address = server.wait_ready(60)
        rings = RingReader(directory)
        rings.scan()
        (worker,) = server.worker_pids()
        with socket.socket() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield Subject(worker, address, directory, rings, sock, app.fields)
    finally:
        server.stop(15)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _services(module: str) -> Iterator[dict[str, str]]:
    """What the app needs beside it, as the example's own hook starts it; its variables."""
    if not module:
        yield {}
        return
    directory = Path(tempfile.mkdtemp(prefix="probes-services-"))
    directory.chmod(0o711)  # Postgres may run under another user
    command = [sys.executable, "-m", module]
    try:
        out = subprocess.run(
            [*command, "start", "--dir", str(directory)],
            cwd=REPOSITORY, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        yield dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    finally:
        subprocess.run([*command, "stop", "--dir", str(directory)], cwd=REPOSITORY, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _middle(
    these: list[float], off: list[float], compare: Callable[[float, float], float]
) -> float:
    return float(np.median(list(map(compare, these, off))))


def _shown(one: Estimate, form: str) -> str:
    return f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"


def _aim(app: App, what: str, more: Estimate, limit: float) -> Aim:
    return Aim(
        f"{what}, {app.name}",
        f"at most {limit:g} us a request",
        f"{_shown(more, '.2f')} us",
        more.value <= limit,
    )
