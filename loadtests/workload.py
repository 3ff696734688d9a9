"""The traffic of a trial: endpoints with shares, and the users that send it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Endpoint:
    """One route. ``name`` is its pattern (``/product/<int:pk>/``); ``paths`` are dealt by their
    ``weights``, evenly where there are none.

    ``share`` is this endpoint's part of all requests, all shares together 1. ``headers`` are sent
    with its requests alone, unless the workload has a field of that name.
    """

    name: str
    paths: tuple[str, ...]
    share: float
    method: str = "GET"
    weights: tuple[float, ...] = ()  # how often each of the paths is asked for, relative
    headers: tuple[tuple[str, str], ...] = ()
    tried_s: float = 0.0  # that an answer took when it was tried, with nobody else; 0: not known


@dataclass(frozen=True)
class Skipped:
    """A route that is not part of the workload, and why ("redirects to /login/", "answers 500")."""

    name: str
    reason: str
    broken: bool = False  # the application failed, rather than refused or redirected


@dataclass(frozen=True)
class Coverage:
    """The part of what the application offers that is in the workload.

    Routes that are no part of any load, as static files and the admin site, are not counted.
    ``root`` says why ``/`` is not measured, "" when it is. ``listed`` is false where routes, or
    some of them, cannot be listed: pages were then found by links, sitemap and OpenAPI document.
    """

    measured: int
    known: int
    listed: bool = True
    root: str = ""


@dataclass(frozen=True)
class UserTask:
    """A task of a class of users, ``Section.read`` within a set of tasks. ``share``: its part of
    all turns, None where it does not follow from the weights alone."""

    name: str
    weight: int
    share: float | None


@dataclass(frozen=True)
class UserClass:
    """A class of a locustfile. ``fixed``: its weight is a ``fixed_count``; ``begins``: it has an
    ``on_start``; ``share``: its part of all turns, None where a trial has to show how long they
    take."""

    name: str
    weight: float
    fixed: bool
    wait: str
    begins: bool
    share: float | None
    tasks: tuple[UserTask, ...]


@dataclass(frozen=True)
class Workload:
    """``endpoints[i]`` has telemetry number ``i + 1``; 0 means a request outside the workload."""

    endpoints: tuple[Endpoint, ...]
    headers: tuple[tuple[str, str], ...] = ()  # Host, X-Forwarded-Proto, ... sent with each
    skipped: tuple[Skipped, ...] = ()
    source: str = "discovered"  # "discovered" | "paths" | "file" | "locustfile" | "log"
    assumption: str = ""  # "equal shares of 7 routes"; empty when the user said the shares
    locustfile: Path | None = None
    coverage: Coverage | None = None  # of a discovered one
    # so slow that they would starve the others: no part of the trials, measured by themselves, with
    # the shares that they would have of all requests
    apart: tuple[Endpoint, ...] = ()
    users: tuple[UserClass, ...] = ()  # of a locustfile
    kept: bool = False  # arrivals of an open load share connections that are kept open
    peak_rps: float | None = None  # of these endpoints in the busiest minute of an access log
    peak_at: str = ""  # that minute, UTC


@dataclass(frozen=True)
class Load:
    """A closed load: ``users`` each send, wait for the answer, think, send again. The users of a
    locustfile think as they are told there, if ``think_s`` is above 0 at all.

    With ``rps`` an open one: Poisson arrivals at that rate, each on a connection of its own unless
    the workload keeps them, each counted from its intended start; ``users`` then means nothing.
    ``ramp_s``: seconds over which the users begin, each at a random moment.
    """

    users: int
    duration_s: float
    seed: int = 1
    think_s: float = 0.0
    rps: float | None = None
    ramp_s: float = 0.0

    @property
    def shown(self) -> str:
        """``8 users``, ``120 requests/s``."""
        if self.rps is not None:
            return f"{self.rps:.3g} requests/s"
        return f"{self.users} user{'' if self.users == 1 else 's'}"
