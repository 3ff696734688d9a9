"""The master's decisions, without the master: pure functions and values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

QUICK = 5.0  # s; a worker that lived shorter than this crashed quickly
LOOP = 6  # so many quick crashes in a row, and nothing that serves: give up
LONGEST_DELAY = 30.0  # s between attempts


@dataclass(frozen=True)
class CrashLoop:
    """How often in a row workers died soon after their birth, and when to try again."""

    quick: int = 0
    not_before: float = 0.0  # monotonic s

    def died(self, lifetime: float, now: float) -> CrashLoop:
        """The first quick crash is answered at once, each further one after twice the time."""
        if lifetime >= QUICK:
            return CrashLoop()
        delay = 0.0 if self.quick == 0 else min(LONGEST_DELAY, 0.25 * 2 ** (self.quick - 1))
        return replace(self, quick=self.quick + 1, not_before=now + delay)

    @property
    def hopeless(self) -> bool:
        return self.quick >= LOOP


def overdue(cells: Iterable[float], now: float, timeout: float) -> bool:
    """Whether a thread has been busy for longer than ``timeout`` (0: it may take forever)."""
    return timeout > 0 and any(0 < since < now - timeout for since in cells)


def only_overdue(cells: Iterable[float], now: float, timeout: float) -> bool:
    """Whether no thread is busy but overdue ones: killing hurts nobody else."""
    return all(not since or since < now - timeout for since in cells)


def watch_interval(timeout: float) -> float:
    """How often to look at the workers' cells: often enough to be punctual, rarely enough."""
    return min(1.0, max(0.05, timeout / 5)) if timeout else 1.0


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
    if status & 0x7F:
        return f"killed by signal {status & 0x7F}" + (
            " (out of memory?)" if status & 0x7F == 9 else ""
        )
    return f"exit code {status >> 8}"
