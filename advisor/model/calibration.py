"""Calibration: numbers that the measured rows lack, learned from trials that can be predicted.

Five numbers at most, and spreads:

- *level*, *inflation*, *crowding*: CPU per request against the demand's, on the machine as it
  mostly was, how much more with several threads busy in one worker (context switches, caches,
  passing the GIL on; under asgi it may be less, since one turn of the loop serves many), and how
  much more where workers share a core. From the process CPU per request of all trials, see
  ``advisor.model.cpu``.
- *state*: how far CPU per request scatters between trials beyond that: neighbours, caches,
  frequency. A further trial will be off by as much again, so predictions are drawn with it.
- *GIL fraction*: the value at which the simulation gives the contrast trial's throughput. Only
  where that throughput depends on it: with one core for the server, or threads that mostly wait,
  it does not, and then it matters little to predictions under like conditions; the demand's own
  interval stays.
- *lock*: how much of a request is under a lock of the application's own, see
  ``advisor.model.lock``; from the same trial.
- *spread*: how far measured was from predicted in these trials, each predicted with the CPU it had
  (its deviation is the state's, and would count twice), pooled with a prior that weighs as much as
  three trials. A throughput that was fitted says nothing about the spread and is left out.

Trials that the machine disturbed count less, and can only widen what is stated: that a disturbed
trial happens to agree proves nothing. Not learned: what workers on cores of their own cost each
other (shared caches, memory, two threads of one core).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from pretune.advisor.demand.server_costs import on_server
from pretune.advisor.demand.values import Demand
from pretune.advisor.model import cpu
from pretune.advisor.model import lock as locks
from pretune.advisor.model.rows import Factors, build_rows, central, mean_rows, sample
from pretune.advisor.model.scenario import Scenario, Traffic, crowding
from pretune.advisor.model.simulation import Open
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.quantity import Z95, Interval, format_seconds

# Spread (standard deviation of the logarithm) of measured over predicted before anything is
# learned: a prototype of this model, uncalibrated, was within 0-8% of gunicorn's throughput and
# 2-24% of its p95 on six configurations.
PRIOR_THROUGHPUT_SD = 0.04
PRIOR_LATENCY_SD = 0.12
PRIOR_WEIGHT = 3.0  # the prior counts like so many trials

REQUESTS = 8_000  # per simulation here
# The GIL fraction is looked for only if throughput varies with it by more than this many times its
# own uncertainty.
VISIBLE = 3.0
LEAST_NOISE = 0.01  # relative; a trial's interval does not hold what drifts between trials


@dataclass(frozen=True)
class Calibration:
    """``gil_fraction`` None: not seen here, the demand's own stands."""

    gil_fraction: Interval | None
    cpu: cpu.CpuLevel
    throughput_sd: float
    latency_sd: float
    notes: tuple[str, ...] = ()
    lock: locks.OwnLock | None = None  # None: none shows
    tail_sd: float = PRIOR_LATENCY_SD  # of p99, as latency_sd of p95

    def applied(self, factors: Factors, busy: float, crowd: float = 0.0) -> Factors:
        """``factors`` for ``busy`` requests at once in each worker, of workers that ``crowd``."""
        return replace(
            factors,
            inflation=self.cpu.factor(busy, crowd),
            gil_fraction=(
                factors.gil_fraction if self.gil_fraction is None else self.gil_fraction.value
            ),
            lock=0.0 if self.lock is None else self.lock.part.value,
            one_lock=self.lock is not None and self.lock.shared,
        )

    def drawn(self, rng: np.random.Generator) -> Calibration:
        """Another calibration that such trials might have given, and the machine's next state."""
        gil = self.gil_fraction
        if gil is not None:
            gil = Interval.exact(min(1.0, sample(gil, rng, gil.value)))
        lock = self.lock
        if lock is not None:
            part = Interval.exact(min(locks.MOST, sample(lock.part, rng, lock.part.value)))
            lock = replace(lock, part=part)
        return replace(self, gil_fraction=gil, lock=lock, cpu=self.cpu.drawn(rng))


def calibrate(
    demand: Demand,
    trials: Sequence[Measurement],
    *,
    seed: int,
) -> Calibration:
    """Learn from all usable trials of a run; without any, the prior."""
    usable = [t for t in trials if t.requests > 0 and not t.generator_saturated]
    level = cpu.fit([_seen(_demand_on_its_server(demand, t), t) for t in cpu.fitted(usable)])
    notes = list(level.notes())
    calibration = Calibration(None, level, PRIOR_THROUGHPUT_SD, PRIOR_LATENCY_SD)
    # of several like it, one that nothing disturbed
    contrast = min(
        (t for t in usable if t.settings.workers == 1 and _busy(t) > 1 and t.load.rps is None),
        key=lambda t: t.disturbed != "",
        default=None,
    )
    gil = None
    if contrast is not None and contrast.settings.worker_class != "asgi":
        gil = _gil_fraction(_demand_on_its_server(demand, contrast), calibration, contrast, seed)
        notes.append(
            "the trials did not show how much of the CPU needs the GIL"
            if gil is None
            else f"{gil.value:.0%} of the CPU needs the GIL ({gil.low:.0%} to {gil.high:.0%})"
        )
    calibration = replace(calibration, gil_fraction=gil)
    if contrast is not None and contrast.settings.worker_class != "asgi":
        calibration = replace(
            calibration,
            lock=_lock(_demand_on_its_server(demand, contrast), calibration, contrast, seed),
        )
    if calibration.lock is not None:
        calibration = _shared_or_not(demand, calibration, usable, seed)
    if calibration.lock is not None:
        seconds = format_seconds(calibration.lock.seconds.value)
        whose = "all workers" if calibration.lock.shared else "one worker"
        notes.append(f"requests of {whose} wait for each other: {seconds} each, one at a time")
    calibration = replace(calibration, notes=tuple(notes))
    throughput: list[cpu.Residual] = []
    latency: list[cpu.Residual] = []
    tail: list[cpu.Residual] = []
    for trial in usable:
        if trial.role is Role.SYNC_ALONE:  # its CPU holds what the simulation would add again
            continue
        demand_on_server = _demand_on_its_server(demand, trial)
        scenario = _scenario(demand_on_server, trial)
        factors = _own(
            calibration.applied(central(demand_on_server), _busy(trial)), demand_on_server, trial
        )
        run = scenario.expected(traffic(trial), factors, REQUESTS, seed)
        disturbed = trial.disturbed != ""
        if not (trial is contrast and (gil is not None or calibration.lock is not None)):
            ratio = _log_ratio(trial.throughput_rps.value, run.throughput_rps)
            throughput.append(cpu.Residual(ratio, disturbed))
        p95, p99 = np.quantile(run.response_s, (0.95, 0.99)).tolist()
        latency.append(cpu.Residual(_log_ratio(trial.latency.p95.value, p95), disturbed))
        tail.append(cpu.Residual(_log_ratio(trial.latency.p99.value, p99), disturbed))
    return replace(
        calibration,
        throughput_sd=cpu.pooled(PRIOR_THROUGHPUT_SD, PRIOR_WEIGHT, throughput)[0],
        latency_sd=cpu.pooled(PRIOR_LATENCY_SD, PRIOR_WEIGHT, latency)[0],
        tail_sd=cpu.pooled(PRIOR_LATENCY_SD, PRIOR_WEIGHT, tail)[0],
    )


def _demand_on_its_server(demand: Demand, trial: Measurement) -> Demand:
    """Under the server that the trial ran on."""
    return on_server(demand, trial.conditions.server, trial.settings.worker_class)


def _own(factors: Factors, demand: Demand, trial: Measurement) -> Factors:
    """With the CPU per request that this very trial had, where it was measured."""
    seen = _seen(demand, trial)
    if not math.isfinite(seen.log_ratio):
        return factors
    return replace(factors, inflation=math.exp(seen.log_ratio))


def _seen(demand: Demand, trial: Measurement) -> cpu.Seen:
    crowd = crowding(trial.settings, trial.conditions, trial.load.users)
    return cpu.seen(demand, trial, _busy(trial), crowd)


def _scenario(demand: Demand, trial: Measurement) -> Scenario:
    """As the trial ran; what the generator cost is the trial's own measurement."""
    conditions = trial.conditions
    if conditions.generator_cpu_s_per_request == 0 and trial.throughput_rps.value > 0:
        cost = trial.generator_cpu_s_per_request
        conditions = replace(conditions, generator_cpu_s_per_request=cost)
    return Scenario(
        demand,
        trial.settings,
        conditions,
        trial.load.think_s,
    )


def traffic(trial: Measurement) -> Traffic:
    """As it was sent."""
    return trial.load.users if trial.load.rps is None else Open(trial.load.rps)


def _busy(trial: Measurement) -> int:
    """Requests at once in one worker: at most, of an open load on average."""
    slots = trial.settings.slots // trial.settings.workers
    users: float = trial.load.users
    if trial.load.rps is not None:
        users = trial.throughput_rps.value * trial.latency.mean.value
    each = users / trial.settings.workers
    return max(1, min(slots, math.ceil(each))) if math.isfinite(each) else 1


def _gil_fraction(
    demand: Demand,
    calibration: Calibration,
    contrast: Measurement,
    seed: int,
) -> Interval | None:
    """Find the fraction at which the contrast trial's simulated throughput is the measured one."""
    scenario = _scenario(demand, contrast)
    factors = _own(calibration.applied(central(demand), _busy(contrast)), demand, contrast)

    def throughput(fraction: float) -> float:
        changed = replace(factors, gil_fraction=fraction)
        return scenario.run(contrast.load.users, changed, REQUESTS, seed).throughput_rps

    most, least = throughput(0.0), throughput(1.0)
    rate = contrast.throughput_rps
    noise = max(LEAST_NOISE, (rate.high - rate.low) / 2 / rate.value)
    if most / least - 1 < VISIBLE * noise:
        return None
    if rate.value < least * (1 - Z95 * PRIOR_THROUGHPUT_SD):
        return None  # something else holds them, and with it the GIL does not show
    value, low, high = (
        locks.inverse(throughput, target, 1.0)
        for target in (rate.value, rate.value * (1 + noise), rate.value * (1 - noise))
    )
    return Interval(value, min(value, low), max(value, high))


def _lock(
    demand: Demand, calibration: Calibration, contrast: Measurement, seed: int
) -> locks.OwnLock | None:
    """Estimate the part of a request that is one at a time in a worker, beside its GIL time."""
    scenario, busy = _scenario(demand, contrast), _busy(contrast)
    factors = _own(calibration.applied(central(demand), busy), demand, contrast)

    @cache
    def throughput(part: float) -> float:
        changed = replace(factors, lock=part)
        return scenario.run(contrast.load.users, changed, REQUESTS, seed).throughput_rps

    sd = math.hypot(PRIOR_THROUGHPUT_SD, cpu.DISTURBED_SD if contrast.disturbed else 0.0)
    part = locks.solve(throughput, contrast, busy, Z95 * sd)
    if part is None:
        return None
    cpu_s, delay, db_cpu, wait = mean_rows(demand, build_rows(demand, factors, scenario.conditions))
    seconds = Interval(
        *(
            locks.serial_s(x, cpu_s, delay + db_cpu + wait)
            for x in (part.value, part.low, part.high)
        )
    )
    return locks.OwnLock(part, seconds, contrast.throughput_rps.value, throughput(0.0), busy)


def _shared_or_not(
    demand: Demand, calibration: Calibration, trials: Sequence[Measurement], seed: int
) -> Calibration:
    """With the lock as that of all workers, where the trials of several say so."""
    lock = calibration.lock
    assert lock is not None
    votes: list[locks.OwnLock] = []
    apart = 0
    for trial in trials:
        several = trial.settings.workers > 1 and trial.load.users > 1 and trial.load.rps is None
        if not several or trial.disturbed or trial.settings.worker_class == "asgi":
            continue
        on_server = _demand_on_its_server(demand, trial)
        scenario, busy = _scenario(on_server, trial), _busy(trial)
        factors = _own(calibration.applied(central(on_server), busy), on_server, trial)
        one, each = (
            scenario.expected(
                traffic(trial), replace(factors, one_lock=shared), REQUESTS, seed
            ).throughput_rps
            for shared in (True, False)
        )
        rate = trial.throughput_rps.value
        shared = locks.is_shared(rate, one, each)
        if shared:
            workers = trial.settings.workers
            votes.append(
                replace(lock, shared=True, workers=workers, workers_rps=rate, apart_rps=each)
            )
        apart += shared is False
    if not votes or apart >= len(votes):
        return calibration
    return replace(calibration, lock=max(votes, key=lambda vote: vote.workers))


def _log_ratio(measured: float, predicted: float) -> float:
    return math.log(measured / predicted) if measured > 0 and predicted > 0 else math.nan
