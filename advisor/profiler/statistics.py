"""Intervals for one run whose requests depend on each other.

Requests of one run are not independent (they queue behind each other), so the unit is the block of
time, long against that dependence: batch means for rates and ratios, a bootstrap of whole blocks
for percentiles (Künsch 1989; Carlstein's non-overlapping blocks). All intervals are 95%.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCKS = 20
MIN_BLOCKS = 5
_RESAMPLES = 400
# Percentiles of more values than this are taken from a grid of this many quantiles: the error is
# a 4000th of the sample, far inside any interval.
_GRID = 4000


def half_width(values: NDArray[np.float64]) -> float:
    """Of the mean of independent values, by Student's t; NaN with fewer than two."""
    if len(values) < 2:
        return math.nan
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(stats.t.ppf(0.975, len(values) - 1)) * spread


def merge_blocks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum neighbouring rows until neighbours no longer resemble each other, or few are left.

    ``values`` has shape (blocks, columns); the first column decides. Positive correlation of
    neighbouring batches makes batch means too sure of themselves (Law and Carson 1979).
    """
    while len(values) >= 2 * MIN_BLOCKS:
        first = values[:, 0] - values[:, 0].mean()
        power = float(first @ first)
        if power == 0 or float(first[1:] @ first[:-1]) / power < 0.3:
            break
        values = values[: len(values) // 2 * 2].reshape(-1, 2, values.shape[1]).sum(axis=1)
    return values


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Interval:
    """Sum over sum, from one pair per block; the interval by the residuals (Cochran, ratio
    estimator) with Student's t. UNKNOWN without a denominator."""
    total = float(denominator.sum())
    if total <= 0 or not np.isfinite(numerator).all():
        return UNKNOWN
    value = float(numerator.sum()) / total
    pairs = merge_blocks(np.column_stack([numerator, denominator]))
    residuals = (pairs[:, 0] - value * pairs[:, 1]) / pairs[:, 1].mean()
    half = half_width(residuals)
    if math.isnan(half):
        return Interval(value, math.nan, math.nan)
    low = max(value - half, 0.0) if value >= 0 else value - half
    return Interval(value, low, value + half)


def proportion(count: int, n: int) -> Interval:
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
    seed: int,
) -> list[Interval]:
    """Of ``values``, resampling whole blocks; ``block[i]`` in 0..blocks-1 is where value i lies."""
    if not len(values):
        return [UNKNOWN for _ in quantiles]
    points = np.quantile(values, quantiles)
    grid = np.unique(values)
    if len(grid) > _GRID:
        grid = np.unique(np.quantile(values, np.linspace(0, 1, _GRID), method="higher"))
    cell = np.searchsorted(grid, values)  # grid[cell - 1] < value <= grid[cell]
    counts = np.bincount(block * len(grid) + cell, minlength=blocks * len(grid))
    table = counts.reshape(blocks, len(grid)).astype(np.float64)
    rng = np.random.default_rng(seed)
    chosen = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=_RESAMPLES)
    cumulative = np.cumsum(chosen @ table, axis=1)
    totals = cumulative[:, -1]
    kept = totals > 0
    cumulative, totals = cumulative[kept], totals[kept]
    intervals = []
    for quantile, point in zip(quantiles, points, strict=True):
        places = (cumulative < quantile * totals[:, None]).sum(axis=1)
        drawn = grid[np.minimum(places, len(grid) - 1)]
        low, high = np.quantile(drawn, [0.025, 0.975])
        intervals.append(Interval(float(point), min(float(low), point), max(float(high), point)))
    return intervals
