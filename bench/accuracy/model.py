"""From stored trials to the tool's answer and its predictions, as the pipeline makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.accuracy import grid
from bench.accuracy.store import Trials
from pretune.advisor.demand import estimate as demand
from pretune.advisor.demand import server_costs
from pretune.advisor.demand.values import Demand
from pretune.advisor.model import memory
from pretune.advisor.model.calibration import Calibration, calibrate
from pretune.advisor.model.case import discipline
from pretune.advisor.model.occupancy import idle_workers
from pretune.advisor.model.predict import capacity, predict
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.preflight.servers import GUNICORN
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.recommendation import answer, search
from pretune.advisor.recommendation.answer import Answer
from pretune.advisor.resources.budget import Budget, Slo
from pretune.server.settings import Settings

RAM_BYTES, RESERVE_BYTES = 1 << 30, 64 << 20
PG_CONNECTIONS, FDS = 90, 1024
SEED = 1


@dataclass(frozen=True)
class Solved:
    """What is known of one app. ``conditions``: of every point of its sweep."""

    demand: Demand
    calibration: Calibration
    conditions: Conditions
    interface: str
    has_database: bool

    @property
    def slo(self) -> Slo:
        """As the tool's default: three times the unloaded p95."""
        return Slo(search.slo_p95(self.demand, Slo(None)))

    @property
    def budget(self) -> Budget:
        """1 GiB and the cores that the sweep's server had."""
        return Budget(
            ram_bytes=RAM_BYTES,
            cores=self.conditions.server_cores,
            pg_connections=PG_CONNECTIONS if self.has_database else None,
            fds=FDS,
            reserve_bytes=RESERVE_BYTES,
        )

    def on_gunicorn(self, worker_class: str) -> Demand:
        return server_costs.on(self.demand, GUNICORN, worker_class)

    def predicted(self, settings: Settings, users: int, seconds: float) -> Prediction:
        """Of one point; memory with what leaks in so many seconds."""
        there = self.on_gunicorn(settings.worker_class)
        conditions = replace(self.conditions, generator_cpu_s_per_request=there.generator_cpu_s)
        found = predict(there, settings, users, conditions, seed=SEED, calibration=self.calibration)
        idle = idle_workers(discipline(GUNICORN, settings), settings.workers, users)
        pss = memory.peak_pss_of_trial(there.worker, settings, found.throughput_rps, seconds, idle)
        return replace(found, pss_bytes=pss)

    def capacity(self, settings: Settings) -> Prediction:
        assert self.slo.p95_s is not None
        there = self.on_gunicorn(settings.worker_class)
        return capacity(
            there,
            settings,
            replace(self.conditions, generator_cpu_s_per_request=there.generator_cpu_s),
            self.slo.p95_s,
            seed=SEED,
            calibration=self.calibration,
        )

    def answered(self) -> Answer:
        """What the tool would answer for the sweep's own conditions, and everybody else."""
        return answer.solve(
            answer.Question(
                self.on_gunicorn(self.demand.served_by[1]),
                self.budget,
                self.slo,
                self.conditions,
                self.interface,
                self.calibration,
                seed=SEED,
            )
        )


def solve(stored: Trials) -> Solved:
    """Raises ValueError for trials that say nothing."""
    trials = {t.name: t for t in stored.trials}
    first, contrast = trials["demand"], trials["contrast"]
    server = first.conditions.server
    alike = [
        t
        for t in stored.trials[2:]
        if t.name not in server_costs.COST_TRIALS
        and (t.conditions.server == server or t.name == "preload")
    ]
    known = server_costs.learned(stored.trials)
    found = demand.assemble(
        stored.workload,
        first,
        contrast,
        alike,
        returned_at_boot_bytes=stored.returned_at_boot_bytes,
        costs=known,
        seed=SEED,
    )
    found = replace(found, costs=known)
    tuned = calibrate(found, stored.trials, seed=SEED)
    conditions = (trials.get(server_costs.COST_TRIAL) or first).conditions
    return Solved(
        found,
        tuned,
        replace(conditions, generator_cpu_s_per_request=0.0),
        first.settings.interface,
        first.pg_connections_peak is not None,
    )


def planned(stored: Trials) -> Trials:
    """With what is swept: the tool's own answer first."""
    solved = solve(stored)
    recommendation = solved.answered().found.recommendation
    return replace(
        stored,
        shapes=grid.shapes(
            solved.interface, None if recommendation is None else recommendation.settings
        ),
        users=grid.users(
            solved.on_gunicorn(solved.demand.served_by[1]), solved.conditions.server_cores
        ),
    )
