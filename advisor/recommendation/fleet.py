"""The fleet: how many machines or pods a rate takes, and what they take together from one Postgres.
Pure.

One instance is what the budget describes; a balancer spreads arrivals over all of them, so each
sees a part of the Poisson stream, which is Poisson again. An instance counts with the lower end of
what it surely carries within the SLO.

Connections are what all instances could open at once. Where that is more than Postgres gives, a
pooler in transaction mode lends few connections to many: as many as are in a query at once. With
``load = rate x time in the database`` of them busy on average (Little's law), Erlang's C formula
says how many let a query wait for a connection in one case of a hundred only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pretune.advisor.demand.values import Demand
from pretune.advisor.model import memory
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import Interval, counted, format_bytes, format_seconds
from pretune.advisor.resources.budget import Budget
from pretune.server.settings import Settings

WAITING = 0.01  # part of the queries that may find no connection of the pool free
MOST_INSTANCES = 1_000_000
# Capacity expected over capacity that is sure: beyond it their number is no answer.
VAGUE = 3.0


@dataclass(frozen=True)
class Fleet:
    """``rps`` None: no rate was asked for, and ``needed`` is not known."""

    instances: int
    asked: bool  # whether the number is the user's own
    rps: float | None
    needed: int | None  # that carry the rate by the lower end of ``capacity_rps``
    capacity_rps: Interval  # of one instance within the SLO
    each_rps: float  # the load of one
    each: Prediction  # at that load
    headroom: float  # part of what all surely carry that the rate leaves free
    cores: float  # of all
    ram_bytes: float
    database: Database | None

    @property
    def known(self) -> bool:
        """True where their number is known to a factor of ``VAGUE``."""
        return self.capacity_rps.value <= VAGUE * self.capacity_rps.low

    @property
    def carries(self) -> bool:
        enough = self.needed is None or self.needed <= self.instances
        return enough and (self.database is None or self.database.enough)


@dataclass(frozen=True)
class Database:
    """The load on one Postgres for all instances. ``cores`` None where its CPU was not seen."""

    connections: int  # that all instances could open
    available: int
    most_without_pooler: int  # instances
    load: Interval  # queries at once, on average
    pool_size: int  # connections of a pooler in transaction mode
    cores: Interval | None  # of its CPU

    @property
    def pooler(self) -> bool:
        return self.connections > self.available

    @property
    def enough(self) -> bool:
        return not self.pooler or self.pool_size <= self.available


def with_database_apart(demand: Demand) -> Demand:
    """``demand`` with its Postgres on a machine of its own: one for all instances."""
    none = Interval.exact(0.0)
    worker = replace(demand.worker, db_pss_bytes=none, db_pss_bytes_per_connection=0.0)
    return replace(demand, worker=worker)


def count_instances(rps: float, capacity_rps: Interval) -> int:
    """Instances that carry ``rps`` together, each with what it surely carries."""
    if not capacity_rps.low > 0:
        return MOST_INSTANCES
    return max(1, min(MOST_INSTANCES, math.ceil(rps / capacity_rps.low - 1e-9)))


def plan_fleet(
    demand: Demand,
    budget: Budget,
    settings: Settings,
    capacity_rps: Interval,
    each: Prediction,
    *,
    instances: int,
    asked: bool,
    rps: float | None,
) -> Fleet:
    """``demand`` with its database's CPU as measured; ``each`` at the load of one instance."""
    count = None if rps is None else count_instances(rps, capacity_rps)
    total = instances * capacity_rps.low
    load = rps if rps is not None else instances * capacity_rps.value
    return Fleet(
        instances=instances,
        asked=asked,
        rps=rps,
        needed=count,
        capacity_rps=capacity_rps,
        each_rps=load / instances,
        each=each,
        headroom=1 - load / total if rps is not None and total > 0 else 0.0,
        cores=instances * budget.cores,
        ram_bytes=float(instances * budget.ram_bytes),
        database=_database(demand, budget, settings, instances, load),
    )


def pool_size(load: float, most: int = 1 << 20) -> int:
    """Servers with which at most ``WAITING`` of arrivals wait, ``load`` of them busy on average.

    Erlang's C formula by the stable recursion on Erlang's B (Cooper 1981).
    """
    if not load > 0:
        return 1
    blocked, servers = 1.0, 0
    while servers < most:
        servers += 1
        blocked = load * blocked / (servers + load * blocked)
        if servers > load:
            waiting = blocked / (1 - load / servers * (1 - blocked))
            if waiting <= WAITING:
                return servers
    return most


def _database(
    demand: Demand, budget: Budget, settings: Settings, instances: int, rps: float
) -> Database | None:
    one = memory.postgres_connections(demand.worker, settings)
    if budget.pg_connections is None or one == 0:
        return None
    load = demand.db_s.scaled(rps)
    return Database(
        connections=one * instances,
        available=budget.pg_connections,
        most_without_pooler=budget.pg_connections // one,
        load=load,
        pool_size=pool_size(load.high),
        cores=None if demand.db_cpu_s is None else demand.db_cpu_s.scaled(rps),
    )


def describe_fleet(fleet: Fleet, budget: Budget) -> tuple[str, ...]:
    """The answer in words, the most important first."""
    one = f"{counted(budget.cores, 'core')}, {format_bytes(budget.ram_bytes)}"
    carried = fleet.capacity_rps
    sentences = []
    if fleet.rps is not None and fleet.needed is not None:
        expected = count_instances(fleet.rps, Interval.exact(carried.value))
        sentences.append(
            f"{counted(fleet.needed, 'instance')} of {one} carry "
            f"{fleet.rps:,.0f} requests/s; one certainly carries {carried.low:.0f} "
            f"({carried.value:.0f} expected, {carried.high:.0f} at most"
            + (f": {expected:,} may do" if expected < fleet.needed else "")
            + ")"
        )
        sentences.append(_share(fleet, fleet.needed))
    else:
        sentences.append(
            f"{fleet.instances:,} instances of {one} together carry "
            f"{fleet.instances * carried.value:,.0f} requests/s "
            f"({fleet.instances * carried.low:,.0f} to {fleet.instances * carried.high:,.0f})"
        )
    sentences.append(
        f"together they take {counted(fleet.cores, 'core')} and "
        f"{format_bytes(fleet.ram_bytes)} of RAM"
    )
    return (*sentences, *(_about(fleet.database, fleet.instances) if fleet.database else ()))


def _share(fleet: Fleet, count: int) -> str:
    """Say what each instance then gets, or that they are too few."""
    if count > fleet.instances:
        return (
            f"{fleet.instances:,} may not be enough: each would get {fleet.each_rps:.0f} requests/s"
        )
    p95 = fleet.each.latency.p95
    return (
        f"with {fleet.instances:,} each gets {fleet.each_rps:.0f} requests/s, at a p95 of "
        f"{format_seconds(p95.value)} ({format_seconds(p95.low)} to {format_seconds(p95.high)}) "
        f"and {fleet.headroom:.0%} headroom in all; one more instance would cover a deploy or a "
        "failure"
    )


def _about(database: Database, instances: int) -> tuple[str, ...]:
    d = database
    connections = f"they may open {d.connections:,} Postgres connections, {d.available:,} are free"
    if not d.pooler:
        sentences = [
            f"{connections}: no pooler is needed up to {d.most_without_pooler:,} instances"
        ]
    elif d.enough:
        sentences = [
            f"{connections}: from {d.most_without_pooler + 1:,} instances on PgBouncer is needed "
            f"(pool_mode = transaction, default_pool_size = {d.pool_size}, max_client_conn = "
            f"{d.connections:,} or more); {d.load.value:.1f} queries run at once on average, so "
            f"with {d.pool_size} connections at most {WAITING:.0%} of them wait for one"
        ]
    else:
        sentences = [
            f"{connections}, and no pooler helps: {d.load.value:,.0f} queries run at once on "
            f"average, for which {d.pool_size:,} connections are needed; the database is the "
            "limit, not the number of instances"
        ]
    if d.cores is not None and d.cores.high >= 0.1:
        sentences.append(
            f"Postgres, on a machine of its own, needs {d.cores.value:.1f} cores "
            f"({d.cores.low:.1f} to {d.cores.high:.1f}) for that"
        )
    return tuple(sentences)
