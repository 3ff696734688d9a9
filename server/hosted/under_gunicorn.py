"""``bootstrap.py gunicorn TARGET``: the app under the real gunicorn of its own environment.

gunicorn's arbiter and workers run as they are. Ours are the application object it asks for (the
target, imported as everywhere, wrapped for telemetry) and the hooks that say on a pipe what
happens: the events of the embedded server's own stream. A ``worker_leaving`` comes before some
``worker_exit`` and says why, because gunicorn's master does not know.

No configuration file is looked for but the one that is named, and GUNICORN_CMD_ARGS is not heeded.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from pretune.server.clock import Clock
from pretune.server.hosted.wrapping import Asgi, Recorder, Wsgi
from pretune.server.process.importing import TargetError, load
from pretune.server.settings import WORKER_CLASSES, Settings

USAGE = 2
OWN_ASGI = (24,)  # the first gunicorn with an asgi worker of its own
UVICORN = "uvicorn_worker.UvicornWorker"


def main(argv: Sequence[str]) -> int:
    """Serve until gunicorn ends the process; the exit code if it cannot begin."""
    arguments = _parse(argv)
    try:
        import gunicorn
        from gunicorn.app.base import Application
        from gunicorn.arbiter import Arbiter
    except ImportError as error:
        print(f"gunicorn is not in this environment: {error}")
        return USAGE
    settings = Settings(**json.loads(arguments.settings))
    voice = _Voice(arguments.events_fd)
    recorder = Recorder(arguments.telemetry, probes=arguments.probes)
    options = gunicorn_settings(settings, gunicorn.version_info)
    options.update(
        bind=arguments.bind,
        chdir=arguments.chdir,
        forwarded_allow_ips=arguments.forwarded_allow_ips,
        proc_name=arguments.target,
        **_hooks(voice, recorder, settings),
    )

    class Served(Application):  # type: ignore[misc]
        def load_config(self) -> None:
            if arguments.config:
                self.load_config_from_file(arguments.config)
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)
            self.chdir()

        def load(self) -> Any:
            return _load(arguments, recorder, voice)

    Arbiter(Served()).run()
    return 0


def worker_class(kind: str, version: tuple[int, ...]) -> str:
    """gunicorn's name for our worker class: before it had an asgi worker, that of uvicorn."""
    return UVICORN if kind == "asgi" and version < OWN_ASGI else kind


def gunicorn_settings(settings: Settings, version: tuple[int, ...]) -> dict[str, Any]:
    """Our settings as gunicorn has them: whole seconds, its names of worker classes."""
    return {
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": worker_class(settings.worker_class, version),
        "timeout": math.ceil(settings.timeout),
        "graceful_timeout": math.ceil(settings.graceful_timeout),
        "keepalive": math.ceil(settings.keepalive),
        "max_requests": settings.max_requests,
        "max_requests_jitter": settings.max_requests_jitter,
        "preload_app": settings.preload_app,
        "backlog": settings.backlog,
        "worker_connections": settings.worker_connections,
        "control_socket_disable": True,  # nobody of this run would use it
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gunicorn")
    parser.add_argument("target")
    for flag in ("--settings", "--bind", "--chdir"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--telemetry")
    parser.add_argument("--probes", action="store_true")
    parser.add_argument("--config")
    parser.add_argument("--forwarded-allow-ips", default="127.0.0.1")
    return parser.parse_args(argv)


class _Voice:
    """The pipe to the tool."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def say(self, event: str, **data: Any) -> None:
        line = json.dumps({"event": event, "time": Clock.monotonic(), **data}).encode() + b"\n"
        try:
            while line and self._fd is not None:
                line = line[os.write(self._fd, line) :]
        except OSError:
            self._fd = None  # the tool is gone; gunicorn goes on until it is told to stop


def _load(arguments: argparse.Namespace, recorder: Recorder, voice: _Voice) -> Any:
    """Import the target, probes first, and wrap it. Raises TargetError, after saying so."""
    if arguments.telemetry is not None:
        from pretune.server.probes import executors

        executors.install()
    if arguments.probes:
        from pretune.server.probes import database, outbound, routed

        database.install()
        outbound.install()
        routed.install()
    try:
        loaded = load(arguments.target, arguments.chdir)
    except TargetError as error:
        voice.say("boot_failed", pid=os.getpid(), message=str(error), traceback=error.traceback)
        raise
    if loaded.interface == "wsgi":
        return Wsgi(loaded.app, recorder)
    return Asgi(loaded.app, recorder, lambda failure: _started(voice, failure))


# A worker's birth, CLOCK_MONOTONIC s; each process has its own.
_born = 0.0


def _started(voice: _Voice, failure: str) -> None:
    if failure:
        voice.say("boot_failed", pid=os.getpid(), message=failure, traceback="")
    else:
        _say_ready(voice)


def _say_ready(voice: _Voice) -> None:
    voice.say("worker_ready", pid=os.getpid(), boot_s=Clock.monotonic() - _born)


def _hooks(voice: _Voice, recorder: Recorder, settings: Settings) -> dict[str, Any]:
    """gunicorn calls them with the arguments' very names and number."""
    asgi = WORKER_CLASSES[settings.worker_class] == "asgi"

    def when_ready(server: Any) -> None:
        host, port = server.LISTENERS[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        voice.say("listening", address=f"{shown}:{port}")

    def pre_fork(server: Any, worker: Any) -> None:
        if settings.preload_app:
            # What is there now is shared: the collector must not write to it.
            gc.collect()
            gc.freeze()

    def post_fork(server: Any, worker: Any) -> None:
        global _born
        _born = Clock.monotonic()
        if recorder.directory is not None:
            # libpq tells it to Postgres, which tells the profiler whose session is whose.
            os.environ["PGAPPNAME"] = f"pretune-{os.getpid()}"

    def post_worker_init(worker: Any) -> None:
        recorder.open(os.getpid())
        if recorder.directory is not None:
            from pretune.server.probes import reclaimable

            reclaimable.answer_on_signal(recorder.directory)
        if not asgi:  # an event loop has still to begin the app's lifespan
            _say_ready(voice)

    def worker_abort(worker: Any) -> None:
        voice.say("worker_leaving", pid=os.getpid(), reason="timeout")

    def worker_exit(server: Any, worker: Any) -> None:
        if not worker.booted:
            reason = "boot"
        elif worker.alive:
            reason = "crash"
        else:
            limit = getattr(worker, "max_requests", 0)
            reached = settings.max_requests and getattr(worker, "nr", 0) >= limit
            reason = "max_requests" if reached else "stop"
        if os.getpid() != server.pid:
            voice.say("worker_leaving", pid=os.getpid(), reason=reason)

    def child_exit(server: Any, worker: Any) -> None:
        voice.say("worker_exit", pid=worker.pid, status=None, reason="crash", shutdown_s=None)

    def on_exit(server: Any) -> None:
        voice.say("stopped")

    return {
        function.__name__: function
        for function in (
            when_ready, pre_fork, post_fork, post_worker_init, worker_abort, worker_exit,
            child_exit, on_exit,
        )
    }  # fmt: skip
