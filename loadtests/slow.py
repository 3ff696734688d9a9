"""Routes so slow that a few of their requests would be all that a trial has time for.

One route of eight seconds among pages of three milliseconds, asked as often as they are, takes
nearly all of every user's time: a trial then has a handful of requests of each, and what is
concluded is about waiting. Such routes are set apart: their time is known from trying them, and
they are measured by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pretune.loadtests.workload import Endpoint, Workload

SLOW_S = 1.0  # nothing quicker is set apart
TIMES = 10.0  # as slow as so many of the others' requests, by their median


def set_apart(workload: Workload) -> Workload:
    """The workload without its slow routes, which stand in ``apart`` with their shares of all.

    A workload of which every route is as slow stays as it is, and so does a locustfile's.
    """
    slow = [e for e in workload.endpoints if _is_slow(e, workload.endpoints)]
    if not slow or len(slow) == len(workload.endpoints):
        return workload
    kept = [e for e in workload.endpoints if e not in slow]
    total = sum(e.share for e in kept)
    said = f"{describe(slow)} measured apart"
    coverage = workload.coverage
    if coverage is not None:
        coverage = replace(coverage, measured=max(0, coverage.measured - len(slow)))
    return replace(
        workload,
        endpoints=tuple(replace(e, share=e.share / total) for e in kept),
        apart=tuple(slow),
        coverage=coverage,
        assumption=f"{workload.assumption}; {said}" if workload.assumption else said,
    )


def describe(endpoints: Sequence[Endpoint]) -> str:
    """``/report (8 s)`` of each, by the time that trying it took."""
    return ", ".join(f"{e.name} ({e.tried_s:.3g} s)" for e in endpoints)


def only_apart(workload: Workload) -> Workload:
    """The traffic of the trial that measures them: each as often as the others."""
    share = 1 / len(workload.apart)
    endpoints = tuple(
        replace(e, share=share, paths=e.paths[:1], weights=()) for e in workload.apart
    )
    return replace(workload, endpoints=endpoints, apart=())


def _is_slow(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> bool:
    if not endpoint.tried_s >= SLOW_S:
        return False
    return endpoint.tried_s >= TIMES * _median_of_others(endpoint, endpoints)


def _median_of_others(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> float:
    """By share; of those whose time is known."""
    others = [e for e in endpoints if e is not endpoint and e.tried_s > 0]
    half = sum(e.share for e in others) / 2
    for each in sorted(others, key=lambda e: e.tried_s):
        half -= each.share
        if half <= 0:
            return each.tried_s
    return math.inf
