"""A transport that may have to be waited for: what HTTP and WebSocket connections have in common.

What was given to the transport and not yet to the kernel is bounded by its high-water mark (64 KiB)
and one message; whoever sends more waits. A client that takes nothing for SEND_PATIENCE is stuck.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pretune.server.workers import limits

SHARE = 1 << 20  # bytes one connection may send before others get their turn


class Wire(asyncio.Protocol):
    """What HTTP and WebSocket have in common: a transport that may have to be waited for."""

    transport: Any = None

    def __init__(self) -> None:
        self.writable = True
        self._waiters: list[asyncio.Future[None]] = []
        self._share = SHARE
        self._unsent = 0
        self._since = 0.0

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

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
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def stuck(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits for it for too long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == self._unsent:
            return now > self._since + limits.SEND_PATIENCE
        self._unsent, self._since = unsent, now
        return False
