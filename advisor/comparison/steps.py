"""The load at which the SLO breaks, found by steps of more and more users, as few as needed. Pure.

p95 is nearly proportional to the users where they queue, so each load is where the last ones point.
What is carried at the SLO lies between the most users that kept it and the fewest that did not; in
between, throughput is taken to go straight with the logarithm of p95. Near its capacity a server's
throughput hardly depends on the users, so what this guess can be wrong by is small beside noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.profiler.reduce import SATURATED
from pretune.advisor.profiler.statistics import proportion
from pretune.advisor.resources.budget import Slo

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_USERS = 4096
CLOSE = 0.05  # of the logarithm of p95: at the SLO
NARROW = 0.15  # a bracket of users this narrow is not looked into
NEAR = 0.2  # of the logarithm of p95: taken for the SLO when there is nothing on the other side
FIRST_STEPS = 5  # at most, where only the model says where to begin
FURTHER_STEPS = 4  # where a round before has found it
FURTHEST = 3.0  # times as many, or as few, users in the next load
FEWEST = 20  # answers for a p95


@dataclass(frozen=True)
class Step:
    """One closed load: ``errors`` of ``requests`` were no success; ``generator``: its busy core."""

    users: int
    throughput_rps: float
    p95_s: float
    requests: int
    errors: int
    generator: float = 0.0

    @property
    def enough(self) -> bool:
        return self.requests - self.errors >= FEWEST and math.isfinite(self.p95_s)


@dataclass(frozen=True)
class Crossing:
    """The load at the SLO; ``at_least``: no load broke it (the generator or users were the end)."""

    users: int
    throughput_rps: float
    at_least: bool = False


def keeps(step: Step, slo: Slo) -> bool:
    """Errors break it when there are surely more of them than it allows."""
    assert slo.p95_s is not None
    if not step.enough:
        return False
    surely = proportion(step.errors, step.requests).low
    return step.p95_s <= slo.p95_s and surely <= slo.error_rate


def next_users(steps: Sequence[Step], slo: Slo, first: int, most_steps: int) -> int | None:
    """Users of the next load; None when there is none to try."""
    if not steps:
        return max(1, min(MOST_USERS, first))
    if len(steps) >= most_steps or any(_close(s, slo) or s.generator > SATURATED for s in steps):
        return None
    good, bad = _bracket(steps, slo)
    if bad is None:
        assert good is not None
        if good.users >= MOST_USERS:
            return None
        reach = min(FURTHEST, max(1.2, 1.1 * _over(good, slo)))
        return min(MOST_USERS, max(good.users + 1, round(good.users * reach)))
    if good is None:
        if bad.users == 1:
            return None
        reach = max(1 / FURTHEST, min(0.85, 0.9 * _over(bad, slo)))
        return max(1, min(bad.users - 1, int(bad.users * reach)))
    if bad.users - good.users <= max(1, NARROW * good.users):
        return None
    between = round(good.users + (bad.users - good.users) * _part(good, bad, slo))
    return max(good.users + 1, min(bad.users - 1, between))


def crossing(steps: Sequence[Step], slo: Slo) -> Crossing | None:
    """None where every load broke the SLO. What a saturated generator saw is its own limit."""
    limited = [step for step in steps if step.generator > SATURATED]
    if limited:
        return Crossing(limited[0].users, limited[0].throughput_rps, at_least=True)
    for step in steps:
        if _close(step, slo):
            return Crossing(step.users, step.throughput_rps)
    good, bad = _bracket(steps, slo)
    if good is None or bad is None:
        for step in steps:
            if _close(step, slo, NEAR):
                return Crossing(step.users, step.throughput_rps)
    if good is None:
        return None
    if bad is None:
        return Crossing(good.users, good.throughput_rps, at_least=True)
    part = _part(good, bad, slo)
    return Crossing(
        round(good.users + part * (bad.users - good.users)),
        good.throughput_rps + part * (bad.throughput_rps - good.throughput_rps),
    )


def _bracket(steps: Sequence[Step], slo: Slo) -> tuple[Step | None, Step | None]:
    """The most users that kept it below the fewest that did not; either may be missing."""
    bad = min((s for s in steps if not keeps(s, slo)), key=lambda s: s.users, default=None)
    below = [s for s in steps if keeps(s, slo) and (bad is None or s.users < bad.users)]
    return max(below, key=lambda s: s.users, default=None), bad


def _close(step: Step, slo: Slo, by: float = CLOSE) -> bool:
    """At the SLO, by its p95."""
    if not step.enough or abs(math.log(_over(step, slo))) > by:
        return False
    return proportion(step.errors, step.requests).low <= slo.error_rate


def _over(step: Step, slo: Slo) -> float:
    """The SLO's p95 over this one's; 1/FURTHEST where it has none."""
    assert slo.p95_s is not None
    return slo.p95_s / step.p95_s if step.enough and step.p95_s > 0 else 1 / FURTHEST


def _part(good: Step, bad: Step, slo: Slo) -> float:
    """Return the part of the way between them at which p95 is the SLO's; 0 after errors."""
    assert slo.p95_s is not None
    if not bad.enough or bad.p95_s <= slo.p95_s:
        return 0.0
    low, high = math.log(good.p95_s), math.log(bad.p95_s)
    return (math.log(slo.p95_s) - low) / (high - low)


def step_of(
    users: int, records: NDArray[np.void], began: float, ended: float, generator: float
) -> Step:
    """Summarise one load by the requests that were over between ``began`` and ``ended`` (monotonic
    s).

    ``records`` as ``loadtests.records.dtype()``.
    """
    over = records["start"] + records["wall"]
    inside = records[(over >= began) & (over < ended)]
    good = inside[inside["error"] == 0]["wall"]
    p95 = float(np.quantile(good, 0.95)) if len(good) >= FEWEST else math.nan
    rate = len(good) / (ended - began)
    return Step(users, rate, p95, len(inside), len(inside) - len(good), generator)
