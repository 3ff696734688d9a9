"""A rule of findings, and all that it may look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pretune.advisor.demand.breakdown import FEWEST_LOOKS
from pretune.advisor.demand.values import EndpointDemand
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.run import Run

Evidence = dict[str, Any]


@dataclass(frozen=True)
class FindingContext:
    """A run, and what was known before load; None where it ended before that."""

    run: Run
    facts: Facts | None = None

    @property
    def debug(self) -> bool:
        """True while the app's debug mode is on: what it keeps and how slow it is, is not the
        app's."""
        return self.facts is not None and self.facts.debug

    @property
    def trials(self) -> tuple[Measurement, ...]:
        return tuple(t.measurement for t in self.run.trials)

    @property
    def judged(self) -> tuple[Measurement, ...]:
        """The trials whose errors speak of the answer: without preloaded ones where the app must
        not be loaded before the fork, which is a finding of its own."""
        return tuple(
            t for t in self.trials if not (self.run.preload_hindrance and t.settings.preload_app)
        )

    def trial(self, role: Role) -> Measurement | None:
        """The last of that role."""
        return next((t for t in reversed(self.trials) if t.role is role), None)

    @property
    def asgi(self) -> bool:
        return self.run.target is not None and self.run.target.interface == "asgi"

    @property
    def framework(self) -> str:
        return self.run.target.framework if self.run.target else ""

    @property
    def endpoints(self) -> tuple[EndpointDemand, ...]:
        return self.run.demand.by_endpoint if self.run.demand else ()

    def largest(self, measure: Callable[[EndpointDemand], float]) -> EndpointDemand | None:
        """The endpoint with the largest; one that was never served has no number to compare."""
        finite = [e for e in self.endpoints if math.isfinite(measure(e))]
        return max(finite, key=measure, default=None)

    def line(self, endpoint: str, *kinds: str) -> Evidence:
        """The line at which the endpoint spends most of this kind, with its part; {} if unknown.

        Of lines that have as much, one of the user's own says more than a library's.
        """
        breakdown = self.run.breakdown
        endpoint_breakdown = breakdown.endpoint(endpoint) if breakdown else None
        lines = [
            line
            for line in (endpoint_breakdown.lines if endpoint_breakdown else ())
            if line.kind in kinds
        ]
        best = max(lines, key=lambda line: (line.own, line.looks), default=None)
        if best is None or best.looks < FEWEST_LOOKS:
            return {}
        what = "CPU" if best.kind == "cpu" else "waiting"
        return {"line": f"{best.shown} ({best.fraction.value:.0%} of its {what})"}

    def place(self, endpoint: EndpointDemand | None, *kinds: str) -> Evidence:
        """The endpoint's name, and that line of it."""
        if endpoint is None:
            return {"endpoint": "unknown"}
        return {"endpoint": endpoint.name, **self.line(endpoint.name, *kinds)}


# What a fix calls a thing -> its name in a framework; "" in all others.
HINTS: Mapping[str, Mapping[str, str]] = {
    "debug_off": {"django": "DEBUG = False", "flask": "no debug=True", "": "debug=False"},
    "related_rows": {
        "django": "select_related, prefetch_related",
        "": "a join; with SQLAlchemy selectinload",
    },
    "no_transaction": {"django": " (no ATOMIC_REQUESTS on such views)", "": ""},
    "no_cursors": {"django": "; DISABLE_SERVER_SIDE_CURSORS = True", "": ""},
}


def hints(framework: str) -> dict[str, str]:
    """The words of fixes in the app's own framework."""
    return {name: words.get(framework, words[""]) for name, words in HINTS.items()}


@dataclass(frozen=True)
class Rule:
    """One finding as a row of a table.

    ``evidence``: what was measured of it, each value with its unit at the end of its name; None
    where the rule does not apply. ``title`` and ``fix`` are sentences that quote the evidence by
    those names; ``diagnose`` makes the numbers readable.
    """

    id: str
    severity: str
    evidence: Callable[[FindingContext], Evidence | None]
    title: str
    fix: str
