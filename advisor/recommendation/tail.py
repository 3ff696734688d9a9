"""The duration of the slowest request: a high quantile of a sample, beyond the sample.

Excesses over a high threshold follow a generalised Pareto distribution (Pickands 1975, Balkema
and de Haan 1974). It is fitted by probability-weighted moments (Hosking and Wallis 1987), which
unlike maximum likelihood always exist on small samples and can be resampled as one array. The
upper bound is the 95% quantile over bootstrap samples, and never beyond ten times the largest
value seen: further out the fit says more than the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS = 200
EXCESSES = 0.05  # part of the sample that counts as tail
FEWEST_EXCESSES = 25
FURTHEST = 10.0  # times the sample's maximum


@dataclass(frozen=True)
class Tail:
    """``bounds``: (probability, upper bound in s); ``shape`` above 0 is a heavy tail."""

    sample: int
    maximum_s: float
    shape: float
    bounds: tuple[tuple[float, float], ...]

    def bound(self, probability: float) -> float:
        return dict(self.bounds)[probability]


def fit(
    times_s: NDArray[np.float64], probabilities: tuple[float, ...], *, seed: int = 1
) -> Tail | None:
    """None with too few finite times to fit anything."""
    x = np.sort(times_s[np.isfinite(times_s)])
    n = len(x)
    if n < 4 * FEWEST_EXCESSES:
        return None
    k = max(FEWEST_EXCESSES, int(EXCESSES * n))
    maximum, threshold = float(x[-1]), float(x[n - k - 1])
    rng = np.random.default_rng(seed)
    excesses = x[n - k :] - threshold
    samples = np.sort(excesses[rng.integers(0, k, size=(BOOTSTRAPS, k))], axis=1)
    shape, scale = _moments(np.vstack([excesses, samples]))
    bounds = []
    for p in probabilities:
        bound = float(np.quantile(x, p))
        rest = n * (1 - p) / k  # probability within the tail
        if rest < 1:
            flat = np.abs(shape) < 1e-9
            safe = np.where(flat, 1.0, shape)
            z = np.where(flat, -np.log(rest), (rest**-safe - 1) / safe)
            bound = max(bound, float(np.quantile(threshold + scale * z, 0.95)))
        bounds.append((p, min(bound, FURTHEST * maximum)))
    return Tail(n, maximum, float(shape[0]), tuple(bounds))


def _moments(
    excesses: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(shape, scale) of each row of sorted excesses.

    With ``a_s = E[X (1 - F)^s] = scale / ((s + 1)(s + 1 - shape))`` for s = 0, 1.
    """
    k = excesses.shape[1]
    above = 1 - (np.arange(1, k + 1) - 0.35) / k
    a0 = excesses.mean(axis=1)
    a1 = (excesses * above).mean(axis=1)
    spread = np.maximum(a0 - 2 * a1, 1e-12 * a0 + 1e-300)
    shape = np.clip(2 - a0 / spread, -1.0, 0.95)
    return shape, a0 * (1 - shape)
