"""One server of a comparison, and all that is known of it. Values only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pretune.advisor.comparison.contestants import Absent
from pretune.advisor.comparison.lifecycle import Lifecycle
from pretune.advisor.comparison.steps import Crossing, Step
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.run import Run
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Turn:
    """One server's part of one round: measured at the users that are alike for all, then steps."""

    trial: str
    measured: Measurement
    steps: tuple[Step, ...]
    crossing: Crossing | None


@dataclass(frozen=True)
class Entry:
    """``settings``: what was run, ``recommendation`` of this server for the cores that measured.

    ``alike``: predicted at the users that are alike for all. ``turns``: by round, None where a
    round gave nothing. ``failure``: why it was left out, or dropped out.
    """

    server: Servers
    settings: Settings | None = None
    recommendation: Recommendation | None = None
    alike: Prediction | None = None
    turns: tuple[Turn | None, ...] = ()
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    failure: str = ""

    @property
    def name(self) -> str:
        return self.server.verified

    @property
    def done(self) -> tuple[Turn, ...]:
        return tuple(turn for turn in self.turns if turn is not None)

    @property
    def at_least(self) -> bool:
        return any(t.crossing is not None and t.crossing.at_least for t in self.done)

    def by_round(self, quantity: str) -> list[float]:
        """A value for each round, NaN where there is none; the names are those of ``QUANTITIES``.

        A server that breaks the SLO with one user alone carries nothing within it: no value.
        """
        return [math.nan if turn is None else QUANTITIES[quantity](turn) for turn in self.turns]


def _capacity(turn: Turn) -> float:
    return math.nan if turn.crossing is None else turn.crossing.throughput_rps


# What is compared; all but the capacity at the users that are alike for all.
QUANTITIES: Mapping[str, Callable[[Turn], float]] = {
    "capacity_rps": _capacity,
    "throughput_rps": lambda turn: turn.measured.throughput_rps.value,
    "p95_s": lambda turn: turn.measured.latency.p95.value,
    "pss_bytes": lambda turn: turn.measured.pss_bytes.value,
    "cpu_s_per_request": lambda turn: turn.measured.cpu_s_per_request.value,
}


@dataclass(frozen=True)
class Result:
    """``run``: target, limits, demand and all trials, as of any run. ``users``: alike for all."""

    run: Run
    entries: tuple[Entry, ...] = ()
    absent: tuple[Absent, ...] = ()
    users: int = 0
    time_budget_s: float = 0.0
    took_s: float = 0.0
