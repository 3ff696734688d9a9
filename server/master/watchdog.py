"""The watchdog: a worker or zygote whose clock stands still has to leave, and is killed if not.

A look is taken only when one could matter: an idle server is looked at once per timeout.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable

from pretune.server.config.config import boot_limit
from pretune.server.master import crash_backoff
from pretune.server.master.child import Worker, Zygote
from pretune.server.process.dump_signal import DUMP_SIGNAL
from pretune.server.process.log import Log
from pretune.server.process.scoreboard import Scoreboard

_ABORTING = 1.0  # s the hook worker_abort gets
_HURRY = 0.05  # s between looks at one whose end is due


class Watchdog:
    """``boot_failed(pid, message)`` is told of boots that take too long."""

    def __init__(
        self, scoreboard: Scoreboard, log: Log, boot_failed: Callable[[int, str], None]
    ) -> None:
        self._scoreboard = scoreboard
        self._log = log
        self._boot_failed = boot_failed
        self._next = 0.0

    def postpone(self, late: float, now: float) -> None:
        """The master overslept by ``late`` s; what it would read now means nothing."""
        self._next = max(self._next, now + min(late, 5.0))

    def check(self, workers: Iterable[Worker], zygotes: Iterable[Zygote], now: float) -> None:
        """Look at those whose time may have come, and kill those whose time is over."""
        due = now >= self._next
        upcoming = now + 3600.0
        for each in tuple(workers):
            if each.ordered is not None:
                self._kill_late(each, now)
            elif due and each.ready:
                upcoming = min(upcoming, self._check_clocks(each, now))
            elif due:
                upcoming = min(upcoming, self._check_boot(each, now))
        for zygote in tuple(zygotes):
            if zygote.deadline and now >= zygote.deadline:
                zygote.signal(signal.SIGKILL)
            elif due:
                upcoming = min(upcoming, self._check_load(zygote, now))
        if due:
            self._next = upcoming

    def next_check(self, workers: Iterable[Worker], zygotes: Iterable[Zygote], now: float) -> float:
        """When to look again, if nothing happens until then."""
        nearest = self._next
        for each in workers:
            if each.ordered is None or each.killed:
                continue
            due = each.deadline
            if each.ordered == "timeout":
                due = min(due, each.ordered_at + crash_backoff.STACKS)
            nearest = min(nearest, max(due, now + _HURRY))
        for zygote in zygotes:
            if zygote.deadline:
                nearest = min(nearest, max(zygote.deadline, now + _HURRY))
        return nearest

    def check_soon(self, now: float) -> None:
        """A process was born, or is ready: its clock counts from now on."""
        self._next = min(self._next, now + crash_backoff.LEAST_LOOK)

    def _check_clocks(self, each: Worker, now: float) -> float:
        """Is one of its requests stuck? When to ask again."""
        timeout = each.config.settings.timeout
        stuck = crash_backoff.overdue(each.cells, now, timeout)
        beat = self._scoreboard.last_beat(each.slot)
        if stuck or crash_backoff.silent(beat, now, timeout):
            what = "a request takes" if stuck else "it has given no sign of life for"
            limit = timeout if stuck else max(timeout, crash_backoff.BEAT)
            longer = " longer than" if stuck else ""
            self._log.error(f"worker {each.pid}: {what}{longer} {limit:g} s; its threads:")
            each.signal(DUMP_SIGNAL)
            patience = min(timeout, each.config.settings.graceful_timeout)
            each.order_to_leave("timeout", "retire", max(patience, crash_backoff.STACKS))
            return now + crash_backoff.LEAST_LOOK
        soonest = crash_backoff.next_look(each.cells, now, timeout)
        return (
            min(soonest, beat + max(timeout, crash_backoff.BEAT)) if beat and timeout else soonest
        )

    def _check_boot(self, each: Worker, now: float) -> float:
        limit = boot_limit(each.config)
        if not limit:
            return now + 3600.0
        if now <= each.born + limit:
            return each.born + limit + crash_backoff.LEAST_LOOK
        zygote = each.generation.zygote
        if not each.pid and zygote is not None:
            self._end_hanging(zygote, f"it has not forked a worker for {limit:g} s", now)
            return now + 1.0
        each.boot_failure = f"not ready after {limit:g} s"
        self._boot_failed(each.pid, each.boot_failure + "; its threads:")
        each.signal(DUMP_SIGNAL)
        each.ordered, each.ordered_at = "boot", now
        each.deadline = now + crash_backoff.STACKS
        return now + crash_backoff.LEAST_LOOK

    def _check_load(self, zygote: Zygote, now: float) -> float:
        limit = boot_limit(zygote.config)
        if zygote.loaded or not limit:
            return now + 3600.0
        if now > zygote.born + limit:
            self._end_hanging(zygote, f"not loaded after {limit:g} s", now)
        return max(now, zygote.born + limit) + crash_backoff.LEAST_LOOK

    def _end_hanging(self, zygote: Zygote, text: str, now: float) -> None:
        if not zygote.deadline:
            self._boot_failed(zygote.pid, text + "; its threads:")
            zygote.signal(DUMP_SIGNAL)
            zygote.deadline = now + crash_backoff.STACKS

    def _kill_late(self, each: Worker, now: float) -> None:
        """It is leaving; has it time left?"""
        if each.ordered == "timeout" and now >= each.ordered_at + crash_backoff.STACKS:
            # The other requests of a stuck worker may finish, if they can.
            timeout = each.config.settings.timeout
            if crash_backoff.only_overdue(each.cells, now, timeout):
                each.deadline = min(each.deadline, now)
        if now < each.deadline or each.killed or not each.pid:
            return
        if each.ordered == "timeout" and not each.aborted and each.config.hooks.get("worker_abort"):
            each.aborted = True
            each.signal(signal.SIGABRT)
            each.deadline = now + _ABORTING
            return
        each.killed = True
        each.signal(signal.SIGKILL)
