"""The master's view of its children: workers, and the generation of code they belong to."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field, replace

from pretune.server.clock import Clock
from pretune.server.config import hooks
from pretune.server.config.config import Config
from pretune.server.master.crash_backoff import CrashBackoff
from pretune.server.process.channel import Channel

YOUNG = 60.0  # s; a worker that is too large at this age was born so, or nearly
LONGEST = 3600.0  # s between two attempts to help a growth that recycling does not help


@dataclass(frozen=True)
class Restraint:
    """Keeps recycling by memory from turning round and round."""

    delay: float = 0.0  # s
    not_before: float = 0.0  # monotonic s

    def recycled(self, age: float, now: float) -> Restraint:
        """A worker was found too large at this age."""
        if age >= YOUNG + self.delay:
            return Restraint()
        delay = min(LONGEST, self.delay * 2 or YOUNG / 2)
        return replace(self, delay=delay, not_before=now + delay)


@dataclass(eq=False)
class Zygote:
    """A process that holds the loaded app and forks workers."""

    pid: int
    channel: Channel
    born: float
    config: Config
    loaded: bool = False
    stopping: bool = False
    gone: bool = False
    deadline: float = 0.0  # when it is killed, 0: not for now

    def stop(self) -> None:
        """It ends when its last worker has; at once, if it has not even loaded the app."""
        if not self.stopping:
            self.stopping = True
            self.channel.send({"stop": True})
        if not self.loaded:
            self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        if not self.gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(eq=False)
class Generation:
    """One version of the user's code and configuration, as of one reload."""

    number: int
    config: Config
    reloaded: bool = False  # by HUP
    zygote: Zygote | None = None
    begun: bool = False  # its zygote was started, or it needs none
    proven: bool = False  # a worker of it was ready
    announced: bool = False  # all of them were
    tries: int = 0  # boots that ended without a word before it was proven
    backoff: CrashBackoff = field(default_factory=CrashBackoff)
    restraint: Restraint = field(default_factory=Restraint)


@dataclass(eq=False)
class Worker:
    """One worker. ``pid`` is 0 until the zygote has said it. Times are monotonic s."""

    ticket: int
    generation: Generation
    channel: Channel
    slot: int  # on the scoreboard
    cells: memoryview[float]  # there
    born: float
    view: hooks.Worker
    pid: int = 0
    ready_at: float | None = None
    boot_failure: str | None = None
    asks: str | None = None  # the reason for which it should get a successor
    asks_at: float = 0.0
    ordered: str | None = None  # the reason it was told to leave
    ordered_at: float = 0.0
    deadline: float = 0.0  # when it is killed
    aborted: bool = False  # it got SIGABRT before that
    killed: bool = False

    @property
    def config(self) -> Config:
        return self.generation.config

    @property
    def ready(self) -> bool:
        return self.ready_at is not None

    @property
    def serving(self) -> bool:
        return self.ready and self.ordered is None

    def ask_for_successor(self, reason: str, now: float) -> None:
        if self.asks is None:
            self.asks, self.asks_at = reason, now

    def order_to_leave(self, reason: str, how: str | None, patience: float) -> None:
        """Tell it to leave within ``patience`` seconds; ``how``: see draining.py, None: at once."""
        now = Clock.monotonic()
        if self.ordered is None:
            self.ordered, self.ordered_at = reason, now
            self.deadline = now + patience
        else:
            self.deadline = min(self.deadline, now + patience)
        if how is None:
            # Not QUIT: one that still boots would leave a core file.
            self.signal(signal.SIGINT)
        else:
            self.channel.send({"leave": how})
            self.hasten()

    def hasten(self) -> None:
        """One that still boots need not go on.

        It may serve by now, though, and its word of that be on its way. TERM tells the two apart
        without a race: it ends a process at once until the worker has set its handler, which is
        before it accepts, and lets it finish what it has after that.
        """
        if not self.ready and self.ordered is not None:
            self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
