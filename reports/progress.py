"""The progress of a run: a live line on a terminal, a line per phase elsewhere.

Everything goes to the console it is given; with ``--json`` that is one on stderr, so that stdout
holds nothing but the document.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.text import Text

from pretune.reports import numbers

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.spinner import Spinner


def clock_text(seconds: float) -> str:
    """``0:07``, ``2:05``."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02}"


def remaining_s(total_s: float, finished_s: float, in_phase_s: float, expected_s: float) -> float:
    """Seconds left of ``total_s`` once phases that were to take ``finished_s`` are done.

    A phase that takes longer than expected does not eat the time of those after it.
    """
    return max(0.0, total_s - finished_s - min(in_phase_s, expected_s))


class Progress:
    """Use as a context manager. Phases follow one another; one ends where the next begins."""

    def __init__(
        self,
        console: Console,
        total_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._total_s = total_s
        self._clock = clock
        self._started = self._phase_started = clock()
        self._finished_s = 0.0
        self._expected_s = 0.0
        self._name = ""
        self._detail = ""
        self._live: Live | None = None
        self._spinner: Spinner | None = None

    def __enter__(self) -> Progress:
        self._started = self._phase_started = self._clock()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live
            from rich.spinner import Spinner

            self._spinner = Spinner("dots")
            self._live = Live(
                console=self._console,
                get_renderable=self._shown,
                refresh_per_second=8,
                transient=True,
                # What the caller prints to its own streams is the caller's.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A phase that an exception ended is not announced as done.
        self._end_phase(announce=kind is None)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, name: str, detail: str = "", expected_s: float = 0.0) -> None:
        """The run now does ``name``; ``expected_s`` of the total are for it."""
        self._end_phase(announce=True)
        self._name, self._detail = numbers.line(name), numbers.line(detail)
        self._expected_s = expected_s
        self._phase_started = self._clock()
        if self._live is None:
            about = f" (about {numbers.seconds(expected_s)})" if expected_s >= 1 else ""
            self._print(": ".join(part for part in (self._name, self._detail) if part) + about)

    def update(self, detail: str) -> None:
        """News of the current phase; only a live display shows it."""
        self._detail = numbers.line(detail)

    def line(self, text: str) -> None:
        """Something worth keeping on the screen: a warning, a trial that is repeated."""
        self._print(numbers.clean(text))

    def _end_phase(self, *, announce: bool) -> None:
        if self._name and announce and self._live is not None:
            took = clock_text(self._clock() - self._phase_started)
            text = Text(f"{took:>5}  ", style="dim").append(self._name, style="default")
            if self._detail:
                text.append(f"  {self._detail}", style="dim")
            self._console.print(text, overflow="ellipsis", no_wrap=True)
        self._finished_s += self._expected_s
        self._expected_s = 0.0
        self._name = self._detail = ""

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def status(self) -> str:
        """The live line without its spinner."""
        now = self._clock()
        left = remaining_s(
            self._total_s, self._finished_s, now - self._phase_started, self._expected_s
        )
        rest = f"about {clock_text(left)} left" if left >= 1 else "almost done"
        what = "  ".join(part for part in (self._name, self._detail) if part)
        return f"{clock_text(now - self._started)}, {rest}  {what}"

    def _shown(self) -> RenderableType:
        assert self._spinner is not None
        text = Text(self.status(), overflow="ellipsis", no_wrap=True)
        text.truncate(max(self._console.width - 3, 10), overflow="ellipsis")
        self._spinner.update(text=text)
        return self._spinner
