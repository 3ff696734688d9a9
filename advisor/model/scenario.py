"""One server with its demand and conditions: what stays the same while users vary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.values import Demand
from pretune.advisor.model import bounds
from pretune.advisor.model.cpu import Regime, crowd
from pretune.advisor.model.lock import serial_s
from pretune.advisor.model.rows import Factors, build_rows, draw_picks, mean_rows
from pretune.advisor.model.simulation import (
    SWITCH_INTERVAL_S,
    Arrangement,
    Closed,
    Discipline,
    Open,
    SimulatedRun,
    merged,
    simulate,
)
from pretune.advisor.profiler.measurement import Conditions
from pretune.server.adapters import catalogue
from pretune.server.adapters.server import Dispatch, Recycling
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

Traffic = int | Open  # a number of users, or arrivals
# Between two users' beginnings, of a request's time alone: each finds the others at work. But all
# have begun after so long.
RAMP, LONGEST_RAMP_S = 1.0, 1.0
DRAWS = 8  # runs, where connections may be spread unevenly
# One shared listening socket has a favourite among idle workers. Chosen so that the largest of four
# workers gets as much of 8, 16 and 64 connections as was measured: docs/method/model.md.
LOOPS_FAVOUR, THREADS_FAVOUR = 0.8, 0.6
_GREEDY = Discipline(when_free=False, sticky=True, pick="awake", favour=LOOPS_FAVOUR)
DISCIPLINES: Mapping[Dispatch, Discipline] = {
    Dispatch.SHARED_QUEUE: Discipline(when_free=True, sticky=True, pick="idlest"),
    Dispatch.ONE_BY_ONE: Discipline(when_free=True, sticky=False, pick="random"),
    Dispatch.FIRST_AWAKE: _GREEDY,
    Dispatch.THREAD_POOL: replace(_GREEDY, goes_on=True, favour=THREADS_FAVOUR),
    Dispatch.ANY_WORKER: replace(_GREEDY, pick="random", favour=0.0),
}


def discipline(server: str, settings: Settings) -> Discipline:
    """Return how a server hands requests out; without keep-alive every request is a connection."""
    by_class = DISCIPLINES[catalogue.find(server).classes[settings.worker_class].dispatch]
    return by_class if settings.keepalive > 0 else replace(by_class, sticky=False)


@dataclass(frozen=True)
class Scenario:
    demand: Demand
    settings: Settings
    conditions: Conditions
    think_s: float = 0.0

    @property
    def discipline(self) -> Discipline:
        by_class = discipline(self.conditions.server, self.settings)
        return by_class if self.conditions.front_keeps else replace(by_class, sticky=False)

    @property
    def is_loop(self) -> bool:
        return self.settings.worker_class == "asgi"

    @property
    def slots_of_worker(self) -> int:
        """Requests that one worker can have inside at once, by its own pool at most."""
        slots = self.settings.slots // self.settings.workers
        return min(slots, self.demand.worker.most_inside or slots)

    def busy_per_worker(self, users: float) -> float:
        """Requests inside one worker at most, when users spread evenly."""
        slots = float(self.slots_of_worker)
        return max(1.0, min(slots, users / self.settings.workers))

    def regime(self, inside: float) -> Regime:
        """Surroundings of a request with so many of them in the server."""
        return Regime(
            (self.conditions.server, self.settings.worker_class),
            self.busy_per_worker(inside),
            crowd(min(self.settings.workers, inside), self.conditions.server_cores),
            self.settings.workers,
        )

    def expected(self, load: Traffic, factors: Factors, requests: int, seed: int) -> SimulatedRun:
        """``requests`` in all, over several runs where luck decides for a whole one."""
        lucky = self.discipline.uneven and self.settings.workers > 1 and isinstance(load, int)
        draws = DRAWS if lucky else 1
        each = math.ceil(requests / draws)
        return merged([self.run(load, factors, each, seed + 1_000_003 * k) for k in range(draws)])

    def run(
        self, load: Traffic, factors: Factors, requests: int, seed: int, *, bootstrap: bool = False
    ) -> SimulatedRun:
        """``bootstrap``: fed with another sample that the same application might have given."""
        rng = np.random.default_rng(seed)
        arrangement = Arrangement(
            workers=self.settings.workers,
            threads=self.slots_of_worker,
            cores=self.conditions.server_cores,
            shared_cores=max(0.0, self.conditions.shared_cores),
            gil_fraction=1.0 if self.is_loop else factors.gil_fraction,
            switch_interval_s=math.inf if self.is_loop else SWITCH_INTERVAL_S,
            discipline=self.discipline,
            backlog=self.settings.backlog,
            generator_cpu_s=self.conditions.generator_cpu_s_per_request,
            max_requests=self.settings.max_requests,
            max_requests_jitter=self.settings.max_requests_jitter,
            boot_s=self._boot_s(),
            overlap=self._overlaps(),
            timeout_s=self._timeout_s(),
            wake_cpu_s=self._wake_cpu_s() * factors.inflation,
            tail_cpu_s=self.demand.tail_cpu_s * factors.inflation,
            lock=factors.lock,
            one_lock=factors.one_lock,
            front_cpu_s=self._front_s(factors),
        )
        rows = build_rows(self.demand, factors, self.conditions)
        run = simulate(
            rows,
            # used again from the start: any window of as many requests has each of them once
            draw_picks(self.demand, requests, rng, bootstrap=bootstrap),
            arrangement,
            self._closed(load, rows) if isinstance(load, int) else load,
            requests=requests,
            seed=seed,
        )
        if factors.pace == 1.0:
            return run
        return run.paced(factors.pace, math.inf if isinstance(load, Open) else self.think_s)

    def _overlaps(self) -> bool:
        server = catalogue.find(self.conditions.server)
        return server.recycling_of(self.settings.workers) is Recycling.OVERLAPS

    def _boot_s(self) -> float:
        """Return the CPU seconds until a worker serves; a preloaded one is forked with all it
        needs.
        """
        boot = self.demand.worker.boot_s
        return 0.0 if self.settings.preload_app or not boot > 0 else boot

    def _wake_cpu_s(self) -> float:
        """With a core for each worker none finds its caches cold."""
        crowded = self.settings.workers > math.ceil(self.conditions.server_cores)
        return self.demand.wake_cpu_s if crowded else 0.0

    def _timeout_s(self) -> float:
        workers = catalogue.find(self.conditions.server).classes[self.settings.worker_class]
        return (
            self.settings.timeout
            if workers.timeout_kills and self.settings.timeout > 0
            else math.inf
        )

    def _front_s(self, factors: Factors) -> float:
        return factors.front_s if self.conditions.front else 0.0

    def _closed(self, users: int, rows: NDArray[np.void]) -> Closed:
        """Describe the closed load; its ramp counts where a worker keeps what it accepts."""
        if not self.discipline.uneven:
            return Closed(users, self.think_s)
        ramp = RAMP * users * sum(mean_rows(self.demand, rows))
        return Closed(users, self.think_s, min(ramp, LONGEST_RAMP_S))

    def limits(self, users: int, factors: Factors) -> tuple[bounds.Limit, ...]:
        """Every resource's bound on throughput, the tightest first."""
        rows = build_rows(self.demand, factors, self.conditions)
        cpu, delay, db_cpu, wait = mean_rows(self.demand, rows)
        return bounds.limits(
            self.settings,
            self.conditions,
            users,
            cpu_s=cpu,
            gil_s=cpu if self.is_loop else cpu * factors.gil_fraction,
            db_cpu_s=db_cpu,
            delay_s=delay + wait,
            lock_s=serial_s(factors.lock, cpu, delay + wait + db_cpu),
            one_lock=factors.one_lock,
            think_s=self.think_s,
            front_s=self._front_s(factors),
            pool=self.demand.worker.most_inside,
            server_s=factors.overhead_s * factors.inflation,
        )
