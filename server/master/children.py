"""The master's children: how they are born, what they say, and how their end is noticed.

What it means that one is ready or gone is for the master to say; here is only what happens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from pretune.server.clock import Clock
from pretune.server.config import hooks
from pretune.server.config.config import hook_settings
from pretune.server.master import forking, worker_main, zygote
from pretune.server.master.child import Generation, Worker, Zygote
from pretune.server.master.loop import Loop
from pretune.server.process import scoreboard
from pretune.server.process.channel import Channel, pair
from pretune.server.workers.inheritance import Inheritance


class Parent(Protocol):
    """The master as its children see it: what they report to it, and what they need of it."""

    def shed(self) -> None:
        """In a forked child: close what is the master's."""

    def became_ready(self, who: Worker, boot_s: float) -> None: ...
    def boot_failed(self, pid: int, message: str, traceback: str = "") -> None: ...
    def lost(self, who: Worker, status: int | None) -> None: ...
    def lost_zygote(self, who: Zygote, status: int) -> None: ...
    def hook(self, generation: Generation, name: str, *arguments: object) -> bool: ...


class Children:
    """Workers by ticket, and zygotes."""

    def __init__(self, loop: Loop, inheritance: Inheritance, parent: Parent) -> None:
        self.workers: dict[int, Worker] = {}
        self.zygotes: set[Zygote] = set()
        self._loop = loop
        self._inheritance = inheritance
        self._parent = parent
        self._tickets = 0

    def __iter__(self) -> Iterator[Worker]:
        return iter(tuple(self.workers.values()))

    @property
    def empty(self) -> bool:
        return not self.workers and not self.zygotes

    # -- births

    def start_zygote(self, generation: Generation) -> None:
        """Start a generation's zygote, if it has one. Raises OSError if it cannot be forked."""
        if generation.config.settings.preload_app:
            ours, theirs = pair()

            def role() -> int:
                ours.close()
                return zygote.main(generation.config, self._inheritance, theirs)

            try:
                pid = self.fork(role)
            except OSError:
                ours.close()
                raise
            finally:
                theirs.close()
            made = Zygote(pid, ours, Clock.monotonic(), generation.config)
            generation.zygote = made
            self.zygotes.add(made)
            self._loop.watch(ours, lambda: self._receive_from_zygote(generation, made))
        generation.begun = True

    def spawn(self, generation: Generation) -> None:
        """One more worker. Raises OSError if it cannot be forked, OverflowError if too many."""
        ours, theirs = pair()
        try:
            slot = self._inheritance.scoreboard.allot(generation.config.settings.threads)
        except OverflowError:
            ours.close()
            theirs.close()
            raise
        self._tickets += 1
        made = Worker(
            self._tickets, generation, ours, slot, self._inheritance.scoreboard.cells(slot),
            Clock.monotonic(),
            hooks.Worker(hook_settings(generation.config), self._inheritance.log, self._tickets),
        )  # fmt: skip
        try:
            made.pid = self._fork_worker(made, theirs)
        except OSError:
            ours.close()
            self._inheritance.scoreboard.release(slot)
            raise
        finally:
            theirs.close()
        self.workers[made.ticket] = made
        self._set_state(made, scoreboard.BOOTING)
        self._loop.watch(ours, lambda: self._receive_from_worker(made))

    def _fork_worker(self, made: Worker, theirs: Channel) -> int:
        """Its pid, 0 if the zygote will tell it."""
        generation = made.generation
        if generation.zygote is not None:
            message = {"fork": made.ticket, "slot": made.slot}
            if not generation.zygote.channel.send(message, (theirs.fileno(),)):
                raise OSError("the zygote does not listen")
            return 0
        self._parent.hook(generation, "pre_fork", self._inheritance.server, made.view)
        forking.share_imports(generation.config.settings.worker_class)

        def role() -> int:
            made.channel.close()
            return worker_main.main(
                generation.config, self._inheritance, theirs, made.slot, made.view
            )

        return self.fork(role)

    def fork(self, role: Callable[[], int]) -> int:
        """A child that has nothing of the master's, above all not its ends of the channels.

        A sibling that held them would hide the master's death from their owners.
        """

        def alone() -> int:
            self._parent.shed()
            for each in self.workers.values():
                each.channel.close()
            for other in self.zygotes:
                other.channel.close()
            return role()

        return forking.fork(alone)

    def _set_state(self, who: Worker, state: float) -> None:
        self._inheritance.scoreboard.set_state(who.slot, state, who.pid)
        who.view.pid = who.pid
        if who.pid:
            self._inheritance.server.WORKERS[who.pid] = who.view

    # -- messages

    def _receive_from_worker(self, who: Worker) -> None:
        message = _received(who.channel)
        if message is None:
            self._loop.forget(who.channel)
            # The zygote that could tell how it ended is gone too; or it could not fork.
            theirs = who.generation.zygote
            if theirs is not None and (theirs not in self.zygotes or not who.pid):
                self._remove_worker(who, None)
        elif "ready" in message:
            who.pid = message["pid"]  # the zygote's word of it may come later
            who.ready_at = Clock.monotonic()
            if who.ordered is None:
                self._set_state(who, scoreboard.SERVING)
            self._parent.became_ready(who, message["ready"])
        elif "boot_failed" in message:
            who.pid = message["pid"]
            who.boot_failure = message["boot_failed"]
            self._parent.boot_failed(who.pid, message["boot_failed"], message["traceback"])
        elif "retire" in message:
            who.ask_for_successor("max_requests", Clock.monotonic())
        elif "replace" in message:
            who.ask_for_successor("stop", Clock.monotonic())

    def _receive_from_zygote(self, generation: Generation, who: Zygote) -> None:
        message = _received(who.channel)
        if message is None:
            self._loop.forget(who.channel)
        elif "loaded" in message:
            who.loaded = True
            text = f"zygote {who.pid} loaded the app in {message['loaded']:.2f} s"
            self._inheritance.log.info(text)
        elif "boot_failed" in message:
            self._parent.boot_failed(who.pid, message["boot_failed"], message["traceback"])
        elif "forked" in message:
            born = self.workers.get(message["ticket"])
            if born is not None:
                born.pid = message["forked"]
                if not born.serving:
                    self._set_state(
                        born, scoreboard.BOOTING if born.ordered is None else scoreboard.LEAVING
                    )
                born.hasten()
        elif "exited" in message:
            self._note_end(message["exited"], message["status"])

    def order_to_leave(self, who: Worker, reason: str, how: str | None, patience: float) -> None:
        """See Worker.order_to_leave."""
        who.order_to_leave(reason, how, patience)
        self._set_state(who, scoreboard.LEAVING)

    # -- ends

    def reap(self) -> list[tuple[int, int]]:
        """Collect every child that has ended; pid and wait status of those that are none of ours.

        Init (pid 1) inherits the children of others: they are among those.
        """
        others: list[tuple[int, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return others
            if not pid:
                return others
            if not self._note_end(pid, status):
                others.append((pid, status))

    def _note_end(self, pid: int, status: int) -> bool:
        """Note the end of a process; return whether it was one of ours."""
        for each in self:
            if each.pid == pid:
                self._remove_worker(each, status)
                return True
        for each_zygote in tuple(self.zygotes):
            if each_zygote.pid == pid:
                self._remove_zygote(each_zygote, status)
                return True
        return False

    def _remove_worker(self, who: Worker, status: int | None) -> None:
        self._receive_rest(who.channel)
        if self.workers.pop(who.ticket, None) is None:
            return  # its last word was that it is gone
        self._loop.forget(who.channel)
        who.channel.close()
        self._inheritance.server.WORKERS.pop(who.pid, None)
        self._parent.lost(who, status)
        self._inheritance.scoreboard.release(who.slot)

    def _remove_zygote(self, who: Zygote, status: int) -> None:
        self._receive_rest(who.channel)
        self._loop.forget(who.channel)
        who.gone = True
        self.zygotes.discard(who)
        who.channel.close()
        for each in self:
            # Born or not, or gone already: nobody will tell. One that lives closes its channel
            # when it goes.
            silent = not each.pid or not self._loop.watches(each.channel)
            if each.generation.zygote is who and silent:
                self._remove_worker(each, None)
        self._parent.lost_zygote(who, status)

    def _receive_rest(self, channel: Channel) -> None:
        """A child's end may be seen before its messages are.

        Its channel may stay open: a process the app has forked can hold the other end.
        """
        while self._loop.watches(channel) and channel.readable():
            self._loop.heard(channel)

    def kill_all(self) -> None:
        """End all, at once."""
        for each in self:
            each.signal(9)
        for each_zygote in self.zygotes:
            each_zygote.signal(9)


def _received(channel: Channel) -> dict[str, Any] | None:
    try:
        message, _ = channel.receive()
    except OSError:
        message = None
    return message
