"""How many tickets to expect: double exponential smoothing, its two factors found by trying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

STEPS = 12


class Forecast(NamedTuple):
    """The next value, the factors for level and trend that fitted best, their mean error."""

    next: float
    level: float
    trend: float
    error: float


def smooth(series: Sequence[float], level: float, trend: float) -> Forecast:
    """Run over `series`, guessing each value before it is seen."""
    height, slope, error = series[0], 0.0, 0.0
    for value in series[1:]:
        guess = height + slope
        error += abs(value - guess)
        height = level * value + (1 - level) * guess
        slope = trend * (height - (guess - slope)) + (1 - trend) * slope
    return Forecast(height + slope, level, trend, error / max(1, len(series) - 1))


def best(series: Sequence[float]) -> Forecast:
    """The forecast whose factors would have been least wrong so far."""
    factors = [(step + 1) / STEPS for step in range(STEPS)]
    return min((smooth(series, a, b) for a in factors for b in factors), key=lambda f: f.error)
