"""The CPU of one request under asyncio, where many requests share one thread's clock.

The thread's clock is read around each step of the request's coroutine, and of each task created
while the request's account is current. Differences of the clock over the whole request would
count every other request's steps too, many times over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from typing import Any

from pretune.server.probes.account import Account, current

_clock = time.thread_time


class Metered(Coroutine[Any, Any, Any]):
    """A coroutine whose steps add to an account; in all else it is the one it wraps."""

    __slots__ = ("__name__", "__qualname__", "_account", "_coro")

    def __init__(self, coro: Coroutine[Any, Any, Any], account: Account) -> None:
        self._coro = coro
        self._account = account
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        began = _clock()
        try:
            return self._coro.send(value)
        finally:
            spent = _clock() - began
            self._account.cpu += spent

    def throw(self, *error: Any) -> Any:
        began = _clock()
        try:
            return self._coro.throw(*error)
        finally:
            spent = _clock() - began
            self._account.cpu += spent

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    # cr_frame, cr_running, ...: asyncio, anyio and debuggers look at them.
    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """For loop.set_task_factory: a task created for a request is metered into its account."""
    context = options.get("context")
    account = current.get() if context is None else context.get(current)
    if account is not None and isinstance(coro, Coroutine) and not isinstance(coro, Metered):
        coro = Metered(coro, account)
    return asyncio.Task(coro, loop=loop, **options)
