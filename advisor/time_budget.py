"""The time budget of a run: a promise, to which every wait of the run is held.

What is the user's own, as the set-up of a database, or happens once, is not counted and named
apart. Beyond it only what an answer cannot do without goes on, on a machine that is busy, for a
grace that is bounded, too.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

# Whatever is left: a wait shorter than this shows nothing.
LEAST_WAIT_S = 0.5
LEAST_PART = 0.5
REPORT_S = 2.0  # to end what the run started and to write the report
NAMED_S = 1.5  # what took less is not worth a word
GRACE_PART, GRACE_S = 0.5, 15.0  # of the budget, and at most


class TimeBudget:
    """``seconds`` from ``began`` (``time.monotonic``; None: now), without what stands ``apart``:
    seconds by what they were for."""

    def __init__(self, seconds: float, began: float | None = None) -> None:
        self.seconds = seconds
        self.began = time.monotonic() if began is None else began
        self.apart: dict[str, float] = defaultdict(float)

    @property
    def ends_at(self) -> float:
        """By ``time.monotonic``."""
        return self.began + sum(self.apart.values()) + self.seconds

    @property
    def ends_at_last(self) -> float:
        """The end of the grace, by ``time.monotonic``."""
        return self.ends_at + min(GRACE_S, GRACE_PART * self.seconds)

    @property
    def left_s(self) -> float:
        """Below zero once it is used up."""
        return self.ends_at - time.monotonic()

    def within(self, seconds: float, keep_s: float = REPORT_S) -> float:
        """So many seconds, or fewer where only fewer are left beside ``keep_s``: on a busy machine
        still a part of the whole."""
        return min(seconds, max(LEAST_PART * self.seconds, self.left_s - keep_s))

    @contextmanager
    def counted(self, at_most_s: float, what: str) -> Iterator[None]:
        """Set apart what the block takes beyond these seconds."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.apart[what] += max(0.0, time.monotonic() - began - at_most_s)

    def not_counted(self, what: str) -> AbstractContextManager[None]:
        """Set apart all that the block takes."""
        return self.counted(0.0, what)

    def describe_apart(self) -> str:
        """A sentence; "" where nothing that stands apart took long."""
        long = {what: seconds for what, seconds in self.apart.items() if seconds >= NAMED_S}
        told = " and ".join(f"{what}, took {seconds:.0f} s" for what, seconds in long.items())
        return told and f"not counted in the time budget: {told}"
