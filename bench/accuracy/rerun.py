"""The answer against the best measured, run again in pairs: what it really carries less.

The best of many noisy figures was partly lucky, so its rerun decides. The two of a pair run one
right after the other, and the next pair in the other order (ABBA), so that what drifts, drifts for
both. The answer runs as it is recommended, preload and recycling included.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from bench.accuracy import judge
from bench.accuracy.grid import Task
from bench.accuracy.judge import Level
from bench.accuracy.store import Point, Rerun, shape_of
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Match:
    app: str
    ours: Settings
    best: Settings
    users: tuple[int, ...]

    def played(self, reruns: Sequence[Rerun]) -> tuple[Rerun, ...]:
        """Those of these two: the answer of another model, or another best, is another match."""
        shapes = shape_of(self.ours), shape_of(self.best)
        return tuple(r for r in reruns if r.shapes == shapes)


def turns(
    matches: Sequence[Match], done: Mapping[str, int], pairs: int
) -> Iterator[tuple[Match, int]]:
    """What is still to be run; apps take turns. ``done``: pairs of each app so far."""
    for number in range(pairs):
        for match in matches:
            if number >= done.get(match.app, 0):
                yield match, number


def run(match: Match, number: int, measure: Callable[[Task], Point]) -> Rerun:
    """One pair, each side at all loads."""
    sides = {"ours": match.ours, "best": match.best}
    order = list(sides) if number % 2 == 0 else list(reversed(sides))
    found = {
        side: tuple(
            measure(Task(match.app, sides[side], users, number)) for users in sorted(match.users)
        )
        for side in order
    }
    return Rerun(match.app, number, found["ours"], found["best"])


def regret(reruns: Sequence[Rerun], alone: Level, slo_p95_s: float) -> Interval:
    """Mean over pairs of what ours carries less, below zero where it carries more; Student's
    interval. Pairs with errors or a saturated generator say nothing; UNKNOWN for fewer than two."""
    found = []
    for pair in reruns:
        if not all(p.usable for p in (*pair.ours, *pair.best)):
            continue
        ours, best = (
            judge.capacity(judge.levels(points, alone), slo_p95_s)
            for points in (pair.ours, pair.best)
        )
        # a best that carries nothing this time: to its credit, no better than ours
        found.append(1 - ours / best if best > 0 else 0.0)
    if len(found) < 2:
        return UNKNOWN
    mean = statistics.mean(found)
    error = statistics.stdev(found) / math.sqrt(len(found))
    half = float(student.ppf(0.975, len(found) - 1)) * error
    return Interval(mean, mean - half, mean + half)
