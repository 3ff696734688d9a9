"""What is looked at when the answer is verified and time is left: a short trial for each question.

None of it changes the answer; each adds what explains the memory or makes it less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pretune.advisor.demand import allocation_sites, allocators
from pretune.advisor.profiler import snapshots as holding
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.run import Run
from pretune.advisor.trials.bench import Watch
from pretune.advisor.trials.plan import AROUND_S, PlannedTrial

# Seconds of load. Tracing makes requests several times as dear, so fewer are served.
HOLDERS_S = 9.0
ALLOCATOR_S = 6.0
# What is kept for a leak's lines when a disturbed trial asks to be repeated.
RESERVE_S = HOLDERS_S + AROUND_S


@dataclass(frozen=True)
class Question:
    """``trial`` is run with ``environ`` and ``watch``; ``learn`` gives the run what it told."""

    trial: PlannedTrial
    environ: Mapping[str, str]
    learn: Callable[[Run, Measurement], Run]
    watch: Watch | None = None


def questions(run: Run, environ: Mapping[str, str], installed: Sequence[Path]) -> list[Question]:
    """The most important first. ``environ``: the app's; ``installed``: other allocators."""
    contrast = next(
        (t.measurement for t in run.trials if t.measurement.role is Role.CONTRAST), None
    )
    if run.demand is None or contrast is None:
        return []
    found = []
    if run.demand.worker.leak_class == "leak":
        found.append(_who_holds(contrast))
    if contrast.settings.threads > 1:
        found += [
            _what_saves(contrast, other) for other in allocators.alternatives(environ, installed)
        ]
    return found


def _like(contrast: Measurement, name: str, why: str, seconds: float) -> PlannedTrial:
    return PlannedTrial(name, why, contrast.settings, contrast.load.users, seconds)


def _who_holds(contrast: Measurement) -> Question:
    snapshots = holding.Snapshots()

    def learn(run: Run, measured: Measurement) -> Run:
        if snapshots.held is None:
            return run
        slope = run.demand.worker.leak_slope_bytes_per_request.high if run.demand else math.inf
        return replace(
            run, holders=allocation_sites.find(snapshots.held, measured.memory_series, slope)
        )

    trial = _like(contrast, "holders", "which lines hold what leaks", HOLDERS_S)
    return Question(trial, holding.ENVIRON, learn, snapshots)


def _what_saves(contrast: Measurement, other: allocators.Alternative) -> Question:
    def learn(run: Run, measured: Measurement) -> Run:
        saving = allocators.compare(other, contrast, measured)
        return run if saving is None else replace(run, allocators=(*run.allocators, saving))

    trial = _like(contrast, "allocator", f"memory with {other.name}", ALLOCATOR_S)
    return Question(trial, other.environ, learn)
