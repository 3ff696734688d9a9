"""An ASGI worker without a process: its connections talk to transports in memory."""

from __future__ import annotations

import asyncio
import socket

from pretune.server.asgi.protocol import HttpProtocol
from pretune.server.asgi.worker import AsgiWorker
from pretune.server.config.config import Config
from pretune.server.http11.limits import Limits
from pretune.server.process.importing import Loaded
from pretune.server.process.scoreboard import Scoreboard
from pretune.server.settings import Settings
from pretune.server.workers.context import Context


class Errors:
    """A log that keeps its errors."""

    has_access = False

    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, text: str) -> None:
        self.errors.append(text)

    def debug(self, text: str) -> None:
        pass

    info = warning = debug


def new_worker(app, limits: Limits = Limits()) -> AsgiWorker:  # noqa: B008
    """For the running loop."""
    settings = Settings(worker_class="asgi")
    scoreboard = Scoreboard(1)
    context = Context(
        config=Config("app", settings, limits=limits), settings=settings,
        loaded=Loaded(app, "app", "app", "asgi"), listeners=(),
        channel=None, scoreboard=scoreboard, slot=scoreboard.allot(), log=Errors(), ring=None,
    )  # fmt: skip
    worker = AsgiWorker(context)
    worker.loop = asyncio.get_running_loop()
    return worker


class Transport:
    """As asyncio's: what fails says so at once, and calls connection_lost later.

    The client resets in the ``reset_at``-th call of it. ``steps`` counts them. Sending stops after
    ``room`` bytes that nobody takes.
    """

    max_size = 65536

    def __init__(self, loop: asyncio.AbstractEventLoop, reset_at: int = -1, room: int = 1 << 30):
        self._loop = loop
        self._reset_at = reset_at
        self._room = room
        self.protocol = None
        self.steps = 0
        self.sent = b""
        self.buffered = 0
        self.reset = self.closing = self.eof = self.lost = False
        self.reading = True

    def _step(self) -> None:
        self.steps += 1
        self.reset = self.reset or self.steps == self._reset_at

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1234) if name == "peername" else None

    def set_protocol(self, protocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def write(self, data: bytes) -> None:
        assert not self.eof, "a write after the end of what is sent"
        self._step()
        if self.reset:
            self._lose()
        elif not self.closing:
            self.sent += data
            self.buffered = max(0, len(self.sent) - self._room)
            if self.buffered > 65536:
                self.protocol.pause_writing()

    def take(self, size: int) -> None:
        """The client takes some of what waits for it."""
        before, self._room = self.buffered, self._room + size
        self.buffered = max(0, before - size)
        if before > 65536 >= self.buffered:
            self.protocol.resume_writing()

    def write_eof(self) -> None:
        self._step()
        if self.reset:
            raise OSError(107, "Transport endpoint is not connected")
        self.eof = True

    def pause_reading(self) -> None:
        self._step()
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        self._step()
        self.reading = True

    def close(self) -> None:
        self._step()
        self._lose(None)

    def abort(self) -> None:
        self._lose()

    def _lose(self, error: OSError | None = ConnectionResetError()) -> None:  # noqa: B008
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: OSError | None) -> None:
        self.lost = True
        self.protocol.connection_lost(error)


class _Socket:
    family = socket.AF_INET

    def fileno(self) -> int:
        return -1


def connect(worker: AsgiWorker, **options) -> Transport:
    """A new connection; its transport, which knows the protocol."""
    transport = Transport(worker.loop, **options)
    transport.protocol = HttpProtocol(worker, _Socket(), ("127.0.0.1", 80))
    transport.protocol.connection_made(transport)
    return transport


async def turn_over(times: int = 20) -> None:
    """Let the loop come round: everything that need not wait for anything is done."""
    for _ in range(times):
        await asyncio.sleep(0)
