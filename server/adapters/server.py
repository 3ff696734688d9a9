"""A server as all else must know it: how its workers serve, and what gunicorn's settings are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from pretune.server.settings import WORKER_CLASSES, Settings

# What a server does that has no such setting.
_NOTHING: Mapping[str, object] = {
    "workers": 1, "threads": 1, "timeout": 0, "max_requests": 0, "max_requests_jitter": 0,
    "preload_app": False,
}  # fmt: skip
# What a setting is worth on a server's command line; None: it is not given.
Value = Callable[[Settings], "str | None"]


class Dispatch(Enum):
    """The way in which connections and requests reach the workers.

    ``SHARED_QUEUE``: a request waits in the shared backlog until a slot is idle, and the slot that
    takes a connection goes to the end of the line. ``ONE_BY_ONE``: a slot accepts when it is idle,
    each request over a connection of its own. ``FIRST_AWAKE``: of the workers whichever wakes first
    takes a connection at once, busy or not, and keeps it (gunicorn#908, #3433). ``THREAD_POOL``:
    the same, and a worker's threads take requests from a queue that gives without waiting.
    ``ANY_WORKER``: the same as ``FIRST_AWAKE``, by threads that accept without the interpreter.
    """

    SHARED_QUEUE = "shared queue"
    ONE_BY_ONE = "one by one"
    FIRST_AWAKE = "first awake"
    THREAD_POOL = "thread pool"
    ANY_WORKER = "any worker"


class Recycling(Enum):
    """An end of a worker that has served ``max_requests``, and what comes after it."""

    OVERLAPS = "a new worker is ready before the old one goes"
    REPLACES = "a new worker is started when the old one has gone"
    ENDS = "the server ends, and nothing of it is left to start it again"
    NEVER = "no worker is ever replaced for its requests"


@dataclass(frozen=True)
class WorkerClass:
    """The treatment of connections and requests by workers of a class.

    ``timeout_kills``: a request that takes longer than ``timeout`` is ended; elsewhere it is a
    heartbeat, or how long the loop may stand still. ``closes``: each connection ends after its
    answer, whatever ``keepalive`` says. ``says``: what is run, for docs/SERVERS.md. ``timeout``:
    the setting's effect in a clause, where the server has it by gunicorn's name.
    """

    dispatch: Dispatch
    timeout_kills: bool = False
    closes: bool = False
    says: str = ""
    timeout: str = ""


def _always(settings: Settings) -> str:
    return ""


def _as_it_is(settings: Settings) -> Settings:
    return settings


@dataclass(frozen=True)
class Meaning:
    """The meaning of one of gunicorn's settings on another server.

    ``option``: its name there, "" where it does not exist; ``says``: what it really does, or what
    happens instead; ``value`` None: it is never given. ``hindrance``: of settings that the option
    cannot say, the reason and what follows; "" where it says what is set.
    """

    option: str
    says: str
    value: Value | None = None
    hindrance: Callable[[Settings], str] = _always


@dataclass(frozen=True)
class IniFile:
    """A file of options, for a server that is deployed so. ``head``: lines before the options, with
    ``{application}``; ``command``: what starts the server with the file."""

    name: str
    command: str
    head: str


# (application, settings) -> words of the command to deploy before the options, and after them
Words = Callable[[str, Settings], "tuple[list[str], list[str]]"]


@dataclass(frozen=True, kw_only=True)
class Server:
    """The facts about a server that the model, the trials and nginx's file depend on.

    ``most_workers`` None: any number. ``recycling``: at ``max_requests``; ``recycling_alone``: with
    one worker, None: the same. ``longest_request_s``: what it makes of ``timeout``, where that is
    above 0. ``usual``: it is taken to be installed before anybody has looked.
    """

    name: str
    classes: Mapping[str, WorkerClass]
    most_workers: int | None = None
    preloads: bool = False
    recycling: Recycling = Recycling.REPLACES
    recycling_alone: Recycling | None = None
    longest_request_s: Callable[[Settings], float] = lambda settings: settings.timeout
    usual: bool = False

    @property
    def interfaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(WORKER_CLASSES[kind] for kind in self.classes))

    def keeps_connections(self, settings: Settings) -> bool:
        """Return whether a connection can be used for a second request."""
        workers = self.classes.get(settings.worker_class)
        return settings.keepalive > 0 and not (workers and workers.closes)

    def recycling_of(self, workers: int) -> Recycling:
        """The effect of ``max_requests`` with so many workers."""
        alone = self.recycling_alone if workers == 1 else None
        return alone or self.recycling

    def recycles(self, workers: int) -> bool:
        """True where a worker that has reached ``max_requests`` is replaced."""
        return self.recycling_of(workers) in (Recycling.OVERLAPS, Recycling.REPLACES)

    def attainable(self, settings: Settings) -> Settings:
        """The settings that come nearest to these and that the server can have: without a limit at
        which nobody replaces the worker, without a preload that there is not."""
        if not self.recycles(settings.workers):
            settings = replace(settings, max_requests=0, max_requests_jitter=0)
        if not self.preloads:
            settings = replace(settings, preload_app=False)
        return settings

    def impossible(self, settings: Settings) -> dict[str, str]:
        """Setting -> why the server does not have it as it is set, and what follows."""
        return {}


@dataclass(frozen=True, kw_only=True)
class FieldServer(Server):
    """A server that reads no gunicorn.conf.py: what gunicorn's settings are there.

    ``signals``: by the names of launch.SIGNALS. ``single``: those of one worker, where the server
    then has no master. ``fixed``: options that are always given, with their reason. ``deployed``:
    the file of options, or the command that people start it with. ``refusals``: of servers that
    stay up without the app. ``nearest``: settings -> the nearest that its options can say.
    """

    module: str
    distribution: str
    settings: Mapping[str, Meaning]
    signals: Mapping[str, int]
    deployed: Words | IniFile
    single: Mapping[str, int] | None = None
    drains: bool = True  # surely answers at "stop" what it has begun
    fixed: tuple[tuple[str, str, str], ...] = ()  # (option, value, why)
    remarks: tuple[str, ...] = ()
    refusals: tuple[tuple[str, int], ...] = ()  # see launch.ServerKind
    nearest: Callable[[Settings], Settings] = _as_it_is

    @property
    def install(self) -> str:
        return f"pip install {self.distribution}"

    def signals_of(self, settings: Settings) -> Mapping[str, int]:
        return self.single if self.single is not None and settings.workers == 1 else self.signals

    def attainable(self, settings: Settings) -> Settings:
        return self.nearest(super().attainable(settings))

    def impossible(self, settings: Settings) -> dict[str, str]:
        found = {}
        for name, meaning in self.settings.items():
            absent = not meaning.option and getattr(settings, name) != _NOTHING.get(name)
            hindrance = meaning.says if absent else meaning.hindrance(settings)
            if hindrance:
                found[name] = hindrance
        return found

    def options(self, settings: Settings) -> list[tuple[str, str]]:
        """(option, value) of all that it can be told, the value "" for a switch."""
        given = [(option, value) for option, value, _ in self.fixed]
        for meaning in self.settings.values():
            value = meaning.value(settings) if meaning.value is not None else None
            if value is not None:
                given.append((meaning.option, value))
        return given

    def flags(self, settings: Settings) -> list[str]:
        """The same as words of a command line."""
        words = []
        for option, value in self.options(settings):
            words += [f"--{option}", value] if value else [f"--{option}"]
        return words
