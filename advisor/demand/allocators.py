"""Savings of a threaded worker's memory by another allocator, or by glibc's with fewer arenas.

glibc gives threads arenas of their own, up to eight for each core, and what one arena has free
another cannot use; ``MALLOC_ARENA_MAX=2`` lets them share two. Whether that saves anything depends
on how the app's threads allot, so it is tried: the contrast trial once more, with the variable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretune.advisor.demand.values import TRIAL_SCATTER
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.quantity import Interval

# Directories and names of jemalloc where distributions put it.
_JEMALLOC = ("libjemalloc.so.2", "libjemalloc.so")
_LIBRARIES = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
# A saving is worth a word above both, of one worker.
LEAST_BYTES = 1 << 20
LEAST_FRACTION = 0.02


@dataclass(frozen=True)
class Alternative:
    """``environ`` is what the app's environment would get."""

    name: str
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Saving:
    """The saving of one worker that has served as many requests. ``cpu_change``: of CPU per
    request, 0.02 is 2% more.
    """

    name: str
    environ: Mapping[str, str]
    threads: int
    worker_bytes: float  # without it
    saving_bytes: Interval
    cpu_change: Interval

    @property
    def pays(self) -> bool:
        """Return whether it saves more than noise, and enough."""
        return self.saving_bytes.low > 0 and self.saving_bytes.value > max(
            LEAST_BYTES, LEAST_FRACTION * self.worker_bytes
        )


def alternatives(environ: Mapping[str, str], installed: Sequence[Path]) -> list[Alternative]:
    """List the allocators that are not chosen already. ``installed``: libraries of other allocators
    on this machine.
    """
    if environ.get("LD_PRELOAD"):
        return []  # the user's own choice may be an allocator; glibc's settings are none of it then
    untried = []
    if "MALLOC_ARENA_MAX" not in environ:
        untried.append(Alternative("MALLOC_ARENA_MAX=2", {"MALLOC_ARENA_MAX": "2"}))
    untried += [Alternative("jemalloc", {"LD_PRELOAD": str(path)}) for path in installed[:1]]
    return untried


def installed() -> list[Path]:
    """jemalloc's shared libraries on this machine; nothing is installed for a trial."""
    root = Path("/")
    return [
        path
        for directory in _LIBRARIES
        for name in _JEMALLOC
        for path in sorted(root.glob(f"{directory[1:]}/{name}"))
    ]


def compare(alternative: Alternative, before: Measurement, after: Measurement) -> Saving | None:
    """``before`` and ``after`` at the same settings; None when either says nothing of memory.

    At as many requests as both have served, since memory grows with them. The error is what trials
    of one app differ by.
    """
    reached = [last_request(m) for m in (before, after)]
    if not all(reached):
        return None
    at = min(reached)
    old, new = (memory_at(m, at) for m in (before, after))
    error = 1.96 * TRIAL_SCATTER * math.hypot(old, new)
    saved = old - new
    return Saving(
        alternative.name,
        alternative.environ,
        before.settings.threads,
        old,
        Interval(saved, saved - error, saved + error),
        _ratio(after.cpu_s_per_request, before.cpu_s_per_request),
    )


def last_request(trial: Measurement) -> float:
    return max((float(s.requests.max()) for s in trial.memory_series if len(s.requests)), default=0)


def memory_at(trial: Measurement, requests: float) -> float:
    """Mean memory of the workers, each at its samples nearest to so many requests."""
    values = []
    for series in trial.memory_series:
        near = np.argsort(np.abs(series.requests - requests), kind="stable")[:9]
        values.append(float(np.median(series.grown_bytes[near])))
    return float(np.mean(values))


def _ratio(after: Interval, before: Interval) -> Interval:
    if not (after.value > 0 and before.value > 0):
        return Interval(math.nan, math.nan, math.nan)
    value = after.value / before.value
    spread = value * math.hypot(_relative(after), _relative(before))
    return Interval(value - 1, value - 1 - spread, value - 1 + spread)


def _relative(x: Interval) -> float:
    return (x.high - x.low) / 2 / x.value


def best(savings: Iterable[Saving]) -> Saving | None:
    """The one that saves most and pays."""
    return max((s for s in savings if s.pays), key=lambda s: s.saving_bytes.value, default=None)
