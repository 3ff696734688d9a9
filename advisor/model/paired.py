"""Paired differences: how much less one arrangement carries than another, under the same draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import UNKNOWN, Z95, Interval, format_rate
from pretune.server.settings import Settings

# Standard deviation of the logarithm by which the model misses the ratio of two arrangements of one
# application: of one kind, and of another class or of one thread against several. In ten
# applications' sweeps (4,000 and 5,000 pairs of points at equal users) it was 0.08 and 0.11 by the
# median, the noise of the points included; of differences beyond 15% that were predicted with it,
# 2% were measured the other way round by more than 5% (docs/method/recommendation.md).
ALIKE_SD, UNLIKE_SD = 0.08, 0.15


@dataclass(frozen=True)
class Difference:
    """Two rates and what the model knows of their ratio.

    ``rps`` and ``against_rps``: at the load where p95 meets the SLO. ``change``: of the first as a
    part of the second, with its 95% interval; UNKNOWN where one of them was only screened.
    """

    rps: float
    against_rps: float
    change: Interval

    @property
    def less(self) -> bool:
        return self.change.high < 0

    @property
    def more(self) -> bool:
        return self.change.low > 0

    @property
    def said(self) -> str:
        """The difference from ``it``."""
        return self.describe("it")

    def describe(self, other: str) -> str:
        """``would carry 9.1% less (4.2% to 14%)``, or that no difference can be told."""
        ends = f"{format_rate(self.rps)} beside {format_rate(self.against_rps)} requests/s"
        if not math.isfinite(self.change.low):
            return f"is expected to carry {ends}"
        if not (self.less or self.more):
            return f"cannot be told from {other}: {ends} expected, {self._spread()}"
        word = "less" if self.less else "more"
        small, large = sorted(abs(end) for end in (self.change.low, self.change.high))
        return (
            f"would carry {abs(self.change.value):.1%} {word} ({small:.1%} to {large:.1%}), {ends}"
        )

    def _spread(self) -> str:
        low, high = self.change.low, self.change.high
        return f"{abs(min(low, 0.0)):.1%} less to {max(high, 0.0):.1%} more"


Arranged = tuple[Settings, Prediction]


def difference(this: Arranged, that: Arranged) -> Difference:
    """Compare what the first carries with the second, over all that the measurements leave open."""
    (settings, of), (other_settings, against) = this, that
    alike = _kind(settings) == _kind(other_settings)
    rps, other = of.compared_rps, against.compared_rps
    expected = rps / other - 1 if other > 0 else math.nan
    logs = _logs(of, against)
    if logs is None or not math.isfinite(expected):
        return Difference(rps, other, UNKNOWN)
    quantile = float(student.ppf(0.975, len(logs) - 1))
    spread = quantile * float(logs.std(ddof=1)) * math.sqrt(1 + 1 / len(logs))
    half = math.hypot(spread, Z95 * (ALIKE_SD if alike else UNLIKE_SD))
    mean = -float(logs.mean())
    low, high = (math.exp(x) - 1 for x in (mean - half, mean + half))
    return Difference(rps, other, Interval(expected, min(low, expected), max(high, expected)))


def loss(of: Prediction, against: Prediction) -> Interval:
    """Part of its rate, the mean over draws with Student's 95% interval; below zero where ``of``
    carries more. What makes both as uncertain cancels out. UNKNOWN where one has no draws."""
    logs = _logs(of, against)
    if logs is None:
        return UNKNOWN
    mean = float(logs.mean())
    half = float(student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
    value, low, high = (1 - math.exp(-x) for x in (mean, mean - half, mean + half))
    return Interval(value, low, high)


def _kind(settings: Settings) -> tuple[str, bool]:
    return settings.worker_class, settings.threads > 1


def _logs(of: Prediction, against: Prediction) -> np.ndarray | None:
    """Logarithms of ``against`` over ``of``, draw by draw; None where one has no draws."""
    if len(of.draws) < 2 or len(of.draws) != len(against.draws):
        return None
    floor = 1e-12
    logs = np.log(np.maximum(against.draws, floor)) - np.log(np.maximum(of.draws, floor))
    return np.asarray(logs, dtype=np.float64)
