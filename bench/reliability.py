"""Requests lost while the server is reloaded, resized, recycled, upgraded and wounded.

``python -m bench.reliability`` from the top of the repository; ``--short`` takes about a minute.
The clients keep sending (bench/clients.py says what counts as a failure); the aim is none at all,
and under SIGKILL none but on connections that the killed worker owned.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.clients import KINDS, Clients, Kill, attribute
from bench.servers import machine
from bench.servers.tables import table
from pretune.server.adapters import embedded, process
from pretune.server.adapters.launch import BootFailed, Launch
from pretune.server.adapters.process import ServerProcess
from pretune.server.settings import Settings

APPS = Path(__file__).with_name("apps")
OUT = Path(__file__).resolve().parents[1] / "build" / "bench" / "reliability"
CLASSES = ("gthread", "sync", "gevent", "asgi")
PATIENCE = 60.0  # s for the server to do what a signal says
ENOUGH = 500  # failures; a server that only fails need not be watched any longer
SUSPICIOUS = ("error in the server", "Traceback", "giving up")


class Stuck(Exception):
    """The server did not do what it was told."""


@dataclass
class Subject:
    """The server under test, and what was done to it."""

    running: ServerProcess
    launch: Launch
    pid_file: Path
    draw: random.Random
    clients: Clients | None = None
    events: int = 0
    kills: list[Kill] = field(default_factory=list)

    @property
    def workers(self) -> int:
        return self.launch.settings.workers

    @property
    def master(self) -> int:
        """The first one's pid until it is replaced by an upgrade."""
        # Between two masters there may be no such file.
        with contextlib.suppress(OSError, ValueError):
            self._master = int(self.pid_file.read_text())
        return self._master or self.running.master_pid

    _master = 0

    def pids(self) -> list[int]:
        """Workers of any master that are ready and have not ended."""
        pids: dict[int, None] = {}
        for event in self.running.events():
            if event.name == "worker_ready":
                pids[event.data["pid"]] = None
            elif event.name == "worker_exit":
                pids.pop(event.data["pid"], None)
        return list(pids)

    def signal(self, number: int) -> None:
        self.events += 1
        os.kill(self.master, number)

    def kill(self, pid: int) -> bool:
        """False if there is no such process any more."""
        begun = time.monotonic()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills.append(Kill(pid, begun, time.monotonic()))
        return True

    def count(self, name: str) -> int:
        return sum(event.name == name for event in self.running.events())

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise Stuck(f"{what}, in vain for {PATIENCE:g} s")
            if self.clients is not None and len(self.clients.failures) > ENOUGH:
                raise Stuck(f"{what}: too many failures to go on")
            time.sleep(0.01)

    def upgrade(self) -> int:
        """USR2; return the old master's pid once it says that the new one is ready, as its log does
        to whoever waits to end it.
        """
        old, log = self.master, self.launch.log
        before = log.stat().st_size
        self.signal(signal.SIGUSR2)

        def said() -> bool:
            with log.open("rb") as file:
                file.seek(before)
                return re.search(rb"the new master \d+ is ready", file.read()) is not None

        self.wait_for("a new master", said)
        return old

    def pause(self, most: float) -> None:
        time.sleep(self.draw.uniform(0, most))

    def settle(self) -> None:
        self.wait_for("as many workers as asked for", self._settled)

    def _settled(self) -> bool:
        # A worker that is being recycled overlaps with its successor.
        return self.workers <= len(self.pids()) <= self.workers + 2

    def stop(self) -> list[int]:
        """TERM to whoever is master; the processes that had to be killed."""
        session = self.running.master_pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.master, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while (left := machine.session(session)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.running.stop(1)
        return left


# -- what is done to the server


def hup(subject: Subject, events: int) -> None:
    """HUP after HUP; now and then the next one while the last is still on its way."""
    while subject.events < events:
        ready = subject.count("worker_ready")
        subject.signal(signal.SIGHUP)
        if subject.draw.random() < 0.8:
            wanted = ready + subject.workers
            subject.wait_for("new workers", lambda w=wanted: subject.count("worker_ready") >= w)
        subject.pause(0.2)


def resize(subject: Subject, events: int) -> None:
    """A worker more, a worker less."""
    while subject.events < events:
        subject.signal(signal.SIGTTIN)
        if subject.draw.random() < 0.8:
            subject.wait_for("one more", lambda: len(subject.pids()) > subject.workers)
        subject.pause(0.1)
        subject.signal(signal.SIGTTOU)
        subject.pause(0.1)


def recycle(subject: Subject, events: int) -> None:
    """Workers leave after so many requests; an event is one that left."""
    while subject.events < events:
        left = subject.events
        subject.wait_for("a recycled worker", lambda n=left: subject.count("worker_exit") > n)
        subject.events = subject.count("worker_exit")


def kill(subject: Subject, events: int) -> None:
    """A random worker is killed every second; the last one never."""
    until = time.monotonic() + 3 * events
    while subject.events < events and time.monotonic() < until:
        pids = subject.pids()
        if len(pids) > 1:
            # One killed before, of which the master has yet to hear, counts for nothing.
            subject.events += subject.kill(subject.draw.choice(pids))
        time.sleep(subject.draw.uniform(0.5, 1.5))


def upgrade(subject: Subject, events: int) -> None:
    """USR2, WINCH to the old master when the new one is ready, QUIT when its workers are gone."""
    beside = subject.pid_file.with_name(subject.pid_file.name + ".2")
    while subject.events < events:
        former = set(subject.pids())
        old = subject.upgrade()
        subject.wait_for("its pid file", beside.exists)
        subject.pause(0.2)
        os.kill(old, signal.SIGWINCH)
        subject.wait_for("the old workers leave", lambda f=former: not f & set(subject.pids()))
        os.kill(old, signal.SIGQUIT)
        subject.wait_for("the new master is the master", lambda o=old: subject.master != o)
        subject.pause(0.2)


def storm(subject: Subject, events: int) -> None:
    """Everything that must not lose a request, at random and without waiting."""
    while subject.events < events:
        subject.signal(subject.draw.choice((signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)))
        subject.pause(0.4)
    subject.signal(signal.SIGHUP)  # which takes TTIN and TTOU back


@dataclass(frozen=True)
class Scenario:
    name: str
    act: Callable[[Subject, int], None]
    events: int  # of a full run
    short: int
    settings: dict[str, Any] = field(default_factory=dict)
    preloads: tuple[bool, ...] = (False,)
    classes: tuple[str, ...] = CLASSES


_RECYCLING = {"max_requests": 50, "max_requests_jitter": 10}
SCENARIOS = (
    Scenario("hup", hup, 200, 8, preloads=(False, True)),
    Scenario("ttin/ttou", resize, 200, 10),
    Scenario("recycle", recycle, 200, 12, _RECYCLING, preloads=(False, True)),
    Scenario("kill", kill, 60, 3, {"workers": 4}),
    Scenario("upgrade", upgrade, 50, 3, preloads=(False, True)),
    Scenario("storm", storm, 200, 10, _RECYCLING),
)


# -- one scenario, and what came of it


@dataclass
class Outcome:
    scenario: str
    worker_class: str
    preload: bool
    events: int
    answers: int
    failures: dict[str, int]
    explained: dict[str, int]
    reconnects: int
    slowest_s: float
    took_s: float
    trouble: list[str]  # what went wrong beside lost requests
    samples: list[dict[str, Any]]

    @property
    def lost(self) -> int:
        """Requests lost without an excuse."""
        return self.explained["none"]


def run(
    scenario: Scenario, worker_class: str, preload: bool, events: int, options: argparse.Namespace
) -> Outcome:
    settings = Settings(
        workers=options.workers,
        threads=options.threads if worker_class == "gthread" else 1,
        worker_class=worker_class,
        preload_app=preload,
    )
    settings = replace(settings, **scenario.settings)
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"{scenario.name.replace('/', '-')}-{worker_class}{'-preload' if preload else ''}"
    subject = begin("pid", settings, options.out / name, options.seed, options.python)
    running = subject.running
    trouble = []
    began = time.monotonic()
    half = options.clients // 2
    clients = Clients(("", 0), options.clients - half, half, seed=options.seed)
    try:
        clients.address = running.wait_ready(60)
        subject.clients = clients
        with clients:
            try:
                scenario.act(subject, events)
                subject.settle()
                time.sleep(0.5)
            except Stuck as stuck:
                trouble.append(str(stuck))
    except (BootFailed, TimeoutError) as error:
        trouble.append(f"it did not start: {error}")
    finally:
        killed = subject.stop()
    trouble += [f"{len(killed)} processes did not end"] if killed else []
    trouble += clients.crashed
    trouble += find_in_log(subject, SUSPICIOUS)
    explained = attribute(clients.failures, subject.kills)
    return Outcome(
        scenario=scenario.name,
        worker_class=worker_class,
        preload=preload,
        events=subject.events,
        answers=clients.answers,
        failures=dict(clients.counts()),
        explained={key: len(value) for key, value in explained.items()},
        reconnects=clients.reconnects,
        slowest_s=clients.slowest,
        took_s=time.monotonic() - began,
        trouble=trouble,
        samples=[failure.since(began) for failure in explained["none"][:20]],
    )


def begin(
    app: str, settings: Settings, place: Path, seed: int | str, python: str = sys.executable
) -> Subject:
    """Start a server of ``bench/apps/<app>_wsgi`` or ``_asgi``; its log and its pid file are
    ``place`` with an ending.
    """
    log, pid_file = (place.with_name(place.name + end) for end in (".log", ".pid"))
    log.unlink(missing_ok=True)
    launch = Launch(
        target=f"{app}_{'asgi' if settings.worker_class == 'asgi' else 'wsgi'}",
        settings=settings,
        python=Path(python),
        chdir=APPS,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        log=log,
    )
    return Subject(start(launch, pid_file), launch, pid_file, random.Random(seed))


def start(launch: Launch, pid_file: Path) -> ServerProcess:
    """As the adapter does, with a pid file: an upgrade is followed by it."""
    pid_file.unlink(missing_ok=True)
    flags = ["--pid", str(pid_file)]
    return process.start(launch, lambda at, fd: [*embedded.command(at, fd), *flags], embedded.KIND)


def find_in_log(subject: Subject, suspicious: Iterable[str]) -> list[str]:
    """A line for each of these words that the server's log holds."""
    text = subject.launch.log.read_text(errors="replace")
    return [f"the log says {words!r}" for words in suspicious if words in text]


@contextlib.contextmanager
def hogs(wanted: bool) -> Iterator[None]:
    """Somebody else who uses every core."""
    started = [
        subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", "while 1: pass"])
        for core in (machine.cores() if wanted else ())
    ]
    try:
        yield
    finally:
        for hog in started:
            hog.kill()
            hog.wait()


def render(outcomes: list[Outcome], *, markdown: bool) -> str:
    head = ("scenario", "class", "events", "requests", "failed", "kinds", "killed worker's own",
            "lost", "slowest s", "trouble")  # fmt: skip
    rows = []
    for one in outcomes:
        own = one.explained["pid"] + one.explained["time"]
        rows.append(
            [
                one.scenario + (" preload" if one.preload else ""),
                one.worker_class,
                str(one.events),
                f"{one.answers:,}",
                str(sum(one.failures.values())),
                ", ".join(f"{kind} {n}" for kind, n in sorted(one.failures.items())) or "-",
                str(own),
                str(one.lost),
                f"{one.slowest_s:.1f}",
                "; ".join(one.trouble) or "-",
            ]
        )
    total = Counter[str]()
    for one in outcomes:
        total.update(events=one.events, requests=one.answers, lost=one.lost)
    kinds = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
    return (
        table(head, rows, markdown=markdown)
        + f"\n\n{total['events']:,} events, {total['requests']:,} requests, {total['lost']} lost "
        + f"without an excuse. {kinds}.\n"
    )


def save(outcomes: list[Outcome], options: argparse.Namespace) -> None:
    document = {"seed": options.seed, "hogs": options.hogs, "machine": machine.description(),
                "outcomes": [asdict(one) for one in outcomes]}  # fmt: skip
    (options.out / "outcome.json").write_text(json.dumps(document, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=__doc__)
    add = parser.add_argument
    add("--short", action="store_true", help="few events, about a minute")
    add("--scenario", action="append", choices=[each.name for each in SCENARIOS])
    add("--worker-class", action="append", choices=CLASSES)
    add("--events", type=int, help="instead of each scenario's own number")
    add("--workers", type=int, default=2)
    add("--threads", type=int, default=2)
    add("--clients", type=int, default=8, help="half of them keep their connections")
    add("--hogs", action="store_true", help="burn every core meanwhile: some races need it")
    add("--seed", type=int, default=int(time.time()))
    add("--python", default=sys.executable, help="interpreter of the server")
    add("--out", type=Path, default=OUT, metavar="DIR", help="logs and outcome.json go there")
    add("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers and hogs are ended, too
    outcomes: list[Outcome] = []
    with hogs(options.hogs):
        for scenario in SCENARIOS:
            if options.scenario and scenario.name not in options.scenario:
                continue
            for worker_class in options.worker_class or scenario.classes:
                for preload in scenario.preloads:
                    events = options.events or (
                        scenario.short if options.short else scenario.events
                    )
                    one = run(scenario, worker_class, preload, events, options)
                    outcomes.append(one)
                    save(outcomes, options)
                    print(
                        f"{one.scenario:10}{one.worker_class:8}{'preload' if preload else '':8}"
                        f"{one.events:5} events {one.answers:8} answers in {one.took_s:.0f} s, "
                        f"failed {one.failures}, lost {one.lost} {one.trouble}",
                        file=sys.stderr,
                    )
    print(render(outcomes, markdown=False))
    if options.markdown:
        options.markdown.write_text(render(outcomes, markdown=True))
    return 1 if any(one.lost or one.trouble for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
