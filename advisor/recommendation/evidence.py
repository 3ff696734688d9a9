"""Evidence for a setting: what its method needs, what the run had, and what is kept where it lacks.

A value that lets less through than what is in force (a shorter timeout, a shorter queue, no
recycling any more) is advice only where enough requests of every route stand behind it: what was
not measured may need more. One that lets more through needs the requests, not the routes. Where the
evidence lacks, what is deployed today stays, without a today the server's default. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pretune.advisor.demand.values import EndpointDemand
from pretune.advisor.deployed.grammar import GRAMMARS
from pretune.advisor.deployed.value import Setting
from pretune.advisor.model.question import Routes
from pretune.advisor.recommendation import tail
from pretune.server.settings import Settings

# Of a route in the demand trial; fewer do not show how long it may take.
FEWEST_OF_A_ROUTE = 20
# So many requests have those beyond their 95% point that a tail is fitted to.
FOR_A_TAIL = math.ceil(tail.FEWEST_EXCESSES / tail.EXCESSES)
FOR_A_RATE = 100


@dataclass(frozen=True)
class Method:
    """The way to a setting's value. ``requests`` of the demand trial that it takes; ``off``: the
    setting at 0 lets everything through; ``more``: a larger value is the one to be careful with."""

    says: str
    requests: int = 0
    off: bool = False
    more: bool = False


METHODS: Mapping[str, Method] = {
    "timeout": Method("tail of request times", FOR_A_TAIL, off=True),
    "graceful_timeout": Method("tail of request times and the time to stop", FOR_A_TAIL),
    "keepalive": Method("descriptors in use"),
    "max_requests": Method("growth of memory per request", off=True, more=True),
    "backlog": Method("arrivals of one boot", FOR_A_RATE),
    "worker_connections": Method("descriptors in use"),
}


@dataclass(frozen=True)
class Evidence:
    """``derived``: what the method gives, None where it gives nothing; ``kept``: whose value stands
    instead, "" where the derived one does."""

    method: str
    needed_requests: int
    requests: int
    routes_measured: int
    routes_known: int | None
    derived: float | None
    kept: str = ""
    lacks: str = ""


@dataclass(frozen=True)
class Seen:
    """The traffic that the run measured: requests of the demand trial, and the routes."""

    requests: int
    routes: Routes
    few: tuple[str, ...] = ()  # routes with too few requests

    @property
    def unmeasured(self) -> str:
        """Say which routes are missing; "" where none is."""
        known, measured = self.routes.known, self.routes.measured
        if known is None:
            return "only the routes that were named were measured"
        missing = known - measured
        if missing > 0:
            return f"{missing} of {known} known routes {_were(missing)} not measured"
        if not self.routes.listed:
            return "not all routes can be listed"
        if self.few:
            return (
                f"{len(self.few)} of {measured} routes had fewer than {FEWEST_OF_A_ROUTE} requests"
            )
        return ""


def see(requests: int, routes: Routes, by_endpoint: tuple[EndpointDemand, ...]) -> Seen:
    few = tuple(e.name for e in by_endpoint if e.requests < FEWEST_OF_A_ROUTE)
    return Seen(requests, routes, few)


@dataclass(frozen=True)
class InForce:
    """The value that stays where nothing better is known. ``whose``: "today" or "default"."""

    value: float
    where: str
    whose: str

    @property
    def words(self) -> str:
        return f"today's {{}} ({self.where})" if self.whose == "today" else f"{self.where} of {{}}"


def in_force(name: str, server: str, deployed: Mapping[str, Setting]) -> InForce:
    """Today's value of a setting where it is known, else the server's default."""
    setting = deployed.get(name)
    if setting is not None and isinstance(setting.value, int | float):
        whose = "default" if setting.where.endswith("default") else "today"
        return InForce(setting.value, setting.where, whose)
    grammar = GRAMMARS.get(server)
    value = grammar.defaults.get(name) if grammar is not None else None
    value = getattr(Settings(), name) if value is None else value
    return InForce(value, f"{server}'s default" if grammar else "the server's default", "default")


def weigh(name: str, derived: float | None, seen: Seen, force: InForce) -> Evidence:
    """Decide whether the derived value of a setting stands. ``derived`` None: there is none."""
    method = METHODS[name]
    lacks = ""
    if derived is None or seen.requests < method.requests:
        lacks = f"{seen.requests} requests are too few for it, {method.requests} are needed"
    elif _lets_less(method, derived, force.value):
        lacks = seen.unmeasured
    return Evidence(
        method.says,
        method.requests,
        seen.requests,
        seen.routes.measured - len(seen.few),
        seen.routes.known,
        derived,
        force.whose if lacks else "",
        lacks,
    )


def _lets_less(method: Method, derived: float, force: float) -> bool:
    """Say whether the derived value is the one to be careful with."""
    if method.off:
        derived, force = derived or math.inf, force or math.inf
    return derived > force if method.more else derived < force


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
