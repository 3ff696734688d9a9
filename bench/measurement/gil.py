"""How much of the CPU needs the interpreter's lock: applications that need it wholly, half, hardly.

The server has two cores, and the generator beside it on them: with one core of its own nothing
shows, and the tool says so.
"""

from __future__ import annotations

import os

from bench.measurement import truth
from bench.measurement.pairs import HEAD, Coverage, Pair
from bench.measurement.result import Aim, Result, Table
from bench.measurement.stage import Stage, start_services
from pretune.advisor.demand import estimate
from pretune.advisor.workspace.cores import CorePlan
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

KINDS = ("burn", "half", "free")
ROUNDS, QUICK_ROUNDS = 6, 2
SECONDS = 4.0
THREADS, USERS = 4, 8


def run(*, quick: bool) -> Result:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    cores = frozenset(sorted(os.sched_getaffinity(0))[:2])
    if len(cores) < 2:
        raise RuntimeError("one core shows nothing of the lock")
    pairs: list[Pair] = []
    told: dict[str, list[str]] = {kind: [] for kind in KINDS}
    disturbed = 0
    with start_services() as services:
        for _ in range(rounds):
            for kind in KINDS:
                with Stage(
                    "known_wsgi.py", (kind,), services, cores=CorePlan(cores, cores)
                ) as stage:
                    alone = stage.run(Settings(1, 1), Load(1, SECONDS), probes=True).measured
                    several = stage.run(Settings(1, THREADS), Load(USERS, SECONDS)).measured
                    said = estimate.assemble(stage.workload, alone, several).cpu_gil_fraction
                disturbed += several.disturbed != ""
                pairs.append(Pair("GIL fraction", kind, said, truth.gil_fraction(kind, several)))
                told[kind].append(f"{said.low:.2f} to {said.high:.2f}")
    every = Coverage.of(pairs)
    rows = tuple(
        (
            kind,
            f"{sum(p.truth for p in pairs if p.where == kind) / rounds:.2f}",
            ", ".join(told[kind]),
            *Coverage.of([p for p in pairs if p.where == kind]).cells(),
        )
        for kind in KINDS
    )
    return Result(
        title="The interpreter's lock",
        tables=(Table(("CPU", "truth", "told", *HEAD), rows),),
        aims=(
            Aim(
                "intervals of the part of the CPU that needs the lock hold the truth",
                "all",
                f"{every.covered} of {every.pairs}",
                every.covered == every.pairs,
            ),
        ),
        notes=(
            f"{rounds} rounds, {THREADS} threads, {USERS} users, two cores for server and "
            f"generator; {disturbed} of {len(pairs)} trials were disturbed; of those the "
            "lower end is 0.",
            "Truth: all CPU of a request except what hashing and compressing in C spend.",
        ),
        data=[[p.where, p.claimed.to_json(), p.truth] for p in pairs],
    )
