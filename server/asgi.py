"""Workers of class asgi: one event loop, HTTP and lifespan.

``timeout`` means how long the loop may stand still: the worker's cell holds the time of the last
beat, and the master sees when it grows old. New connections are taken one at a time, and none
beyond ``worker_connections``.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from pretune.server.board import NOT_SERVING
from pretune.server.context import Context
from pretune.server.exchange import Exchange, HttpProtocol
from pretune.server.importing import TargetBroken, user_traceback
from pretune.server.metering import task_factory

SWEEP = 0.5  # s
YIELD = 0.001  # s a sibling with fewer connections gets to accept first


class AsgiWorker:
    """Serves an ASGI app until told to leave."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.app = context.loaded.app
        self.keepalive = context.settings.keepalive
        # What an answer already sent has promised: it holds while leaving, too.
        self.promised = self.keepalive
        self.connections: set[HttpProtocol] = set()
        self.inflight = 0
        self.leaving: str | None = None
        self.state: dict[str, Any] = {}  # what the app's lifespan put there
        self._limit = context.request_limit()
        self._served = count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._full = False
        self._opening = 0
        self._cells = context.board.cells(context.row)
        self._open_listeners: dict[int, socket.socket] = {}

    def run(self, ready: Callable[[], None]) -> int:
        """Serve; the exit code. Raises TargetBroken if the app's lifespan does not start."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        if self.context.ring is not None:
            loop.set_task_factory(task_factory)
        return loop.run_until_complete(self._main(ready))

    async def _main(self, ready: Callable[[], None]) -> int:
        self._loop = loop = asyncio.get_running_loop()
        self._told_to_leave = asyncio.Event()
        lifespan = Lifespan(self.app, self.state)
        await lifespan.startup()
        loop.add_signal_handler(signal.SIGTERM, self._leave, "stop")
        for number in (signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, os._exit, 0)
        loop.add_reader(self.context.channel.fileno(), self._obey)
        self._open_listeners = {sock.fileno(): sock for sock in self.context.listeners}
        self._listen()
        self._beat()
        self._sweep()
        self.count()
        ready()
        await self._told_to_leave.wait()
        await self._finish()
        await lifespan.shutdown()
        return 0

    def _obey(self) -> None:
        message, _ = self.context.channel.receive()
        if message is None:
            os._exit(1)  # the master is gone
        if "leave" in message:
            self._leave(message["leave"])
        elif "reopen" in message:
            self.context.log.reopen()

    def _leave(self, how: str) -> None:
        self.leaving = how
        self.context.board.set_connections(self.context.row, NOT_SERVING)
        self._told_to_leave.set()

    def _beat(self) -> None:
        self._cells[0] = time.monotonic()
        timeout = self.context.settings.timeout
        self._loop.call_later(min(1.0, timeout / 5) if timeout else 1.0, self._beat)

    def _sweep(self) -> None:
        now = time.monotonic()
        for protocol in tuple(self.connections):
            protocol.expire(now)
        self._loop.call_later(SWEEP, self._sweep)

    # -- connections

    def _listen(self) -> None:
        for fd, sock in self._open_listeners.items():
            self._loop.add_reader(fd, self._accept, sock)

    def _accept(self, listener: socket.socket) -> None:
        if len(self.connections) + self._opening >= self.context.settings.worker_connections:
            self._full = True
            for fd in self._open_listeners:
                self._loop.remove_reader(fd)
            return
        if len(self.connections) + self._opening > self.context.board.fewest_connections():
            # A sibling has fewer: give it the time to be first.
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(YIELD, self._accept_late, listener)
            return
        self._take(listener)

    def _accept_late(self, listener: socket.socket) -> None:
        if listener.fileno() in self._open_listeners:
            self._take(listener)
            if not self._full:
                self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _take(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # a sibling was faster, or no descriptors are left for now
        sock.setblocking(False)
        self._opening += 1
        self.hold(self._loop.create_task(self._open(sock, _server_of(listener))))

    async def _open(self, sock: socket.socket, server: tuple[str, int | None]) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: HttpProtocol(self, server), sock)
        except OSError:
            sock.close()
        finally:
            self._opening -= 1
            self.count()

    def count(self) -> None:
        """Tell the siblings how many connections we have."""
        if self.leaving is None:
            count = len(self.connections) + self._opening
            self.context.board.set_connections(self.context.row, count)

    def accept_again(self) -> None:
        """A connection has ended; there is room for another."""
        self.count()
        if self._full:
            self._full = False
            self._listen()

    def hold(self, task: asyncio.Task[Any]) -> None:
        """The loop itself holds tasks only weakly."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def finished(self, exchange: Exchange) -> None:
        """Record a request that is over."""
        context = self.context
        if context.ring is not None:
            account = exchange.account
            self._loop.call_soon(self._record, exchange, account)
        if context.log.has_access:
            request = exchange.request
            client = exchange.protocol.client
            context.log.access(
                client[0] if client else "",
                f"{request.method} {request.target} HTTP/1.{request.minor}",
                exchange.status, exchange.sent,
                request.fields.get("HTTP_REFERER", "-"),
                request.fields.get("HTTP_USER_AGENT", "-"),
            )  # fmt: skip
        if self._limit and next(self._served) == self._limit:
            context.channel.send({"retire": self._limit})

    def _record(self, exchange: Exchange, account: Any) -> None:
        """After the last step, so that the account holds all of them."""
        assert self.context.ring is not None
        self.context.ring.write(
            exchange.began, exchange.ended - exchange.began, account.cpu, account.db, account.out,
            math.nan, math.nan, exchange.sent, account.db_calls, account.out_calls,
            exchange.endpoint, 0, exchange.status, exchange.inflight,
        )  # fmt: skip

    # -- leaving

    async def _finish(self) -> None:
        """Finish what was begun. A connection waiting in the kernel's queue was begun too."""
        self.keepalive = 0.0
        began = time.monotonic()
        while time.monotonic() < began + self.context.settings.graceful_timeout:
            impatient = self.leaving == "retire" and time.monotonic() > began + 0.5
            for fd, sock in tuple(self._open_listeners.items()):
                if impatient or not _readable(sock):
                    self._loop.remove_reader(fd)
                    del self._open_listeners[fd]
            if self.leaving == "stop" and not self._open_listeners:
                for protocol in tuple(self.connections):
                    if protocol.idle and not _readable(protocol.transport):
                        protocol.transport.close()
            if not self._open_listeners and not self.connections and not self._opening:
                return
            await asyncio.sleep(0.01)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.sleep(0)


class Lifespan:
    """The app's startup and shutdown; an app without lifespan raises, and that is fine."""

    def __init__(self, app: Any, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._supported = False

    async def startup(self) -> None:
        """Raises TargetBroken."""
        answer = await self._ask("lifespan.startup")
        self._supported = answer is not None
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            message = answer.get("message", "")
            last = message.strip().rsplit("\n", 1)[-1]
            raise TargetBroken(f"the application's startup failed: {last}", message)

    async def shutdown(self) -> None:
        if self._supported:
            await self._ask("lifespan.shutdown")

    async def _ask(self, kind: str) -> dict[str, Any] | None:
        """The app's answer, None if it has ended instead."""
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._inbox.put_nowait({"type": kind})
        if self._task is None:
            self._task = loop.create_task(self._run())
        waited: set[asyncio.Future[Any]] = {self._answer, self._task}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return self._answer.result() if self._answer.done() else None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._inbox.get, self._send)
        except Exception as error:
            if self._supported:
                print(user_traceback(error), flush=True)

    async def _send(self, message: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)


def _readable(thing: Any) -> bool:
    if isinstance(thing, asyncio.Transport):
        sock = thing.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        thing = sock
    poll = select.poll()
    poll.register(thing.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _server_of(listener: socket.socket) -> tuple[str, int | None]:
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(address), None
    return address[0], address[1]
