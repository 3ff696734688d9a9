"""The shape of a worker's memory against its requests: plateau, steps or line, and its slope.

Three families of curve compete by the Bayesian information criterion:

* plateau: a constant, or growth that slows down (``1 - exp(-x/tau)`` as a cache of few keys
  fills, ``log(1 + x/c)`` as one with many rare keys does), or that ends (a straight rise, then
  nothing: a cache that takes every request's key until it is full);
* steps: up to three level shifts (a lazy import, an arena);
* line: a straight line, alone or on top of a warm-up.

Neighbouring samples are not independent, so the criterion counts the effective number of them, from
the residuals' autocorrelation.

Sources: Theil (1950) and Sen (1968) for the slope, Kuensch (1989) for the moving-block
bootstrap, Schwarz (1978) for the criterion, Bayley and Hammersley (1946) for the effective size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from pretune.advisor.profiler.statistics import FEWEST_DF, alike, t_quantile
from pretune.advisor.quantity import Interval

Floats = NDArray[np.float64]

PAGE = 4096.0
MAX_SAMPLES = 80  # more are binned: pages change slowly, pairs grow with the square
BOOTSTRAPS = 200
PERSISTING = 4  # parts of the last half that must each rise
# A slowing curve whose time constant is at most this many times the observed range must be
# refuted before a straight line is believed.
SLOWEST_WARMUP = 2.0


def compact(requests: Floats, private: Floats) -> tuple[Floats, Floats]:
    """Finite samples in the order of requests, one median per bin of equal width."""
    x = np.asarray(requests, dtype=np.float64)
    y = np.asarray(private, dtype=np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if len(x) == 0 or x[-1] <= x[0]:
        return x[:0], y[:0]
    bins = np.minimum(((x - x[0]) / (x[-1] - x[0]) * MAX_SAMPLES).astype(int), MAX_SAMPLES - 1)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    ends = np.append(starts[1:], len(x))
    pairs = list(zip(starts, ends, strict=True))
    return (
        np.array([np.median(x[a:b]) for a, b in pairs]),
        np.array([np.median(y[a:b]) for a, b in pairs]),
    )


def _exponential(u: Floats, tau: float) -> Floats:
    return np.asarray(1 - np.exp(-u / tau), dtype=np.float64)


def _logarithmic(u: Floats, c: float) -> Floats:
    return np.log1p(u / c)


def _ending(u: Floats, end: float) -> Floats:
    return np.minimum(u, end)


# family, curve that slows down from 0, range of its scale relative to the observed requests,
# parameters of the whole fit. Under a line only a warm-up that is over well within the range can
# be told from it.
_WARMUPS: tuple[tuple[str, Callable[[Floats, float], Floats], float, float, int], ...] = (
    ("plateau", _exponential, 0.01, SLOWEST_WARMUP, 3),
    ("plateau", _logarithmic, 0.002, 1.0, 3),
    ("plateau", _ending, 0.02, 0.9, 3),
    ("line", _exponential, 0.01, 0.25, 4),
    ("line", _ending, 0.02, 0.25, 4),
)


def choose(u: Floats, y: Floats) -> tuple[str, Floats | None, float]:
    """The winning family, the warm-up under the line if any, and the line's margin.

    The margin is how much better (in units of the criterion) the best line is than the best of
    everything else; negative when it is worse.
    """
    one = np.ones_like(u)
    # (family, residuals, parameters, warm-up)
    fits: list[tuple[str, Floats, int, Floats | None]] = [
        ("plateau", y - y.mean(), 1, None),
        ("line", _residuals(y, one, u), 2, None),
    ]
    for family, shape, smallest, largest, parameters in _WARMUPS:
        line = (u,) if family == "line" else ()
        scale = _best_scale(u, y, shape, smallest, largest, line)
        curve = shape(u, scale)
        fits.append((family, _residuals(y, one, curve, *line), parameters, curve))
    for k, residuals in enumerate(_steps(y, 3), start=1):
        fits.append(("steps", residuals, 1 + 2 * k, None))

    tightest = min(fits, key=lambda f: float(f[1] @ f[1]))
    n = _effective_size(tightest[1])
    scored = [
        (n * np.log(float(r @ r) / len(r) + PAGE**2 / 12) + k * np.log(max(n, 2.0)), family, curve)
        for family, r, k, curve in fits
    ]
    best = min(scored, key=lambda s: s[0])
    straight = min((s for s in scored if s[1] == "line"), key=lambda s: s[0])
    rest = min(s[0] for s in scored if s[1] != "line")
    return best[1], straight[2], float(rest - straight[0])


def _best_scale(
    u: Floats,
    y: Floats,
    shape: Callable[[Floats, float], Floats],
    smallest: float,
    largest: float,
    line: tuple[Floats, ...],
) -> float:
    """The curve's scale with the least squares: a coarse grid, then a bounded search beside it."""

    def squares(log_scale: float) -> float:
        r = _residuals(y, np.ones_like(u), shape(u, float(np.exp(log_scale))), *line)
        return float(r @ r)

    grid = np.linspace(np.log(smallest), np.log(largest), 9)
    i = int(np.argmin([squares(g) for g in grid]))
    bounds = (grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
    fit = minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(fit.x))


def _residuals(y: Floats, *columns: Floats) -> Floats:
    design = np.column_stack(columns)
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    residuals: Floats = y - design @ coefficients
    return residuals


def _steps(y: Floats, most: int) -> list[Floats]:
    """Residuals of the best piecewise constants with 1..most shifts, found greedily."""
    cuts: list[int] = []
    columns = []
    smallest = 3
    for _ in range(most):
        edges = [0, *sorted(cuts), len(y)]
        gain, where = 0.0, -1
        for a, b in pairwise(edges):
            part = y[a:b] - y[a:b].mean()
            left = np.arange(smallest, len(part) - smallest + 1)
            if len(left) == 0:
                continue
            # n1 * n2 / n * (difference of means)^2, the drop in the sum of squares
            sums = np.cumsum(part)[left - 1]
            drop = sums**2 * len(part) / (left * (len(part) - left))
            i = int(np.argmax(drop))
            if drop[i] > gain:
                gain, where = float(drop[i]), a + int(left[i])
        if where < 0:
            break
        cuts.append(where)
        edges = [0, *sorted(cuts), len(y)]
        columns.append(np.concatenate([y[a:b] - y[a:b].mean() for a, b in pairwise(edges)]))
    return columns


def _effective_size(residuals: Floats) -> float:
    """Independent samples worth as much as these, for first-order autocorrelation."""
    total = float(residuals @ residuals)
    if total <= 0:
        return float(len(residuals))
    rho = float(residuals[:-1] @ residuals[1:]) / total
    rho = min(max(rho, 0.0), 0.98)
    return len(residuals) * (1 - rho) / (1 + rho)


def slope(u: Floats, y: Floats, warmup: Floats | None, rng: np.random.Generator) -> Interval:
    """Theil-Sen slope of y on u beside a warm-up; the wider of two intervals.

    The moving-block bootstrap's knows no law of the residuals, but only what repeats itself within
    blocks. Where the curve is no line for long stretches (a list that is moved when it has grown,
    an arena) few stretches are few observations: then it is that of the regression, its error by
    the residuals' autocorrelation.
    """
    columns = [np.ones_like(u)] + ([warmup] if warmup is not None else []) + [u]
    design = np.column_stack(columns)
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ y
    fitted = design @ coefficients
    residuals = y - fitted

    n = len(u)
    block = _block_length(residuals)
    starts = rng.integers(0, n - block + 1, size=(BOOTSTRAPS, -(-n // block)))
    picks = (starts[:, :, None] + np.arange(block)).reshape(BOOTSTRAPS, -1)[:, :n]
    samples = np.vstack([y, fitted + residuals[picks]])
    if warmup is not None:
        amplitudes = samples @ inverse[1]
        samples = samples - amplitudes[:, None] * warmup
    i, j = np.triu_indices(n, k=1)
    apart = u[j] - u[i]
    far = apart > 0.05 * (u[-1] - u[0])  # close pairs carry page noise, no slope
    i, j, apart = i[far], j[far], apart[far]
    slopes = np.median((samples[:, j] - samples[:, i]) / apart, axis=1)
    low, high = np.quantile(slopes[1:], (0.025, 0.975))
    value = float(slopes[0])
    # One page over the range cannot be seen.
    quantum = PAGE / float(u[-1] - u[0])
    half = _half_width(residuals, float(inverse[-1] @ inverse[-1]), len(columns))
    return Interval(
        value,
        min(float(low), value - half) - quantum / 2,
        max(float(high), value + half) + quantum / 2,
    )


def _half_width(residuals: Floats, leverage: float, parameters: int) -> float:
    """Return the half-width of a regression's coefficient, whose variance with independent
    residuals would be ``leverage`` times theirs: they count as so many as their neighbours'
    likeness leaves.
    """
    n = len(residuals)
    phi = alike(residuals)
    variance = float(residuals @ residuals) / (n - parameters)
    error = math.sqrt(variance * leverage * (1 + phi) / (1 - phi))
    freedom = n * (1 - phi) / (1 + phi) - parameters
    return error * t_quantile(max(freedom, FEWEST_DF))


def _block_length(residuals: Floats) -> int:
    """Long enough to keep the autocorrelation, at most a quarter of the samples."""
    n = len(residuals)
    ratio = n / max(_effective_size(residuals), 1.0)
    return int(min(max(round(2 * ratio), round(n ** (1 / 3))), n // 4))


def persists(u: Floats, y: Floats) -> bool:
    """Return whether memory never given back still rises in each part of the last half.

    A sawtooth's running minimum from the right is flat until its last tooth, a step's outside
    the step; a leak's rises everywhere. Half of the last half's own slope is asked of each.
    """
    floor = np.minimum.accumulate(y[::-1])[::-1]
    edges = np.linspace(0.5, 1.0, PERSISTING + 1)
    rises = [
        _theil_sen(u[part], floor[part])
        for a, b in pairwise(edges)
        if (part := (u >= a) & ((u < b) | (b == 1.0))).sum() >= 3
    ]
    whole = _theil_sen(u[u >= 0.5], floor[u >= 0.5])
    return whole > 0 and min(rises, default=0.0) >= 0.5 * whole


def _theil_sen(u: Floats, y: Floats) -> float:
    i, j = np.triu_indices(len(u), k=1)
    return float(np.median((y[j] - y[i]) / (u[j] - u[i]))) if len(i) else 0.0
