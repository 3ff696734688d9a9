"""Trials that follow the answer while time is left: a short one for each thing to explain.

None of it changes the answer; each adds what explains the memory or makes it less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretune.advisor.demand import allocation_sites, allocators
from pretune.advisor.demand.allocation_sites import Holders
from pretune.advisor.demand.allocators import Saving
from pretune.advisor.demand.values import WorkerDemand
from pretune.advisor.profiler import snapshots
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.trials.bench import Watch
from pretune.advisor.trials.plan import AROUND_S, PlannedTrial

# Seconds of load. Tracing makes requests several times as dear, so fewer are served.
HOLDERS_S = 9.0
ALLOCATOR_S = 6.0
# What is kept for a leak's lines when a disturbed trial asks to be repeated.
RESERVE_S = HOLDERS_S + AROUND_S


@dataclass(frozen=True)
class FollowUp:
    """``trial`` is run with ``environ`` and ``watch``; ``learn`` gives what it told, None where
    that is nothing."""

    trial: PlannedTrial
    environ: Mapping[str, str]
    learn: Callable[[Measurement], Holders | Saving | None]
    watch: Watch | None = None


def plan_follow_ups(
    worker: WorkerDemand,
    contrast: Measurement | None,
    environ: Mapping[str, str],
    installed: Sequence[Path],
) -> list[FollowUp]:
    """The most important first. ``environ``: the app's; ``installed``: other allocators."""
    if contrast is None:
        return []
    planned = []
    if worker.leak_class == "leak":
        slope = worker.leak_slope_bytes_per_request.high
        planned.append(_who_holds(contrast, slope))
    if contrast.settings.threads > 1:
        others = allocators.alternatives(environ, installed)
        planned += [_what_saves(contrast, other) for other in others]
    return planned


def _like(contrast: Measurement, name: str, why: str, seconds: float) -> PlannedTrial:
    return PlannedTrial(name, why, contrast.settings, contrast.load.users, seconds)


def _who_holds(contrast: Measurement, slope: float) -> FollowUp:
    """``slope``: bytes per request that leak, at most."""
    watch = snapshots.Snapshots()

    def learn(measured: Measurement) -> Holders | None:
        if watch.held is None:
            return None
        return allocation_sites.find_holders(watch.held, measured.memory_series, slope)

    trial = _like(contrast, "holders", "which lines hold what leaks", HOLDERS_S)
    return FollowUp(trial, snapshots.ENVIRON, learn, watch)


def _what_saves(contrast: Measurement, other: allocators.Alternative) -> FollowUp:
    def learn(measured: Measurement) -> Saving | None:
        return allocators.compare(other, contrast, measured)

    trial = _like(contrast, "allocator", f"memory with {other.name}", ALLOCATOR_S)
    return FollowUp(trial, other.environ, learn)
