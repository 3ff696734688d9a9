"""Telemetry under somebody else's server: the app is wrapped, and writes the same ring.

A record means the same as under our own server, as far as an app can see it:

- ``start`` is when the server calls the app; what it did before (accepting, parsing) is in the CPU
  where the same thread does it, because a thread's clock runs on from the end of its last request.
- ``wall`` ends when the server closes the response, which PEP 3333 has it do after the last byte
  was sent; under ASGI when the app has returned.
- ``bytes`` are the body's and those of the header fields that the app gave.
- ``queue`` needs the connection; gunicorn passes it in ``environ``. Elsewhere it is unknown.
"""

from __future__ import annotations

import itertools
import math
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any

from pretune.server.asgi.metering import Meter
from pretune.server.clock import Clock
from pretune.server.probes.account import Account, current
from pretune.server.telemetry import ENDPOINT_HEADER, Ring, queued, run_queue_clock

_ENDPOINT_KEY = "HTTP_" + ENDPOINT_HEADER.upper().replace("-", "_")
_ENDPOINT_NAME = ENDPOINT_HEADER.encode()
LOOK = 0.5  # s between two looks whether somebody still reads
# environ key of the connection, by server
_SOCKETS = ("gunicorn.socket",)


class Recorder:
    """A worker's ring, opened after the fork: ``directory`` None records nothing."""

    def __init__(self, directory: str | None, *, probes: bool = False) -> None:
        self.directory = directory
        self.probes = probes
        self.ring: Ring | None = None
        self.inside: set[object] = set()  # requests in the app
        self.served = 0  # requests that came to the app, to a few where threads count at once
        self._looked = 0.0

    def open(self, pid: int) -> None:
        if self.directory is not None:
            self.ring = Ring(self.directory, pid)

    def current(self, now: float) -> Ring | None:
        """The ring, while somebody reads it; asked once for each request."""
        self.served += 1
        ring = self.ring
        if ring is None:
            return None
        if now - self._looked > LOOK:
            self._looked = now
            ring.check(now)
        return ring if ring.on else None


# -- WSGI


class _Seat(threading.local):
    """The state of one serving thread; ``cpu`` is up to where it is accounted for."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        self.index = next(self._numbers)
        self.cpu = Clock.thread_time()
        self.runq: Callable[[], float] | None = None

    def spend(self) -> float:
        """Seconds of the thread's CPU since the last call."""
        before, self.cpu = self.cpu, Clock.thread_time()
        return self.cpu - before


class Wsgi:
    """The app, with a record for each request."""

    def __init__(self, app: Any, recorder: Recorder) -> None:
        self._app = app
        self._recorder = recorder
        self._seat = _Seat()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start = Clock.monotonic()
        endpoint = environ.pop(_ENDPOINT_KEY, "")
        ring = self._recorder.current(start)
        if ring is None:
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        request = _Request(self._recorder, ring, self._seat, start, _number(endpoint), environ)
        try:
            result = self._app(environ, request.responding(start_response))
        except BaseException:
            request.finish()
            raise
        return request.following(result, environ.get("wsgi.file_wrapper"))  # type: ignore[no-any-return]


class _Request:
    """One request's way through the app, from the call to the close of its response."""

    def __init__(
        self,
        recorder: Recorder,
        ring: Ring,
        seat: _Seat,
        start: float,
        endpoint: int,
        environ: dict[str, Any],
    ) -> None:
        self._recorder, self._ring, self._seat = recorder, ring, seat
        self._start, self._endpoint = start, endpoint
        self._index = seat.index  # a thread's first look at its seat starts its clock
        self._queue = _queue(environ)
        self.sent = 0
        self._status = 0
        self._account = Account()
        current.set(self._account)
        self._runq = math.nan
        if recorder.probes:
            if seat.runq is None:
                seat.runq = run_queue_clock()
            self._runq = seat.runq()
        recorder.inside.add(self)
        self._inflight = len(recorder.inside)

    def responding(self, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            self._status = _number(status[:3])
            self.sent = sum(len(name) + len(value) + 4 for name, value in headers)
            return start_response(status, headers, *exc_info)

        return start

    def following(self, result: Any, file_wrapper: Any) -> Any:
        """Wrap the result for the server; a file stays a file, for sendfile."""
        if type(result) is file_wrapper:
            close = getattr(result, "close", None)
            result.close = lambda: self.finish(close)
            return result
        if type(result) in (list, tuple):
            self.sent += sum(map(len, result))
            return _Whole(result, self)
        return _Stream(result, self)

    def finish(self, close: Callable[[], None] | None = None) -> None:
        """The response is over: the app's own clean-up, then the record."""
        try:
            if close is not None:
                close()
        finally:
            seat, account = self._seat, self._account
            end = Clock.monotonic()
            self._recorder.inside.discard(self)
            if current.get() is account:
                current.set(None)
            runq = seat.runq() - self._runq if seat.runq is not None else math.nan
            self._ring.write(
                self._start, end - self._start, seat.spend() + account.cpu, account.db, account.out,
                runq, self._queue, self.sent, account.db_calls, account.out_calls,
                self._endpoint, self._index, account.route, self._status, self._inflight,
            )  # fmt: skip


class _Whole(list[bytes]):
    """A response in one piece: its length stays visible to the server."""

    def __init__(self, parts: Iterable[bytes], request: _Request) -> None:
        super().__init__(parts)
        self._request = request

    def close(self) -> None:
        self._request.finish()


class _Stream:
    """A response in parts."""

    def __init__(self, parts: Iterable[bytes], request: _Request) -> None:
        self._parts = parts
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        request = self._request
        for part in self._parts:
            request.sent += len(part)
            yield part

    def close(self) -> None:
        self._request.finish(getattr(self._parts, "close", None))


def _queue(environ: dict[str, Any]) -> float:
    for name in _SOCKETS:
        sock = environ.get(name)
        if sock is not None:
            return queued(sock)
    return math.nan


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


# -- ASGI


class Asgi:
    """The app, with a record for each HTTP request; other scopes pass through.

    ``started``: told how the app's lifespan began: "" when it is up or knows no lifespan, else
    the message of its failure.
    """

    def __init__(
        self, app: Any, recorder: Recorder, started: Callable[[str], None] = lambda failure: None
    ) -> None:
        self._app = app
        self._recorder = recorder
        self._started = started
        self._meter: Meter | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        start = Clock.monotonic()
        headers = scope.get("headers") or ()
        endpoint = next((value for name, value in headers if name == _ENDPOINT_NAME), None)
        if endpoint is not None:
            kept = [pair for pair in headers if pair[0] != _ENDPOINT_NAME]
            scope = {**scope, "headers": kept}
        ring = self._recorder.current(start)
        if ring is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number = _number(endpoint.decode("latin-1")) if endpoint is not None else 0
        await self._recorded(ring, number, start, scope, receive, send)

    async def _recorded(
        self, ring: Ring, endpoint: int, start: float, scope: Any, receive: Any, send: Any
    ) -> None:
        meter = self._metering()
        account = Account()
        status = sent = 0
        inside = self._recorder.inside
        inside.add(account)
        inflight = len(inside)

        async def sending(message: dict[str, Any]) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                sent += sum(len(name) + len(value) + 4 for name, value in message["headers"])
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        token = current.set(account)
        try:
            await _stepped(self._app(scope, receive, sending), account, meter)
        finally:
            current.reset(token)
            inside.discard(account)
            ring.write(
                start, Clock.monotonic() - start, account.cpu, account.db, account.out, math.nan,
                math.nan, sent, account.db_calls, account.out_calls,
                endpoint, 0, account.route, status, inflight, pool=account.pool,
            )  # fmt: skip

    def _metering(self) -> Meter:
        """Return the meter of this worker's loop; tasks made from now on are metered into their
        request.
        """
        if self._meter is None:
            import asyncio

            self._meter = Meter()
            loop = asyncio.get_running_loop()
            if loop.get_task_factory() is None:
                loop.set_task_factory(self._meter.task_factory)
        return self._meter

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._started("")
            elif message["type"] == "lifespan.startup.failed":
                self._started(str(message.get("message") or "the app's lifespan failed"))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._started("")  # where it knows no lifespan; the server decides what that means


@types.coroutine
def _stepped(
    coro: Coroutine[Any, Any, Any], account: Account, meter: Meter
) -> Generator[Any, Any, Any]:
    """Drive ``coro`` by hand (PEP 380); each step's CPU goes to the account."""
    step, given = coro.send, None
    while True:
        try:
            asked = step(given)
        except StopIteration as finished:
            return finished.value
        finally:
            meter.take(account)
        try:
            given = yield asked
            step = coro.send
        except GeneratorExit:
            coro.close()
            raise
        except BaseException as error:
            given, step = error, coro.throw
