"""A demand and a stand-in of the model, for what is judged by budgets alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pretune.advisor.demand.values import TUPLE, Demand, WorkerDemand
from pretune.advisor.model import memory
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.profiler.measurement import Conditions, Latency
from pretune.advisor.quantity import Interval
from pretune.server.settings import Settings

MIB, GIB = 1 << 20, 1 << 30
EXACT = Interval.exact
WORKER = WorkerDemand(
    EXACT(200.0 * MIB), EXACT(1.0 * MIB), 20.0 * MIB, None, EXACT(0.0), "none", 1.0, 0.1, 15, 1, 1.0
)
DEMAND = Demand(
    np.zeros(10, TUPLE), (1.0,), EXACT(0.006), EXACT(1.0), EXACT(0.0), EXACT(0.004), EXACT(4.0),
    None, EXACT(0.0), EXACT(0.0), (), WORKER, 0.01, 0.0001,
)  # fmt: skip
CONDITIONS = Conditions(2.0, 0.0, True, False)


def capacity(
    question: Question, settings: Settings, known: Mapping[Settings, Prediction] | None = None
) -> Prediction:
    rate, p95 = EXACT(100.0), EXACT(question.p95_s)
    worker, budget = question.demand.worker, question.budget
    return Prediction(
        4, rate, Latency(p95, p95, p95, p95), memory.peak_pss(worker, settings),
        memory.ram_to_provide(worker, settings, rate, budget.reserve_bytes),
        memory.postgres_connections(worker, settings, budget.instances), 20,
        (("cpu", 0.5),), "cpu", "",
    )  # fmt: skip
