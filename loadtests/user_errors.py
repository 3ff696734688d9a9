"""Errors that a user's own locustfile raises, unless they answer an error of the app.

Locust logs such an exception and goes on with the next task: a file whose every task fails after
its first request looks like a load without an error.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from pretune.loadtests.confinement import AddressRefused

MOST_TEXT = 300  # characters of an exception's message
MOST_CAUSES = 20


@dataclass(frozen=True)
class UserError:
    """The first exception of a locustfile. ``where`` is ``file:line``, ``said`` a sentence on it
    without its end; ``raised`` and ``completed`` count tasks, an ``on_start`` among them.
    ``unstarted`` is the class of which no user could begin, "" where none is."""

    where: str
    exception: str
    traceback: str
    said: str
    raised: int
    completed: int
    unstarted: str = ""

    @property
    def always(self) -> bool:
        return not self.completed or bool(self.unstarted)


class UserErrors:
    """Counts the tasks of one run, and keeps the first error of their own code."""

    def __init__(self, locustfile: Path) -> None:
        self._path = locustfile
        self._completed = self._raised = self._followed = 0
        self._first: BaseException | None = None
        self._elsewhere: dict[tuple[str, str], int] = {}
        self.unstarted = ""

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
            self._first = error

    def add_elsewhere(self, origin: str, frame: FrameType | None) -> None:
        """Count a request to another host, with the line of the file that sends it."""
        while frame is not None and Path(frame.f_code.co_filename) != self._path:
            frame = frame.f_back
        where = f"{self._path}:{frame.f_lineno}" if frame is not None else str(self._path)
        self._elsewhere[where, origin] = self._elsewhere.get((where, origin), 0) + 1

    @property
    def elsewhere(self) -> tuple[str, int]:
        """A sentence, without its end, on the requests to other hosts, and how many they were."""
        if not self._elsewhere:
            return "", 0
        where, origin = max(self._elsewhere, key=lambda key: self._elsewhere[key])
        said = (
            f"{where} asks {origin}, which is not the server under test: write the path alone, or "
            f'host = "{origin}" in the class of users if it is the application\'s own'
        )
        return said, sum(self._elsewhere.values())

    def summary(self) -> UserError | None:
        """None where the app's errors explain more than the file's own."""
        if self._first is None or self._raised <= self._followed:
            return None
        where, text, trace = describe_error(self._first, self._path)
        said = explain(self._first, self._path)
        return UserError(where, text, trace, said, self._raised, self._completed, self.unstarted)


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


def explain(error: BaseException, path: Path) -> str:
    """One sentence, without its end: what the file's line wants, and who must have it."""
    where, text, _ = describe_error(error, path)
    for types, say in _CAUSES:
        for each in chain(error):
            if isinstance(each, types) and (said := say(each, path)):
                return f"{where} {said}"
    return text if where == str(path) and str(path) in text else f"{where} raises {text}"


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what caused it; libraries wrap theirs in several ways."""
    seen: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if seen is None:
            return
        yield seen
        inner = [item for item in (*seen.args, getattr(seen, "reason", None)) if item is not seen]
        seen = (
            seen.__cause__
            or seen.__context__
            or next((item for item in inner if isinstance(item, BaseException)), None)
        )


def _say_module(error: BaseException, path: Path) -> str:
    name = (getattr(error, "name", "") or "").partition(".")[0]
    if not name:
        return ""
    return (
        f"imports {name}, which the tool's Python has not; a locustfile runs there and not in the "
        f"app's environment: {shlex.quote(sys.executable)} -m pip install {name}"
    )


def _say_file(error: BaseException, path: Path) -> str:
    name = str(getattr(error, "filename", "") or "")
    if not name:
        return ""
    if os.path.isabs(name):
        return f"opens {name}, which does not exist"
    beside = (path.parent / name).exists()
    way = (
        f'it lies beside the locustfile: open Path(__file__).with_name("{name}")'
        if beside
        else "nor does it lie beside the locustfile"
    )
    return f"opens {name}, which is not in {Path.cwd()}; {way}"


def _say_variable(error: BaseException, path: Path) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    code = frame.tb_frame.f_code if frame is not None else None
    if code is None or not (code.co_filename == os.__file__ or "frozen os" in code.co_filename):
        return ""
    name = str(error.args[0])
    return (
        f"reads the environment variable {name}, which tune's own environment has not (--env-file "
        f"is for the app): {name}=... tune ..."
    )


def _say_address(error: BaseException, path: Path) -> str:
    assert isinstance(error, AddressRefused)
    return (
        f"connects to {error.address}, and the load may go to the server under test only; get what "
        "it needs from there beforehand, and read it from an environment variable or a file"
    )


_CAUSES: tuple[tuple[type[BaseException], Callable[[BaseException, Path], str]], ...] = (
    (AddressRefused, _say_address),
    (ModuleNotFoundError, _say_module),
    (FileNotFoundError, _say_file),
    (KeyError, _say_variable),
)
