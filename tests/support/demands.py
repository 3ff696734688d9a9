"""Synthetic demands whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from pretune.advisor.demand.values import Demand, EndpointDemand, WorkerDemand
from pretune.advisor.model.question import Question
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Interval
from pretune.advisor.resources.budget import Budget, Slo

MIB = 1 << 20
PLENTY = Budget(ram_bytes=64 << 30, cores=64.0, pg_connections=None, fds=1024)
FIELDS = [("endpoint", "i8"), ("cpu", "f8"), ("db", "f8"), ("wait", "f8")]


def around(value: float, part: float = 0.02) -> Interval:
    return Interval(value, value * (1 - part), value * (1 + part))


def make_demand(
    cpu: float = 0.005, db: float = 0.002, wait: float = 0.0, *, db_cpu: float | None = None
) -> Demand:
    rng = np.random.default_rng(7)
    tuples = np.zeros(2000, FIELDS)
    for name, mean in (("cpu", cpu), ("db", db), ("wait", wait)):
        tuples[name] = mean * rng.gamma(4.0, 0.25, len(tuples))
    exact = Interval.exact
    p95 = float(np.quantile(tuples["cpu"] + tuples["db"] + tuples["wait"], 0.95))
    endpoint = EndpointDemand(
        "/", 1.0, 2000, around(cpu), around(db), exact(2.0), around(wait), p95, 1000.0
    )
    worker = WorkerDemand(
        base_pss_bytes=around(60 * MIB),
        per_thread_bytes=around(2 * MIB),
        fixed_pss_bytes=20 * MIB,
        preload_saving_bytes=None,
        leak_slope_bytes_per_request=Interval(0.0, -1.0, 1.0),
        leak_class="none",
        boot_s=0.5,
        shutdown_s=0.1,
        fds=12,
        pg_connections=1,
        pg_connections_per_thread=1.0,
    )
    return Demand(
        tuples=tuples,
        shares=(1.0,),
        cpu_s=around(cpu),
        cpu_gil_fraction=exact(1.0),
        overhead_cpu_s=exact(0.0),
        db_s=around(db),
        db_calls=exact(2.0),
        db_cpu_s=None if db_cpu is None else exact(db_cpu),
        wait_s=around(wait),
        wait_calls=exact(1.0 if wait else 0.0),
        by_endpoint=(endpoint,),
        worker=worker,
        unloaded_p95_s=p95,
        generator_cpu_s=0.0,
    )


def ask(demand: Demand, conditions: Conditions, p95_s: float = 1.0, **given: Any) -> Question:
    """A question whose budget is in nobody's way."""
    return Question(demand, PLENTY, Slo(p95_s), conditions, **given)
