"""How often claimed 95% intervals cover what is true of the known applications.

Trials of several kinds take turns, so that each kind sees the same minutes; the machine's own
drift between repeats is in the figures, as it is in a user's run. Disturbed trials are repeated
once, as a run of the tool does.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.measurement import truth
from bench.measurement.pairs import HEAD, Coverage, Pair
from bench.measurement.result import Aim, Result, Table
from bench.measurement.stage import Stage, start_services
from bench.measurement.truth import Repeat
from pretune.advisor.quantity import Interval
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

SECONDS, QUICK_SECONDS = 6.0, 2.5
REPEATS, QUICK_REPEATS = 8, 3
AIM, PAIRS, QUANTITIES = 0.90, 300, 8


@dataclass(frozen=True)
class Kind:
    """One kind of trial. ``alone``: one request at a time, probes on."""

    name: str
    app: str
    paths: tuple[str, ...]
    worker_class: str
    threads: int = 1
    users: int = 1
    held_mib: int = 0
    quick: bool = True

    @property
    def alone(self) -> bool:
        return self.users == 1


_COSTS = ("nothing", "burn", "wait", "mixed", "drawn", "bimodal", "queries", "pair", "bytes")
_LOADED = ("mixed", "drawn", "bimodal")
TRIALS = (
    Kind("wsgi", "known_wsgi.py", (*_COSTS, "outbound"), "gthread"),
    Kind("asgi", "known_asgi.py", _COSTS, "asgi"),
    Kind("wsgi, 8 users", "known_wsgi.py", _LOADED, "gthread", threads=4, users=8),
    Kind("asgi, 8 users", "known_asgi.py", _LOADED, "asgi", users=8, quick=False),
    Kind("wsgi, 64 MiB", "known_wsgi.py", ("drawn",), "gthread", held_mib=64, quick=False),
    Kind("leak", "known_wsgi.py", ("leak",), "gthread", quick=False),
)


@dataclass(frozen=True)
class Figures:
    """What was measured, in one run or several; JSON types but for ``pairs``."""

    pairs: tuple[Pair, ...]
    repeats: int
    seconds: float
    repeated: int  # trials, because they were disturbed
    disturbed: int  # of these, those that were disturbed again
    needless_s: float  # the longest wait reported for an endpoint that never waits

    def to_json(self) -> dict[str, Any]:
        pairs = [[p.quantity, p.where, *_ends(p.claimed), p.truth] for p in self.pairs]
        return {**vars(self), "pairs": pairs}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Figures:
        pairs = (
            Pair(quantity, where, _interval(value, low, high), truth)
            for quantity, where, value, low, high, truth in found["pairs"]
        )
        return cls(**{**found, "pairs": tuple(pairs)})

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.pairs + other.pairs,
            self.repeats + other.repeats,
            max(self.seconds, other.seconds),
            self.repeated + other.repeated,
            self.disturbed + other.disturbed,
            max(self.needless_s, other.needless_s),
        )


def _ends(interval: Interval) -> list[float | None]:
    return list(interval.to_json().values())


def _interval(*ends: float | None) -> Interval:
    return Interval(*(math.nan if end is None else end for end in ends))


def run(*, quick: bool) -> Result:
    kinds = [kind for kind in TRIALS if kind.quick or not quick]
    repeats = QUICK_REPEATS if quick else REPEATS
    seconds = QUICK_SECONDS if quick else SECONDS
    with ExitStack() as stack:
        services = stack.enter_context(start_services())
        stages = {
            kind: stack.enter_context(Stage(kind.app, kind.paths, services, held_mib=kind.held_mib))
            for kind in kinds
        }
        found: dict[Kind, list[Repeat]] = {kind: [] for kind in kinds}
        for number in range(repeats):
            for kind in kinds:
                found[kind].append(_one(kind, stages[kind], seconds, number))
    pairs: list[Pair] = []
    needless = 0.0
    for kind, all_of_it in found.items():
        for number, one in enumerate(all_of_it):
            others = all_of_it[:number] + all_of_it[number + 1 :]
            pairs += _pairs(kind, one, others, stages[kind])
            if kind.paths == _COSTS:
                needless = max(needless, truth.needless_wait(stages[kind].workload, one))
    repeated = sum(stage.repeated for stage in stages.values())
    disturbed = sum(stage.disturbed for stage in stages.values())
    return report(Figures(tuple(pairs), repeats, seconds, repeated, disturbed, needless))


def pool(results: Sequence[Result]) -> Result:
    """Runs at different times, in one report."""
    return report(functools.reduce(operator.add, (Figures.from_json(r.data) for r in results)))


def _one(kind: Kind, stage: Stage, seconds: float, number: int) -> Repeat:
    settings = Settings(
        workers=1, threads=kind.threads, worker_class=kind.worker_class, timeout=60.0
    )
    load = Load(users=kind.users, duration_s=seconds, seed=number + 1)
    print(f"{kind.name}, repeat {number + 1}", file=sys.stderr)
    trial = stage.run(settings, load, probes=kind.alone)
    return truth.repeat(stage.workload, trial, held_mib=kind.held_mib, alone=kind.alone)


def _pairs(
    kind: Kind,
    one: Repeat,
    others: Sequence[Repeat],
    stage: Stage,
) -> list[Pair]:
    if kind.name == "leak":
        return truth.of_leak(kind.name, one)
    pairs = truth.of_the_others(kind.name, stage.workload, one, others)
    return pairs + (truth.of_demand(kind.name, stage.workload, one) if kind.alone else [])


def report(found: Figures) -> Result:
    pairs = found.pairs
    pooled = Coverage.of(pairs)
    quantities = list(dict.fromkeys(pair.quantity for pair in pairs))
    kinds = list(dict.fromkeys(pair.where for pair in pairs))
    unknown = len(pairs) - pooled.pairs
    return Result(
        title="Claimed intervals against known truth",
        tables=(
            Table(
                ("quantity", *HEAD),
                tuple(
                    (name, *Coverage.of([p for p in pairs if p.quantity == name]).cells())
                    for name in quantities
                ),
            ),
            Table(
                ("trial", *HEAD),
                tuple(
                    (kind, *Coverage.of([p for p in pairs if p.where == kind]).cells())
                    for kind in kinds
                ),
            ),
        ),
        aims=(
            Aim(
                "claimed 95% intervals cover the truth, all repeats and quantities pooled",
                f"at least {AIM:.0%} of at least {PAIRS}, of at least {QUANTITIES} quantities",
                f"{pooled.share:.1%} of {pooled.pairs}, {len(quantities)} quantities, "
                f"half width {pooled.half_width:.1%}",
                pooled.share >= AIM and pooled.pairs >= PAIRS and len(quantities) >= QUANTITIES,
            ),
        ),
        notes=(
            f"{found.repeats} repeats of {found.seconds:g} s of each trial, in turns; "
            f"{found.repeated} were disturbed and repeated, {found.disturbed} of those were "
            "disturbed again and counted.",
            "Half width and bias are medians, relative to the truth; below and above: whole "
            "intervals beside it.",
            "Truth of cpu_s and wait_s: the law from which the app draws, else the app's own log; "
            "of throughput, latency, process CPU and memory: the other repeats, pooled.",
            "The longest wait reported for an endpoint that never waits: "
            f"{found.needless_s * 1e6:.0f} us.",
            f"{unknown} claims had no interval.",
        ),
        data=found.to_json(),
    )
