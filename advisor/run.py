"""The value a run becomes: what was known, measured, concluded, judged and diagnosed.

Writers, judges and rules read it; none of them is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pretune.advisor.demand.allocation_sites import Holders
from pretune.advisor.demand.allocators import Saving
from pretune.advisor.demand.apart import SlowRoute
from pretune.advisor.demand.breakdown import Breakdown
from pretune.advisor.demand.values import Demand, Kind, ServerCost
from pretune.advisor.model.extrapolation import Extrapolation
from pretune.advisor.model.lock import OwnLock
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.shown import Shown
from pretune.advisor.preflight.target import Target
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation.fleet import Fleet
from pretune.advisor.recommendation.today import Today
from pretune.advisor.recommendation.values import Baseline, Candidate, Recommendation
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.resources.postgres import PostgresLimits
from pretune.advisor.reverse_proxy.values import Fronted
from pretune.advisor.verdict import Verdict
from pretune.loadtests.workload import Workload
from pretune.server.settings import Settings

SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True)
class Failure:
    """Why a run ended without an answer. ``traceback`` is the user's own, or empty."""

    kind: str
    message: str
    traceback: str = ""
    log_tail: str = ""


@dataclass(frozen=True)
class Trial:
    """A measurement and, where the model was asked before the trial ran, its prediction."""

    measurement: Measurement
    predicted: Prediction | None = None


@dataclass(frozen=True)
class Row:
    """One quantity of a verification, judged: the only place where it is decided.

    ``limit``: the predicted interval, or the most there may be. ``kept`` None: cannot be said. What
    is not ``promised`` is shown and decides nothing. ``sentence``: why where it was not kept,
    or why that cannot be said. The unit is in the name.
    """

    name: str
    limit: Interval | float
    value: Interval | float
    kept: bool | None
    promised: bool = True
    sentence: str = ""


@dataclass(frozen=True)
class Verification:
    """The recommended settings, run, and what became of each prediction and promise.

    ``trial`` at the claimed load, ``half`` at half of it on the same server; None: ``why_no_half``.
    """

    trial: Trial
    rows: tuple[Row, ...]
    p95_s: float | None = None  # the SLO's, in this machine's time; None: as it stands
    worker_class: str = ""  # the server's own name for it
    half: Trial | None = None
    half_rows: tuple[Row, ...] = ()
    why_no_half: str = ""

    @property
    def disturbed(self) -> str:
        """The disturbance at either load; "" where there was none."""
        trials = (self.trial, *filter(None, (self.half,)))
        return next((t.measurement.disturbed for t in trials if t.measurement.disturbed), "")

    @property
    def promised(self) -> tuple[Row, ...]:
        """The rows of both loads that decide whether it holds."""
        return tuple(row for row in (*self.rows, *self.half_rows) if row.promised)

    @property
    def misses(self) -> tuple[str, ...]:
        """The promises that were not kept; empty when the verification holds."""
        return tuple(row.sentence for row in self.promised if row.kept is False)

    @property
    def not_shown(self) -> tuple[str, ...]:
        """The promises that can be called neither kept nor broken, each with the reason."""
        return tuple(row.sentence for row in self.promised if row.kept is None)

    @property
    def holds(self) -> bool:
        """True where every promise was measured and kept, at the claimed load and at half of it."""
        return bool(self.rows) and all(row.kept for row in self.promised)


@dataclass(frozen=True)
class Headline:
    """The rate that the run answers with. ``source``: "prediction", or "verification" after a miss.
    ``better``: a trial of another arrangement that surely carried more than was verified."""

    settings: Settings
    throughput_rps: Interval
    p95_s: Interval
    source: str
    better: Shown | None = None


@dataclass(frozen=True)
class Finding:
    """One diagnosed problem.

    ``id`` is stable and kebab-case; ``evidence`` holds measured numbers, unit in the name.
    """

    id: str
    severity: str
    title: str
    evidence: dict[str, Any]
    fix: str


@dataclass(frozen=True)
class Run:
    """All that is known at the end of a run, however far it came."""

    spec: str
    seed: int
    verdict: Verdict
    target: Target | None = None
    budget: Budget | None = None
    slo: Slo | None = None
    slo_source: str = ""
    workload: Workload | None = None
    boot_memory: Mapping[str, Any] | None = None  # as the inspection weighed it
    demand: Demand | None = None
    extrapolation: Extrapolation | None = None  # from the trials to the budget's machine
    breakdown: Breakdown | None = None
    own_lock: OwnLock | None = None  # of the application, where one shows
    preload_hindrance: str = ""  # why it must not be loaded before the fork
    trials: tuple[Trial, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    recommendation: Recommendation | None = None
    fleet: Fleet | None = None  # where the answer is for several instances
    verification: Verification | None = None
    headline: Headline | None = None
    baselines: tuple[Baseline, ...] = ()
    today: Today | None = None  # what is deployed
    findings: tuple[Finding, ...] = ()
    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    slow: tuple[SlowRoute, ...] = ()  # routes that have had a trial of their own
    holders: Holders | None = None  # of what leaks
    allocators: tuple[Saving, ...] = ()  # what was tried
    cpu_steal: float | None = None
    database: PostgresLimits | None = None
    server: str = ""  # the one the answer is for, with its version
    server_costs: Mapping[Kind, ServerCost] = field(default_factory=dict)
    front: Fronted | None = None  # what stands in front of the server
    files: Mapping[str, str] = field(default_factory=dict)

    def with_learned(self, learned: Holders | Saving | None) -> Run:
        """With what a follow-up trial told of the memory."""
        if isinstance(learned, Saving):
            return replace(self, allocators=(*self.allocators, learned))
        return self if learned is None else replace(self, holders=learned)

    def with_notes(self, *notes: str) -> Run:
        return replace(self, notes=(*self.notes, *notes))
