"""The CPU of one request under asyncio, where many requests share one thread's clock.

The thread's clock is read around each step of the request's coroutine, and of each task created
while the request's account is current. Differences of the clock over the whole request would
count every other request's steps too, many times over.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

from pretune.server.http1 import Request
from pretune.server.probes.account import Account, current

if TYPE_CHECKING:
    from pretune.server.asgi import AsgiWorker

clock = time.thread_time
# A task can take its first step where it is made: a request that waits for nothing then costs the
# loop nothing more.
EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Metered(Coroutine[Any, Any, Any]):
    """A coroutine whose steps add to an account; in all else it is the one it wraps."""

    __slots__ = ("__name__", "__qualname__", "_account", "_coro", "began")

    def __init__(self, coro: Coroutine[Any, Any, Any], account: Account) -> None:
        self._coro = coro
        self._account = account
        self.began = 0.0  # the clock at the beginning of the step under way
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        self.began = clock()
        try:
            return self._coro.send(value)
        finally:
            spent = clock() - self.began
            self._account.cpu += spent

    def throw(self, *error: Any) -> Any:
        self.began = clock()
        try:
            return self._coro.throw(*error)
        finally:
            spent = clock() - self.began
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


class Call:
    """One call of the app with its time, its CPU and its task.

    What is recorded of it is complete when the app returns: CPU of its own steps up to that moment,
    of its child tasks and executor calls up to the end of each.
    """

    __slots__ = (
        "_meter", "account", "began", "client", "ended", "endpoint", "inflight", "queue",
        "request", "scheme", "scope", "sent", "status", "task", "worker",
    )  # fmt: skip

    def __init__(
        self, worker: AsgiWorker, request: Request, scheme: str, client: tuple[str, int] | None
    ) -> None:
        self.worker = worker
        self.request = request
        self.scheme = scheme  # http or https
        self.client = client
        self.scope: dict[str, Any] | None = None
        self.account: Account | None = None
        self.endpoint = 0
        self.sent = 0  # bytes, head included
        self.status = 0  # 0: nothing was sent
        self.ended = 0.0  # when the last byte was handed over
        self._meter: Metered | None = None

    def begin(self, began: float, queue: float) -> None:
        """``began`` is the thread's clock before the head was parsed, ``queue`` as recorded."""
        worker = self.worker
        self.began = time.monotonic()
        calls = worker.calls
        calls.add(self)
        self.inflight = len(calls)
        if worker.clock is not None:
            self.account = account = Account()
            self.queue = queue
            endpoint = self.request.fields.pop("HTTP_X_PRETUNE_ENDPOINT", "")
            if endpoint and endpoint.isascii() and endpoint.isdigit() and len(endpoint) < 10:
                self.endpoint = int(endpoint)
            spent = clock() - began
            account.cpu = spent

    def launch(self) -> None:
        """Make the task."""
        loop, account = self.worker.loop, self.account
        if account is None:
            self.task = asyncio.Task(self._run(), loop=loop, **EAGER)
            return
        token = current.set(account)
        self._meter = Metered(self._run(), account)
        self.task = asyncio.Task(self._meter, loop=loop, **EAGER)
        current.reset(token)

    async def _run(self) -> None:
        raise NotImplementedError

    async def call(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Call the app, the user's hook before it."""
        worker = self.worker
        self.scope = scope
        if worker.before is not None:
            worker.before(worker.context.view, self.request)
        await worker.app(scope, receive, send)

    @property
    def cpu(self) -> float:
        """So far, the step under way included (called within it)."""
        if self.account is None or self._meter is None:
            return 0.0
        return self.account.cpu + clock() - self._meter.began

    def finish(self) -> None:
        """The app has returned."""
        self.worker.calls.discard(self)
        self.worker.finished(self)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The response's, as far as the app gave them."""
        return []
