"""What a trial shows is restated for the workload's shares, whatever luck its requests had."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.measured import EXACT, WORKLOAD, measurement, telemetry

from pretune.advisor.demand import estimate, mix
from pretune.advisor.demand.server_costs import learn_costs
from pretune.advisor.model.calibration import calibrate
from pretune.advisor.model.predict import capacity
from pretune.advisor.model.question import Question
from pretune.advisor.observations import Observations
from pretune.advisor.profiler.measurement import (
    Conditions,
    EndpointMeasurement,
    Latency,
    Measurement,
    Role,
)
from pretune.advisor.resources.budget import Budget, Slo
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

SERVER_S = 0.0005
LATENCY = Latency(EXACT(0.02), EXACT(0.02), EXACT(0.04), EXACT(0.05))
ONE_CORE = Conditions(1.0, 1.0, True, False)
BUDGET = Budget(8 << 30, 1.0, None, 1024)


def trial(
    role: Role, dear: float, *, seed: int, server: str = "embedded", n: int = 600
) -> Measurement:
    """Of an application whose requests cost the same in every trial; only their mix differs."""
    rows = telemetry(n, seed, dear)
    rows["cpu"] = np.where(rows["endpoint"] == 2, 0.010, 0.002)
    settings = Settings(1, 1 if role in (Role.DEMAND, Role.ALONE) else 4)
    inside = float(rows["cpu"].mean()) + SERVER_S
    found = measurement(settings, rows=rows, cpu_s=inside, rps=1 / inside)
    users = 1 if settings.threads == 1 else 8
    seen = tuple(
        EndpointMeasurement(endpoint.name, int(np.sum(rows["endpoint"] == k + 1)), 0, None)
        for k, endpoint in enumerate(WORKLOAD.endpoints)
    )
    return replace(
        found, name=role, role=role, requests=n, load=Load(users, 10.0), latency=LATENCY,
        by_endpoint=seen,
        conditions=replace(ONE_CORE, server=server),
    )  # fmt: skip


def observed(seed: int) -> Observations:
    dear = np.random.default_rng(seed).uniform(0.05, 0.6, 4)
    return Observations.from_trials(
        [
            trial(Role.DEMAND, dear[0], seed=seed),
            trial(Role.CONTRAST, dear[1], seed=seed + 1, n=60),
            trial(Role.SERVER, dear[2], seed=seed + 2, server="gunicorn", n=60),
            trial(Role.ALONE, dear[3], seed=seed + 3, server="gunicorn", n=60),
        ]
    )


TRUE_S = 0.8 * 0.002 + 0.2 * 0.010 + SERVER_S


@pytest.mark.parametrize("seed", range(20))
def test_trials_that_differ_by_their_mix_alone_tell_one_cost(seed: int) -> None:
    raw = observed(seed)
    found = mix.at_shares(WORKLOAD, raw)
    for before, after in zip(raw.all(), found.all(), strict=True):
        assert after.cpu_s_per_request.value == pytest.approx(TRUE_S)
        # so many cores were busy, whatever the requests were
        if before.settings.threads > 1:
            busy = before.throughput_rps.value * before.cpu_s_per_request.value
            assert after.throughput_rps.value * TRUE_S == pytest.approx(busy)
    costs = learn_costs(found)
    assert [cost.cpu_s.value for cost in costs.values()] == pytest.approx([TRUE_S] * len(costs))
    demand = estimate.assemble(WORKLOAD, raw.demand, costs=costs)
    assert demand.cpu_s.value + demand.overhead_cpu_s.value == pytest.approx(TRUE_S)


@pytest.mark.parametrize("seed", range(2))
def test_no_printed_rate_is_beyond_the_law_of_the_demand_beside_it(seed: int) -> None:
    raw = observed(seed)
    found = mix.at_shares(WORKLOAD, raw)
    demand = estimate.assemble(WORKLOAD, raw.demand, raw.contrast, costs=learn_costs(found), seed=1)
    demand = replace(demand, unloaded_p95_s=0.04)
    calibration = calibrate(demand, found.all(), seed=1)
    question = Question(demand, BUDGET, Slo(0.2), ONE_CORE, calibration=calibration)
    predicted = capacity(question, Settings(2, 8))
    assert predicted.limit is not None
    most = 1 / (demand.cpu_s.value + demand.overhead_cpu_s.value)
    assert predicted.throughput_rps.value <= 1.01 * most
    assert predicted.limit.rps == pytest.approx(most, rel=0.01)


def test_a_mix_that_is_not_known_changes_nothing() -> None:
    raw = observed(1)
    blind = raw.changed(
        lambda t: t if t is raw.demand else replace(t, telemetry=t.telemetry[:0], by_endpoint=())
    )
    found = mix.at_shares(WORKLOAD, blind)
    assert found.contrast == blind.contrast


def test_an_endpoint_without_a_request_in_the_first_trial_costs_what_the_mix_does() -> None:
    first = trial(Role.DEMAND, 0.0, seed=1)
    more = trial(Role.CONTRAST, 0.5, seed=2)
    found = mix.at_shares(WORKLOAD, Observations.from_trials([first, more]))
    assert found.contrast is not None
    assert found.contrast.cpu_s_per_request.value == pytest.approx(more.cpu_s_per_request.value)
