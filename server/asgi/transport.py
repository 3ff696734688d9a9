"""A transport that may have to be waited for: what HTTP and WebSocket connections have in common.

What was given to the transport and not yet to the kernel is bounded by its high-water mark (64 KiB)
and one message; whoever sends more waits. A client that takes less than limits.SEND_RATE of what
waits for it is given up after limits.SEND_PATIENCE.

A client can reset its connection between any two of our calls. What is called here then does
nothing, or aborts the transport; it raises nothing, so that whatever ends a request can run to its
end.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from pretune.server.workers import limits

HIGH_WATER = 65536  # bytes the app has not taken, or of further requests, before reading stops
SHARE = 1 << 20  # bytes one connection may send before others get their turn


class Wire(asyncio.Protocol):
    """One client's connection, whatever is spoken on it."""

    transport: Any = None
    sock: socket.socket
    server: tuple[str, int | None]  # the address it came to
    served: int  # responses
    deadline: float  # of what the client owes us, s of the monotonic clock
    quiet: float  # since when nothing of it is under way, the same

    def __init__(self) -> None:
        self.writable = True
        self._waiters: list[asyncio.Future[None]] = []
        self._share = SHARE
        self._shut = False
        self._behind: Behind | None = None  # while the client is, from one sweep to the next

    # -- the worker's calls

    @property
    def idle(self) -> bool:
        """True where nothing is lost if it is closed now."""
        return False

    def expire(self, now: float) -> None:
        """End it if the client has kept us waiting for too long; called in each sweep."""
        raise NotImplementedError

    def is_silent(self, now: float, grace: float) -> bool:
        """See silence.Silent."""
        return False

    def go_away(self) -> None:
        """The worker leaves."""

    # -- sending

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def write(self, data: bytes) -> None:
        """Send, unless nobody is there any more."""
        if data and not self.transport.is_closing():
            self.transport.write(data)
            if self._behind is not None:
                self._behind.given += len(data)

    async def drain(self, size: int) -> None:
        """Wait until the transport wants more, after ``size`` bytes were given to it.

        Where it always does, because the client is fast, others still get their turn.
        """
        self._share -= size + 1024
        if self.writable:
            if self._share < 0:
                self._share = SHARE
                await asyncio.sleep(0)
        else:
            self._share = SHARE
            await wait_in(self._waiters, asyncio.get_running_loop())

    def shut_sending(self) -> bool:
        """Say that nothing more will come; False if something must be sent before.

        A transport would say it then by itself, but where nobody catches what that raises.
        """
        if not self._shut and not self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                return False
            self._shut = True
            try:
                self.transport.write_eof()
            except OSError:  # the client has reset the connection
                self.transport.abort()
        return True

    def close_at_once(self) -> None:
        """Close one that idles so that its client sees it before it says more.

        By itself the transport closes the socket when the loop comes round.
        """
        self.shut_sending()
        self.transport.close()

    def stuck(self, now: float, under_way: int = 0) -> bool:
        """Return whether the client has been too slow in taking what waits for it.

        ``under_way`` are bytes of a response that are not in ``given`` yet.
        """
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._behind = None
            return False
        if self._behind is None:
            self._behind = Behind(under_way - unsent, now)
        return self._behind.late(under_way - unsent, now)


class Behind:
    """The progress of a client that does not take all of what is sent to it."""

    __slots__ = ("_deadline", "_taken", "given")

    def __init__(self, taken: int, now: float) -> None:
        self.given = 0  # bytes given to the transport since
        self._taken = taken
        self._deadline = now + limits.SEND_PATIENCE

    def late(self, rest: int, now: float) -> bool:
        """Return whether it is given up. ``rest`` and what was given since is what it has taken."""
        taken = self.given + rest
        self._deadline = limits.extend_sending(self._deadline, taken - self._taken, now)
        self._taken = taken
        return now > self._deadline


async def wait_in(waiters: list[asyncio.Future[None]], loop: asyncio.AbstractEventLoop) -> None:
    """Wait among these to be woken. Who stops waiting leaves nothing behind."""
    waiter = loop.create_future()
    waiters.append(waiter)
    try:
        await waiter
    except BaseException:
        if waiter in waiters:
            waiters.remove(waiter)
        raise
