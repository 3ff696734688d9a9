"""Tells warm-up, steps, fragmentation and a true leak apart in a worker's private memory.

Memory is regressed against the requests a worker has served, not against time. Three families
of curve compete for each worker by the Bayesian information criterion:

* plateau: a constant, or growth that slows down (``1 - exp(-x/tau)`` as a cache of few keys
  fills, ``log(1 + x/c)`` as one with many rare keys does);
* steps: up to three level shifts (a lazy import, an arena);
* line: a straight line, alone or on top of a warm-up.

A leak is called only when several independent things agree: the line explains decisively more than
every plateau and step, the interval of its robust slope (Theil-Sen, moving-block bootstrap)
excludes zero, and memory that is never given back (the running minimum from the right) still
rises in both quarters of the last half. The first hundreds of requests of a healthy app look
like that too (its slowest caches fill in a straight line), so there must be evidence: thousands
of requests, or growth that no warm-up explains. And workers at other speeds must not contradict:
what grows with time, or only at the beginning, has another slope per request elsewhere.
Everything else is "none" when the last half is flat within a small bound, else "still_warming"
with the bound. Neighbouring samples are not
independent, so the criterion counts the effective number of them, from the residuals'
autocorrelation.

Sources: Theil (1950) and Sen (1968) for the slope, Kuensch (1989) for the moving-block
bootstrap, Schwarz (1978) for the criterion, Bayley and Hammersley (1946) for the effective size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from pretune.advisor.quantity import UNKNOWN, Interval, format_bytes

if TYPE_CHECKING:
    from pretune.advisor.measurement import MemorySeries

Floats = NDArray[np.float64]

PAGE = 4096.0
MIN_SAMPLES = 24
MIN_REQUESTS = 200
MAX_SAMPLES = 80  # more are binned: pages change slowly, pairs grow with the square
BOOTSTRAPS = 200
# A difference of 10 in the criterion is Kass and Raftery's (1995) "very strong".
DECISIVE = 10.0
# A slowing curve whose time constant is at most this many times the observed range must be
# refuted before a straight line is believed.
SLOWEST_WARMUP = 2.0
# Growth over the observed range below which an app counts as settled.
SETTLED_BYTES = 1 << 20
SETTLED_FRACTION = 0.02
# So slow a growth, bytes per request, is none: less than 10 MiB in a million requests.
NEGLIGIBLE = 10.0
# A leak needs so many requests, or growth beyond any warm-up: so many bytes and so large a part.
LEAK_REQUESTS = 2000
LEAK_BYTES = 8 << 20
LEAK_FRACTION = 0.1
LEAK_SECONDS = 4.0
# A worker with at least this part of the longest one's requests may contradict; it does when its
# slope is surely less than this part of the leak's.
CONTRADICTING_REQUESTS = 0.25
CONTRADICTING_SLOPE = 0.5


@dataclass(frozen=True)
class Growth:
    """``slope`` in bytes per request; under "none" its value is 0 and ``high`` is the bound."""

    leak_class: str
    slope: Interval
    model: str  # "plateau" | "steps" | "line"; "" without enough data
    requests: int  # of the longest series
    note: str


def classify(series: Sequence[MemorySeries], *, seed: int = 1) -> Growth:
    """One answer for all workers: they run the same code, so a leak shows in most of them."""
    each = [_classify_one(s, seed + i) for i, s in enumerate(series)]
    known = [g for g in each if g.leak_class != "not_enough_data"]
    if not known:
        most = max((g.requests for g in each), default=0)
        return Growth(
            "not_enough_data",
            UNKNOWN,
            "",
            most,
            f"no worker gave {MIN_SAMPLES} samples over {MIN_REQUESTS} requests",
        )
    requests = max(g.requests for g in known)
    weights = np.array([g.requests for g in known], dtype=np.float64)
    weights /= weights.sum()
    leaking = [g.leak_class == "leak" for g in known]
    model = max(known, key=lambda g: g.requests).model
    if weights[leaking].sum() > 0.5:
        values = np.array([g.slope.value for g in known])
        value = float(weights @ values)
        low = value - float(
            np.sqrt(np.sum((weights * (values - [g.slope.low for g in known])) ** 2))
        )
        high = value + float(
            np.sqrt(np.sum((weights * ([g.slope.high for g in known] - values)) ** 2))
        )
        if low > 0 and not _contradicted(known):
            note = (
                f"private memory grew by {format_bytes(value)} per request over {requests} requests"
                f" in {sum(leaking)} of {len(known)} workers and did not slow down"
            )
            return Growth("leak", Interval(value, low, high), "line", requests, note)
    high = max(g.slope.high for g in known)
    if all(g.leak_class == "none" for g in known):
        note = f"flat over {requests} requests, at most {format_bytes(high)} per request"
        return Growth("none", Interval(0.0, 0.0, high), model, requests, note)
    value = float(weights @ np.array([g.slope.value for g in known]))
    note = f"still warming after {requests} requests, at most {format_bytes(high)} per request"
    return Growth(
        "still_warming", Interval(min(max(value, 0.0), high), 0.0, high), model, requests, note
    )


def warming(series: Sequence[MemorySeries]) -> Interval:
    """Bytes a worker may still grow by, going by how it grew: no line is drawn into the future.

    Warm-up grows as the logarithm of the requests or slower, so the last doubling of the requests
    says what the next one brings at most; that is the value. It is at most once more all it has
    grown by since its first requests. Of the worker that served most, since it is the furthest.
    """
    usable = [_compact(s.requests, s.private_bytes) for s in series]
    usable = [(x, y) for x, y in usable if len(x) >= MIN_SAMPLES]
    if not usable:
        return Interval.exact(0.0)
    x, y = max(usable, key=lambda pair: float(pair[0][-1]))
    ends = max(1, len(x) // 10)
    last = float(np.median(y[-ends:]))
    middle = float(np.interp(np.median(x[-ends:]) / 2, x, y))
    doubling = max(0.0, last - middle)
    return Interval(doubling, 0.0, max(doubling, last - float(y[:ends].min())))


def _classify_one(series: MemorySeries, seed: int) -> Growth:
    x, y = _compact(series.requests, series.grown_bytes)
    requests = int(x[-1] - x[0]) if len(x) else 0
    if len(x) < MIN_SAMPLES or requests < MIN_REQUESTS:
        return Growth("not_enough_data", UNKNOWN, "", requests, "")
    rng = np.random.default_rng(seed)
    reach = x[-1] - x[0]
    u = (x - x[0]) / reach  # 0..1, for conditioning
    family, warmup, margin = _choose(u, y)

    half = u >= 0.5
    tail = _slope(u[half], y[half], None, rng).scaled(1 / reach)
    if family == "line" and margin >= DECISIVE and _persists(u, y):
        slope = _slope(u, y, warmup, rng).scaled(1 / reach)
        if slope.low > 0 and tail.low > 0 and slope.high >= NEGLIGIBLE:
            if _enough(series, slope.value * reach, float(y.min())):
                return Growth("leak", slope, family, requests, "")
            bound = max(slope.high, tail.high)
            return Growth("still_warming", Interval(tail.value, 0.0, bound), family, requests, "")
    bound = max(tail.high, 0.0)
    settled = max(SETTLED_BYTES, SETTLED_FRACTION * float(np.median(y)))
    # Below a page over the whole range nothing rises, whatever the interval's low end says.
    flat = tail.low <= 0 or tail.value * reach < PAGE or bound < NEGLIGIBLE
    if flat and bound * reach <= settled:
        return Growth("none", Interval(0.0, 0.0, bound), family, requests, "")
    return Growth("still_warming", Interval(max(tail.value, 0.0), 0.0, bound), family, requests, "")


def _enough(series: MemorySeries, grown: float, size: float) -> bool:
    """Whether a straight rise by ``grown`` bytes may be called a leak."""
    if float(np.ptp(series.time_s)) < LEAK_SECONDS:
        return False
    beyond_warmup = grown >= max(LEAK_BYTES, LEAK_FRACTION * size)
    return beyond_warmup or float(np.ptp(series.requests)) >= LEAK_REQUESTS


def _contradicted(known: Sequence[Growth]) -> bool:
    """Whether the steepest leak is surely much flatter in another worker."""
    fewest = CONTRADICTING_REQUESTS * max(g.requests for g in known)
    heard = [g for g in known if g.requests >= fewest]
    steepest = max((g.slope.value for g in heard if g.leak_class == "leak"), default=0.0)
    return any(g.slope.high < CONTRADICTING_SLOPE * steepest for g in heard)


def _compact(requests: Floats, private: Floats) -> tuple[Floats, Floats]:
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


# family, curve that slows down from 0, range of its scale relative to the observed requests,
# parameters of the whole fit. Under a line only a warm-up that is over well within the range can
# be told from it.
_WARMUPS: tuple[tuple[str, Callable[[Floats, float], Floats], float, float, int], ...] = (
    ("plateau", _exponential, 0.01, SLOWEST_WARMUP, 3),
    ("plateau", _logarithmic, 0.002, 1.0, 3),
    ("line", _exponential, 0.01, 0.25, 4),
)


def _choose(u: Floats, y: Floats) -> tuple[str, Floats | None, float]:
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
    found = minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def _residuals(y: Floats, *columns: Floats) -> Floats:
    design = np.column_stack(columns)
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    residuals: Floats = y - design @ coefficients
    return residuals


def _steps(y: Floats, most: int) -> list[Floats]:
    """Residuals of the best piecewise constants with 1..most shifts, found greedily."""
    cuts: list[int] = []
    found = []
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
        found.append(np.concatenate([y[a:b] - y[a:b].mean() for a, b in pairwise(edges)]))
    return found


def _effective_size(residuals: Floats) -> float:
    """Independent samples worth as much as these, for first-order autocorrelation."""
    total = float(residuals @ residuals)
    if total <= 0:
        return float(len(residuals))
    rho = float(residuals[:-1] @ residuals[1:]) / total
    rho = min(max(rho, 0.0), 0.98)
    return len(residuals) * (1 - rho) / (1 + rho)


def _slope(u: Floats, y: Floats, warmup: Floats | None, rng: np.random.Generator) -> Interval:
    """Theil-Sen slope of y on u beside a warm-up, with a moving-block bootstrap interval."""
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
    return Interval(
        value, min(float(low), value) - quantum / 2, max(float(high), value) + quantum / 2
    )


def _block_length(residuals: Floats) -> int:
    """Long enough to keep the autocorrelation, at most a quarter of the samples."""
    n = len(residuals)
    ratio = n / max(_effective_size(residuals), 1.0)
    return int(min(max(round(2 * ratio), round(n ** (1 / 3))), n // 4))


def _persists(u: Floats, y: Floats) -> bool:
    """Whether memory never given back still rises in each quarter of the last half.

    A sawtooth's running minimum from the right is flat until its last tooth, a step's outside
    the step; a leak's rises everywhere. Half of the last half's own slope is asked of each.
    """
    floor = np.minimum.accumulate(y[::-1])[::-1]
    third, fourth = (u >= 0.5) & (u < 0.75), u >= 0.75
    rises = [_theil_sen(u[part], floor[part]) for part in (third, fourth)]
    whole = _theil_sen(u[u >= 0.5], floor[u >= 0.5])
    return whole > 0 and min(rises) >= 0.5 * whole


def _theil_sen(u: Floats, y: Floats) -> float:
    i, j = np.triu_indices(len(u), k=1)
    return float(np.median((y[j] - y[i]) / (u[j] - u[i]))) if len(i) else 0.0
