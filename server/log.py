"""Lines about the server and, if asked for, about each request.

Not the logging module: apps reconfigure it, and it would be the first of our megabytes. A line is
one write to a file opened for appending, so lines of several processes never mix.
"""

from __future__ import annotations

import os
import sys
import time

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class Log:
    """The error log and the access log (None: off); ``-`` is stderr and stdout."""

    def __init__(self, error: str = "-", access: str | None = None) -> None:
        self._paths = (error, access)
        self._error = 2
        self._access: int | None = None
        self.reopen()

    def reopen(self) -> None:
        """Open the files again, after they were moved away."""
        error, access = self._paths
        self._error = 2 if error == "-" else os.open(error, _FLAGS, 0o644)
        if access is not None:
            self._access = 1 if access == "-" else os.open(access, _FLAGS, 0o644)
        self.has_access = self._access is not None

    def info(self, text: str) -> None:
        self._write("INFO", text)

    def warning(self, text: str) -> None:
        self._write("WARNING", text)

    def error(self, text: str) -> None:
        self._write("ERROR", text)

    def _write(self, level: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S %z")
        _put(self._error, f"[{stamp}] [{os.getpid()}] [{level}] {text.rstrip()}\n")

    @property
    def error_fd(self) -> int:
        return self._error

    def access(
        self, peer: str, line: str, status: int, sent: int, referer: str, agent: str
    ) -> None:
        """One request in the combined format."""
        if self._access is not None:
            stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z")
            text = (
                f'{peer or "-"} - - [{stamp}] "{_quoted(line)}" {status} {sent} '
                f'"{_quoted(referer)}" "{_quoted(agent)}"\n'
            )
            _put(self._access, text)


def _quoted(text: str) -> str:
    """Hostile text made safe for a line of a log."""
    return text.encode("latin-1", "replace").decode("ascii", "backslashreplace").replace('"', '\\"')


def _put(fd: int, text: str) -> None:
    try:
        os.write(fd, text.encode("utf-8", "backslashreplace"))
    except OSError:
        if fd != 2:
            print("pretune: the log cannot be written", file=sys.stderr)
