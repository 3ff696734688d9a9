"""A demand measured here, as it would be on another machine: what moves, how far, how surely.

A core that is X times as fast runs CPU in 1/X of the time; waits and memory stay. Programs do not
agree on X: a core that is 1.5 times as fast on average is 1.2 times for one and 1.9 times for
another, and the more machines differ, the less they agree. ``SCATTER`` says how much: the standard
deviation of the logarithm of 47 programs' speed-up around their mean, for the six pairs of four
machines (Python 3.12.0, pyperformance, published by the faster-cpython project), was 0.08 to 0.16
where the means differed by factors of 1.05 to 1.75; its square fits a constant and a part in
proportion to the square of log X.

More cores than a trial had may cost each other something (caches, memory bandwidth, the kernel).
With contention s each request costs ``1 + s (cores - 1)`` times as much (Gunther's universal
scalability law without its coherency term: processes that share nothing have none). No trial shows
s, so nothing is added to the value; at the far end of what is stated it is ``CONTENTION``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pretune.advisor.demand.values import Demand, EndpointDemand, ServerCost
from pretune.advisor.model.calibration import Calibration
from pretune.advisor.quantity import Z95, Interval
from pretune.advisor.resources.budget import Budget

# Of log speed-up between programs: at equal means, and for each unit of log X.
SCATTER = 0.10
SCATTER_PER_LOG = 0.26
# Upper end of what one further busy core may add to each request's CPU.
CONTENTION = 0.02


@dataclass(frozen=True)
class Part:
    """``cpu``: the factor on CPU per request between here and there, with what is unsure of it."""

    what: str  # core_speed, cores
    here: float
    there: float
    cpu: Interval
    sentence: str


@dataclass(frozen=True)
class Extrapolation:
    """``cpu``: all parts together; (1, 1, 1) where nothing is extrapolated."""

    parts: tuple[Part, ...]
    cpu: Interval

    @property
    def log_sd(self) -> float:
        """Standard deviation of the logarithm of CPU per request there."""
        return math.log(self.cpu.high / self.cpu.low) / (2 * Z95)


NOTHING = Extrapolation((), Interval.exact(1.0))


def extrapolate(budget: Budget, trial_cores: float) -> Extrapolation:
    """From trials on ``trial_cores`` of this machine to the budget's cores."""
    parts = []
    factor = budget.cpu_factor
    if factor is not None:
        sd = math.hypot(SCATTER, SCATTER_PER_LOG * math.log(factor))
        spread = math.exp(Z95 * sd)
        cpu = Interval(1 / factor, 1 / (factor * spread), spread / factor)
        parts.append(
            Part(
                "core_speed", 1.0, factor, cpu,
                f"a core there is assumed to be {factor:g} times as fast as one here; for a "
                f"single program that means {factor / spread:.2g} to {factor * spread:.2g} times",
            )
        )  # fmt: skip
    if budget.cores > trial_cores:
        more = (1 + CONTENTION * (budget.cores - 1)) / (1 + CONTENTION * (trial_cores - 1))
        if more > 1.005:
            parts.append(
                Part(
                    "cores", trial_cores, budget.cores, Interval(1.0, 1 / more, more),
                    f"trials ran on {trial_cores:g} core{'s' if trial_cores != 1 else ''}, the "
                    f"budget has {budget.cores:g}: how much cores slow each other down was not "
                    f"measured, so up to {more - 1:.0%} more CPU per request is allowed for",
                )
            )  # fmt: skip
    value = math.prod(p.cpu.value for p in parts)
    half = math.hypot(*(math.log(p.cpu.high / p.cpu.value) for p in parts))
    return Extrapolation(
        tuple(parts), Interval(value, value * math.exp(-half), value * math.exp(half))
    )


def move_demand(demand: Demand, cpu_factor: float) -> Demand:
    """``demand`` on cores ``cpu_factor`` times as fast: CPU shrinks, waits stay.

    Of database time the part that is CPU of a Postgres on the same machine shrinks, too.
    """
    if cpu_factor == 1.0:
        return demand
    x = 1 / cpu_factor
    rows = demand.tuples.copy()
    before = rows["cpu"] + rows["db"] + rows["wait"]
    mean_db = float(np.mean(rows["db"])) if len(rows) else 0.0
    share = min(1.0, demand.db_cpu_s.value / mean_db) if demand.db_cpu_s and mean_db > 0 else 0.0
    db = 1 - share * (1 - x)
    for name in ("cpu", "pool"):
        if name in (rows.dtype.names or ()):
            rows[name] = rows[name] * x
    rows["db"] = rows["db"] * db
    after = rows["cpu"] + rows["db"] + rows["wait"]
    return replace(
        demand,
        tuples=rows,
        cpu_s=demand.cpu_s.scaled(x),
        overhead_cpu_s=demand.overhead_cpu_s.scaled(x),
        front_cpu_s=demand.front_cpu_s.scaled(x),
        db_s=demand.db_s.scaled(db),
        db_cpu_s=demand.db_cpu_s.scaled(x) if demand.db_cpu_s else None,
        by_endpoint=tuple(_endpoint(e, x, db) for e in demand.by_endpoint),
        worker=replace(demand.worker, boot_s=demand.worker.boot_s * x),
        unloaded_p95_s=demand.unloaded_p95_s * _ratio_of_p95(before, after),
        wake_cpu_s=demand.wake_cpu_s * x,
        tail_cpu_s=demand.tail_cpu_s * x,
        costs={kind: _cost(c, x) for kind, c in demand.costs.items()},
    )


def _cost(cost: ServerCost, x: float) -> ServerCost:
    return replace(
        cost,
        cpu_s=cost.cpu_s.scaled(x),
        wake_cpu_s=cost.wake_cpu_s * x,
        tail_cpu_s=cost.tail_cpu_s * x,
    )


def widen_calibration(calibration: Calibration, log_sd: float) -> Calibration:
    """With the level of CPU per request unsure by so much more."""
    return replace(calibration, cpu=calibration.cpu.widened(log_sd))


def _endpoint(endpoint: EndpointDemand, x: float, db: float) -> EndpointDemand:
    total = endpoint.cpu_s.value + endpoint.db_s.value + endpoint.wait_s.value
    time_s = endpoint.cpu_s.value * x + endpoint.db_s.value * db + endpoint.wait_s.value
    return replace(
        endpoint,
        cpu_s=endpoint.cpu_s.scaled(x),
        db_s=endpoint.db_s.scaled(db),
        unloaded_p95_s=endpoint.unloaded_p95_s * (time_s / total if total > 0 else x),
    )


def _ratio_of_p95(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    if len(before) == 0:
        return 1.0
    old, new = (float(np.nanquantile(x, 0.95)) for x in (before, after))
    return new / old if old > 0 else 1.0
