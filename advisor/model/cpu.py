"""CPU per request of a run's trials: its level, what concurrency adds, and how it scatters.

With y the logarithm of a trial's process CPU per request over the demand's,

    y = level + reach * inflation + crowd * crowding + state,

``reach`` growing with the requests busy in one worker (0 with one, 1 with ``FULL_BUSY``), as the
chance that the thread before was another; ``crowd`` with the workers busy on one core, as the
chance that the process before was another, whose caches it finds. ``inflation`` and ``crowding``
have normal priors; ``state`` is what the machine did in that trial, normal, its variance pooled
from the trials' residuals and a prior. Fitted by weighted least squares. The demand is one of the
trials, and no better than the others: where it was measured in a bad minute, the level says so.

Between two trials inflation (or crowding) and state cannot be told apart: the intervals say that,
and every further trial makes it clearer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from pretune.advisor.demand.values import Demand
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.quantity import Z95

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL_BUSY = 4
# The prior's, of the logarithm, about none, and so wide that it decides little. Ten applications'
# contrast trials were 0.26 off their demand trials (root of the mean square): down to -0.56 where
# requests wait, since who is woken for each step alone finds its caches cold; 0.1 more where
# threads pass the GIL on.
INFLATION_SD = 0.5
# The same. Where two workers share a core it counts by half.
CROWDING_SD = 0.3
# Between trials minutes apart on a machine where nothing else runs; the prior counts like so many.
STATE_SD, STATE_WEIGHT = 0.03, 1.0
# The same where other processes took the cores: 22 pairs of runs of ten applications, 2.6 s each,
# minutes apart beside one to two busy cores on a machine of two (docs/ACCURACY.md, its first
# sweep). Half of them differed by less than 2.5%, the worst by 28%: as Student's t of few degrees.
DISTURBED_SD, DISTURBED_PRIOR_WEIGHT = 0.06, 6.0
COSTS_OF_ONE = (Role.ALONE, Role.SYNC, Role.SYNC_ALONE)  # a cost was learned from each by itself
LEAST_FREEDOM = 3.0  # of the scatter; with fewer its interval would say nothing
DISTURBED_WEIGHT = 0.25  # of a disturbed trial beside quiet ones, and of its residual anywhere


Covariance = tuple[tuple[float, ...], ...]
PRIOR_COVARIANCE: Covariance = (
    (0.0, 0.0, 0.0),
    (0.0, INFLATION_SD**2, 0.0),
    (0.0, 0.0, CROWDING_SD**2),
)


@dataclass(frozen=True)
class Seen:
    """One trial. ``log_ratio`` NaN where its CPU was not measured; ``sd`` of its sampling."""

    busy: float
    log_ratio: float
    sd: float
    disturbed: bool
    crowd: float = 0.0


@dataclass(frozen=True)
class CpuLevel:
    """CPU per request relative to the demand's, in logarithms. ``covariance``: of level, inflation
    and crowding.
    """

    level: float = 0.0
    inflation: float = 0.0
    crowding: float = 0.0
    covariance: Covariance = PRIOR_COVARIANCE
    state_sd: float = STATE_SD
    freedom: float = STATE_WEIGHT  # degrees of it behind state_sd, the prior's included
    trials: int = 0

    def factor(self, busy: float, crowd: float = 0.0) -> float:
        """On the demand's CPU per request, with ``busy`` requests at once in each worker."""
        return math.exp(self.level + reach(busy) * self.inflation + crowd * self.crowding)

    def drawn(self, rng: np.random.Generator) -> CpuLevel:
        """Draw one level that the measurements allow, in the state in which the machine will be."""
        away = _root(self.covariance) @ rng.standard_normal(3)
        # so few trials know their scatter badly: as wide as Student's quantile asks
        state = rng.standard_normal() * _stretch(max(LEAST_FREEDOM, self.freedom))
        return replace(
            self,
            level=self.level + float(away[0]) + self.state_sd * state,
            inflation=self.inflation + float(away[1]),
            crowding=self.crowding + float(away[2]),
        )

    def widened(self, log_sd: float) -> CpuLevel:
        """With the level unsure by so much more."""
        (level, *rest), *others = self.covariance
        return replace(self, covariance=((level + log_sd**2, *rest), *others))

    def notes(self) -> tuple[str, ...]:
        if not self.trials:
            return ()
        sentences = [f"CPU per request scatters by {self.state_sd:.0%} between trials"]
        if abs(self.level) > self.state_sd:
            times = math.exp(self.level)
            sentences.append(
                f"over all trials a request costs {times:.2f} times what the first trial showed"
            )
        if self.trials > 1:
            times = math.exp(self.inflation)
            sentences.append(
                f"a request costs {times:.2f} times the CPU with {FULL_BUSY} busy in a worker"
            )
        if self.crowding:
            times = math.exp(self.crowding * crowd(2, 1))
            sentences.append(
                f"a request costs {times:.2f} times the CPU with two workers on a core"
            )
        return tuple(sentences)


@lru_cache(maxsize=64)
def _stretch(freedom: float) -> float:
    return float(student.ppf(0.975, freedom)) / Z95


@lru_cache(maxsize=64)
def _root(covariance: Covariance) -> NDArray[np.float64]:
    """R with R R' = ``covariance``, which may be singular."""
    values, vectors = np.linalg.eigh(np.array(covariance))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def crowd(workers: float, cores: float) -> float:
    """Return the share of the crowding that applies, 0 to 1: the chance that the process before on
    a core was another, of ``workers`` that are busy.
    """
    return max(0.0, 1 - cores / max(1.0, workers))


def reach(busy: float) -> float:
    """Return the share of the inflation that applies, 0 to 1: the chance that the thread before was
    another.
    """
    return min(1.0, (1 - 1 / max(1.0, busy)) / (1 - 1 / FULL_BUSY))


def fitted(trials: Sequence[Measurement]) -> list[Measurement]:
    """Those that tell CPU per request as it will be.

    A preloaded worker copies each page that it writes to first: its trial showed up to 50% more (sd
    0.14 over 15 trials), which is over after some thousand requests. A trial that a cost was
    learned from agrees with itself. What several requests at once add differs between servers:
    where the answer's own has a trial of them, the other's says nothing.
    """
    alone = {t.conditions.server for t in trials if t.role is Role.ALONE}
    roles = {t.role for t in trials if t.conditions.server in alone}
    left_out = {*COSTS_OF_ONE, Role.CONTRAST if Role.SERVER in roles else Role.SERVER}
    return [t for t in trials if t.role not in left_out and not t.settings.preload_app]


def seen(demand: Demand, trial: Measurement, busy: float, crowd: float = 0.0) -> Seen:
    """``busy``: requests at once in one of the trial's workers, at most."""
    expected = demand.cpu_s.value + max(0.0, demand.overhead_cpu_s.value)
    got = trial.cpu_s_per_request
    disturbed = trial.disturbed != ""
    if not (expected > 0 and got.value > 0 and math.isfinite(got.value)):
        return Seen(busy, math.nan, 0.0, disturbed, crowd)
    stated = (got.high - got.low) / (2 * Z95) / got.value
    sd = stated if math.isfinite(stated) else 0.0
    return Seen(busy, math.log(got.value / expected), sd, disturbed, crowd)


def fit(trials: Sequence[Seen]) -> CpuLevel:
    """Without any trial: the demand's own level, the priors' spreads."""
    finite = [t for t in trials if math.isfinite(t.log_ratio)]
    if not finite:
        return CpuLevel()
    y = np.array([t.log_ratio for t in finite])
    design = np.array([[1.0, reach(t.busy), t.crowd] for t in finite])
    quiet = any(not t.disturbed for t in finite)
    prior = (STATE_SD, STATE_WEIGHT) if quiet else (DISTURBED_SD, DISTURBED_PRIOR_WEIGHT)
    state, freedom = prior
    solution, covariance = np.zeros(3), np.zeros((3, 3))
    for _ in range(8):  # the weights depend on the state's variance, and that on the residuals
        # beside quiet ones a disturbed trial counts less; where all are, state is theirs
        less = max(state, DISTURBED_SD) ** 2 / DISTURBED_WEIGHT
        variance = np.array(
            [t.sd**2 + (less if t.disturbed and quiet else state**2) for t in finite]
        )
        precision = design.T @ (design / variance[:, None])
        precision[1, 1] += 1 / INFLATION_SD**2
        precision[2, 2] += 1 / CROWDING_SD**2
        covariance = np.linalg.inv(precision)
        solution = covariance @ (design.T @ (y / variance))
        residuals = y - design @ solution
        # what the fit has not used up of each trial
        free = 1 - np.einsum("ij,jk,ik->i", design, covariance, design) / variance
        state, freedom = pooled(
            *prior,
            [
                Residual(float(r), t.disturbed, float(f))
                for r, t, f in zip(residuals, finite, free, strict=True)
            ],
        )
    return CpuLevel(
        level=float(solution[0]),
        inflation=float(solution[1]),
        crowding=float(solution[2]),
        covariance=tuple(tuple(row) for row in covariance.tolist()),
        state_sd=state,
        freedom=freedom,
        trials=len(finite),
    )


@dataclass(frozen=True)
class Residual:
    """``free``: how much of a degree of freedom it is, after what a fit has used up."""

    value: float
    disturbed: bool
    free: float = 1.0


def pooled(prior: float, weight: float, residuals: Sequence[Residual]) -> tuple[float, float]:
    """(standard deviation, degrees of freedom) by residuals and a prior that counts ``weight``.

    Undisturbed ones narrow or widen. A disturbed one counts less and widens only: what it would
    narrow is left out.
    """
    finite = [r for r in residuals if math.isfinite(r.value)]
    quiet = [r for r in finite if not r.disturbed]
    total = weight * prior**2 + sum(r.value**2 for r in quiet)
    freedom = weight + sum(r.free for r in quiet)
    disturbed = [r for r in finite if r.disturbed]
    for r in sorted(disturbed, key=lambda r: abs(r.value), reverse=True):
        if r.value**2 * freedom <= total * r.free:
            continue
        total += DISTURBED_WEIGHT * r.value**2
        freedom += DISTURBED_WEIGHT * r.free
    return math.sqrt(total / freedom), freedom
