"""The log of a server that is starting: its last error, and that it cannot start at all.

Other servers say some of it nowhere else. What is matched are their own sentences, taken from their
sources and held by tests that start them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

Refusals = Iterable[tuple[str, int]]  # (a line's pattern, how many of it are no accident)

_MOST_BYTES = 64 * 1024  # the end of a log is read, no more
_LONGEST = 300  # characters of a line that is quoted
_PREFIX = re.compile(r"^(?:\[[^\]]*\] ?)+")  # time, pid, level
_ERROR = re.compile(
    r"error|exception|critical|fatal|crit\]|alert\]|emerg\]|traceback|fail|cannot|could not|unable"
    r"|no module|not found|denied|in use|died|was sent sig|exit signal|exit from",
    re.IGNORECASE,
)


class ServerLog:
    """A log file from where it ends now; earlier lines are another server's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() else 0

    def text(self) -> str:
        try:
            with self._path.open("rb") as file:
                end = file.seek(0, 2)
                file.seek(max(self._start, end - _MOST_BYTES))
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def quote(self) -> str:
        """A half sentence with the server's own last error."""
        text = self.text()
        error = last_error(text)
        if error:
            return f"its last error: {error}"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"the last line of its log: {lines[-1][:_LONGEST]}" if lines else "it logged nothing"


def last_error(text: str) -> str:
    """The last line of a log that speaks of an error, without time and level; "" without one."""
    for line in reversed(text.splitlines()):
        message = _PREFIX.sub("", line.strip())
        if message and _ERROR.search(line):
            return message[:_LONGEST]
    return ""


def refuses(text: str, refusals: Refusals) -> bool:
    """The server has said that it cannot load the app, or that its processes die while they do."""
    return any(len(re.findall(pattern, text)) >= times for pattern, times in refusals)
