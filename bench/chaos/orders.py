"""What is done to a server while its clients go on: a table of orders, given at random."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bench.clients import Kill
from bench.reliability import Stuck, Subject, start
from bench.servers import machine

SLACK = 2.0  # s a stop may take beyond graceful_timeout: the processes have to end, too
HOPELESS = 30.0  # s after which a stop is called a failure and waited for no longer


@dataclass
class Ordered:
    """What was ordered, and what came of it."""

    counts: Counter[str] = field(default_factory=Counter)
    stops: list[float] = field(default_factory=list)  # s from TERM to the end of all processes
    left: int = 0  # processes that had to be killed
    down: list[tuple[float, float]] = field(default_factory=list)  # nobody was to answer


def reload(subject: Subject, ordered: Ordered) -> None:
    subject.signal(signal.SIGHUP)


def resize(subject: Subject, ordered: Ordered) -> None:
    subject.signal(subject.draw.choice((signal.SIGTTIN, signal.SIGTTOU)))


def kill_worker(subject: Subject, ordered: Ordered) -> None:
    """A random one, never the last."""
    pids = subject.pids()
    if len(pids) > 1:
        victim, at = subject.draw.choice(pids), time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            subject.kills.append(Kill(victim, at))


def end_worker(subject: Subject, ordered: Ordered) -> None:
    """TERM to one worker alone: it is replaced."""
    pids = subject.pids()
    if len(pids) > 1:
        with suppress(ProcessLookupError):
            os.kill(subject.draw.choice(pids), signal.SIGTERM)


def upgrade(subject: Subject, ordered: Ordered) -> None:
    """USR2, then TERM to the old master."""
    old, ready = subject.master, subject.count("ready")
    subject.signal(signal.SIGUSR2)
    subject.wait_for("a new master", lambda: subject.count("ready") > ready)
    os.kill(old, signal.SIGTERM)
    subject.wait_for("the new master is the master", lambda: subject.master != old)


def restart(subject: Subject, ordered: Ordered) -> None:
    began = stop(subject, ordered)
    subject.running = start(subject.launch, subject.pid_file)
    subject.running.wait_ready(60)
    ordered.down.append((began, time.monotonic()))


def stop(subject: Subject, ordered: Ordered) -> float:
    """TERM, and wait for the end of all processes; when it was given."""
    session, began = subject.running.master_pid, time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(subject.master, signal.SIGTERM)
    while (left := machine.session(session)) and time.monotonic() < began + HOPELESS:
        time.sleep(0.01)
    ordered.stops.append(time.monotonic() - began)
    ordered.left += len(left)
    subject.running.stop(1)
    return began


# name -> what is done, how often among all
ORDERS: dict[str, tuple[Callable[[Subject, Ordered], None], int]] = {
    "HUP": (reload, 4),
    "TTIN/TTOU": (resize, 4),
    "kill -9 of a worker": (kill_worker, 2),
    "TERM to a worker": (end_worker, 2),
    "USR2": (upgrade, 1),
    "TERM and start": (restart, 2),
}


def give_orders(subject: Subject, ordered: Ordered, until: float) -> str:
    """At random until then (monotonic s); what went wrong, or an empty text."""
    names = [name for name, (_, weight) in ORDERS.items() for _ in range(weight)]
    while time.monotonic() < until:
        name = subject.draw.choice(names)
        ordered.counts[name] += 1
        try:
            ORDERS[name][0](subject, ordered)
            subject.pause(2.0)
            # TTIN and TTOU have changed how many there are to be; one there always is.
            subject.wait_for("a worker", subject.pids)
        except Stuck as stuck:
            return f"{name}: {stuck}"
    subject.signal(signal.SIGHUP)  # which takes TTIN and TTOU back
    try:
        subject.wait_for("calm", lambda: len(subject.pids()) == subject.workers)
    except Stuck as stuck:
        return str(stuck)
    return ""
