"""Errors that a user's own locustfile raises, unless they answer an error of the app.

Locust logs such an exception and goes on with the next task: a file whose every task fails after
its first request looks like a load without an error.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

MOST_TEXT = 300  # characters of an exception's message


@dataclass(frozen=True)
class UserError:
    """The first exception of a locustfile. ``where`` is ``file:line``; ``raised`` and ``completed``
    count tasks, an ``on_start`` among them."""

    where: str
    exception: str
    traceback: str
    raised: int
    completed: int

    @property
    def always(self) -> bool:
        return not self.completed

    def describe(self) -> str:
        """The error in one sentence, without its end."""
        return f"{self.where} raises {self.exception}"


class UserErrors:
    """Counts the tasks of one run, and keeps the first error of their own code."""

    def __init__(self, locustfile: Path) -> None:
        self._path = locustfile
        self._completed = self._raised = self._followed = 0
        self._first: tuple[str, str, str] | None = None

    def complete(self) -> None:
        """Count a task that came to its end."""
        self._completed += 1

    def add(self, error: BaseException, *, after_failure: bool) -> None:
        """Count what a task raised; ``after_failure`` of its last request, the app's doing."""
        if after_failure:
            self._followed += 1
            return
        self._raised += 1
        if self._first is None:
            self._first = describe_error(error, self._path)

    def summary(self) -> UserError | None:
        """None where the app's errors explain more than the file's own."""
        if self._first is None or self._raised <= self._followed:
            return None
        return UserError(*self._first, self._raised, self._completed)


def describe_error(error: BaseException, path: Path) -> tuple[str, str, str]:
    """``file:line``, the exception, and its traceback from the file's first line on."""
    text = f"{type(error).__name__}: {error}".strip().rstrip(":")[:MOST_TEXT]
    frame, where = error.__traceback__, f"{path}"
    first: TracebackType | None = None
    while frame is not None:
        if Path(frame.tb_frame.f_code.co_filename) == path:
            first = first or frame
            where = f"{path}:{frame.tb_lineno}"
        frame = frame.tb_next
    shown = first or error.__traceback__
    return where, text, "".join(traceback.format_exception(type(error), error, shown))
