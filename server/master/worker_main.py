"""A worker from its fork to its end: it loads the app, says so, and serves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from pretune.server.clock import Clock
from pretune.server.config import hooks, privileges
from pretune.server.config.config import Config, choose_class
from pretune.server.process.channel import MAX_MESSAGE, Channel
from pretune.server.process.dump_signal import dump_on_signal
from pretune.server.process.importing import Loaded, TargetBroken, TargetError, load, user_traceback
from pretune.server.process.log import Log
from pretune.server.telemetry import Ring
from pretune.server.workers.context import Context
from pretune.server.workers.inheritance import Inheritance

if TYPE_CHECKING:
    from pretune.server.probes.journal import Journal

BOOT_FAILED = 3  # exit code of a worker or zygote whose app does not boot


def load_app(config: Config) -> Loaded:
    """Import the target, probes first. Raises importing.TargetError."""
    if config.settings.worker_class == "gevent":
        from pretune.server.wsgi import greenlets

        greenlets.patch()
    if config.telemetry is not None:
        from pretune.server.probes import executors

        executors.install()
    if config.probes:
        from pretune.server.probes import database, outbound, routed

        database.install()
        outbound.install()
        routed.install()
    return load(config.target, config.chdir)


def report_failure(channel: Channel, error: Exception) -> int:
    """Tell the master why the app does not boot; the exit code."""
    trace = error.traceback if isinstance(error, TargetError) else ""
    text = trace.encode("utf-8", "backslashreplace")[-MAX_MESSAGE // 2 :]
    trace = text.decode("utf-8", "replace")
    channel.send({"boot_failed": str(error)[:2000], "traceback": trace, "pid": os.getpid()})
    return BOOT_FAILED


def take_on_privileges(config: Config, role: str) -> None:
    """Take on the identity the app runs under. Raises TargetBroken."""
    try:
        privileges.assume(config, role)
    except OSError as error:
        raise TargetBroken(f"cannot take on the user and group of the app: {error}") from error


def main(
    config: Config,
    inheritance: Inheritance,
    channel: Channel,
    slot: int,
    me: hooks.Worker,
    loaded: Loaded | None = None,
) -> int:
    """Run a worker; ``loaded`` if the zygote has imported the app already. The exit code."""
    began = Clock.monotonic()
    log, scoreboard = inheritance.log, inheritance.scoreboard
    me.pid = os.getpid()
    dump_on_signal(log)
    if config.telemetry is not None:
        # libpq tells it to Postgres, which tells the profiler whose session is whose.
        os.environ["PGAPPNAME"] = f"pretune-{os.getpid()}"
    try:
        _call_boot_hook(config, "post_fork", inheritance.server, me)
        take_on_privileges(config, "worker")
        if loaded is None:
            loaded = load_app(config)
        name = choose_class(config.settings, loaded.interface)
        context = Context(
            config=config,
            settings=replace(config.settings, worker_class=name),
            loaded=loaded,
            listeners=inheritance.listeners,
            channel=channel,
            scoreboard=scoreboard,
            slot=slot,
            log=log,
            ring=Ring(config.telemetry, os.getpid()) if config.telemetry is not None else None,
            exchange=inheritance.exchange,
            view=me,
            journal=_open_journal(config),
        )
        if config.telemetry is not None:
            from pretune.server.probes import allocation_sites, reclaimable

            reclaimable.answer_on_signal(config.telemetry)
            if allocation_sites.VARIABLE in os.environ:
                allocation_sites.begin(config.telemetry, os.getcwd())
        _call_boot_hook(config, "post_worker_init", me)

        def ready() -> None:
            _install_signal_hooks(config, inheritance.server, me, log)
            channel.send({"ready": Clock.monotonic() - began, "pid": os.getpid()})

        code = _run(name, context, ready)
    except (TargetError, ValueError) as error:
        return report_failure(channel, error)
    _call_worker_exit(config, inheritance.server, me, log)
    return code


def _open_journal(config: Config) -> Journal | None:
    """Open the journal of a worker with probes; one of greenlets has no thread that could look at
    them.
    """
    if config.telemetry is None or not config.probes or config.settings.worker_class == "gevent":
        return None
    from pretune.server.probes.journal import Journal

    return Journal(config.telemetry, os.getpid())


def _run(name: str, context: Context, ready: Callable[[], None]) -> int:
    # Imported when needed: a WSGI worker should not pay for asyncio.
    if name == "asgi":
        from pretune.server.asgi.worker import AsgiWorker

        context.scoreboard.beats_in_cells(context.slot)
        return AsgiWorker(context).run(ready)
    if name == "gevent":
        from pretune.server.wsgi.greenlets import GreenletWorker

        context.scoreboard.beats_in_cells(context.slot)
        return GreenletWorker(context).run(ready)
    from pretune.server.wsgi.threaded import ThreadedWorker

    return ThreadedWorker(context).run(ready)


# -- the user's functions


def _call_boot_hook(config: Config, name: str, *arguments: object) -> None:
    """A hook without which the worker must not serve. Raises TargetBroken."""
    try:
        config.hooks.call(name, *arguments)
    except (Exception, SystemExit) as error:
        text = user_traceback(error)
        raise TargetBroken(f"the hook {name} failed: {error!r}", text) from error


def _try_hook(config: Config, log: Log, name: str, *arguments: object) -> None:
    try:
        config.hooks.call(name, *arguments)
    except (Exception, SystemExit) as error:
        log.error(f"the hook {name} failed\n{user_traceback(error)}")


def _call_worker_exit(config: Config, server: hooks.Server, me: hooks.Worker, log: Log) -> None:
    me.alive = False
    _try_hook(config, log, "worker_exit", server, me)


def _install_signal_hooks(config: Config, server: hooks.Server, me: hooks.Worker, log: Log) -> None:
    """Hooks for signals, if there are any; set when the worker has set its own handlers.

    Python runs them between two instructions of the main thread, so a hook for an abort comes in
    vain where that thread waits for the GIL for ever; the master does not wait for it long.
    """
    for name, numbers in _SIGNAL_HOOKS.items():
        if config.hooks.get(name) is None and config.hooks.get("worker_exit") is None:
            continue

        def handle(number: int, frame: FrameType | None, name: str = name) -> None:
            _try_hook(config, log, name, me)
            _call_worker_exit(config, server, me, log)
            os._exit(1 if number == signal.SIGABRT else 0)

        for number in numbers:
            signal.signal(number, handle)


_SIGNAL_HOOKS = {
    "worker_int": (signal.SIGINT, signal.SIGQUIT),
    "worker_abort": (signal.SIGABRT,),
}
