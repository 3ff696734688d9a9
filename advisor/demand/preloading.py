"""Tells whether an application may be loaded before the fork: by what its import left open, by
whether it starts, and by errors that only preloaded workers gave. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pretune.advisor.observations import Observations
from pretune.advisor.preflight.facts import LeftOpen
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.profiler.statistics import proportion
from pretune.advisor.quantity import Interval

LOST = 0.01  # surely more than this part of the requests, and than the other trials' part
FEWEST = 20  # requests of either side
# Load lasts so many times the other trials' p99: what waits at its end was not merely slow.
PATIENCE = 5.0
NAMED = 3  # things in a sentence


def find_hindrance(left_open: Sequence[LeftOpen], observations: Observations) -> str:
    """Say why it must not be, as the end of a sentence; "" where nothing speaks against it."""
    reasons = []
    if observations.preload_failed:
        reasons.append(f"preloaded, it does not run ({observations.preload_failed})")
    elif (lost := _lost_by_preload(observations)) is not None:
        preloaded, others = lost
        reasons.append(
            f"{preloaded.value:.0%} of the requests to preloaded workers failed, and "
            f"{others.value:.2%} of those to workers that load it themselves"
        )
    if left_open:
        reasons.append(
            f"its import leaves open {describe(left_open)}, and workers that are forked then share "
            "its connections and have none of its threads"
        )
    return "; ".join(reasons)


def describe(left_open: Sequence[LeftOpen]) -> str:
    """``the connection 127.0.0.1:5432 and the thread pool-1 (app.py:9 in wait)``."""
    names = [f"the {each.kind} {each.name}" for each in left_open[:NAMED]]
    if len(left_open) > NAMED:
        names.append(f"{len(left_open) - NAMED} more")
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def usable(observations: Observations) -> Observations:
    """Without a preloaded trial that failed: its memory and times are those of errors."""
    if _lost_by_preload(observations) is None:
        return observations
    return replace(observations, preload=None)


def _lost_by_preload(observations: Observations) -> tuple[Interval, Interval] | None:
    """The part of the requests lost, preloaded and otherwise, where it is surely more."""
    preloaded = observations.preload
    if preloaded is None:
        return None
    others = [t for t in observations.all() if not t.settings.preload_app and t.counts is not None]
    p99_s = max((t.latency.p99.value for t in others), default=0.0)
    mine, theirs = _lost([preloaded], p99_s), _lost(others, p99_s)
    if mine is None or theirs is None or mine.low <= max(LOST, theirs.high):
        return None
    return mine, theirs


def _lost(trials: Sequence[Measurement], p99_s: float) -> Interval | None:
    lost = answered = 0
    for trial in trials:
        if trial.counts is not None:
            patient = not trial.load.duration_s < PATIENCE * p99_s
            lost += trial.counts.failed + (trial.counts.unanswered if patient else 0)
            answered += trial.counts.answered
    return proportion(lost, lost + answered) if lost + answered >= FEWEST else None
