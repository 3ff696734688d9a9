"""Decides when to try again after crashes, whose clock is overdue, and what an end means. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pretune.server.process.importing import DESCRIPTORS_CLOSED

QUICK = 5.0  # s; a worker that served for less than this crashed quickly
LOOP = 6  # so many quick crashes in a row: a loop; if nobody was ever answered, give up
FIRST_DELAY = 0.25  # s until the second attempt; the first is made at once
LONGEST_DELAY = 30.0  # s between attempts while other workers live
ALONE_DELAY = 1.0  # s, while none does: clients wait, and may be what ends each worker
FORGET = 300.0  # s without a crash, after which earlier ones do not count any more
TRIES = 3  # boots that end without a word, before a generation is given up

LEAST_LOOK = 0.05  # s between two looks at the workers' clocks
STACKS = 1.0  # s a process gets to write where its threads stand, before it is killed
BEAT = 15.0  # s; a beat older than this and the timeout is none (threaded workers beat every 5 s)
LATE = 2.0  # s; a master that wakes up later than this does not trust the clocks it reads


@dataclass(frozen=True)
class CrashBackoff:
    """The count of workers in a row that died soon after they began to serve, and when to try
    again.
    """

    quick: int = 0
    not_before: float = 0.0  # monotonic s
    last: float = 0.0  # when the last one died

    def died(self, served: float, now: float, *, others: int) -> CrashBackoff:
        """A worker crashed that had served for ``served`` s (0: it never did).

        The first quick crash is answered at once, each further one after twice the time.
        ``others``: how many workers live besides.
        """
        if served >= QUICK:
            return CrashBackoff()
        quick = self.quick if now - self.last < FORGET else 0
        longest = LONGEST_DELAY if others else ALONE_DELAY
        delay = min(longest, FIRST_DELAY * 2.0 ** min(quick - 1, 20)) if quick else 0.0
        return replace(self, quick=quick + 1, not_before=now + delay, last=now)

    def hopeless(self, *, others: int, answered: bool) -> bool:
        """Return whether to give up: nobody was ever answered, and there is no reason to think it
        likely.

        A server that has answered goes on trying for ever: what crashes it, a request or somebody
        who kills, may cease, and an end for good would be its doing.
        """
        return self.quick >= LOOP and not others and not answered

    def plan(self, others: int, now: float) -> str:
        """Say what comes next, for the log."""
        pause = max(0.0, self.not_before - now)
        when = f"in {pause:.3g} s" if pause else "at once"
        rest = {0: "no other is there", 1: "1 other goes on"}.get(others, f"{others} others go on")
        return f"the next is started {when}, {rest}"


# -- the clocks of workers


def overdue(cells: Iterable[float], now: float, timeout: float) -> bool:
    """Return whether a thread was busy for longer than ``timeout`` (0: it may take forever)."""
    return timeout > 0 and any(0 < since < now - timeout for since in cells)


def only_overdue(cells: Iterable[float], now: float, timeout: float) -> bool:
    """Return whether no thread is busy but overdue ones: killing hurts nobody else."""
    return all(not since or since < now - timeout for since in cells)


def silent(beat: float, now: float, timeout: float) -> bool:
    """Return whether a worker that beats has stopped: it hangs though no request does."""
    return timeout > 0 and 0 < beat < now - max(timeout, BEAT)


def next_look(cells: Iterable[float], now: float, timeout: float) -> float:
    """When a worker's clock could next be overdue, if nothing changes until then.

    A request that begins after this look cannot be overdue before ``now + timeout``, so an idle
    server needs no look before. A passing request that is old now costs one look too many.
    """
    if not timeout:
        return now + 3600.0
    oldest = min((since for since in cells if since), default=now)
    return max(now + LEAST_LOOK, min(oldest, now) + timeout + 0.001)


def asleep(expected: float, now: float) -> float:
    """Return how much later than it wanted the master woke up, s, if that is too much, else 0.

    The machine was stopped, or so busy that the workers had no chance either: their clocks stand
    for time nobody had.
    """
    late = now - expected
    return late if late > LATE else 0.0


# -- ends


def exit_reason(ordered: str | None, status: int | None, booted: bool) -> str:
    """Why a worker ended: what the master ordered, else what its wait status says."""
    if ordered is not None:
        return ordered
    if not booted:
        return "boot"
    return "stop" if status == 0 else "crash"


def describe(status: int | None) -> str:
    """A wait status for people."""
    if status is None:
        return "nobody saw how"
    number = status & 0x7F
    if number:
        return f"killed by signal {number}{_signal_name(number)}"
    return f"exit code {status >> 8}"


# what a wait status most likely means; a signal by its number, an exit code as its negative
_CAUSES = {
    signal.SIGKILL: "somebody killed it, or the kernel did because memory ran out (see dmesg)",
    signal.SIGSEGV: "native code of a library crashed",
    signal.SIGBUS: "native code of a library crashed, or a mapped file was cut short",
    signal.SIGILL: "a library was built for another processor",
    signal.SIGABRT: "native code aborted (see what it wrote to the log)",
    signal.SIGFPE: "native code of a library crashed",
    signal.SIGSYS: "a sandbox forbids a system call it needs",
    signal.SIGXCPU: "its limit of CPU time (ulimit -t) is used up",
    signal.SIGXFSZ: "its limit of file size (ulimit -f) is reached",
    -DESCRIPTORS_CLOSED: (
        "the app or a library closed descriptors that are not its own (os.close, os.closerange)"
    ),
    0: "the app or a library ended the process, or somebody sent it TERM",
}
_ANY_CODE = "the app or a library ended the process (os._exit, a failed assertion in C)"


def likely_cause(status: int | None, *, out_of_memory: bool = False) -> str:
    """Why a process that nobody ordered to end most likely did. ``out_of_memory``: is known."""
    if out_of_memory:
        return "the kernel killed it: the control group's memory is used up"
    if status is None:
        return "its zygote is gone too"
    return _CAUSES.get(status & 0x7F or -(status >> 8), _ANY_CODE)


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
