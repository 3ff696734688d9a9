"""Intervals for one run whose requests depend on each other. All are 95% intervals.

Requests of one run queue behind each other and share caches, collections and neighbours, so the
unit is the block of time. What neighbouring blocks still have in common is estimated and paid for:
of N blocks whose neighbours correlate by phi only N (1 - phi) / (1 + phi) count (Bayley and
Hammersley 1946), in the standard error and in the degrees of freedom of Student's t alike.

An interval is by the same factor below and above a positive value: what is measured is positive
and its errors are skewed to the right. ``bench/measurement`` shows how often the truth is covered.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCKS = 20
_MOST_ALIKE = 0.95  # correlation of neighbours; above, a series has no mean to speak of
FEWEST_DF = 3.0
_WIDEST = 40.0  # of a logarithm; what is wider is as good as unknown
# Standard deviation by which the latency of two starts of one application differs beyond what the
# blocks of either tell, relative: where its pages lie, which rare moments of the machine it meets
# (Mytkowicz and others 2009; Kalibera and Jones 2013). By bench/measurement it is 0.3 to 1%.
START_SCATTER = 0.01
# The part of the values whose mean excess extrapolates beyond the largest, and at least so many.
_TAIL = 0.05
_TAIL_VALUES = 10


class Error(NamedTuple):
    """Standard error and degrees of freedom of a mean; NaN and 0 when nothing can be said."""

    standard: float
    df: float

    @property
    def half_width(self) -> float:
        return self.standard * t_quantile(self.df)


def t_quantile(df: float, confidence: float = 0.95) -> float:
    """Return Student's t quantile, two-sided; NaN without degrees of freedom."""
    return float(stats.t.ppf((1 + confidence) / 2, df)) if df > 0 else math.nan


def alike(series: NDArray[np.float64]) -> float:
    """Correlation of neighbours, at least 0, freed of the bias that a short series has (Marriott
    and Pope 1954: the estimate is too low by (1 + 3 phi) / n)."""
    n = len(series)
    about = series - series.mean()
    power = float(about @ about)
    if n < 4 or power == 0:
        return 0.0
    correlation = float(about[1:] @ about[:-1]) / power
    return min(max((n * correlation + 1) / (n - 3), 0.0), _MOST_ALIKE)


def error_of_mean(series: NDArray[np.float64]) -> Error:
    """Estimate the error of a time series' mean; neighbours may resemble each other."""
    n = len(series)
    if n < 2:
        return Error(math.nan, 0.0)
    phi = alike(series)
    effective = n * (1 - phi) / (1 + phi)
    spread = float(np.std(series, ddof=1))
    df = n - 1.0 if phi == 0 else max(effective - 1, min(FEWEST_DF, n - 1))
    return Error(spread / math.sqrt(effective), df)


def around(value: float, half_width: float) -> Interval:
    """By the same factor below and above a positive value; no limits when the width is unknown."""
    if math.isnan(half_width):
        return Interval(value, math.nan, math.nan)
    if value <= 0:
        return Interval(value, value - half_width, value + half_width)
    factor = math.exp(min(half_width / value, _WIDEST))
    return Interval(value, value / factor, value * factor)


def of_any_start(one_start: Interval) -> Interval:
    """Widen an interval by what starts differ, so that it covers another start of the same."""
    if not one_start.low > 0 or math.isinf(one_start.high):
        return one_start
    scatter = stats.norm.ppf(0.975) * START_SCATTER
    value = one_start.value
    below, above = math.log(value / one_start.low), math.log(one_start.high / value)
    return Interval(
        value,
        value * math.exp(-math.hypot(below, scatter)),
        value * math.exp(math.hypot(above, scatter)),
    )


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Interval:
    """Sum over sum, from one pair per block; the error by the residuals (Cochran, ratio
    estimator). UNKNOWN without a denominator."""
    total = float(denominator.sum())
    if total <= 0 or not np.isfinite(numerator).all():
        return UNKNOWN
    value = float(numerator.sum()) / total
    residuals = (numerator - value * denominator) / denominator.mean()
    return around(value, error_of_mean(residuals).half_width)


def proportion(count: float, n: float) -> Interval:
    """A share of independent trials, with Wilson's score interval (1927): sensible also for none
    and for all. UNKNOWN of nothing."""
    if n <= 0:
        return UNKNOWN
    z = float(stats.norm.ppf(0.975))
    value = count / n
    middle = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + (z / (2 * n)) ** 2)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return Interval(value, min(low, value), max(high, value))


def rate(counts: NDArray[np.float64], block_s: float) -> Interval:
    """Events per second from counts in blocks of equal length."""
    return ratio(counts, np.full(len(counts), block_s))


def percentiles(
    values: NDArray[np.float64],
    block: NDArray[np.int64],
    blocks: int,
    quantiles: Sequence[float],
) -> list[Interval]:
    """Return the percentiles of ``values`` with intervals; ``block[i]`` in 0..blocks-1 is the block
    of time in which value i lies.

    The share of values beyond the percentile has an interval, from how it scatters over the blocks,
    and the percentiles at its two ends are the interval (Woodruff 1952).
    """
    if not len(values):
        return [UNKNOWN for _ in quantiles]
    ordered = np.sort(values)
    counts = np.bincount(block, minlength=blocks).astype(np.float64)
    intervals = []
    for quantile in quantiles:
        point = float(np.quantile(ordered, quantile))
        beyond = np.bincount(block, values > point, minlength=blocks).astype(np.float64)
        few, many = share_interval(beyond, counts, 1 - quantile)
        low, high = _beyond_by(ordered, many), _beyond_by(ordered, few)
        intervals.append(Interval(point, min(low, point), max(high, point)))
    return intervals


def share_interval(
    beyond: NDArray[np.float64], counts: NDArray[np.float64], share: float
) -> tuple[float, float]:
    """Ends of the interval of a ``share`` that was seen as ``beyond`` of ``counts``, per block.

    Clopper and Pearson's for so many independent values as would scatter alike (Korn and Graubard
    1998): slow requests come in clusters, and it is the clusters that count.
    """
    residuals = (beyond - share * counts) / counts.mean()
    error = error_of_mean(residuals)
    independent = float(counts.sum())
    if error.standard > 0 and error.df > 0:
        worth = (stats.norm.ppf(0.975) / t_quantile(error.df)) ** 2
        independent = min(independent, worth * share * (1 - share) / error.standard**2)
    hits, misses = independent * share, independent * (1 - share)
    low, high = stats.beta.ppf(0.025, hits, misses + 1), stats.beta.ppf(0.975, hits + 1, misses)
    return float(low), float(high)


def _beyond_by(ordered: NDArray[np.float64], share: float) -> float:
    """The value that ``share`` of all exceed. For a small one at least what the mean excess over
    the upper values says of an exponential tail: the largest of some values is no bound."""
    inside = float(np.quantile(ordered, 1 - share))
    n = len(ordered)
    upper = min(max(int(_TAIL * n), _TAIL_VALUES), n)
    if share * n >= upper:
        return inside
    threshold = float(ordered[-upper])
    excess = float(ordered[-upper:].mean()) - threshold
    return max(inside, threshold + excess * math.log(upper / (n * share)))
