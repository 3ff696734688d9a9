"""Looks at the stacks of requests about a hundred times a second: where their time goes, by line.

A thread of the worker itself looks, because only there a stack costs microseconds. Such a thread
sees crookedly unless it takes care:

- It needs the GIL to look, and gets it from a thread that computes only after the switch interval,
  or when that thread begins to wait: looks would pile up on the lines that wait. So the interval is
  short while it works, and of looks that come late for want of the GIL only those count that find
  the thread still computing: it was computing when the look was due. Looks that come late for want
  of a core are dropped. What is asked of the looks is only how CPU divides over lines, and waiting
  over lines, so that what is dropped skews nothing.
- Letting go of the GIL makes a thread that wanted it runnable. So what the kernel says just after
  the stack was read tells computing from waiting: runnable or running is CPU, anything else a wait.
- The times between looks are drawn evenly from half to one and a half of the period, so that no
  rhythm of the app is in step with them.

It may cost ``BUDGET`` of one core, looks less often beyond that, and says what it cost.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from pretune.server.clock import Clock
from pretune.server.probes.account import CPU, Account, serving
from pretune.server.probes.journal import Journal
from pretune.server.probes.user_frames import UserFrame, UserFrames, awaits, frames
from pretune.server.telemetry import Ring, run_queue_clock

PERIOD = 0.01  # s between two looks, on average
BUDGET = 0.005  # of one core
LATE = 0.0003  # s
SWITCH = 0.0001  # s
FLUSH = 0.5  # s
MOST_STATES = 256  # descriptors
REST = 0.5  # s between two looks for a reader while there is none

Seen = tuple[Account, UserFrame | None, int, bool]


class EventLoop(Protocol):
    """The loop that serves requests, as it is looked at from this thread."""

    ident: int  # of its thread
    native: int  # the same, as the kernel counts

    @property
    def running(self) -> Account | None:
        """Whose step is at work."""

    def requests(self) -> Iterator[tuple[Account, Any]]:
        """In hand at this moment, each with its task."""

    def ping(self, now: float) -> None:
        """Ask it for a sign, which will be timed."""

    def see(self, account: Account, place: UserFrame | None, now: float) -> None:
        """A step of ``account`` is at work at ``place``."""

    def note_block(self, now: float, journal: Journal) -> None:
        """Note the step seen last, if it is over and was long."""


class Sampler:
    """The thread. ``loop``: the event loop, where there is one."""

    def __init__(
        self, journal: Journal, user_frames: UserFrames, ring: Ring, loop: EventLoop | None = None
    ) -> None:
        self._journal = journal
        self._user_frames = user_frames
        self._ring = ring
        self._loop = loop
        self._states: dict[int, int] = {}  # of a thread by the kernel's id: a descriptor
        self._file = _state_file()
        self._looks = 0
        self._late = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name="pretune-stacks", daemon=True).start()

    def _run(self) -> None:
        switch, period, flushed = sys.getswitchinterval(), PERIOD, 0.0
        draw, clock, sleep = random.Random().uniform, Clock.monotonic, Clock.sleep
        sys.setswitchinterval(min(SWITCH, switch))
        due, queued = clock(), run_queue_clock()
        while not self._journal.full:
            now = clock()
            if not self._ring.on:
                sys.setswitchinterval(switch)
                self._journal.flush()
                sleep(REST)
                sys.setswitchinterval(min(SWITCH, switch))
                due = clock()
                continue
            due = max(due + draw(0.5 * period, 1.5 * period), now)
            before = queued()
            if due > now:
                sleep(due - now)
            now, delayed = clock(), queued() - before
            if delayed > LATE:
                self._looks += 1
                self._late += 1
            else:
                self._sample(now, now - due > LATE)
            if now - flushed > FLUSH:
                flushed = now
                spent = Clock.thread_time()
                self._journal.add("cost", now, spent, self._looks, self._late)
                self._journal.flush()
                if self._looks > 50:
                    period = max(PERIOD, spent / self._looks / BUDGET)
        sys.setswitchinterval(switch)
        self._journal.flush()

    def _sample(self, now: float, late: bool) -> None:
        """One look at all requests this worker serves."""
        self._looks += 1
        stacks = sys._current_frames()
        # All of them first: as soon as the GIL is let go, the frames move on.
        # Where several threads work for a request, the one that began last.
        last = {id(entry[1]): (ident, *entry) for ident, entry in tuple(serving.items())}
        looked = []
        for ident, native, account in last.values():
            place = self._user_frames.find(frames(stacks.get(ident)))
            looked.append((account, place, native, False))
        if self._loop is not None:
            self._look_at_loop(self._loop, now, stacks, looked)
        del stacks
        for account, place, native, held in looked:
            computes = bool(native) and self._computes(native)
            if late and not computes:
                self._late += 1
            elif place is not None:
                kind = CPU if computes else account.inside
                number = self._journal.number(place)
                self._journal.add(
                    "sample", now, account.endpoint, account.route, kind, int(held), number
                )

    def _look_at_loop(
        self, loop: EventLoop, now: float, stacks: dict[int, Any], looked: list[Any]
    ) -> None:
        loop.ping(now)
        threads = {id(entry[0]): n for n, entry in enumerate(looked)}
        for account, task in loop.requests():
            number = threads.get(id(account))
            if number is not None:
                place = looked[number][1]
                if place is None or not place.own:  # such as asyncio.to_thread(time.sleep, 1)
                    awaiting = self._suspended(account, task)
                    looked[number] = (account, awaiting or place, *looked[number][2:])
            elif account is loop.running:
                place = self._user_frames.find(frames(stacks.get(loop.ident)))
                looked.append((account, place, loop.native, True))
                loop.see(account, place, now)
            else:
                looked.append((account, self._suspended(account, task), 0, False))
        loop.note_block(now, self._journal)

    def _suspended(self, account: Account, task: Any) -> UserFrame | None:
        """Find where a request waits: in the youngest of its tasks that stands at a line of the
        user.
        """
        best = None
        for each in (*reversed(account.tasks or ()), task):
            if each is None or each.done():
                continue
            place = self._user_frames.find(awaits(each.get_coro()))
            if place is not None and place.own:
                return place
            best = best or place
        return best

    def _computes(self, native: int) -> bool:
        """Return whether a thread is running or could be, as the kernel sees it."""
        fd = self._states.get(native)
        try:
            if fd is None:
                if len(self._states) >= MOST_STATES:  # threads come and go
                    for old in self._states.values():
                        os.close(old)
                    self._states.clear()
                path = f"/proc/self/task/{native}/{self._file}"
                fd = self._states[native] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            state = os.pread(fd, 128, 0)
        except OSError:  # it has ended
            gone = self._states.pop(native, None)
            if gone is not None:
                os.close(gone)
            return False
        return state.startswith(b"running") or b") R " in state


def _state_file() -> str:
    """``syscall`` says "running" or where a thread waits; ``stat`` says R, more slowly.

    Some sandboxes have no ``syscall``.
    """
    try:
        with open(f"/proc/self/task/{threading.get_native_id()}/syscall", "rb") as file:
            return "syscall" if file.read().startswith(b"running") else "stat"
    except OSError:
        return "stat"
