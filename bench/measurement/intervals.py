"""The statistics alone: intervals from runs drawn from laws, against the laws.

What is asked is ``reduce.measure`` itself, given client's records without samples: steady window,
blocks, batch means, bootstrap. No clock, no server, no noise but the law's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.measurement.laws import Law, all_laws
from bench.measurement.pairs import HEAD, Coverage, Pair
from bench.measurement.result import Aim, Result, Table
from pretune.advisor.profiler.measurement import Conditions, Measurement
from pretune.advisor.profiler.reduce import measure
from pretune.advisor.profiler.samples import nothing
from pretune.loadtests import records
from pretune.loadtests.workload import Endpoint, Load, Workload
from pretune.server.settings import Settings

SECONDS = (6.0, 19.0)  # a short trial of a run, and the demand trial at the default time budget
RUNS, QUICK_RUNS = 100, 20  # of each law and length
AIM = 0.90


def run(*, quick: bool) -> Result:
    found = {
        (law.name, seconds): [
            pair
            for number in range(QUICK_RUNS if quick else RUNS)
            for pair in pairs_of(law, seconds, seed=number)
        ]
        for law in all_laws()
        for seconds in SECONDS
    }
    pairs = [pair for of_one in found.values() for pair in of_one]
    quantities = list(dict.fromkeys(p.quantity for p in pairs))
    by_quantity = [(name, [p for p in pairs if p.quantity == name]) for name in quantities]
    pooled = Coverage.of(pairs)
    return Result(
        title="Intervals of runs with a known law",
        tables=(
            Table(
                ("law, s of a run", *HEAD),
                tuple((f"{n}, {s:g}", *Coverage.of(p).cells()) for (n, s), p in found.items()),
            ),
            Table(("quantity", *HEAD), tuple((n, *Coverage.of(p).cells()) for n, p in by_quantity)),
        ),
        aims=(
            Aim(
                "95% intervals of drawn runs cover the law's truth",
                f"at least {AIM:.0%}",
                f"{pooled.share:.1%} of {pooled.pairs}, half width {pooled.half_width:.1%}",
                pooled.share >= AIM,
            ),
        ),
        notes=(
            f"Runs of {' and '.join(f'{s:g}' for s in SECONDS)} s; half width is the median, "
            "relative to the truth.",
            "Most misses of the open queue lie below: its longest queues are rare, and a short run "
            "that has not seen one cannot know of them.",
        ),
    )


def pairs_of(law: Law, seconds: float, seed: int) -> list[Pair]:
    """What one run of the law claims, beside what is true."""
    said = told(*law.draw(np.random.default_rng(seed), seconds), seed)
    claimed = {"throughput_rps": said.throughput_rps, **vars(said.latency)}
    return [Pair(name, law.name, claimed[name], truth) for name, truth in law.truth.items()]


def told(start: NDArray[np.float64], wall: NDArray[np.float64], seed: int) -> Measurement:
    """What the tool makes of requests that began and took so long, seconds."""
    rows = np.zeros(len(start), records.dtype())
    rows["start"], rows["wall"] = start, wall
    rows["status"], rows["endpoint"] = 200, 1
    load = Load(users=1, duration_s=float(start.max()), seed=seed)
    workload = Workload((Endpoint("/", ("/",), 1.0),))
    conditions = Conditions(1, 1, True, False)
    return measure("demand", Settings(), load, conditions, workload, nothing(1), rows, ())
