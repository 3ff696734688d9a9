"""The command ``serve TARGET``: reads the configuration, opens log and sockets, runs a master."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pretune.server.config import privileges
from pretune.server.config.config import Config, ConfigBroken
from pretune.server.config.configuration import assemble, current_directory, gather, parse
from pretune.server.master import own_command

USAGE = 2  # exit code for wrong usage
BROKEN = 1  # for a configuration, an app or an address that cannot be used


def main(argv: Sequence[str]) -> int:
    """Serve until a signal says otherwise; the exit code."""
    own_command.remember()
    _occupy_standard_descriptors()
    directory = current_directory()
    try:
        gathered = gather(argv, directory)
        config = assemble(gathered, directory)
        privileges.check(config)
        with _open_directory(config.chdir) as place:
            os.fchdir(place)
    except ConfigBroken as error:
        print(f"tune serve: {error}", file=sys.stderr)
        return USAGE if error.usage else BROKEN
    if gathered.check:
        from pretune.server import checking

        return checking.check(config, gathered)

    def read() -> Config:
        try:
            return parse(argv, directory)
        except SystemExit as error:  # argparse has said why: GUNICORN_CMD_ARGS are checked too
            raise ConfigBroken("the command line is not valid any more") from error

    return _serve(config, read)


def _serve(config: Config, read: Callable[[], Config]) -> int:
    # Late: `--help` and a wrong flag need none of it.
    from pretune.server.master.master import Master
    from pretune.server.process import listening, proctitle
    from pretune.server.process.log import Log, LogFailed

    # First of all: the command line may hold passwords, and ps shows it to everybody.
    proctitle.set_title(proctitle.compose("master", config.proc_name or config.target))
    environment = _Environment()
    environment.set(config.env)
    owner = privileges.owner(config)
    try:
        log = Log(config.error_log, config.access_log, **_log_options(config))
    except LogFailed as error:
        print(f"tune serve: {error}", file=sys.stderr)
        return BROKEN
    _log_notes(config.notes, log)
    try:
        listeners = listening.listen(
            config.binds,
            config.settings.backlog,
            umask=config.umask,
            owner=owner,
            reuse_port=config.reuse_port,
            environ=os.environ,
        )
    except listening.BindFailed as error:
        log.error(str(error))
        return BROKEN

    def reread() -> Config:
        """The configuration as it is now. Raises ConfigBroken, and changes nothing then."""
        with environment.as_before():
            fresh = read()
            privileges.check(fresh)
        with _open_directory(fresh.chdir) as place:
            try:
                log.change(fresh.error_log, fresh.access_log, **_log_options(fresh))
            except LogFailed as error:
                raise ConfigBroken(str(error)) from error
            os.fchdir(place)
        environment.set(fresh.env)
        _log_notes(fresh.notes, log)
        return fresh

    return Master(config, listeners, log, reread).run()


def _log_options(config: Config) -> dict[str, Any]:
    """Return the options of the log."""
    return {
        "level": config.log_level,
        "access_format": config.access_format,
        "owner": privileges.owner(config),
        "capture": config.capture_output,
    }


def _log_notes(notes: Iterable[tuple[str, str]], log: Any) -> None:
    for level, text in notes:
        log.log(level, text)


@contextlib.contextmanager
def _open_directory(directory: str) -> Iterator[int]:
    """A descriptor to go there by. Raises ConfigBroken if we may not."""
    try:
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        if not os.access(directory, os.X_OK):
            os.close(place)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigBroken(f"chdir {directory}: {error.strerror}", usage=True) from error
    try:
        yield place
    finally:
        os.close(place)


class _Environment:
    """Variables that the configuration adds to the environment, so that it can be taken back."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def set(self, pairs: Iterable[tuple[str, str]]) -> None:
        _restore(self._before)
        wanted = dict(pairs)
        self._before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)

    @contextlib.contextmanager
    def as_before(self) -> Iterator[None]:
        """The environment we were started with: what a configuration says must not feed it."""
        ours = {name: os.environ.get(name) for name in self._before}
        _restore(self._before)
        try:
            yield
        finally:
            _restore(ours)


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _occupy_standard_descriptors() -> None:
    """A closed 0, 1 or 2 would be given to a socket, and what somebody prints be sent to it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(fd, True)
    os.close(fd)
    # Python had none to begin with; libraries flush them without asking.
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
