"""All servers that can be measured: what each carries, and what gunicorn's settings are there.

One table. The command lines that are measured, the model's server, the files that are deployed and
docs/SERVERS.md are made of it, so they cannot disagree. A further server is a row here and the
command line of its trials in ``commands``. Sources: the servers' own documentation and source, and
the tests in tests/server/adapters, which start every one of them.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pretune.server.adapters.server import (
    Dispatch,
    FieldServer,
    IniFile,
    Meaning,
    Recycling,
    Server,
    Value,
    WorkerClass,
)
from pretune.server.settings import Settings


def _whole(name: str) -> Value:
    """The setting as it is, in whole units."""
    return lambda settings: str(math.ceil(getattr(settings, name)))


def _positive(name: str) -> Value:
    """The same where 0 (off) is said by leaving the option out."""

    def value(settings: Settings) -> str | None:
        number: Any = getattr(settings, name)
        return str(math.ceil(number)) if number > 0 else None

    return value


def _jitter(settings: Settings) -> str | None:
    if not settings.max_requests or not settings.max_requests_jitter:
        return None
    return str(settings.max_requests_jitter)


def _callable_object(application: str) -> list[str]:
    name = application.partition(":")[2]
    return [f"--callable-object={name}"] if name else []


def _somaxconn() -> int:
    try:
        with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 128


_NO_TIMEOUT = "There is none: a stuck request is never ended."
_NO_PRELOAD = "There is none: every worker imports the app for itself."
_APP_THREADS = "There are none: the app's own thread pool runs what is not async."
_NO_RECYCLING = "There is none: a worker is never replaced for its requests."

_SYNC_TIMEOUT = "a sync worker is killed when one request takes longer"
_LOOP_TIMEOUT = "it is the longest that the event loop may stand still, not a limit of one request"

EMBEDDED = Server(
    name="embedded",
    classes={
        "sync": WorkerClass(
            Dispatch.ONE_BY_ONE, timeout_kills=True, closes=True, timeout=_SYNC_TIMEOUT
        ),
        "gthread": WorkerClass(
            Dispatch.SHARED_QUEUE,
            timeout_kills=True,
            timeout="a request that takes longer is ended",
        ),
        "asgi": WorkerClass(Dispatch.SHARED_QUEUE, timeout=_LOOP_TIMEOUT),
    },
    preloads=True,
    recycling=Recycling.OVERLAPS,
    usual=True,
)
GUNICORN = Server(
    name="gunicorn",
    classes={
        # its timeout is a heartbeat, which only a sync worker cannot give while it serves
        "sync": WorkerClass(
            Dispatch.ONE_BY_ONE, timeout_kills=True, closes=True, timeout=_SYNC_TIMEOUT
        ),
        "gthread": WorkerClass(
            Dispatch.THREAD_POOL,
            timeout="it is a heartbeat of the whole worker, not a limit of one request",
        ),
        "asgi": WorkerClass(Dispatch.FIRST_AWAKE, timeout=_LOOP_TIMEOUT),
    },
    preloads=True,
    usual=True,
)


def _unasked(settings: Settings) -> str:
    """uvicorn's timeout with one worker, and where it is switched off."""
    if settings.workers == 1:
        return "With one worker nobody asks after it: whatever is stuck is never ended."
    if not settings.timeout > 0:
        return "It cannot be switched off and stays at 5 s."
    return ""


def _ends_alone(settings: Settings) -> str:
    """uvicorn's limit with one worker."""
    if settings.workers > 1 or not settings.max_requests:
        return ""
    return "With one worker the limit would end the server, so it is not given."


def _double(settings: Settings) -> Settings:
    """hypercorn 0.18 takes max-requests for its jitter, whatever the option says."""
    if not settings.max_requests_jitter:
        return settings
    half = (settings.max_requests + settings.max_requests_jitter) // 2
    return replace(settings, max_requests=half, max_requests_jitter=half)


def _other_jitter(settings: Settings) -> str:
    if not settings.max_requests or settings.max_requests_jitter in (0, settings.max_requests):
        return ""
    return "Version 0.18 takes max-requests for it: a worker may serve twice as many."


def _shared_out(settings: Settings) -> Settings:
    """uWSGI's jitter is a number of requests for each worker."""
    whole = settings.max_requests_jitter // settings.workers * settings.workers
    return replace(settings, max_requests_jitter=whole)


def _shares(settings: Settings) -> str:
    if _shared_out(settings) == settings:
        return ""
    return "It is rounded up to a number of requests for each worker."


def _cut(settings: Settings) -> str:
    """uWSGI's backlog where the kernel allows less."""
    most = _somaxconn()
    if settings.backlog <= most:
        return ""
    return f"It gets {most}, net.core.somaxconn here: with more it refuses to start."


def _kept_mercy(settings: Settings) -> str:
    return "" if settings.graceful_timeout > 0 else "Off cannot be said: it is 60 s then."


UVICORN = FieldServer(
    name="uvicorn",
    module="uvicorn",
    distribution="uvicorn",
    refusals=((r"Child process \[\d+\] died", 3),),
    classes={"asgi": WorkerClass(Dispatch.FIRST_AWAKE, says="an event loop in each process")},
    settings={
        "workers": Meaning(
            "workers",
            "Processes that accept from one socket; with 1 there is no master.",
            _whole("workers"),
        ),
        "threads": Meaning("", _APP_THREADS),
        "timeout": Meaning(
            "timeout-worker-healthcheck",
            "Longest a worker's process may leave its master's question unanswered. A thread of "
            "its own answers, so only what holds the GIL or stops the process counts, never a "
            "request. With one worker nobody asks.",
            lambda s: str(math.ceil(s.timeout)) if s.workers > 1 and s.timeout > 0 else None,
            _unasked,
        ),
        "graceful_timeout": Meaning(
            "timeout-graceful-shutdown",
            "Longest a stop may take; requests in hand are cancelled then.",
            _positive("graceful_timeout"),
        ),
        "keepalive": Meaning(
            "timeout-keep-alive", "How long an idle connection is kept.", _whole("keepalive")
        ),
        "max_requests": Meaning(
            "limit-max-requests",
            "A worker ends after so many requests, and the master starts another one then; with "
            "one worker the server ends.",
            lambda s: str(s.max_requests) if s.max_requests and s.workers > 1 else None,
            _ends_alone,
        ),
        "max_requests_jitter": Meaning(
            "limit-max-requests-jitter",
            "At most so many are added, at random; older versions do not know it.",
            lambda s: _jitter(s) if s.workers > 1 else None,
            lambda s: _ends_alone(s) if s.max_requests_jitter else "",
        ),
        "preload_app": Meaning("", _NO_PRELOAD),
        "backlog": Meaning("backlog", "The same.", _whole("backlog")),
        "worker_connections": Meaning(
            "limit-concurrency",
            "Connections or requests of one worker; beyond that it answers 503 at once, where "
            "gunicorn would let them wait. It gets one more than the setting, because the limit "
            "itself is already refused.",
            lambda s: str(s.worker_connections + 1),
        ),
    },
    deployed=lambda app, s: (["uvicorn", app, "--port", "8000", "--no-access-log"], []),
    recycling_alone=Recycling.ENDS,
    signals={
        "reload": signal.SIGHUP,
        "add_worker": signal.SIGTTIN,
        "remove_worker": signal.SIGTTOU,
        "stop": signal.SIGTERM,
    },
    single={"stop": signal.SIGTERM},
    remarks=(
        "HUP replaces the workers one by one; each leaves before its successor starts.",
        "With several workers, answers on kept connections come some 40 ms late (version 0.54: 50 "
        "ms where one worker took 6): uvicorn makes their socket without a protocol number, so "
        "asyncio does not switch Nagle's algorithm off, and the client's delayed ACK holds the "
        "body back.",
    ),
)

HYPERCORN = FieldServer(
    name="hypercorn",
    module="hypercorn",
    distribution="hypercorn",
    classes={"asgi": WorkerClass(Dispatch.FIRST_AWAKE, says="an event loop in each process")},
    settings={
        "workers": Meaning("workers", "Processes that accept from one socket.", _whole("workers")),
        "threads": Meaning("", _APP_THREADS),
        "timeout": Meaning("", _NO_TIMEOUT),
        "graceful_timeout": Meaning(
            "graceful-timeout", "Longest a stop may take.", _whole("graceful_timeout")
        ),
        "keepalive": Meaning(
            "keep-alive", "How long an idle connection is kept.", _whole("keepalive")
        ),
        "max_requests": Meaning(
            "max-requests",
            "A worker ends after so many requests, and the master starts another one then.",
            _positive("max_requests"),
        ),
        "max_requests_jitter": Meaning(
            "max-requests-jitter",
            "At most so many are added, at random. Version 0.18 takes max-requests for it, "
            "whatever is said, so both are given alike.",
            _jitter,
            _other_jitter,
        ),
        "preload_app": Meaning("", _NO_PRELOAD),
        "backlog": Meaning("backlog", "The same.", _whole("backlog")),
        "worker_connections": Meaning("", "There is no limit."),
    },
    deployed=lambda app, s: (["hypercorn", "--bind", "127.0.0.1:8000"], [app]),
    signals={"reload": signal.SIGHUP, "stop": signal.SIGTERM},
    drains=False,
    nearest=_double,
    remarks=(
        "At TERM the first worker to end may take the others with it, and the requests they have "
        "in hand.",
        "HUP ends all workers before it starts new ones; until then connections wait.",
    ),
)

WAITRESS = FieldServer(
    name="waitress",
    module="waitress",
    distribution="waitress",
    classes={
        "gthread": WorkerClass(
            Dispatch.FIRST_AWAKE,
            says="one process, a thread that reads and writes, and a pool that runs the app",
        )
    },
    usual=True,
    settings={
        "workers": Meaning("", "There is always one process, so one GIL for all requests."),
        "threads": Meaning("threads", "Requests in the app at a time.", _whole("threads")),
        "timeout": Meaning("", _NO_TIMEOUT),
        "graceful_timeout": Meaning(
            "", "Fixed: at INT it waits 5 s for requests in the app; TERM ends it at once."
        ),
        "keepalive": Meaning(
            "channel-timeout",
            "How long an idle connection is kept; checked only every 30 s.",
            _whole("keepalive"),
        ),
        "max_requests": Meaning("", _NO_RECYCLING),
        "max_requests_jitter": Meaning("", _NO_RECYCLING),
        "preload_app": Meaning("", "There is one process: nothing to share."),
        "backlog": Meaning("backlog", "The same.", _whole("backlog")),
        "worker_connections": Meaning(
            "connection-limit",
            "Open connections; beyond it the kernel's backlog holds them.",
            _whole("worker_connections"),
        ),
    },
    deployed=lambda app, s: (["waitress-serve", "--listen=127.0.0.1:8000"], [app]),
    signals={"stop": signal.SIGINT, "stop_now": signal.SIGTERM},
    most_workers=1,
    recycling=Recycling.NEVER,
    fixed=(
        (
            "trusted-proxy",
            "127.0.0.1",
            "so that a proxy on this machine is believed, as gunicorn and uvicorn believe it",
        ),
        (
            "trusted-proxy-headers",
            "x-forwarded-proto",
            "the part that gunicorn believes: whether TLS ended there",
        ),
    ),
    remarks=("Stop it with INT: TERM is not handled and resets what is in hand.",),
)

GRANIAN = FieldServer(
    name="granian",
    module="granian",
    distribution="granian",
    classes={
        "gthread": WorkerClass(
            Dispatch.ANY_WORKER, says="HTTP in Rust, a pool of threads that runs the app"
        ),
        "asgi": WorkerClass(
            Dispatch.ANY_WORKER, says="HTTP in Rust, an event loop in each process"
        ),
    },
    usual=True,
    settings={
        "workers": Meaning("workers", "Processes that accept from one socket.", _whole("workers")),
        "threads": Meaning(
            "blocking-threads",
            "WSGI: requests in the app at a time. ASGI: "
            + _APP_THREADS[0].lower()
            + _APP_THREADS[1:],
            lambda s: str(s.threads) if s.worker_class == "gthread" else None,
        ),
        "timeout": Meaning("", _NO_TIMEOUT),
        "graceful_timeout": Meaning(
            "workers-kill-timeout",
            "Longest a worker may take to stop; it is killed then.",
            _positive("graceful_timeout"),
        ),
        "keepalive": Meaning(
            "", "Connections are kept as long as the client wants; idle ones are never closed."
        ),
        "max_requests": Meaning("", _NO_RECYCLING + " workers-lifetime goes by age."),
        "max_requests_jitter": Meaning("", _NO_RECYCLING),
        "preload_app": Meaning("", _NO_PRELOAD),
        "backlog": Meaning(
            "backlog",
            "The same; at least 128.",
            lambda s: str(max(128, s.backlog)),
            lambda s: "" if s.backlog >= 128 else "Less than 128 is refused, so it gets 128.",
        ),
        "worker_connections": Meaning(
            "backpressure",
            "Requests of one worker that are taken at a time; others wait in the connection.",
            lambda s: str(s.worker_connections),
        ),
    },
    deployed=lambda app, s: (["granian", "--interface", s.interface, "--port", "8000"], [app]),
    signals={"reload": signal.SIGHUP, "stop": signal.SIGTERM},
    recycling=Recycling.NEVER,
    nearest=lambda s: replace(s, backlog=max(128, s.backlog)),
)

UWSGI = FieldServer(
    name="uwsgi",
    module="pyuwsgi",
    distribution="pyuwsgi",
    refusals=((r"unable to load app \d+", 1), (r"DAMN ! worker \d+ .*died", 3)),
    classes={
        "gthread": WorkerClass(
            Dispatch.ONE_BY_ONE,
            timeout_kills=True,
            closes=True,
            says="threads that accept for themselves, a connection for each request",
        )
    },
    usual=True,
    settings={
        "workers": Meaning("processes", "The same.", _whole("workers")),
        "threads": Meaning("threads", "Requests in one process at a time.", _whole("threads")),
        "timeout": Meaning(
            "harakiri",
            "Longest one request may take, in every mode; the whole process is killed, with the "
            "requests of its other threads.",
            _positive("timeout"),
        ),
        "graceful_timeout": Meaning(
            "worker-reload-mercy",
            "Longest a worker may take to go; it is killed then.",
            _positive("graceful_timeout"),
            _kept_mercy,
        ),
        "keepalive": Meaning(
            "", "http-socket ends each connection after its answer; a proxy in front keeps them."
        ),
        "max_requests": Meaning(
            "max-requests", "The same; all workers may go at once.", _positive("max_requests")
        ),
        "max_requests_jitter": Meaning(
            "max-requests-delta",
            "Not at random: the delta times the worker's number is added. The option gets the "
            "jitter divided by the workers, so that the last one has all of it.",
            lambda s: (
                str(math.ceil(s.max_requests_jitter / s.workers))
                if _jitter(s) is not None
                else None
            ),
            _shares,
        ),
        "preload_app": Meaning(
            "lazy-apps",
            "The other way round: uWSGI imports before it forks unless lazy-apps is set.",
            lambda s: None if s.preload_app else "",
        ),
        "backlog": Meaning(
            "listen",
            "The same; more than net.core.somaxconn and it refuses to start.",
            lambda s: str(min(s.backlog, _somaxconn())),
            _cut,
        ),
        "worker_connections": Meaning("", "A connection has a thread, so threads limit them."),
    },
    deployed=IniFile(
        "uwsgi.ini",
        "uwsgi --ini uwsgi.ini",
        "[uwsgi]\n"
        "# It was measured with http-socket; behind nginx it may be socket.\n"
        "http-socket = 127.0.0.1:8000\nmodule = {application}\n",
    ),
    signals={"reload": signal.SIGHUP, "stop": signal.SIGTERM, "stop_now": signal.SIGQUIT},
    preloads=True,
    nearest=_shared_out,
    fixed=(
        ("master", "", "without it nobody replaces a worker"),
        ("need-app", "", "an app that does not boot is the end, not a server that answers 500"),
        ("enable-threads", "", "else the app's own threads do not run"),
        ("min-worker-lifetime", "1", "by default max-requests waits until a worker is 60 s old"),
        ("disable-logging", "", "a line for each request is for the proxy to write"),
        (
            "add-header",
            "Connection: close",
            "http-socket ends each connection without a word, and clients that keep them lose "
            "requests",
        ),
        (
            "hook-master-start",
            "unix_signal:15 gracefully_kill_them_all",
            "TERM reloads by default, and with die-on-term loses what is in hand",
        ),
    ),
)

MOD_WSGI = FieldServer(
    name="mod_wsgi",
    module="mod_wsgi",
    distribution="mod_wsgi",
    refusals=((r"Unable to execute Python script file", 1), (r"child pid \d+ exit signal", 3)),
    classes={
        # to its daemons each request comes over a connection of its own
        "gthread": WorkerClass(
            Dispatch.ONE_BY_ONE,
            says="Apache takes the connections, daemon processes with threads run the app",
        )
    },
    longest_request_s=lambda s: s.timeout * (1 + math.log(s.threads)),
    settings={
        "workers": Meaning(
            "processes", "Daemon processes, beside Apache's own.", _whole("workers")
        ),
        "threads": Meaning("threads", "Requests in one daemon at a time.", _whole("threads")),
        "timeout": Meaning(
            "request-timeout",
            "How long a request may take with one thread; with n threads 1 + ln(n) times as long. "
            "Then the whole process is replaced.",
            _whole("timeout"),
        ),
        "graceful_timeout": Meaning(
            "graceful-timeout",
            "Only for a process that has reached maximum-requests: how long it may go on. TERM "
            "gives no time.",
            _whole("graceful_timeout"),
        ),
        "keepalive": Meaning(
            "keep-alive-timeout",
            "Between the client and Apache; it keeps no thread of the app.",
            _whole("keepalive"),
        ),
        "max_requests": Meaning("maximum-requests", "The same.", _positive("max_requests")),
        "max_requests_jitter": Meaning("", "There is none: all workers may go at once."),
        "preload_app": Meaning("", _NO_PRELOAD),
        "backlog": Meaning("server-backlog", "Apache's; the daemons have 100.", _whole("backlog")),
        "worker_connections": Meaning("", "Apache's max-clients is left as it is."),
    },
    deployed=lambda app, s: (
        ["mod_wsgi-express", "start-server", "--application-type=module", "--port=8000"],
        [*_callable_object(app), app.partition(":")[0]],
    ),
    signals={"reload": signal.SIGHUP, "stop": signal.SIGTERM},
    drains=False,
    nearest=lambda s: replace(s, max_requests_jitter=0),
    remarks=(
        "It needs Apache (Debian: apache2-bin, to install apache2-dev). Started as root, its "
        "daemons run as www-data, and need an interpreter and an app that www-data can read.",
        "Its module is linked with the library of one Python. pip may install one that it built "
        "for another Python of the same version; --no-cache-dir builds it anew.",
    ),
)

SERVERS: dict[str, FieldServer] = {
    server.name: server for server in (UVICORN, HYPERCORN, WAITRESS, GRANIAN, UWSGI, MOD_WSGI)
}
# Those that read gunicorn.conf.py; their settings are as they are called.
_CONFIGURED: Mapping[str, Server] = {server.name: server for server in (EMBEDDED, GUNICORN)}


def find(name: str) -> Server:
    """The server of that name. Raises KeyError."""
    return _CONFIGURED[name] if name in _CONFIGURED else SERVERS[name]


def every() -> tuple[Server, ...]:
    """All servers, the embedded one first."""
    return (*_CONFIGURED.values(), *SERVERS.values())


def ini_files() -> tuple[str, ...]:
    """Names of the files of options to deploy."""
    files = (server.deployed for server in SERVERS.values())
    return tuple(file.name for file in files if isinstance(file, IniFile))


@dataclass(frozen=True)
class Offer:
    """The settings that a server accepts. ``most_workers`` None: any number."""

    most_workers: int | None = None
    sync: bool = True  # a worker class beside gthread
    preloads: bool = True


def offer(name: str) -> Offer:
    """Return the settings that the server of that name accepts. Raises KeyError."""
    server = find(name)
    return Offer(server.most_workers, "sync" in server.classes, server.preloads)
