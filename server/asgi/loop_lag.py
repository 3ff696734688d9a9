"""The lag of an event loop, and what blocks it.

*Lag* is asked for from outside: the thread that samples calls the loop every ``PING`` seconds and
the loop says how long that took, which is what any connection would have waited. *Blocks* are steps
of requests that held the loop for ``LONG`` or more; the sampler sees them at work, so a block's
length is known up to a look, and its line is the one most looks stood at.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Set
from typing import Any

from pretune.server.asgi.call import Call
from pretune.server.asgi.metering import Meter
from pretune.server.clock import Clock
from pretune.server.probes.account import Account
from pretune.server.probes.journal import Journal
from pretune.server.probes.user_frames import UserFrame
from pretune.server.probes.waiting import LoopClock

PING = 0.05  # s
LONG = 0.05  # s


class LoopLag:
    """Made in the loop's own thread, which must not run yet."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, calls: Set[Call], meter: Meter, journal: Journal
    ) -> None:
        """``calls`` are those in hand, ``meter`` is the loop's."""
        self.ident = threading.get_ident()
        self.native = threading.get_native_id()
        self._loop = loop
        self._calls = calls
        self._meter = meter
        self._journal = journal
        self._asked = 0.0
        self._answered = True
        self._step = 0.0  # the one seen last began then, perf_counter s
        self._seen: Counter[UserFrame] = Counter()
        self._last: tuple[float, float, int] = (0.0, 0.0, 0)  # time, length so far, endpoint
        _time_selector(loop)

    @property
    def running(self) -> Account | None:
        """Whose step is at work."""
        return self._meter.running

    def requests(self) -> Iterator[tuple[Account, Any]]:
        """In hand at this moment, each with its task."""
        for call in tuple(self._calls):
            if call.account is not None:
                yield call.account, getattr(call, "task", None)

    def ping(self, now: float) -> None:
        if self._answered and now - self._asked >= PING:
            self._answered, self._asked = False, now
            try:
                self._loop.call_soon_threadsafe(self._pong)
            except RuntimeError:  # it is closed
                return

    def _pong(self) -> None:
        self._journal.add("lag", self._asked, Clock.monotonic() - self._asked)
        self._answered = True
        self._meter.skip()

    def see(self, account: Account, place: UserFrame | None, now: float) -> None:
        """A step of ``account`` is at work at ``place``."""
        began = self._meter.began
        if began != self._step:
            self.note_block(now, self._journal)
            self._step = began
        self._last = now, Clock.perf_counter() - began, account.endpoint
        if place is not None:
            self._seen[place] += 1

    def note_block(self, now: float, journal: Journal) -> None:
        """Note the step seen last, if it is over and was long."""
        running = self._meter.running is not None and self._meter.began == self._step
        if running or not self._step:
            return
        at, length, endpoint = self._last
        if length >= LONG and self._seen:
            (place, _), *_ = self._seen.most_common(1)
            journal.add("block", at, length, endpoint, journal.number(place))
        self._step = 0.0
        self._seen.clear()


def _time_selector(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop's own selector tell when it comes back; uvloop has none."""
    selector: Any = getattr(loop, "_selector", None)
    if selector is None:
        return
    select, clock = selector.select, Clock.perf_counter

    def timed_select(timeout: float | None = None) -> Any:
        events = select(timeout)
        LoopClock.woke = clock()
        return events

    selector.select = timed_select
