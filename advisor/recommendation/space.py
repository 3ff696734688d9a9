"""The arrangements that can be searched, and what arithmetic alone says of each.

Memory, connections, descriptors and the bound of the operational laws: nothing here is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pretune.advisor.demand.values import Demand
from pretune.advisor.model import bounds, memory, restarts
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import recycling
from pretune.advisor.recommendation.violations import over_budget
from pretune.advisor.resources.budget import Budget
from pretune.server.adapters.catalogue import Offer, find, offer
from pretune.server.adapters.server import Server
from pretune.server.settings import Settings

THREADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
MOST_WORKERS = 128
# Connections a worker accepts, where descriptors allow.
CONNECTIONS = 1000
SPARE_FDS = 32
# A saving this small is not worth an app that shares what it opened before the fork.
PRELOAD_FRACTION = 0.02
PRELOAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Space:
    """``preload``: whether the app may be loaded before the fork, where that saves memory."""

    demand: Demand
    budget: Budget
    conditions: Conditions
    asgi: bool
    preload: bool = False

    @property
    def offered(self) -> Offer:
        return offer(self.conditions.server)

    @property
    def server(self) -> Server:
        return find(self.conditions.server)

    @property
    def limit(self) -> int:
        return min(MOST_WORKERS, self.offered.most_workers or MOST_WORKERS)

    def complete(self, workers: int, threads: int, *, sync: bool = False) -> Settings:
        """With what decides about memory and descriptors: preload, recycling, connections; only
        with what the server can have."""
        kind = "asgi" if self.asgi else "sync" if sync else "gthread"
        settings = Settings(workers, threads, kind)
        worker = self.demand.worker
        database = memory.worker_connections_to_postgres(worker, settings)
        room = self.budget.fds - worker.fds - database - SPARE_FDS
        settings = replace(
            settings,
            preload_app=self.preload and preload_gains(self.demand, workers),
            worker_connections=max(threads, min(CONNECTIONS, room)),
        )
        return recycling.with_recycling(self.demand, settings, self.budget, self.server)

    def breaks_budget(self, settings: Settings) -> tuple[str, ...]:
        """By arithmetic alone, at the least load; a leak without recycling at the most."""
        worker = self.demand.worker
        most = Interval.exact(self.bound(settings))
        ram = restarts.ram_to_provide(worker, settings, most, self.budget, self.server.name)
        connections = memory.postgres_connections(worker, settings, self.budget.instances)
        fds = memory.descriptors(worker, settings, 1)
        return over_budget(ram.high, connections, fds, self.budget)

    def bound(self, settings: Settings) -> float:
        """Requests/s that no load could exceed, with everything unknown at its best."""
        d = self.demand
        cpu = max(_least(d.cpu_s) + _least(d.overhead_cpu_s), 1e-7)
        gil = cpu if self.asgi else cpu * _least(d.cpu_gil_fraction)
        database = d.db_cpu_s if self.conditions.database_local else None
        limits = bounds.limits(
            settings,
            replace(self.conditions, generator_cpu_s_per_request=0.0),
            users=1_000_000,
            cpu_s=cpu,
            gil_s=gil,
            db_cpu_s=_least(database) if database else 0.0,
            delay_s=max(0.0, _least(d.db_s) - (database.high if database else 0.0))
            + _least(d.wait_s),
        )
        return limits[0].rps

    @property
    def smallest(self) -> Settings:
        """The fewest workers of one thread that keep the budgets: 2 where a server cannot recycle
        one, and a leak needs that. One worker where neither fits."""
        one = self.complete(1, 1)
        if self.server.recycles(1) or self.limit < 2 or not self.breaks_budget(one):
            return one
        two = self.complete(2, 1)
        return one if self.breaks_budget(two) else two

    def most_workers(self, threads: int) -> int:
        """That keep the budgets; 0 when the fewest do not."""

        def fits(workers: int) -> bool:
            return not self.breaks_budget(self.complete(workers, threads))

        return last(fits, self.limit, self.fewest_workers(threads))

    def fewest_workers(self, threads: int) -> int:
        """One; two where a server cannot recycle one, and a leak of one fills the RAM."""
        if self.server.recycles(1) or self.limit < 2:
            return 1
        return 2 if self.breaks_budget(self.complete(1, threads)) else 1

    def useful_slots(self) -> float:
        """Requests inside the app when every core is busy, by Little's law."""
        d = self.demand
        inside = d.cpu_s.value + d.overhead_cpu_s.value + d.db_s.value + d.wait_s.value
        return max(1.0, self.bound(Settings(self.limit, THREADS[-1], "gthread")) * inside)

    def ram(self, settings: Settings) -> float:
        return memory.peak_pss(self.demand.worker, settings).high

    def size(self, settings: Settings) -> Any:
        """RAM, then slots; of two alike the one that keeps connections alive."""
        slots = settings.workers * settings.threads
        return round(self.ram(settings)), slots, settings.worker_class == "sync"


def preload_pays(demand: Demand) -> bool:
    """Return whether the measured saving per further worker is certainly more than a trifle."""
    saving = demand.worker.preload_saving_bytes
    trifle = max(PRELOAD_BYTES, PRELOAD_FRACTION * demand.worker.base_pss_bytes.value)
    return saving is not None and saving.low > trifle


def preload_gains(demand: Demand, workers: int) -> bool:
    """Return whether so many workers certainly save more than the zygote costs."""
    saving = memory.preload_saving(demand.worker, workers)
    return saving is not None and saving.low > 0


def _least(x: Interval) -> float:
    """The lower end; 0 where too few requests were seen for one."""
    return x.low if math.isfinite(x.low) else 0.0


def last(holds: Callable[[int], bool], most: int, least: int = 1) -> int:
    """The largest n in least..most that holds, where holding ends once; 0 when ``least`` does
    not."""
    low, high = least - 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low if low >= least else 0
