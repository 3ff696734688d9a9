"""From what a run measured to its answer: the only path, and pure.

``tune``, ``tune compare``, ``tune report --again`` and the accuracy bench all take it, so that what
the bench says of its accuracy holds for what users get.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pretune.advisor.demand import breakdown, mix, preloading, server_costs
from pretune.advisor.demand import estimate as demands
from pretune.advisor.demand.breakdown import Breakdown
from pretune.advisor.demand.values import Demand
from pretune.advisor.model import extrapolation
from pretune.advisor.model.calibration import Calibration, calibrate
from pretune.advisor.model.extrapolation import Extrapolation
from pretune.advisor.model.lock import OwnLock
from pretune.advisor.model.question import Question, Routes
from pretune.advisor.model.shown import find_shown
from pretune.advisor.observations import Observations
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import UNKNOWN
from pretune.advisor.recommendation import answer, today
from pretune.advisor.recommendation.answer import Answer
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources.budget import UNLOADED_SOURCE, Slo
from pretune.advisor.reverse_proxy import cost
from pretune.loadtests.workload import Workload


@dataclass(frozen=True)
class Estimate:
    """The application as the trials show it.

    ``demand`` and ``calibration`` are of this machine, the demand on the server of the first
    trials. ``slo`` is the budget machine's, its p95 known; ``p95_here_s`` is the same promise in
    this machine's time. ``preload_hindrance``: why the app must not be loaded before the fork.
    """

    demand: Demand
    calibration: Calibration
    breakdown: Breakdown | None
    extrapolation: Extrapolation
    slo: Slo
    slo_source: str
    p95_here_s: float
    preload_hindrance: str = ""

    @property
    def own_lock(self) -> OwnLock | None:
        """The application's own lock, where one shows."""
        return self.calibration.lock


@dataclass(frozen=True)
class Conclusion:
    """An estimate and the answer that rests on it. ``arrivals``: the load is an open one."""

    estimate: Estimate
    answer: Answer
    arrivals: bool

    @property
    def recommendation(self) -> Recommendation | None:
        """None where nothing keeps the budgets."""
        return self.answer.found.recommendation

    @property
    def rps(self) -> float | None:
        """The rate of one instance under an open load; None under a closed one."""
        return self.answer.each_rps if self.arrivals else None


def estimate(preflight: Facts, observations: Observations, *, seed: int) -> Estimate:
    """Estimate demand, calibration and SLO. ``preflight.workload`` as the trials have named it.

    Raises ValueError where the demand trial served no request of the workload.
    """
    hindrance = preloading.find_hindrance(preflight.left_open, observations)
    observations = preloading.usable(observations)
    first, contrast = observations.demand, observations.contrast
    restated = mix.at_shares(preflight.workload, observations)
    demand = demands.assemble(
        preflight.workload,
        first,
        contrast,
        observations.memory_trials(),
        returned_at_boot_bytes=preflight.boot_memory["returned_bytes"],
        costs=server_costs.learn_costs(restated),
        pool_most=preflight.pool_most,
        per_thread=preflight.connects_per_thread,
        seed=seed,
    )
    if preflight.debug:
        demand = growth_untold(demand)
    if observations.front is not None:
        direct = observations.saturated()[-1]
        demand = cost.with_cost(demand, cost.cost_of(observations.front, direct))
    unloaded_p95_s = _transfer(preflight, demand, preflight.servers.verified).unloaded_p95_s
    slo, source = preflight.slo, "--p95"
    if slo.p95_s is None:
        slo, source = replace(slo, p95_s=slo.p95_of(unloaded_p95_s)), UNLOADED_SOURCE
    assert slo.p95_s is not None
    return Estimate(
        demand=demand,
        calibration=calibrate(demand, restated.all(), seed=seed),
        breakdown=breakdown.assemble(preflight.workload, first, contrast),
        extrapolation=extrapolation.extrapolate(preflight.budget, first.conditions.server_cores),
        slo=slo,
        slo_source=source,
        p95_here_s=slo.p95_s * demand.unloaded_p95_s / unloaded_p95_s,
        preload_hindrance=hindrance,
    )


def growth_untold(demand: Demand) -> Demand:
    """The demand without a word on leaks: debug mode keeps queries, templates and tracebacks."""
    worker = replace(
        demand.worker, leak_class="not_enough_data", leak_slope_bytes_per_request=UNKNOWN
    )
    return replace(demand, worker=worker)


def pose_question(
    preflight: Facts,
    estimated: Estimate,
    conditions: Conditions,
    *,
    seed: int,
    think_s: float,
    worker_class: str | None = None,
) -> Question:
    """State what is asked of the model: the best settings under ``conditions``, on their server.

    ``worker_class``: of the demand; None: the class of the first trials.
    """
    deployed, settings = preflight.look.deployed, None
    if deployed is not None:
        interface, server = preflight.target.interface, preflight.servers.verified
        settings = today.take_deployed(deployed, interface, server).settings
    log_sd = estimated.extrapolation.log_sd
    return Question(
        demand=_transfer(preflight, estimated.demand, conditions.server, worker_class),
        budget=preflight.budget,
        slo=estimated.slo,
        conditions=conditions,
        interface=preflight.target.interface,
        calibration=extrapolation.widen_calibration(estimated.calibration, log_sd),
        think_s=think_s,
        arrivals=preflight.rps is not None,
        seed=seed,
        today=settings,
        preload_hindrance=estimated.preload_hindrance,
        debug=preflight.debug,
        apart_s=max((each.tried_s for each in preflight.workload.apart), default=0.0),
        framework=preflight.target.framework,
        deployed=deployed.settings if deployed is not None else {},
        routes=count_routes(preflight.workload),
    )


def count_routes(workload: Workload) -> Routes:
    """Count what is measured of what is known. A file of traffic or a locustfile says all that is
    sent; single paths do not."""
    if workload.coverage is not None:
        part = workload.coverage
        return Routes(part.measured, part.known, part.listed)
    count = len(workload.endpoints)
    return Routes(count, None if workload.source == "paths" else count)


def conclude(
    preflight: Facts,
    observations: Observations,
    *,
    seed: int,
    think_s: float,
    front_keeps: bool = True,
    conditions: Conditions | None = None,
) -> Conclusion:
    """Conclude from all trials so far.

    ``think_s``: seconds users let pass, where a locustfile's do. ``front_keeps``: what stands in
    front keeps its connections to the server. ``conditions``: of the answer; None: the budget's.
    Raises ValueError where the demand trial served no request of the workload.
    """
    estimated = estimate(preflight, observations, seed=seed)
    if conditions is None:
        conditions = budget_conditions(preflight, front_keeps=front_keeps)
    question = pose_question(preflight, estimated, conditions, seed=seed, think_s=think_s)
    if preflight.budget.cpu_factor is None:  # else what was shown here says nothing of there
        shown = find_shown(
            observations.all(),
            conditions.server,
            conditions.front,
            estimated.p95_here_s,
            estimated.slo.error_rate,
        )
        question = replace(question, shown=shown)
    return Conclusion(estimated, answer.solve(question), question.arrivals)


def budget_conditions(preflight: Facts, *, front_keeps: bool = True) -> Conditions:
    """The machine of the budget: no generator runs there, a local database competes."""
    return Conditions(
        server_cores=preflight.budget.cores,
        shared_cores=0.0,
        pinned=False,
        database_local=preflight.database_local,
        server=preflight.servers.verified,
        front=preflight.front.name if preflight.front else "",
        front_keeps=front_keeps,
    )


def _transfer(
    preflight: Facts, demand: Demand, server: str, worker_class: str | None = None
) -> Demand:
    """Transfer the demand to another server and to the budget's cores."""
    moved = server_costs.on_server(demand, server, worker_class or demand.served_by[1])
    return extrapolation.move_demand(moved, preflight.budget.cpu_factor or 1.0)
