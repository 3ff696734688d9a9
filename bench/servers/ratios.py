"""Medians of ratios within a round, with bootstrap intervals over rounds."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

REPEATS = 4000


@dataclass(frozen=True)
class Estimate:
    """A median and the 95% interval of a percentile bootstrap over rounds."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def estimate(values: Sequence[float], seed: int = 1) -> Estimate:
    """Of at least one value; the unit is the round, never the request."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(REPEATS))
    low, high = medians[int(0.025 * REPEATS)], medians[int(0.975 * REPEATS) - 1]
    return Estimate(statistics.median(values), low, high)


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Estimate | None:
    """ours / theirs in the rounds that have both; None if there is none."""
    both = sorted(set(ours) & set(theirs))
    ratios = [ours[n] / theirs[n] for n in both if theirs[n]]
    return estimate(ratios) if ratios else None
