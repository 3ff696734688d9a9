"""All worker classes at once among clients that do harm, ordered about all the time.

``python -m bench.chaos --minutes N`` from the top of the repository. In the first half of the time
servers are reloaded, resized, wounded, upgraded and restarted (``orders``); in the second their
workers live on, so that what they hold can be watched (``health``). Foes (``foes``) are there all
the time, well-behaved clients (bench/clients.py, ``patient``) too: these must lose nothing, but
under SIGKILL what the killed worker owned.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.chaos.foes import Crowd
from bench.chaos.health import LEAST, SERIES, Health
from bench.chaos.orders import SLACK, Exit, Ordered, Stop, give_orders, stop
from bench.chaos.patient import Patient
from bench.chaos.truce import Truce
from bench.clients import Clients, Failure, attribute
from bench.reliability import Subject, begin, find_in_log
from bench.servers import machine
from bench.servers.tables import table
from pretune.server.asgi.worker import LAST_WORDS
from pretune.server.settings import Settings

TOP = Path(__file__).resolve().parents[2]
OUT = TOP / "build" / "bench" / "chaos"
RESULT = TOP / "bench" / "results" / "chaos.json"
CLASSES = ("sync", "gthread", "gevent", "asgi")
GRACEFUL = 5.0  # s
SUSPICIOUS = ("error in the server", "giving up", "Fatal error", "was never retrieved",
              "Exception ignored", "ResourceWarning")  # fmt: skip
LULL = 3.0  # s the server has to notice that all foes are gone
ROUND = 8.0  # s of harm between two looks at the workers


@dataclass
class Outcome:
    """Of one worker class."""

    worker_class: str
    answers: int = 0
    orders: dict[str, int] = field(default_factory=dict)
    stunts: dict[str, int] = field(default_factory=dict)
    excused: dict[str, int] = field(default_factory=dict)  # why -> failures
    lost: list[dict[str, Any]] = field(default_factory=list)
    leaked_calls: int = 0
    left_connections: int = 0
    held_bytes: int = 0
    censuses: int = 0
    growth: dict[str, dict[str, float] | None] = field(default_factory=dict)  # an hour
    most: dict[str, float] = field(default_factory=dict)
    # of each worker, by pid: minutes, value
    series: dict[str, dict[int, list[tuple[float, float]]]] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    bound_s: float = GRACEFUL + SLACK
    left_processes: int = 0
    trouble: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every invariant does."""
        leaks = self.leaked_calls or self.left_connections or self.held_bytes
        return not (self.lost or leaks or self.late or self.left_processes or self.trouble)

    @property
    def late(self) -> list[Stop]:
        return [stop for stop in self.stops if stop.took_s > self.bound_s]

    @property
    def owed(self) -> int:
        """Return how many of the late ones the machine had held up for at least what they were
        late.
        """
        return sum(stop.took_s - stop.held_up_s <= self.bound_s for stop in self.late)


def run(worker_class: str, options: argparse.Namespace) -> Outcome:
    outcome = Outcome(worker_class)
    settings = Settings(
        workers=2,
        threads=2 if worker_class == "gthread" else 1,
        worker_class=worker_class,
        graceful_timeout=GRACEFUL,
    )
    seed = f"{options.seed} {worker_class}"
    subject = begin("chaos", settings, options.out / worker_class, seed)
    try:
        address = subject.running.wait_ready(60)
        subject.launch = replace(subject.launch, bind=address)
        _torment(subject, address, outcome, options)
    finally:
        subject.running.stop(1)
    outcome.trouble += find_in_log(subject, SUSPICIOUS)
    return outcome


def _torment(
    subject: Subject, address: tuple[str, int], outcome: Outcome, options: argparse.Namespace
) -> None:
    began, half = time.monotonic(), options.minutes * 30
    ordered, health = Ordered(), Health()
    worker_class = outcome.worker_class
    clients = Clients(address, keeping=2, closing=2, seed=options.seed)
    truce = Truce()
    patient = Patient(address, options.seed, truce)
    with clients, patient, Crowd(address, options.foes, options.seed, truce) as crowd:
        wrong = give_orders(subject, ordered, began + half)
        while not wrong and time.monotonic() < began + 2 * half:
            time.sleep(ROUND)
            try:
                truce.begin()
                time.sleep(LULL)
                health.take(address, subject.pids(), worker_class, guests=4)
            except (OSError, TimeoutError) as error:
                wrong = f"no census: {error!r}"
            truce.end()
    with Crowd(address, options.foes, options.seed + 1, truce) as late:  # at TERM, too
        time.sleep(2)
        stop(subject, ordered)
    failures = [*clients.failures, *patient.failures]
    outcome.excused, lost = judge(failures, subject, ordered)
    outcome.lost = [
        each.since(began) | {"meanwhile": ordered.meanwhile(each.sent, each.seen, GRACEFUL)}
        for each in lost
    ]
    outcome.answers = clients.answers + patient.answers
    outcome.orders = dict(ordered.counts)
    outcome.stunts = dict(crowd.stunts + late.stunts)
    outcome.stops, outcome.left_processes = ordered.stops, ordered.left
    for name in ("leaked_calls", "left_connections", "held_bytes", "censuses"):
        setattr(outcome, name, getattr(health, name))
    outcome.growth = {name: health.growth(name) for name in SERIES}
    outcome.most = {name: health.most(name) for name in SERIES}
    outcome.series = {
        name: {
            pid: [(round((at - began) / 60, 3), value) for at, value in points]
            for pid, points in health.series[name].items()
        }
        for name in SERIES
    }
    outcome.trouble += [wrong] * bool(wrong) + crowd.crashed + late.crashed + clients.crashed
    outcome.trouble += [f"{name} of a worker grows" for name in LEAST if health.grows(name)]


def judge(
    failures: list[Failure], subject: Subject, ordered: Ordered
) -> tuple[dict[str, int], list[Failure]]:
    """How many failures have which excuse, and those without any.

    A worker that is killed takes its requests along. Between TERM and the next start nobody
    answers; and who keeps a connection may send a request in the moment in which the server, which
    has TERM, closes it as idle (RFC 9112 section 9.5): nothing of it was answered. A worker that
    was told to leave gives a request ``graceful_timeout``, and one of asgi keeps the last of it for
    the app's own end: who wants more than that is cut by order.
    """
    patience = GRACEFUL - (LAST_WORDS if subject.launch.settings.worker_class == "asgi" else 0)
    explained = attribute(failures, subject.kills)
    excused = Counter({"killed worker's own": len(explained["pid"]) + len(explained["time"])})
    lost = []
    for failure in explained["none"]:
        down = any(start <= failure.seen and failure.sent <= end for start, end in ordered.down)
        if down and failure.kind in ("refused", "connect"):
            excused["server down"] += 1
        elif down and failure.served and failure.kind in ("closed", "reset", "idle reset"):
            excused["closed as idle at TERM"] += 1
        elif any(_outlasts(failure, each, patience) for each in ordered.exits):
            excused["longer than graceful_timeout"] += 1
        else:
            lost.append(failure)
    return {why: count for why, count in excused.items() if count}, lost


def _outlasts(failure: Failure, left: Exit, patience: float) -> bool:
    """Return whether it was begun when a worker was told to leave, and cut after its patience."""
    begun = failure.kind not in ("refused", "connect") and failure.sent <= left.told
    return begun and left.told + patience <= failure.seen <= left.gone + SLACK


def growth(fit: dict[str, float] | None, unit: float = 1.0) -> str:
    if fit is None:
        return "-"
    value, low, high = (fit[key] / unit for key in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def render(outcomes: list[Outcome], *, markdown: bool) -> str:
    """Two tables: what was lost, and what was left."""
    first = table(
        ("class", "requests", "orders", "harm done", "killed worker's own", "while down",
         "closed as idle at TERM", "longer than graceful_timeout", "lost", "TERM: times",
         "slowest s", "bound s", "late", "of them held up by the machine"),
        [
            [
                one.worker_class,
                f"{one.answers:,}",
                f"{sum(one.orders.values()):,}",
                f"{sum(one.stunts.values()):,}",
                *(f"{one.excused.get(why, 0):,}" for why in
                  ("killed worker's own", "server down", "closed as idle at TERM",
                   "longer than graceful_timeout")),
                str(len(one.lost)),
                str(len(one.stops)),
                f"{max((stop.took_s for stop in one.stops), default=0):.1f}",
                f"{one.bound_s:g}",
                str(len(one.late)),
                str(one.owed),
            ]
            for one in outcomes
        ],
        markdown=markdown,
    )  # fmt: skip
    second = table(
        ("class", "looks", "leaked calls", "left connections", "bytes held", "processes left",
         "descriptors/h (99%)", "MiB in use/h (99%)", "blocks/h (99%)", "USS MiB/h (99%)",
         "most USS MiB", "trouble"),
        [
            [
                one.worker_class,
                str(one.censuses),
                str(one.leaked_calls),
                str(one.left_connections),
                str(one.held_bytes),
                str(one.left_processes),
                growth(one.growth.get("descriptors")),
                growth(one.growth.get("in_use"), 2**20),
                growth(one.growth.get("blocks")),
                growth(one.growth.get("memory"), 2**20),
                f"{one.most.get('memory', 0) / 2**20:.0f}",
                "; ".join(one.trouble) or "-",
            ]
            for one in outcomes
        ],
        markdown=markdown,
    )  # fmt: skip
    return f"{first}\n\n{second}\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=60.0)
    add("--worker-class", action="append", choices=CLASSES)
    add("--foes", type=int, default=5, help="of each class")
    add("--seed", type=int, default=int(time.time()))
    add("--out", type=Path, default=OUT, metavar="DIR", help="logs go there")
    add("--json", type=Path, metavar="FILE", help=f"the figures ({RESULT.relative_to(TOP)})")
    add("--markdown", type=Path, metavar="FILE", help="the tables")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are ended, too
    before = machine.description()
    outcomes: dict[str, Outcome] = {}

    def tormented(worker_class: str) -> None:
        try:
            outcomes[worker_class] = run(worker_class, options)
        except Exception as error:
            text = f"the bench failed: {type(error).__name__}: {error}"
            outcomes[worker_class] = Outcome(worker_class, trouble=[text])

    classes = options.worker_class or CLASSES
    threads = [threading.Thread(target=tormented, args=(name,)) for name in classes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = [outcomes[name] for name in classes]
    print(render(ordered, markdown=False))
    for one in ordered:
        for failure in one.lost[:10]:
            print(one.worker_class, "lost", failure)
    if options.json:
        document = {"minutes": options.minutes, "seed": options.seed, "machine": before,
                    "load_after": os.getloadavg()[0],
                    "outcomes": [asdict(one) for one in ordered]}  # fmt: skip
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(render(ordered, markdown=True))
    return 0 if all(one.holds for one in ordered) else 1


if __name__ == "__main__":
    sys.exit(main())
