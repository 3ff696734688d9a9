"""The master's loop: it waits for descriptors to be readable, for signals, for time to pass.

A signal's handler only writes its number down; it is answered between two waits, so nothing is ever
interrupted half-way.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Loop:
    """One per process."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._signals: deque[int] = deque()
        self._pipe: tuple[int, int] | None = None

    def catch(self, numbers: Iterable[int]) -> None:
        """From now on these signals are noted instead of what they did."""
        wake, woken = self._pipe = os.pipe()
        for fd in (wake, woken):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda n, _: self._signals.append(n))
        self._callbacks[wake] = lambda: os.read(wake, 4096)
        self._poll.register(wake, select.POLLIN)

    def watch(self, what: HasFileno, callback: Callable[[], object]) -> None:
        """Call back whenever there is something to read."""
        self._callbacks[what.fileno()] = callback
        self._poll.register(what, select.POLLIN)

    def watches(self, what: HasFileno) -> bool:
        return what.fileno() in self._callbacks

    def heard(self, what: HasFileno) -> None:
        """Call back now: there is something to read."""
        self._callbacks[what.fileno()]()

    def forget(self, what: HasFileno) -> None:
        if self._callbacks.pop(what.fileno(), None) is not None:
            self._poll.unregister(what)

    def wait(self, seconds: float) -> None:
        """Wait, at most so long, and call back."""
        events = self._poll.poll(0 if self._signals else max(0.0, seconds) * 1000)
        asked = [(fd, self._callbacks.get(fd)) for fd, _ in events]
        for fd, callback in asked:
            # What came before it in this round may have ended whom it is about, and a new one may
            # have the same number.
            if callback is not None and self._callbacks.get(fd) is callback:
                callback()

    def signals(self) -> Iterator[int]:
        """Those that came since, in their order; the same one again and again counts once.

        Not the one that comes while the same is being answered: the answer may be too far by then
        to see what this one is about.
        """
        while self._signals:
            number = self._signals.popleft()
            while number in _ONCE and self._signals and self._signals[0] == number:
                self._signals.popleft()
            yield number

    def abandon(self) -> None:
        """In a forked child: none of this is its own."""
        if self._pipe is not None:
            for fd in self._pipe:
                os.close(fd)
            self._pipe = None
        self._callbacks.clear()


_ONCE = {signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD}
