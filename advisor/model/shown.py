"""Loads that trials of a run carried within the SLO, whatever the model is sure of. Pure.

The model promises the load at which the upper end of its p95 keeps the SLO; where its intervals are
wide that may be one user. A trial that carried more within the SLO is then the better witness.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.quantity import Interval
from pretune.server.settings import Settings

FEWEST = 100  # requests, as a p95 takes


@dataclass(frozen=True)
class Shown:
    """One trial. ``cores``: of its server."""

    trial: str
    settings: Settings
    users: int
    throughput_rps: Interval
    p95_s: Interval
    cores: float

    def is_part_of(self, other: Settings) -> bool:
        """Say whether the other arrangement has all that this one has, and perhaps more."""
        mine = self.settings
        return (
            mine.worker_class == other.worker_class
            and mine.workers <= other.workers
            and mine.threads <= other.threads
        )

    def raise_to(self, predicted: Prediction) -> Prediction:
        """The prediction with what was shown as the least that is carried."""
        rate, p95 = predicted.throughput_rps, predicted.latency.p95
        low = max(rate.low, self.throughput_rps.low)
        value = max(rate.value, self.throughput_rps.value)
        late = min(p95.value, self.p95_s.value)
        latest = max(late, min(p95.high, self.p95_s.high))
        return replace(
            predicted,
            throughput_rps=Interval(value, low, max(rate.high, value)),
            latency=replace(predicted.latency, p95=Interval(late, min(p95.low, late), latest)),
            expected_rps=max(predicted.compared_rps, value),
            explanation=f"{self.describe()}; {predicted.explanation}",
        )

    def describe(self) -> str:
        rate = self.throughput_rps
        return (
            f"the {self.trial} trial carried {rate.value:.3g} requests/s ({rate.low:.3g} to "
            f"{rate.high:.3g}) with {self.users} users within the p95, more than the model is sure "
            "of by itself"
        )


def find_shown(
    trials: Iterable[Measurement], server: str, front: str, p95_s: float, error_rate: float
) -> tuple[Shown, ...]:
    """The trials on a server, behind what stands in front of it, that kept the SLO, with a closed
    load of several users; the most carried first."""
    found = [
        Shown(
            trial.name,
            trial.settings,
            trial.load.users,
            trial.throughput_rps,
            trial.latency.p95,
            trial.conditions.server_cores,
        )
        for trial in trials
        if trial.conditions.server == server
        and trial.conditions.front == front
        and trial.load.rps is None
        and trial.load.users > 1
        and trial.requests >= FEWEST
        and trial.latency.p95.value <= p95_s
        and trial.error_rate <= error_rate
    ]
    return tuple(sorted(found, key=lambda each: -each.throughput_rps.value))
