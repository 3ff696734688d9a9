"""What the demand figures are worth when something else takes the CPU.

The same application is measured in turn on a quiet machine, beside a process that burns a core,
and under a CPU quota that stops it again and again (what a neighbour's steal looks like from
inside). Every disturbed trial must be noticed, and what one request is said to cost may not move.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from bench.measurement.quota import set_quota
from bench.measurement.result import Aim, Result, Table
from bench.measurement.stage import Stage, start_services
from pretune.advisor.demand import estimate
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.resources.trial_cgroup import TrialCgroup
from pretune.advisor.trials import bench
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

FIGURES = ("cpu_s", "db_s", "wait_s")
MOVES = 0.05
QUOTA = 0.15  # cores; below what the trial wants
TRIAL_S = 8.0
ROUNDS = 5
PATHS = ("compute", "query", "mixed")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    yield


@contextlib.contextmanager
def burning() -> Iterator[None]:
    """A process that computes for ever, wherever the scheduler puts it."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def throttling() -> Iterator[None]:
    """A quota on the trial's own group."""
    create = TrialCgroup.create

    def with_quota(*arguments: Any, **named: Any) -> TrialCgroup | None:
        group = create(*arguments, **named)
        if group is None or not set_quota(group, QUOTA):
            raise RuntimeError("no CPU quota can be set here")
        return group

    with mock.patch.object(bench.TrialCgroup, "create", with_quota):
        yield


CONDITIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "quiet": quiet,
    "another process burns a core": burning,
    f"a quota of {QUOTA:g} cores": throttling,
}


@dataclass(frozen=True)
class Seen:
    """One trial: what it says one request costs, s, and whether it says it was disturbed."""

    figures: dict[str, float]
    marked: bool
    wall_s: float

    @classmethod
    def of(cls, measured: Measurement, stage: Stage) -> Seen:
        found = estimate.assemble(stage.workload, measured)
        figures = {name: getattr(found, name).value for name in FIGURES}
        return cls(figures, bool(measured.disturbed), measured.latency.mean.value)


def run(*, quick: bool) -> Result:
    rounds, seconds = (2, TRIAL_S / 2) if quick else (ROUNDS, TRIAL_S)
    seen: dict[str, list[Seen]] = {name: [] for name in CONDITIONS}
    with start_services() as services, Stage("fixed_wsgi.py", PATHS, services) as stage:
        for _ in range(rounds):
            for name, condition in CONDITIONS.items():
                with condition():
                    one = stage.run(
                        Settings(workers=1, threads=1), Load(1, seconds), probes=True, repeats=0
                    )
                seen[name].append(Seen.of(one.measured, stage))
    return result(seen)


def result(seen: dict[str, list[Seen]]) -> Result:
    base = seen["quiet"]
    rows, moved, aims = [], {}, []
    for name, trials in seen.items():
        cells = [name, f"{statistics.median(t.wall_s for t in trials) * 1e3:.1f} ms"]
        for figure in FIGURES:
            value = statistics.median(t.figures[figure] for t in trials)
            quiet_value = statistics.median(t.figures[figure] for t in base)
            change = value / quiet_value - 1
            moved[name, figure] = change
            cells.append(f"{value * 1e3:.3f} ms" + ("" if trials is base else f" ({change:+.1%})"))
        cells.append(f"{sum(t.marked for t in trials)} of {len(trials)}")
        rows.append(tuple(cells))
        if trials is base:
            continue
        most = max((moved[name, figure] for figure in FIGURES), key=abs)
        aims.append(
            Aim(f"demand figures, {name}", f"move by less than {MOVES:.0%}", f"{most:+.1%}",
                abs(most) < MOVES)
        )  # fmt: skip
        marked = sum(t.marked for t in trials)
        aims.append(Aim(f"trials marked, {name}", "all", f"{marked} of {len(trials)}",
                        marked == len(trials)))  # fmt: skip
    head = ("condition", "latency", "CPU", "database", "other wait", "marked")
    return Result(
        "Disturbance",
        tables=(Table(head, tuple(rows)),),
        aims=tuple(aims),
        notes=(
            f"Medians of {len(base)} trials of each kind, one worker, one thread, one user, taken "
            "in turn. Each request does the same work; the figures are the demand trial's.",
        ),
        data=[
            {"condition": name, "moved": {f: moved[name, f] for f in FIGURES},
             "trials": [t.figures for t in trials]}
            for name, trials in seen.items()
        ],
    )  # fmt: skip
