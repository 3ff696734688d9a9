"""Which server a run measures on, and which one its answer is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pretune.advisor.failure import Refused
from pretune.server.adapters import catalogue, commands, embedded, gunicorn, hosted
from pretune.server.adapters.launch import Launch, RunningServer
from pretune.server.adapters.server import FieldServer
from pretune.server.hosted import under_gunicorn

EMBEDDED, GUNICORN = "embedded", "gunicorn"
START: Mapping[str, Callable[[Launch], RunningServer]] = {
    EMBEDDED: embedded.start,
    GUNICORN: gunicorn.start,
    **commands.STARTS,
}
NAMES = tuple(START)


@dataclass(frozen=True)
class Servers:
    """``measured``: of the trials before the answer. ``verified``: the one the answer is for."""

    measured: str = EMBEDDED
    verified: str = EMBEDDED
    version: str = ""  # of the verified one, where it has its own

    @property
    def differ(self) -> bool:
        return self.measured != self.verified

    @property
    def label(self) -> str:
        if self.verified == EMBEDDED:
            return "pretune (embedded)"
        return f"{self.verified} {self.version}".strip()

    def worker_class(self, kind: str) -> str:
        """The verified server's name for a worker class, as its configuration says it."""
        if self.verified != GUNICORN:
            return kind
        numbers = (int(part) for part in self.version.split(".")[:2] if part.isdigit())
        return under_gunicorn.worker_class(kind, tuple(numbers))


def choose(asked: str | None, interface: str, python: Path, deployed: str | None = None) -> Servers:
    """``asked``: everything happens there. Otherwise the trials run on the embedded server, which
    shows most, and the answer is for the server that is ``deployed``, else for the gunicorn of the
    app's environment, if it has one that can serve ``interface``. Raises Refused for a server that
    is asked for and not installed."""
    if asked == EMBEDDED:
        return Servers()
    if asked is not None and asked in catalogue.SERVERS:
        return _of_the_field(catalogue.SERVERS[asked], interface, python)
    if asked is None and deployed is not None and deployed in catalogue.SERVERS:
        try:
            deployed_there = _of_the_field(catalogue.SERVERS[deployed], interface, python)
        except Refused:
            pass  # as where nothing is known of the deployment
        else:
            return replace(deployed_there, measured=EMBEDDED)
    version = gunicorn.installed(python, interface)
    if version is not None:
        return Servers(asked or EMBEDDED, GUNICORN, version)
    if asked is None:
        return Servers()
    raise Refused(
        f"the app's environment has no gunicorn that serves {interface.upper()}; "
        f"{python} -m {gunicorn.INSTALL[interface]}"
    )


def _of_the_field(server: FieldServer, interface: str, python: Path) -> Servers:
    if interface not in server.interfaces:
        raise Refused(
            f"{server.name} serves {' and '.join(server.interfaces).upper()} only; "
            f"the app is {interface.upper()}"
        )
    version = hosted.installed(python, server.module, server.distribution)
    if version is None:
        raise Refused(
            f"{server.name} is not in the app's environment; {python} -m {server.install}"
        )
    hindrance = commands.hindrance(server.name, python)
    if hindrance:
        raise Refused(f"{server.name}: {hindrance}")
    return Servers(server.name, server.name, version)
