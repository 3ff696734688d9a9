"""One call of the app: its time, its CPU, its task, and what it needs of the worker it runs in."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from pretune.server.asgi.message_memory import MessageMemory
from pretune.server.asgi.metering import EAGER, Meter, Outermost, WatchedStep
from pretune.server.asgi.transport import Wire
from pretune.server.clock import Clock
from pretune.server.http11.forwarded import Trust
from pretune.server.http11.http1 import Request
from pretune.server.probes.account import Account, current
from pretune.server.process.importing import user_traceback
from pretune.server.workers.context import Context


class ClientGone(OSError):
    """Nobody is there any more to send to."""


class Host(Protocol):
    """The worker, as its connections and calls see it."""

    loop: asyncio.AbstractEventLoop
    context: Context
    app: Any
    trust: Trust
    proxy_trust: Trust
    connections: dict[Wire, None]
    calls: set[Call]
    sockets: set[Call]
    meter: Meter | None
    keepalive: float
    promised: float
    before: Any
    paused: bool
    leaving: str | None
    state: dict[str, Any]
    messages: MessageMemory

    def resume_accepting(self) -> None: ...

    def idles(self, wire: Wire) -> None: ...

    def lost(self, wire: Wire) -> None: ...

    def finished(self, call: Call) -> None: ...

    def change_protocol(
        self,
        wire: Wire,
        request: Request,
        scheme: str,
        client: tuple[str, int] | None,
        early: bytes,
        queue: float,
    ) -> None: ...


class Call:
    """One call of the app.

    What is recorded of it is complete when the app returns: CPU of its own steps up to that moment,
    of its child tasks and executor calls up to the end of each.
    """

    __slots__ = (
        "account", "began", "client", "ended", "endpoint", "inflight", "queue", "request",
        "scheme", "scope", "sent", "status", "task", "worker",
    )  # fmt: skip

    def __init__(
        self, worker: Host, request: Request, scheme: str, client: tuple[str, int] | None
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

    def begin(self, queue: float) -> None:
        """``queue`` as recorded."""
        worker = self.worker
        self.began = Clock.monotonic()
        calls = worker.calls
        calls.add(self)
        self.inflight = len(calls)
        if worker.meter is not None:
            self.account = Account()
            worker.meter.begin(self.account)
            self.queue = queue
            if "HTTP_X_PRETUNE_ENDPOINT" in self.request.shared:
                endpoint = self.request.fields.pop("HTTP_X_PRETUNE_ENDPOINT")
                if endpoint.isascii() and endpoint.isdigit() and len(endpoint) < 10:
                    self.endpoint = self.account.endpoint = int(endpoint)

    def launch(self) -> None:
        """Make the task."""
        loop, account, meter = self.worker.loop, self.account, self.worker.meter
        if account is None or meter is None:
            self.task = asyncio.Task(self._run(), loop=loop, **EAGER)
            return
        token = current.set(account)
        if not EAGER:
            meter.take(account)
        kind = WatchedStep if meter.watched else Outermost
        self.task = asyncio.Task(kind(self._run(), account, meter), loop=loop, **EAGER)
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

    def finish(self) -> None:
        """The app has returned (within the last step)."""
        worker = self.worker
        worker.calls.discard(self)
        if self.account is not None and worker.meter is not None:
            worker.meter.take(self.account)
        worker.finished(self)

    def fault(self, error: BaseException, lost: bool) -> str | None:
        """Describe the app's fault in raising this, for the log; None if its client left it.

        ``lost``: nobody is there for an answer.
        """
        if isinstance(error, asyncio.CancelledError) and self.worker.leaving is not None:
            return "not finished within the graceful timeout"
        if not lost or not caused_by_client(error):
            return user_traceback(error)
        self.worker.context.log.debug(
            f"{self.request.method} {self.request.path}: the client left: {type(error).__name__}"
        )
        return None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The response's, as far as the app gave them."""
        return []


def caused_by_client(error: BaseException | None) -> bool:
    """Return whether an exception of an app whose client is gone says just that.

    It comes from ours, or is what frameworks raise then: Starlette's ClientDisconnect, say.
    """
    pending, seen = [error], set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        if isinstance(each, ClientGone) or "Disconnect" in type(each).__name__:
            return True
        seen.add(id(each))
        pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return False
