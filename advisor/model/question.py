"""The question that every predictor answers: an application, the machine that runs it, and what has
to hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pretune.advisor.demand.values import Demand
from pretune.advisor.deployed.value import Setting
from pretune.advisor.model.calibration import Calibration
from pretune.advisor.model.shown import Shown
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.resources.budget import Budget, Slo
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Routes:
    """The part of the application's routes that the traffic has. ``known`` None: whoever named them
    did not say that they are all. ``listed``: none is missing that nobody could list."""

    measured: int = 0
    known: int | None = 0
    listed: bool = True


@dataclass(frozen=True)
class Question:
    """``demand``, ``calibration`` and ``conditions`` are of the machine asked about.

    ``slo.rps``: the rate to carry, None for as much as can be. ``budget.pg_connections`` is for all
    ``budget.instances``. ``conditions.generator_cpu_s_per_request`` 0: the generator costs nothing
    there. ``calibration`` None: the model's own error is the usual one. ``think_s``: seconds that
    users let pass. ``arrivals``: the load is open, Poisson arrivals instead of users. ``today``:
    what is deployed, as the model takes it; ``deployed``: its settings as they were read.
    ``preload_hindrance``: why the app must not be loaded before the fork, "" where nothing speaks
    against it. ``debug``: the app's debug mode is on.
    ``apart_s``: of the slowest request that no trial was sent, 0 where all were. ``framework``: the
    app's, "" where it is not known.
    """

    demand: Demand
    budget: Budget
    slo: Slo
    conditions: Conditions
    interface: str = "wsgi"
    calibration: Calibration | None = None
    think_s: float = 0.0
    arrivals: bool = False
    seed: int = 1
    today: Settings | None = None
    preload_hindrance: str = ""
    debug: bool = False
    apart_s: float = 0.0
    framework: str = ""
    deployed: Mapping[str, Setting] = field(default_factory=dict)
    routes: Routes = Routes()
    shown: tuple[Shown, ...] = ()  # by trials on the answer's server

    @property
    def p95_s(self) -> float:
        """The p95 to keep, in seconds."""
        return self.slo.p95_of(self.demand.unloaded_p95_s)
