"""How fast the model is: simulated requests a second, and 10,000 arrangements ranked.

    python -m bench.model [--rounds 5] [--json build/bench/model.json]

*Speed*: the compiled simulation alone, one core, by shape of server and load. *Ranking*: what
``recommend`` answers, and the answer of asking for all 10,000 arrangements of 1 to 250 workers and
1 to 40 threads at the load of that answer: arithmetic rules out what breaks a budget and the
operational laws what cannot be as fast, the rest is simulated shortly and the best of it again at
length. So it also says what the search's short cuts lose (regret, by the same model). Times are
CPU seconds of one core, so that neighbours on the machine change them little.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretune.advisor.demand.values import TUPLE, Demand, WorkerDemand
from pretune.advisor.model import memory
from pretune.advisor.model.predict import capacity
from pretune.advisor.model.question import Question
from pretune.advisor.model.rows import central
from pretune.advisor.model.scenario import Scenario
from pretune.advisor.model.simulation import (
    Arrangement,
    Closed,
    Discipline,
    Open,
    simulate,
    warm_up,
)
from pretune.advisor.model.state import ROW
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation.search import recommend, shape
from pretune.advisor.recommendation.violations import over_budget
from pretune.advisor.resources.budget import Budget, Slo
from pretune.server.settings import Settings

MIB, GIB = 1 << 20, 1 << 30
ROWS = 4_000
REQUESTS = 300_000  # of a speed run
WORKERS, THREADS = 250, 40
SHORT, LONG = 1_000, 30_000  # requests of a first look, and of one that decides
FINALISTS = 40
ALONE = Conditions(server_cores=2.0, shared_cores=0.0, pinned=False, database_local=False)


def rows(*, cpu: float, db: float = 0.0, db_cpu: float = 0.0) -> NDArray[np.void]:
    """Exponential times with these means, seconds."""
    rng = np.random.default_rng(1)
    made = np.zeros(ROWS, ROW)
    for name, mean in (("cpu", cpu), ("db_delay", db), ("db_cpu", db_cpu)):
        made[name] = rng.exponential(1.0, ROWS) * mean
    made["db_calls"] = db > 0
    return made


COMPUTES = partial(rows, cpu=0.005)
QUERIES = partial(rows, cpu=0.003, db=0.004)
GREEDY = Discipline(when_free=False, sticky=True, pick="awake")
SHAPES = {
    "16 workers x 1 thread, 16 users, computing": (COMPUTES(), Arrangement(16, 1, 2.0), Closed(16)),
    "4 workers x 4 threads, 16 users, computing": (COMPUTES(), Arrangement(4, 4, 2.0), Closed(16)),
    "4 x 4, 16 users, one query": (QUERIES(), Arrangement(4, 4, 2.0), Closed(16)),
    "4 x 4, 32 users, a worker keeps what it accepts": (
        QUERIES(),
        Arrangement(4, 4, 2.0, discipline=GREEDY),
        Closed(32),
    ),
    "4 x 4, 32 users, and the generator": (
        QUERIES(),
        Arrangement(4, 4, 2.0, 1.0, generator_cpu_s=0.0002),
        Closed(32),
    ),
    "4 x 4, 32 users, Postgres beside, 70% GIL": (
        QUERIES(db_cpu=0.001),
        Arrangement(4, 4, 2.0, 1.0, gil_fraction=0.7),
        Closed(32),
    ),
    "4 x 4, quota of 1.5 cores, 32 users": (QUERIES(), Arrangement(4, 4, 1.5), Closed(32)),
    "4 x 4, open, 400 requests/s": (QUERIES(), Arrangement(4, 4, 2.0), Open(400.0)),
    "64 x 4, 512 users": (QUERIES(), Arrangement(64, 4, 16.0), Closed(512)),
}


def speed(rounds: int) -> Iterator[tuple[str, float, float]]:
    """(shape, median, best) simulated requests a second, the warm-up's requests counted."""
    warm_up()
    for name, (made, arrangement, load) in SHAPES.items():
        picks = np.arange(ROWS)
        rates = []
        for _ in range(rounds):
            begin = time.process_time()
            simulate(
                made, picks, arrangement, load, requests=REQUESTS, warm_up_requests=1_000, seed=1
            )
            rates.append((REQUESTS + 1_000) / (time.process_time() - begin))
        yield name, statistics.median(rates), max(rates)


def demand(cpu_s: float, db_s: float, wait_s: float) -> Demand:
    """2,000 requests with these means; a worker of 80 MiB that holds a connection per thread."""
    exact = Interval.exact
    rng = np.random.default_rng(1)
    tuples = np.zeros(2_000, TUPLE)
    for name, mean in (("cpu", cpu_s), ("db", db_s), ("wait", wait_s)):
        tuples[name] = mean * rng.lognormal(-0.125, 0.5, len(tuples))
    alone = tuples["cpu"] + tuples["db"] + tuples["wait"]
    worker = WorkerDemand(
        base_pss_bytes=exact(80.0 * MIB),
        per_thread_bytes=exact(1.0 * MIB),
        fixed_pss_bytes=15.0 * MIB,
        preload_saving_bytes=None,
        leak_slope_bytes_per_request=exact(0.0),
        leak_class="none",
        boot_s=0.8,
        shutdown_s=0.1,
        fds=15,
        pg_connections=1,
        pg_connections_per_thread=1.0,
    )
    return Demand(
        tuples=tuples,
        shares=(1.0,),
        cpu_s=exact(cpu_s),
        cpu_gil_fraction=exact(0.9),
        overhead_cpu_s=exact(0.0002),
        db_s=exact(db_s),
        db_calls=exact(2.0),
        db_cpu_s=None,
        wait_s=exact(wait_s),
        wait_calls=exact(1.0 if wait_s else 0.0),
        by_endpoint=(),
        worker=worker,
        unloaded_p95_s=float(np.quantile(alone, 0.95)),
        generator_cpu_s=0.0,
    )


DEMANDS = {
    "computing: 6 ms CPU": demand(0.006, 0.0, 0.0),
    "a database: 4 ms CPU, 6 ms waiting for it": demand(0.004, 0.006, 0.0),
    "calls out: 3 ms CPU, 60 ms waiting": demand(0.003, 0.0, 0.060),
}
SMALL = Budget(4 * GIB, cores=2.0, pg_connections=97, fds=1024, reserve_bytes=GIB // 5)
LARGE = Budget(64 * GIB, cores=16.0, pg_connections=None, fds=65536, reserve_bytes=3 * GIB)
BUDGETS = {"2 cores, 4 GiB, 97 connections": SMALL, "16 cores, 64 GiB": LARGE}


@dataclass(frozen=True)
class Ranking:
    name: str
    answer: str
    search_s: float
    ranking_s: float
    over_budget: int
    bounded: int  # cannot be as fast, by the operational laws
    simulated: int
    best: str
    regret: float  # of the answer against the best, by throughput of long runs


def rank(name: str, demand: Demand, budget: Budget) -> Ranking:
    conditions = replace(ALONE, server_cores=budget.cores)
    begin = time.process_time()
    found = recommend(Question(demand, budget, Slo(None), conditions), capacity)
    search_s = time.process_time() - begin
    assert found.recommendation is not None, found.reason
    answer = found.recommendation.settings
    users = found.recommendation.predicted.users
    slo_s = 3.0 * demand.unloaded_p95_s
    factors = central(demand)

    begin = time.process_time()
    broken = bounded = 0
    left: list[Scenario] = []

    def simulated(scenario: Scenario, requests: int) -> tuple[float, float]:
        run = scenario.run(users, factors, requests, seed=1)
        return run.throughput_rps, float(np.quantile(run.response_s, 0.95))

    def scenario_of(settings: Settings) -> Scenario:
        return Scenario(demand, settings, conditions)

    answered = simulated(scenario_of(answer), LONG)[0]
    least = 0.99 * answered
    for workers in range(1, WORKERS + 1):
        for threads in range(1, THREADS + 1):
            settings = replace(answer, workers=workers, threads=threads)
            rate = Interval.exact(least)
            ram = memory.ram_to_provide(demand.worker, settings, rate, budget.reserve_bytes)
            connections = memory.postgres_connections(demand.worker, settings)
            fds = memory.descriptors(demand.worker, settings, users)
            if over_budget(ram.high, connections, fds, budget):
                broken += 1
                continue
            scenario = scenario_of(settings)
            if scenario.limits(users, factors)[0].rps < least:
                bounded += 1
            else:
                left.append(scenario)
    looks = [(simulated(scenario, SHORT), scenario) for scenario in left]
    looks.sort(key=lambda look: -look[0][0])
    finals = [(simulated(scenario, LONG), scenario) for _, scenario in looks[:FINALISTS]]
    ranking_s = time.process_time() - begin
    kept = [(rps, scenario) for (rps, p95), scenario in finals if p95 <= slo_s]
    best, winner = max(kept, key=lambda pair: pair[0])
    return Ranking(
        name,
        shape(answer),
        search_s,
        ranking_s,
        broken,
        bounded,
        len(left),
        shape(winner.settings),
        1 - answered / best,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--json", type=Path)
    asked = arguments.parse_args()
    speeds = []
    for name, median, best in speed(asked.rounds):
        print(f"{name:52s} {median / 1e6:5.1f} million requests/s (best {best / 1e6:.1f})")
        speeds.append({"shape": name, "median_rps": median, "best_rps": best})
    rankings = []
    for machine, demand in itertools.product(BUDGETS, DEMANDS):
        name = f"{machine}; {demand}"
        r = rank(name, DEMANDS[demand], BUDGETS[machine])
        print(
            f"{name}: {r.answer} in {r.search_s:.2f} s; {WORKERS * THREADS} ranked in "
            f"{r.ranking_s:.1f} s ({r.over_budget} over a budget, {r.bounded} bounded, "
            f"{r.simulated} simulated): best {r.best}, regret {r.regret:.2%}"
        )
        rankings.append(vars(r))
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps({"speed": speeds, "ranking": rankings}, indent=1) + "\n")


if __name__ == "__main__":
    main()
