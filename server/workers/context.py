"""The context that every worker class is given when it starts to serve."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretune.server.config.config import Config
from pretune.server.config.hooks import Worker
from pretune.server.process.channel import Channel
from pretune.server.process.importing import Loaded, project
from pretune.server.process.log import Log
from pretune.server.process.scoreboard import ANSWERED, Scoreboard, Tally
from pretune.server.settings import Settings
from pretune.server.telemetry import Ring

if TYPE_CHECKING:
    from pretune.server.probes.journal import Journal
    from pretune.server.probes.stacks import EventLoop


@dataclass(frozen=True)
class Context:
    """A worker's surroundings.

    ``slot`` is the worker's on the scoreboard. ``channel`` takes ``{"retire": n}`` to ask for a
    successor and gives ``{"leave": how}`` (draining.py); its end means the master is gone.
    """

    config: Config
    settings: Settings  # worker_class resolved
    loaded: Loaded
    listeners: tuple[socket.socket, ...]
    channel: Channel
    scoreboard: Scoreboard
    slot: int
    log: Log
    ring: Ring | None
    # Two ends for connections handed from a busy worker to an idle one: give, take. All workers of
    # all generations hold the same pair.
    exchange: tuple[socket.socket, socket.socket] | None = None
    view: Worker | None = None  # the ``worker`` of hooks
    journal: Journal | None = None  # what probes note beside the ring

    def tally(self, thread: int) -> Tally | None:
        """Return the tally of a thread; None when nobody reads metrics."""
        return self.scoreboard.tally(self.slot, thread) if self.scoreboard.tallies else None

    def note_answer(self) -> None:
        """This worker has answered a request: the master will not give the server up any more.

        Called once. All workers write the same value, so none needs a cell of its own.
        """
        self.scoreboard.note(ANSWERED, 1.0)

    def poll_master(self) -> str | None:
        """Return how to leave, if the master has said so by now; what else it said is done.

        It neither waits nor lets other greenlets run: a signal may come while another listens.
        """
        how = None
        while (received := self.channel.receive_now()) is not None:
            message, _ = received
            if message is None:
                os._exit(1)  # the master is gone
            how = message.get("leave", how)
            if "reopen" in message:
                self.log.reopen()
        return how

    def ask_for_successor(self) -> None:
        """Somebody wants this worker alone to end: it serves until the master says to leave.

        That is when its successor is ready. If workers left by themselves, all of them could be
        leaving at once, and nobody would take from the queue.
        """
        self.channel.send({"replace": True})

    def sample_stacks(self, loop: EventLoop | None = None) -> None:
        """From now on; those at the event loop too. Only where there is a journal."""
        from pretune.server.probes.stacks import Sampler
        from pretune.server.probes.user_frames import UserFrames

        assert self.journal is not None
        assert self.ring is not None
        user_frames = UserFrames(project(self.config.chdir, self.loaded.module))
        Sampler(self.journal, user_frames, self.ring, loop).start()

    def request_limit(self) -> int:
        """After how many requests this worker asks for a successor; 0: never."""
        settings = self.settings
        if not settings.max_requests:
            return 0
        # os.urandom, not random: siblings forked from one zygote would draw the same number.
        draw = int.from_bytes(os.urandom(8), "little")
        return settings.max_requests + draw % (settings.max_requests_jitter + 1)
