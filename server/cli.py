"""``serve TARGET``: the flags, under gunicorn's names."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pretune.server.config import AUTO_CLASS, Config
from pretune.server.settings import WORKER_CLASSES, Settings

USAGE = 2  # exit code for wrong usage


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _at_least(lowest: int) -> object:
    def convert(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"{number} is less than {lowest}")
        return number

    convert.__name__ = "int"
    return convert


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a duration in seconds")
    return number


_DEFAULT = Settings()

# flags, the field of Settings, converter, help
_SETTINGS = (
    (("-w", "--workers"), "workers", _at_least(1), "processes that serve"),
    (("--threads",), "threads", _at_least(1), "requests at a time in one worker"),
    (("-t", "--timeout"), "timeout", _seconds, "longest a request may take, 0: no limit"),
    (("--graceful-timeout",), "graceful_timeout", _seconds, "longest a stop may take"),
    (("--keep-alive",), "keepalive", _seconds, "how long an idle connection is kept"),
    (("--max-requests",), "max_requests", _at_least(0), "replace a worker after so many, 0: never"),
    (("--max-requests-jitter",), "max_requests_jitter", _at_least(0), "random addition to it"),
    (("--backlog",), "backlog", _at_least(1), "connections the kernel queues"),
    (("--worker-connections",), "worker_connections", _at_least(1), "open connections a worker"),
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="tune serve",
        description="Serve a WSGI or ASGI application with pre-forked workers.",
    )
    add = made.add_argument
    add("target", help="module, module:name, module:factory() or path/to/file.py[:name]")
    add("-b", "--bind", action="append", help="HOST:PORT or unix:PATH; may be repeated")
    for flags, name, converter, text in _SETTINGS:
        default = getattr(_DEFAULT, name)
        add(*flags, dest=name, type=converter, default=default, help=f"{text} (default {default})")  # type: ignore[arg-type]
    add("-k", "--worker-class", choices=(AUTO_CLASS, *WORKER_CLASSES), default=AUTO_CLASS)
    add("--preload", action="store_true", help="load the app once, in a process that forks workers")
    add("--chdir", default=".", help="work in this directory")
    add("-e", "--env", action="append", type=_pair, default=[], metavar="NAME=VALUE")
    add("--access-logfile", metavar="FILE", help="a line per request; - is stdout")
    add("--error-logfile", "--log-file", default="-", metavar="FILE", help="- is stderr")
    add("-p", "--pid", metavar="FILE", help="write the master's pid here")
    add("--forwarded-allow-ips", default=Config.forwarded_allow_ips, metavar="IPS",
        help="peers whose X-Forwarded-Proto is believed; * is everyone")  # fmt: skip
    add("--boot-timeout", type=_seconds, default=0.0, help="longest an import may take")
    add("--events-fd", type=int, help="write events as JSON lines to this descriptor")
    add("--telemetry", metavar="DIR", help="write a ring of request records per worker")
    add("--probes", action="store_true", help="time database and outbound calls")
    return made


def parse(argv: Sequence[str]) -> Config:
    """Flags to a Config; argparse exits with 2 on wrong usage."""
    options = parser().parse_args(argv)
    settings = Settings(
        worker_class=options.worker_class,
        preload_app=options.preload,
        **{name: getattr(options, name) for _, name, _, _ in _SETTINGS},
    )
    # Relative paths mean the directory we were called in, also after --chdir.
    return Config(
        target=options.target,
        settings=settings,
        binds=tuple(options.bind or Config.binds),
        chdir=os.path.abspath(options.chdir),
        env=tuple(options.env),
        access_log=_path(options.access_logfile),
        error_log=_path(options.error_logfile) or "-",
        pid_file=_path(options.pid),
        forwarded_allow_ips=options.forwarded_allow_ips,
        boot_timeout=options.boot_timeout,
        events_fd=options.events_fd,
        telemetry=_path(options.telemetry),
        probes=options.probes,
    )


def _path(path: str | None) -> str | None:
    return path if path in (None, "-") else os.path.abspath(path)


def main(argv: Sequence[str]) -> int:
    """Serve until a signal says otherwise; the exit code."""
    # Late: `--help` and a wrong flag need none of it.
    from pretune.server.listening import BindFailed, listen
    from pretune.server.log import Log
    from pretune.server.master import Master

    config = parse(argv)
    try:
        os.chdir(config.chdir)
    except OSError as error:
        print(f"--chdir {config.chdir}: {error.strerror}", file=sys.stderr)
        return USAGE
    os.environ.update(config.env)
    log = Log(config.error_log, config.access_log)
    try:
        listeners = listen(config.binds, config.settings.backlog)
    except BindFailed as error:
        log.error(str(error))
        return 1
    return Master(config, listeners, log).run()
