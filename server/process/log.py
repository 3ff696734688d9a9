"""Lines about the server and, if asked for, about each request.

Not the logging module: apps reconfigure it, and it would be the first of our megabytes. A line is
one write to a file opened for appending, so lines of several processes never mix. Messages may be
given as logging takes them (``info("%d left", n)``): hooks written for gunicorn do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping

from pretune.server.clock import Clock
from pretune.server.process import access_log
from pretune.server.process.log_sink import Sink

# As in logging, whose numbers Log.log() is given.
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LogFailed(Exception):
    """A log cannot be opened."""


class Log:
    """The error log and the access log (None: off); ``-`` is stderr and stdout.

    ``owner`` (uid, gid) gets the files, so that it can open them again. ``capture`` sends stdout
    and stderr of this process and its children to the error log, if that is a file. Raises
    LogFailed.
    """

    def __init__(
        self,
        error: str = "-",
        access: str | None = None,
        *,
        level: str = "info",
        access_format: str | None = None,
        owner: tuple[int, int] | None = None,
        capture: bool = False,
    ) -> None:
        self._error: Sink | None = None
        self._access: Sink | None = None
        self.change(error, access, level=level, access_format=access_format,
                    owner=owner, capture=capture)  # fmt: skip

    def change(
        self,
        error: str,
        access: str | None,
        *,
        level: str = "info",
        access_format: str | None = None,
        owner: tuple[int, int] | None = None,
        capture: bool = False,
    ) -> None:
        """Be another log from now on, for this process and its children to come.

        Raises LogFailed, and goes on as before.
        """
        complain = _to_stderr if error != "-" else _nowhere
        before = (self._error, self._access)
        fresh = _opened("error", error, 2, owner, complain)
        try:
            wanted = access is not None
            fresh_access = (
                _opened("access", access or "-", 1, owner, self._complain) if wanted else None
            )
        except LogFailed:
            fresh.close()
            raise
        self._error, self._access = fresh, fresh_access
        self._threshold = LEVELS[level]
        self._format = None if access_format == access_log.COMBINED else access_format
        self.has_access = fresh_access is not None
        self._capture = capture and fresh.is_file
        self._redirect()
        for sink in before:
            if sink is not None:
                sink.close()

    def _redirect(self) -> None:
        if self._capture:
            os.dup2(self.error_fd, 1)
            os.dup2(self.error_fd, 2)

    def _complain(self, text: str) -> None:
        self.error(f"the access log {text}")

    def reopen(self) -> None:
        """Open the files again, after they were moved away; where that fails, the old ones stay."""
        for name, sink in (("error", self._error), ("access", self._access)):
            if sink is not None:
                try:
                    sink.reopen()
                except OSError as error:
                    self.error(f"the {name} log {sink.path} is not reopened: {error.strerror}")
        self._redirect()

    def debug(self, text: object, *arguments: object, **_: object) -> None:
        self.log(10, text, *arguments)

    def info(self, text: object, *arguments: object, **_: object) -> None:
        self.log(20, text, *arguments)

    def warning(self, text: object, *arguments: object, **_: object) -> None:
        self.log(30, text, *arguments)

    def error(self, text: object, *arguments: object, **_: object) -> None:
        self.log(40, text, *arguments)

    def critical(self, text: object, *arguments: object, **_: object) -> None:
        self.log(50, text, *arguments)

    def exception(self, text: object, *arguments: object, **_: object) -> None:
        """An error with the traceback of the exception being handled."""
        import traceback

        self.log(40, "%s\n%s", _filled(text, arguments), traceback.format_exc())

    def log(self, level: int | str, text: object, *arguments: object, **_: object) -> None:
        """A line at a level's number or name."""
        number = LEVELS.get(level.lower(), 20) if isinstance(level, str) else level
        if number < self._threshold:
            return
        name = next((n for n, least in reversed(LEVELS.items()) if number >= least), "debug")
        now = Clock.strftime("%Y-%m-%d %H:%M:%S %z")
        line = _filled(text, arguments).rstrip()
        assert self._error is not None
        self._error.write(f"[{now}] [{os.getpid()}] [{name.upper()}] {line}\n")

    @property
    def error_fd(self) -> int:
        """A descriptor of the error log; it keeps its number when the log is reopened."""
        assert self._error is not None
        return self._error.fd

    def access(
        self,
        peer: str,
        line: str,
        status: int,
        sent: int,
        referer: str,
        agent: str,
        seconds: float = 0.0,
        environ: Mapping[str, object] | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """One request. What follows ``agent`` is for formats of the user's own.

        ``seconds`` it took; ``environ`` with its fields as HTTP_NAME; the response's ``headers``.
        """
        if self._access is None:
            return
        if self._format is None:
            text = access_log.combined(peer, line, status, sent, referer, agent)
        else:
            if environ is None:
                environ = {"HTTP_REFERER": referer, "HTTP_USER_AGENT": agent}
            entry = access_log.Entry(peer, line, status, sent, seconds, environ, headers)
            text = access_log.line(self._format, entry)
        self._access.write(text + "\n")


def _filled(text: object, arguments: tuple[object, ...]) -> str:
    if not arguments:
        return str(text)
    try:
        # A single mapping fills named places, as in logging.
        one = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], Mapping) else None
        return str(text) % (one or arguments)
    except (TypeError, ValueError, KeyError):
        return f"{text} {arguments}"


def _opened(name: str, path: str, standard: int, owner: object, complain: object) -> Sink:
    try:
        return Sink(path, standard, owner, complain)  # type: ignore[arg-type]
    except OSError as error:
        raise LogFailed(f"cannot open the {name} log {path}: {error.strerror}") from error


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"pretune: the error log {text}\n".encode())


def _nowhere(text: str) -> None:
    """stderr itself is what cannot be written."""
