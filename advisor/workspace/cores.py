"""Which cores the server under trial gets, and which the generator and the tool."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

from pretune.advisor.workspace.reaper import session_members


@dataclass(frozen=True)
class CorePlan:
    """Disjoint when the machine has more than one core; the same single core otherwise."""

    server: frozenset[int]
    generator: frozenset[int]

    @property
    def shared(self) -> int:
        """Cores the server does not run on, where generator and a local Postgres have room."""
        return len(self.generator - self.server)


def plan(available: frozenset[int], budget_cores: float) -> CorePlan:
    """The highest core is the generator's; the server gets as many of the others as the budget has.

    What is left over belongs to the generator's side too: a local Postgres can run there.
    """
    if len(available) == 1:
        return CorePlan(available, available)
    *rest, last = sorted(available)
    server = frozenset(rest[: max(1, math.ceil(budget_cores))])
    return CorePlan(server, (available - server) | {last})


def move_sessions(leaders: Iterable[int], cores: frozenset[int]) -> None:
    """Puts the processes of these sessions, and their descendants, on ``cores`` for good.

    A database that set-up started would else take turns with the workers on the server's cores,
    and a trial would measure the scheduler. Where it is not permitted nothing changes.
    """
    for leader in leaders:
        for pid in session_members(leader):
            with contextlib.suppress(psutil.Error, OSError):
                # Postgres's children lead sessions of their own
                for child in psutil.Process(pid).children(recursive=True):
                    os.sched_setaffinity(child.pid, cores)
                os.sched_setaffinity(pid, cores)


@contextlib.contextmanager
def confined(cores: frozenset[int]) -> Iterator[bool]:
    """This process on ``cores`` for a while; False where that is not permitted."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)
