"""From stored trials to the tool's answer and its predictions, as the tool makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.accuracy import grid
from bench.accuracy.store import Trials
from pretune.advisor.conclusion import Conclusion, Estimate, conclude, estimate
from pretune.advisor.demand import server_costs
from pretune.advisor.demand.values import Demand
from pretune.advisor.model import memory
from pretune.advisor.model.occupancy import idle_workers
from pretune.advisor.model.predict import capacity, predict
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.model.scenario import discipline
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.servers import GUNICORN, Servers
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.resources.budget import Budget, Slo
from pretune.server.settings import Settings

RAM_BYTES, RESERVE_BYTES = 1 << 30, 64 << 20
PG_CONNECTIONS, FDS = 90, 1024
SEED = 1


@dataclass(frozen=True)
class Solved:
    """An app, as its trials show it.

    ``preflight`` has the sweep's budget: 1 GiB, and the cores that its server had. ``conditions``
    are those of every point of the sweep.
    """

    stored: Trials
    preflight: Facts
    conditions: Conditions
    estimate: Estimate

    @property
    def demand(self) -> Demand:
        return self.estimate.demand

    @property
    def slo(self) -> Slo:
        """The tool's default: three times the unloaded p95."""
        return self.estimate.slo

    @property
    def budget(self) -> Budget:
        return self.preflight.budget

    def on_gunicorn(self, worker_class: str) -> Demand:
        return server_costs.on_server(self.demand, GUNICORN, worker_class)

    def predicted(self, settings: Settings, users: int, seconds: float) -> Prediction:
        """Predict one point; memory with what leaks in so many seconds."""
        question = self._question(settings.worker_class)
        found = predict(question, settings, users)
        idle = idle_workers(discipline(GUNICORN, settings), settings.workers, users)
        worker = question.demand.worker
        pss = memory.peak_pss_of_trial(worker, settings, found.throughput_rps, seconds, idle)
        return replace(found, pss_bytes=pss)

    def capacity(self, settings: Settings) -> Prediction:
        return capacity(self._question(settings.worker_class), settings)

    def _question(self, worker_class: str) -> Question:
        """Of a point of the sweep: the generator has its costs there."""
        demand = self.on_gunicorn(worker_class)
        return Question(
            demand=demand,
            budget=replace(self.budget, reserve_bytes=0),
            slo=self.slo,
            conditions=replace(self.conditions, generator_cpu_s_per_request=demand.generator_cpu_s),
            interface=self.preflight.target.interface,
            calibration=self.estimate.calibration,
            seed=SEED,
        )

    def conclude(self) -> Conclusion:
        """The tool's answer for the sweep's own conditions, and everybody else's."""
        return conclude(
            self.preflight,
            self.stored.observations,
            seed=SEED,
            think_s=0.0,
            conditions=self.conditions,
        )


def solve(stored: Trials) -> Solved:
    """Raises ValueError for trials that say nothing."""
    observations = stored.observations
    swept = (*observations.servers, observations.demand)[0]
    conditions = replace(swept.conditions, generator_cpu_s_per_request=0.0, server=GUNICORN)
    has_database = observations.demand.pg_connections_peak is not None
    preflight = replace(
        stored.preflight,
        slo=Slo(None),
        servers=Servers(observations.demand.conditions.server, GUNICORN),
        budget=Budget(
            ram_bytes=RAM_BYTES,
            cores=conditions.server_cores,
            pg_connections=PG_CONNECTIONS if has_database else None,
            fds=FDS,
            reserve_bytes=RESERVE_BYTES,
        ),
    )
    return Solved(stored, preflight, conditions, estimate(preflight, observations, seed=SEED))


def planned(stored: Trials) -> Trials:
    """Choose what is swept: the tool's own answer first."""
    solved = solve(stored)
    recommendation = solved.conclude().recommendation
    return replace(
        stored,
        shapes=grid.shapes(
            stored.preflight.target.interface,
            None if recommendation is None else recommendation.settings,
        ),
        users=grid.users(
            solved.on_gunicorn(solved.demand.served_by[1]), solved.conditions.server_cores
        ),
    )
