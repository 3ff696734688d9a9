"""The master's view of its children: workers, and the generation of code they belong to."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field

from pretune.server.channel import Channel
from pretune.server.policy import CrashLoop


@dataclass(eq=False)
class Zygote:
    """A process that holds the loaded app and forks workers."""

    pid: int
    channel: Channel
    born: float
    loaded: bool = False
    stopping: bool = False


@dataclass(eq=False)
class Generation:
    """One version of the user's code: every worker forked since the last reload."""

    number: int
    zygote: Zygote | None = None
    loop: CrashLoop = field(default_factory=CrashLoop)
    announced: bool = False  # `ready` was said


@dataclass(eq=False)
class Worker:
    """One worker. ``pid`` is 0 until the zygote has said it."""

    ticket: int
    generation: Generation
    channel: Channel
    row: int  # on the board
    born: float
    pid: int = 0
    ready: bool = False
    boot_failure: str | None = None
    asks_to_retire: bool = False
    ordered: str | None = None  # the reason it was told to leave
    ordered_at: float = 0.0
    deadline: float = 0.0  # when it is killed
    killed: bool = False

    @property
    def serving(self) -> bool:
        return self.ready and self.ordered is None

    def order(self, reason: str, how: str, patience: float) -> None:
        """Tell it to leave within ``patience`` seconds; ``how``: "stop" or "retire"."""
        if self.ordered is None:
            self.ordered, self.ordered_at = reason, time.monotonic()
        self.deadline = time.monotonic() + patience
        if not self.ready:
            self.deadline = 0.0  # it is still importing: nothing is lost
        self.channel.send({"leave": how})

    def signal(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
