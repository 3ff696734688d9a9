"""What is done to a server while its clients go on: a table of orders, given at random."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bench.chaos.core_waits import CoreWaits
from bench.reliability import Stuck, Subject, start
from bench.servers import machine

SLACK = 2.0  # s a stop may take beyond graceful_timeout: the processes have to end, too
LOOK = 0.05  # s between two looks at what waits for a core
HOPELESS = 30.0  # s after which a stop is called a failure and waited for no longer


@dataclass(frozen=True)
class Stop:
    """One TERM: s until the last process had ended; of these, s for which one thread of the server
    waited for a core, and the longest pause of the bench between two looks.
    """

    took_s: float
    core_wait_s: float
    pause_s: float

    @property
    def held_up_s(self) -> float:
        """Return s that the machine owed, not the server."""
        return max(self.core_wait_s, self.pause_s)


@dataclass(frozen=True)
class Order:
    """Times are monotonic s."""

    name: str
    begun: float
    done: float


@dataclass(frozen=True)
class Exit:
    """A worker that was told to leave, and had. Times are monotonic s."""

    told: float
    gone: float


@dataclass
class Ordered:
    """What was ordered, and what came of it."""

    orders: list[Order] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    left: int = 0  # processes that had to be killed
    down: list[tuple[float, float]] = field(default_factory=list)  # nobody was to answer

    @property
    def counts(self) -> Counter[str]:
        return Counter(order.name for order in self.orders)

    def meanwhile(self, begun: float, done: float, after: float) -> list[str]:
        """Return what was ordered in that time, or up to ``after`` s before; with s since it."""
        return [
            f"{order.name} {begun - order.begun:.1f} s before"
            for order in self.orders
            if order.begun <= done and begun <= order.done + after
        ]


def reload(subject: Subject, ordered: Ordered) -> None:
    subject.signal(signal.SIGHUP)


def resize(subject: Subject, ordered: Ordered) -> None:
    subject.signal(subject.draw.choice((signal.SIGTTIN, signal.SIGTTOU)))


def kill_worker(subject: Subject, ordered: Ordered) -> None:
    """A random one, never the last."""
    pids = subject.pids()
    if len(pids) > 1:
        subject.kill(subject.draw.choice(pids))


def end_worker(subject: Subject, ordered: Ordered) -> None:
    """TERM to one worker alone: it is replaced."""
    pids = subject.pids()
    if len(pids) > 1:
        with suppress(ProcessLookupError):
            os.kill(subject.draw.choice(pids), signal.SIGTERM)


def upgrade(subject: Subject, ordered: Ordered) -> None:
    """USR2, then TERM to the old master."""
    old = subject.upgrade()
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
    waits, pause, now, next_look = CoreWaits(), 0.0, began, 0.0
    while (left := machine.session(session)) and now < began + HOPELESS:
        if now >= next_look:
            waits.look(left, now)
            next_look = now + LOOK
        time.sleep(0.01)
        before, now = now, time.monotonic()
        pause = max(pause, now - before)
    ordered.stops.append(Stop(time.monotonic() - began, waits.longest, pause))
    ordered.left += len(left)
    note_exits(subject, ordered)
    subject.running.stop(1)
    return began


def note_exits(subject: Subject, ordered: Ordered) -> None:
    """Those of this server so far; once, at its end."""
    for event in subject.running.events():
        if event.name == "worker_exit" and event.data["shutdown_s"] is not None:
            ordered.exits.append(Exit(event.time - event.data["shutdown_s"], event.time))


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
        name, begun = subject.draw.choice(names), time.monotonic()
        try:
            ORDERS[name][0](subject, ordered)
            ordered.orders.append(Order(name, begun, time.monotonic()))
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
