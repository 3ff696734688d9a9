"""The statistics of several rounds together. Pure.

In each round every server has its turn, so what drifts between rounds meets all of them. A figure
is the geometric mean over the rounds with Student's t interval of the logarithms, the round being
the sample, never the request. Two servers are compared by the ratios of the same rounds; where that
interval includes 1 there is no difference. Each pair is judged for itself: of twenty pairs of alike
servers one will seem to differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import t as student

from pretune.advisor.quantity import UNKNOWN, Interval

FEWEST = 3  # rounds for an interval, and to say that there is a difference


@dataclass(frozen=True)
class Ratio:
    """``first`` over ``second`` in ``quantity``. ``differs`` None: too few rounds to say."""

    quantity: str
    first: str
    second: str
    ratio: Interval
    rounds: int
    differs: bool | None


def over_rounds(values: Sequence[float]) -> Interval:
    """Rounds without a value (NaN) are left out; of fewer than three there are no limits.

    Values of 0 (no connection, no byte) have no logarithm: all alike they are exact, else unknown.
    """
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return UNKNOWN
    if len(finite) >= FEWEST and min(finite) == max(finite):
        return Interval.exact(finite[0])
    if min(finite) <= 0:
        return Interval(float(np.mean(finite)), math.nan, math.nan)
    if len(finite) < FEWEST:
        return Interval(math.exp(float(np.log(finite).mean())), math.nan, math.nan)
    logs = np.log(finite)
    middle = float(logs.mean())
    half = float(student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def compare(
    quantity: str, first: str, second: str, a: Sequence[float], b: Sequence[float]
) -> Ratio:
    """``a[i]`` and ``b[i]`` are of the same round."""
    both = [x / y for x, y in zip(a, b, strict=True) if _positive(x) and _positive(y)]
    ratio = over_rounds(both)
    differs = None if len(both) < FEWEST else not ratio.contains(1.0)
    return Ratio(quantity, first, second, ratio, len(both), differs)


def pairs(quantity: str, values: Mapping[str, Sequence[float]]) -> list[Ratio]:
    """Every pair, the first of it the one that stands first."""
    return [compare(quantity, a, b, values[a], values[b]) for a, b in combinations(values, 2)]


def _positive(x: float) -> bool:
    return math.isfinite(x) and x > 0
