"""What a worker does from its fork to its end: load the app, say so, serve."""

from __future__ import annotations

import faulthandler
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from pretune.server import importing
from pretune.server.board import Board
from pretune.server.channel import MAX_MESSAGE, Channel
from pretune.server.config import Config, choose_class
from pretune.server.context import DUMP_SIGNAL, Context
from pretune.server.log import Log
from pretune.server.telemetry import Ring

BOOT_FAILED = 3  # exit code of a worker or zygote whose app does not boot


def load_app(config: Config) -> importing.Loaded:
    """Import the target, probes first. Raises importing.TargetError."""
    if config.telemetry is not None:
        from pretune.server.probes import executors

        executors.install()
    if config.probes:
        from pretune.server.probes import database, outbound

        database.install()
        outbound.install()
    return importing.load(config.target, config.chdir)


def report_failure(channel: Channel, error: importing.TargetError) -> int:
    """Tell the master why the app does not boot; the exit code."""
    text = error.traceback.encode("utf-8", "backslashreplace")[-MAX_MESSAGE // 2 :]
    channel.send({"boot_failed": str(error)[:2000], "traceback": text.decode("utf-8", "replace")})
    return BOOT_FAILED


def main(
    config: Config,
    listeners: tuple[socket.socket, ...],
    channel: Channel,
    board: Board,
    row: int,
    log: Log,
    loaded: importing.Loaded | None = None,
) -> int:
    """Run a worker; ``loaded`` if the zygote has imported the app already. The exit code."""
    began = time.monotonic()
    faulthandler.register(DUMP_SIGNAL, file=log.error_fd, all_threads=True, chain=False)
    if config.telemetry is not None:
        # libpq tells it to Postgres, which tells the profiler whose session is whose.
        os.environ["PGAPPNAME"] = f"pretune-{os.getpid()}"
    try:
        if loaded is None:
            loaded = load_app(config)
        name = choose_class(config.settings, loaded.interface)
    except importing.TargetError as error:
        return report_failure(channel, error)
    except ValueError as error:
        return report_failure(channel, importing.TargetError(str(error)))
    context = Context(
        config=config,
        settings=replace(config.settings, worker_class=name),
        loaded=loaded,
        listeners=listeners,
        channel=channel,
        board=board,
        row=row,
        log=log,
        ring=Ring(config.telemetry, os.getpid()) if config.telemetry is not None else None,
    )

    def ready() -> None:
        channel.send({"ready": time.monotonic() - began})

    try:
        return _run(name, context, ready)
    except importing.TargetError as error:
        return report_failure(channel, error)


def _run(name: str, context: Context, ready: Callable[[], None]) -> int:
    # Imported when needed: a WSGI worker should not pay for asyncio.
    if name == "asgi":
        from pretune.server.asgi import AsgiWorker

        return AsgiWorker(context).run(ready)
    from pretune.server.threaded import ThreadedWorker

    return ThreadedWorker(context).run(ready)
