"""The CPU of one request under asyncio, where many requests share one thread's clock.

Differences of the thread's clock over a whole request would count every other request's steps too,
many times over. So each stretch of the clock is counted once: ``Meter.mark`` is up to where it has
been, and whoever ends a step (of a request's coroutine, or of a task created while the request's
account is current) takes what has passed since. What the loop does before a step (waiting, reading
the socket, a driver's callbacks) is thereby the request's whose step it leads to, as it is under
threads. Tasks that belong to no request take their own stretches away.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from pretune.server.clock import Clock
from pretune.server.probes.account import Account, current

MOST_TASKS = 64  # of one request, remembered while stacks are sampled
# A task can take its first step where it is made: a request that waits for nothing then costs the
# loop nothing more.
EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Meter:
    """One event loop's. ``queue``: the clock of its thread's run-queue delay, shared out alike."""

    __slots__ = ("began", "mark", "nobody", "queue", "queued", "running", "watched")

    def __init__(self, queue: Callable[[], float] | None = None) -> None:
        self.mark = Clock.thread_time()
        self.queue = queue
        self.queued = queue() if queue is not None else math.nan
        self.nobody = Account()
        # Whose step is at work, and since when (perf_counter s), for who looks from another thread.
        self.running: Account | None = None
        self.began = 0.0
        self.watched = False  # whether somebody does

    def take(self, account: Account) -> None:
        """Give the account what has passed since the mark."""
        now = Clock.thread_time()
        account.cpu += now - self.mark
        self.mark = now
        if self.queue is not None:
            delayed = self.queue()
            account.runq += delayed - self.queued
            self.queued = delayed

    def begin(self, account: Account) -> None:
        """A request's head is complete: CPU from the mark on is its own, delay only from now on."""
        if self.queue is not None:
            account.head = Clock.thread_time() - self.mark
            self.queued = self.queue()

    def skip(self) -> None:
        """Discard the CPU time up to now: it belongs to nobody."""
        self.mark = Clock.thread_time()

    def task_factory(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """For loop.set_task_factory: a task created for a request is metered into its account."""
        context = options.get("context")
        account = current.get() if context is None else context.get(current)
        if isinstance(coro, Coroutine) and not isinstance(coro, Metered):
            kind = WatchedStep if self.watched else Metered
            coro = kind(coro, account or self.nobody, self)
        task = asyncio.Task(coro, loop=loop, **options)
        if self.watched and account is not None:
            remember(account, task)
        return task


class Metered(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are taken into an account; in all else it is the one it wraps."""

    __slots__ = ("_account", "_coro", "_meter")

    def __init__(self, coro: Coroutine[Any, Any, Any], account: Account, meter: Meter) -> None:
        self._coro = coro
        self._account = account
        self._meter = meter

    def send(self, value: Any) -> Any:
        try:
            return self._coro.send(value)
        finally:
            self._meter.take(self._account)

    def throw(self, *error: Any) -> Any:
        try:
            return self._coro.throw(*error)
        finally:
            self._meter.take(self._account)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    # __name__, cr_frame, cr_running, ...: asyncio, anyio and debuggers look at them.
    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)


class WatchedStep(Metered):
    """While stacks are sampled: also says whose step is at work."""

    __slots__ = ()

    def send(self, value: Any) -> Any:
        meter = self._meter
        meter.began, meter.running = Clock.perf_counter(), self._account
        try:
            return self._coro.send(value)
        finally:
            meter.running = None
            meter.take(self._account)

    def throw(self, *error: Any) -> Any:
        meter = self._meter
        meter.began, meter.running = Clock.perf_counter(), self._account
        try:
            return self._coro.throw(*error)
        finally:
            meter.running = None
            meter.take(self._account)


def remember(account: Account, task: asyncio.Task[Any]) -> None:
    """A task made for a request: where the request waits may be where this one does."""
    if account.tasks is None:
        account.tasks = []
    elif len(account.tasks) >= MOST_TASKS:
        account.tasks = [each for each in account.tasks if not each.done()][-MOST_TASKS:]
    account.tasks.append(task)


class Outermost(Metered):
    """The coroutine of a request itself, which takes its last stretch before it ends."""

    __slots__ = ()

    def send(self, value: Any) -> Any:
        # Without ``finally``, which StopIteration would pass on most requests' only step.
        result = self._coro.send(value)
        self._meter.take(self._account)
        return result
