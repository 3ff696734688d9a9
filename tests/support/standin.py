"""A stored run, and stand-ins that give it back: a bench that measures nothing, and what is around.

``tests/advisor/stored/compute.json.gz`` holds what the accuracy bench measured of one application
on a quiet machine, thinned; ``compute.numbers.json`` what was concluded from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from pretune.advisor import saved
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.profiler.measurement import Conditions, Latency, Measurement, Role
from pretune.advisor.saved import Saved
from pretune.advisor.session import Session
from pretune.advisor.trials.bench import Sent
from pretune.advisor.workspace.cores import CorePlan
from pretune.loadtests import records
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

STORED = Path(__file__).parents[1] / "advisor" / "stored"
RUN, NUMBERS = STORED / "compute.json.gz", STORED / "compute.numbers.json"
# What a trial in some role is measured to be: the stored one, changed; or an error to raise.
Change = Mapping[str, Any] | Exception | Callable[[Measurement], Measurement]


def stored() -> Saved:
    return saved.read(RUN)


def preflight_of(facts: Facts) -> Preflight:
    known = {each.name: getattr(facts, each.name) for each in fields(Facts)}
    return Preflight(
        **known,
        environ={"SECRET_KEY": "unsaid"},
        database_url=None,
        database_urls=("postgresql://app:hidden@127.0.0.1/app",),
        core_plan=CorePlan(frozenset({0}), frozenset({1})),
    )


class Progress:
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.lines: list[str] = []

    def phase(self, name: str, detail: str = "", expected_s: float = 0.0) -> None:
        self.phases.append(name)

    def update(self, detail: str) -> None: ...

    def line(self, text: str) -> None:
        self.lines.append(text)


# Seconds of a request on the one core of each server of the stand-in.
SERVED_S = {"embedded": 0.00050, "gunicorn": 0.00055, "waitress": 0.00060}


@dataclass(frozen=True)
class Served:
    """Stands in for a server that still runs: one queue, whose latency grows with its users."""

    name: str
    request_s: float
    server: Any = field(default_factory=lambda: SimpleNamespace(exit_code=None))
    think_s: float = 0.0

    def send(self, load: Load, meanwhile: Callable[[], None] | None = None) -> Sent:
        cycle = load.users * self.request_s
        found = np.zeros(math.ceil(load.duration_s / self.request_s), records.dtype())
        found["start"] = np.arange(len(found)) * self.request_s - cycle
        found["wall"] = cycle
        found["status"] = 200
        result = SimpleNamespace(time_started=0.0, cpu_fraction=0.2)
        return Sent(found, cast("Any", result))


@dataclass
class StandIn:
    """A bench that gives each trial the stored measurement of its role.

    ``changes``: by role, or by name of trials without one; the last of several goes on.
    """

    known: Preflight
    changes: dict[str, list[Change]] = field(default_factory=dict)
    ran: list[tuple[str, str, Settings, Load]] = field(default_factory=list)
    closed: bool = False
    think_s: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)
    boots_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workload = self.known.workload
        observed = stored().observations
        self._by_role = {trial.role: trial for trial in observed.all()}
        # a verification that keeps its promises: as quick as one user's requests
        (server,) = observed.servers
        self._quick = replace(server, latency=observed.demand.latency, requests=2000)

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.ran]

    def conditions(self, server: str = "embedded", front: object = None) -> Conditions:
        return Conditions(1.0, 1.0, True, False, server=server)

    def run(
        self,
        name: str,
        settings: Settings,
        load: Load,
        *,
        role: Role | None = None,
        server: str = "embedded",
        further: Sequence[Load] = (),
        then: Callable[[Any], None] | None = None,
        **how: Any,
    ) -> Measurement:
        self.ran.append((name, server, settings, load))
        found = replace(
            self._by_role.get(role, self._quick),
            name=name,
            role=role,
            settings=settings,
            load=load,
            conditions=self.conditions(server),
        )
        planned = self.changes.get(role or name, [])
        change = planned[0] if planned else {}
        if len(planned) > 1:
            planned.pop(0)
        if isinstance(change, Exception):
            raise change
        found = change(found) if callable(change) else replace(found, **change)
        found = replace(found, further=tuple(replace(found, load=each) for each in further))
        if then is not None:
            then(Served(server, SERVED_S[server]))
        return found

    def close(self) -> None:
        self.closed = True


def late(measured: Measurement, factor: float = 30.0) -> Measurement:
    """Make every answer so many times as late."""
    latency = measured.latency
    scaled = {f.name: getattr(latency, f.name).scaled(factor) for f in fields(Latency)}
    return replace(measured, latency=Latency(**scaled))


def session_of(out: Path, **options: Any) -> Session:
    """A session in ``out`` whose preflight finds the facts of the stored run."""
    given = SimpleNamespace(
        location=SimpleNamespace(spec="compute"),
        seed=1,
        time_budget_s=60.0,
        front=None,
        sources={},
    )
    vars(given).update(options)
    workspace = SimpleNamespace(
        out=out,
        log=lambda name: out / f"{name}.log",
        directory=lambda name: out / name,
    )

    def find(
        options: Any, workspace: Any, progress: Any, learn: Callable[..., None], time_budget: Any
    ) -> Preflight:
        known = preflight_of(stored().facts)
        learn(known.environ)
        return known

    # dataclasses.replace takes a comparison's options apart; a namespace has none
    return Session(_Options(**vars(given)), workspace, find)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Options:
    location: Any
    seed: int
    time_budget_s: float
    front: None
    sources: Mapping[str, str]
    server: str | None = None
    rps: float | None = None
    instances: int | None = None
    cpu_factor: float | None = None


def spend(seconds: float, session: Session) -> None:
    """Let so much of the time budget be over."""
    session.time_budget.began = time.monotonic() - seconds
