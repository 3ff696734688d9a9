"""Who is measured, and the command that starts each: one worker, no access log.

A row is a name, the interface, how many requests may be inside the app at once, and the command.
Whoever shares interface and threads is compared with the same reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pretune.server

APPS = Path(__file__).with_name("apps")
BOOTSTRAP = Path(pretune.server.__file__).with_name("bootstrap.py")

WSGI = "trivial_wsgi:application"
ASGI = "trivial_asgi:application"


@dataclass(frozen=True)
class Place:
    """Where a server is started: the environment's programs, a free port, an empty directory."""

    bin: Path
    port: int
    scratch: Path
    workers: int = 1
    bootstrap: Path = BOOTSTRAP  # of the tree that is measured

    @property
    def bind(self) -> str:
        return f"127.0.0.1:{self.port}"


Command = Callable[[Place], list[str]]


@dataclass(frozen=True)
class Contender:
    name: str
    interface: str  # wsgi, asgi
    threads: int
    command: Command
    note: str = ""
    closes: bool = False  # ends every connection after one answer
    mute: bool = False  # ... without a word: wrk takes each end for a read error
    optional: bool = False  # only with --all
    tree: Path | None = None  # another checkout of ours

    @property
    def reference(self) -> str:
        if self.interface == "asgi":
            return "uvicorn httptools"
        return f"gunicorn gthread {4 if self.threads > 1 else 1}"


def pretune(
    worker_class: str, threads: int = 1, *, telemetry: bool = False, uvloop: bool = False
) -> Command:
    def command(place: Place) -> list[str]:
        line = [] if uvloop else ["env", f"PYTHONPATH={APPS / 'without_uvloop'}:{APPS}"]
        line += [str(place.bin / "python"), str(place.bootstrap), "serve"]
        line += [ASGI if worker_class == "asgi" else WSGI, "--bind", place.bind]
        line += ["--worker-class", worker_class, "--threads", str(threads)]
        line += ["--workers", str(place.workers)]
        if telemetry:
            line += ["--telemetry", str(place.scratch)]
        return line

    return command


def gunicorn(worker_class: str, threads: int = 1, app: str = WSGI) -> Command:
    def command(place: Place) -> list[str]:
        line = [str(place.bin / "python"), "-m", "gunicorn", "--no-control-socket"]
        line += ["--worker-class", worker_class, "--threads", str(threads)]
        return [*line, "--workers", str(place.workers), "--bind", place.bind, app]

    return command


def uvicorn(http: str, loop: str) -> Command:
    def command(place: Place) -> list[str]:
        line = [str(place.bin / "python"), "-m", "uvicorn", ASGI, "--port", str(place.port)]
        line += ["--http", http, "--loop", loop, "--no-access-log", "--log-level", "warning"]
        return [*line, "--workers", str(place.workers)] if place.workers > 1 else line

    return command


def uwsgi(socket: str, threads: int = 1) -> Command:
    def command(place: Place) -> list[str]:
        line = [str(place.bin / "uwsgi"), f"--{socket}", place.bind, "--master", "--need-app"]
        line += ["--module", WSGI, "--processes", str(place.workers), "--disable-logging"]
        line += ["--virtualenv", str(place.bin.parent), "--listen", "100", "--die-on-term"]
        return [*line, "--threads", str(threads)] if threads > 1 else line

    return command


def granian(interface: str, threads: int = 1, loop: str = "asyncio") -> Command:
    def command(place: Place) -> list[str]:
        line = [str(place.bin / "granian"), "--interface", interface, "--port", str(place.port)]
        line += ["--workers", str(place.workers), "--loop", loop, "--log-level", "warning"]
        if interface == "wsgi":
            line += ["--blocking-threads", str(threads)]
        return [*line, ASGI if interface == "asgi" else WSGI]

    return command


def waitress(threads: int) -> Command:
    def command(place: Place) -> list[str]:
        line = [str(place.bin / "waitress-serve"), "--threads", str(threads)]
        return [*line, "--listen", place.bind, WSGI]

    return command


def hypercorn(place: Place) -> list[str]:
    line = [str(place.bin / "hypercorn"), "--bind", place.bind]
    return [*line, "--workers", str(place.workers), "--log-level", "warning", ASGI]


def cheroot(place: Place) -> list[str]:
    line = [str(place.bin / "cheroot"), "--bind", place.bind, "--threads", "4"]
    return [*line, "--max-threads", "4", WSGI]


CONTENDERS = (
    Contender("pretune sync", "wsgi", 1, pretune("sync"), closes=True),
    Contender("pretune gthread 1", "wsgi", 1, pretune("gthread", 1)),
    Contender("pretune gthread 1 + telemetry", "wsgi", 1, pretune("gthread", 1, telemetry=True)),
    Contender("gunicorn sync", "wsgi", 1, gunicorn("sync"), closes=True),
    Contender("gunicorn gthread 1", "wsgi", 1, gunicorn("gthread", 1)),
    Contender("uwsgi http11-socket", "wsgi", 1, uwsgi("http11-socket")),
    Contender("uwsgi http-socket", "wsgi", 1, uwsgi("http-socket"), closes=True, mute=True),
    Contender("granian wsgi 1", "wsgi", 1, granian("wsgi", 1)),
    Contender("pretune gthread 4", "wsgi", 4, pretune("gthread", 4)),
    Contender("pretune gthread 4 + telemetry", "wsgi", 4, pretune("gthread", 4, telemetry=True)),
    Contender("gunicorn gthread 4", "wsgi", 4, gunicorn("gthread", 4)),
    Contender("uwsgi http11-socket 4", "wsgi", 4, uwsgi("http11-socket", 4), optional=True),
    Contender("granian wsgi 4", "wsgi", 4, granian("wsgi", 4)),
    Contender("waitress 4", "wsgi", 4, waitress(4)),
    Contender("cheroot 4", "wsgi", 4, cheroot, optional=True),
    Contender("pretune asgi", "asgi", 1, pretune("asgi")),
    Contender("pretune asgi + telemetry", "asgi", 1, pretune("asgi", telemetry=True)),
    Contender("pretune asgi uvloop", "asgi", 1, pretune("asgi", uvloop=True)),
    Contender(
        "pretune asgi uvloop + telemetry", "asgi", 1, pretune("asgi", telemetry=True, uvloop=True)
    ),
    Contender("uvicorn httptools", "asgi", 1, uvicorn("httptools", "asyncio")),
    Contender("uvicorn httptools uvloop", "asgi", 1, uvicorn("httptools", "uvloop")),
    Contender("uvicorn h11", "asgi", 1, uvicorn("h11", "asyncio")),
    Contender(
        "gunicorn uvicorn-worker", "asgi", 1,
        gunicorn("uvicorn_worker.UvicornWorker", app=ASGI), "httptools and uvloop",
    ),
    Contender("gunicorn asgi", "asgi", 1, gunicorn("asgi", app=ASGI), optional=True),
    Contender("granian asgi", "asgi", 1, granian("asgi")),
    Contender("hypercorn", "asgi", 1, hypercorn, "h11", optional=True),
)  # fmt: skip

BY_NAME = {contender.name: contender for contender in CONTENDERS}


def beside(contenders: Sequence[Contender], tree: Path) -> list[Contender]:
    """Ours again, from another checkout: before a change, say."""
    return [
        replace(contender, name=f"{contender.name} ({tree.name})", tree=tree)
        for contender in contenders
        if contender.name.startswith("pretune")
    ]


# What we promise (issue "the embedded pre-fork server", DESIGN.md): ours, theirs, at least
AIMS = (
    ("pretune gthread 1 + telemetry", "gunicorn gthread 1", 5.0),
    ("pretune gthread 4 + telemetry", "gunicorn gthread 4", 5.0),
    ("pretune gthread 1 + telemetry", "uwsgi http11-socket", 3.0),
    ("pretune gthread 1 + telemetry", "granian wsgi 1", 0.8),
    ("pretune gthread 4 + telemetry", "granian wsgi 4", 0.8),
    ("pretune asgi + telemetry", "uvicorn httptools", 0.8),
    ("pretune asgi uvloop + telemetry", "uvicorn httptools uvloop", 0.8),
)
