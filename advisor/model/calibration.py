"""Calibration: numbers that the measured rows lack, learned from trials that can be predicted.

- *CPU per request* of every server, class and crowd, from all trials together, see
  ``advisor.model.cpu``. A further trial will be off by what trials scatter, so predictions are
  drawn with that, too.
- *Pace*: how much faster or slower all loaded trials are than the model with the CPU that they had:
  a database that shares a core, a pool that queues. It grows with the requests at once in the app.
- *GIL fraction*: the value at which the simulation gives the contrast trial's throughput. Only
  where that throughput depends on it: with one core for the server, or threads that mostly wait,
  it does not, and then it matters little to predictions under like conditions; the demand's own
  interval stays.
- *lock*: how much of a request is under a lock of the application's own, see
  ``advisor.model.lock``; from the same trial.
- *Spread*: how far measured was from predicted in these trials, each predicted with the CPU it had
  (its deviation is the state's, and would count twice), pooled with a prior that weighs as much as
  three trials; what a trial's own sampling explains is taken off. A throughput that was fitted says
  nothing about the spread and is left out.

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
from pretune.advisor.model.cpu import Regime
from pretune.advisor.model.rows import Factors, build_rows, central, mean_rows, sample
from pretune.advisor.model.scenario import Scenario, Traffic
from pretune.advisor.model.simulation import Open, SimulatedRun
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.quantity import Z95, Interval, format_seconds

# Spread (standard deviation of the logarithm) of measured over predicted before anything is
# learned: a prototype of this model, uncalibrated, was within 0-8% of gunicorn's throughput and
# 2-24% of its p95 on six configurations.
UNCALIBRATED_SD = 0.04
# With the CPU that a trial had: less where one user keeps the core busy, more where what requests
# wait for has a queue of its own.
PRIOR_THROUGHPUT_SD, IDLE_THROUGHPUT_SD = 0.02, 0.06
PRIOR_LATENCY_SD = 0.12
PRIOR_WEIGHT = 3.0  # the prior counts like so many trials
# Of what all loaded trials have in common: of ten applications two were 12% to 18% slower than the
# model throughout, the others within 3%.
PACE_SD = 0.08

REQUESTS = 8_000  # per simulation here
# The GIL fraction is looked for only if throughput varies with it by more than this many times its
# own uncertainty.
VISIBLE = 3.0
LEAST_NOISE = 0.01  # relative; a trial's interval does not hold what drifts between trials


@dataclass(frozen=True)
class Calibration:
    """``gil_fraction`` None: not seen here, the demand's own stands. ``log_pace``: logarithm of the
    throughput of loaded trials over what the model gives with the CPU that they had.
    """

    gil_fraction: Interval | None
    cpu: cpu.CpuEstimate
    throughput_sd: float
    latency_sd: float
    notes: tuple[str, ...] = ()
    lock: locks.OwnLock | None = None  # None: none shows
    tail_sd: float = PRIOR_LATENCY_SD  # of p99, as latency_sd of p95
    log_pace: float = 0.0

    def applied(self, factors: Factors, regime: Regime, inside: float = 1.0) -> Factors:
        """``factors`` in one regime, with so many requests at once in the app."""
        return replace(
            factors,
            inflation=self.cpu.factor(regime),
            gil_fraction=(
                factors.gil_fraction if self.gil_fraction is None else self.gil_fraction.value
            ),
            lock=0.0 if self.lock is None else self.lock.part.value,
            one_lock=self.lock is not None and self.lock.shared,
            pace=math.exp(self.log_pace * cpu.reach(inside)),
        )

    def drawn(self, number: int, rng: np.random.Generator) -> Calibration:
        """Another calibration that such trials might have given, and the machine's next state."""
        gil = self.gil_fraction
        if gil is not None:
            gil = Interval.exact(min(1.0, sample(gil, rng, gil.value)))
        lock = self.lock
        if lock is not None:
            part = Interval.exact(min(locks.MOST, sample(lock.part, rng, lock.part.value)))
            lock = replace(lock, part=part)
        return replace(self, gil_fraction=gil, lock=lock, cpu=self.cpu.drawn(number))


def calibrate(
    demand: Demand,
    trials: Sequence[Measurement],
    *,
    seed: int,
) -> Calibration:
    """Learn from all usable trials of a run, restated for the workload's shares
    (``advisor.demand.mix``); without any, the prior.
    """
    usable = [
        t
        for t in trials
        # workers that died under load took what is known of their CPU with them
        if t.requests > 0 and not t.generator_saturated and t.cpu_s_per_request.value != 0
    ]
    utilisation = _utilisation(usable)
    spread = PRIOR_THROUGHPUT_SD * utilisation + IDLE_THROUGHPUT_SD * (1 - utilisation)
    level = _fit_cpu(demand, usable, utilisation)
    calibration = Calibration(None, level, spread, PRIOR_LATENCY_SD)
    notes = list(calibration.cpu.notes())
    # of several like it, one that nothing disturbed
    contrast = min(
        (t for t in usable if t.settings.workers == 1 and _busy(t) > 1 and t.load.rps is None),
        key=lambda t: t.disturbed != "",
        default=None,
    )
    gil = None
    if contrast is not None and contrast.settings.worker_class != "asgi":
        on_its_server = _demand_on_its_server(demand, contrast)
        gil = _gil_fraction(on_its_server, calibration, contrast, seed)
        notes.append(
            "the trials did not show how much of the CPU needs the GIL"
            if gil is None
            else f"{gil.value:.0%} of the CPU needs the GIL ({gil.low:.0%} to {gil.high:.0%})"
        )
        calibration = replace(calibration, gil_fraction=gil)
        lock = _lock(on_its_server, calibration, contrast, seed)
        calibration = replace(calibration, lock=lock)
    if calibration.lock is not None:
        calibration = _shared_or_not(demand, calibration, usable, seed)
    if calibration.lock is not None:
        seconds = format_seconds(calibration.lock.seconds.value)
        whose = "all workers" if calibration.lock.shared else "one worker"
        notes.append(f"requests of {whose} wait for each other: {seconds} each, one at a time")
    fitted = contrast if gil is not None or calibration.lock is not None else None
    return _with_residuals(
        replace(calibration, notes=tuple(notes)),
        [
            _Compared(demand, trial, calibration, seed, throughput_was_fitted=trial is fitted)
            for trial in usable
            # its CPU holds what the simulation would add again
            if trial.role is not Role.SYNC_ALONE
        ],
    )


def _utilisation(trials: Sequence[Measurement]) -> float:
    """Part of its core that the demand trial kept busy; 1 without one."""
    first = next((t for t in trials if t.role is Role.DEMAND), None)
    if first is None:
        return 1.0
    used = first.throughput_rps.value * first.cpu_s_per_request.value
    return min(1.0, used) if math.isfinite(used) else 1.0


def _fit_cpu(demand: Demand, trials: Sequence[Measurement], utilisation: float) -> cpu.CpuEstimate:
    references = {
        kind: _one_users_cpu(on_server(demand, *kind)) for kind in {demand.served_by, *demand.costs}
    }
    rows = [_row(demand, t) for t in trials]
    if all(t.role is not Role.DEMAND for t in trials):
        known = demand.cpu_s
        stated = (known.high - known.low) / (2 * Z95) / known.value if known.value else 0.0
        sd = stated if math.isfinite(stated) else 0.0
        disturbed = bool(trials) and all(t.disturbed for t in trials)
        one_user = cpu.Regime(demand.served_by)
        rows.append(cpu.Row(one_user, _one_users_cpu(demand), sd, disturbed))
    return cpu.fit(
        rows,
        references,
        demanded=demand.served_by,
        utilisation=utilisation,
    )


def _one_users_cpu(demand: Demand) -> float:
    return demand.cpu_s.value + max(0.0, demand.overhead_cpu_s.value)


def _row(demand: Demand, trial: Measurement) -> cpu.Row:
    """A trial's CPU per request; a restated trial's luck in its mix is no part of its error."""
    measured = trial.cpu_s_per_request
    stated = (measured.high - measured.low) / (2 * Z95) / measured.value
    within, between = _variances(demand)
    share_within = within / (within + between) if within + between > 0 else 1.0
    sampling = math.sqrt(within / trial.requests)  # which few requests understate
    sd = stated * math.sqrt(share_within) if math.isfinite(stated) else 0.0
    return cpu.Row(
        regime=_regime(trial),
        cpu_s=measured.value,
        sd=max(sd, sampling),
        disturbed=trial.disturbed != "",
    )


def _variances(demand: Demand) -> tuple[float, float]:
    """Variances of one request's CPU, within endpoints and between them, over its mean squared."""
    cpu_s, endpoint = demand.tuples["cpu"], demand.tuples["endpoint"]
    mean = _one_users_cpu(demand)
    within = between = 0.0
    if not mean > 0:
        return 0.0, 0.0
    for k, share in enumerate(demand.shares):
        mine = cpu_s[endpoint == k]
        if len(mine):
            within += share * float(np.nanvar(mine))
            between += share * (float(np.nanmean(mine)) - demand.cpu_s.value) ** 2
    return within / mean**2, between / mean**2


@dataclass(frozen=True)
class _Compared:
    """One trial beside its own prediction, made with the CPU per request that it had itself."""

    demand: Demand
    trial: Measurement
    calibration: Calibration
    seed: int
    throughput_was_fitted: bool

    @property
    def disturbed(self) -> bool:
        return self.trial.disturbed != ""

    @property
    def load(self) -> float:
        """The load, from 0 by one user to 1."""
        return cpu.reach(min(self.trial.load.users, self.trial.settings.slots))

    def run(self) -> SimulatedRun:
        demand = _demand_on_its_server(self.demand, self.trial)
        factors = self.calibration.applied(central(demand), _regime(self.trial))
        scenario = _scenario(demand, self.trial)
        return scenario.expected(
            traffic(self.trial), _own(factors, demand, self.trial), REQUESTS, self.seed
        )


def _with_residuals(calibration: Calibration, compared: Sequence[_Compared]) -> Calibration:
    """With the pace of loaded trials, and the spread that remains."""
    throughput: list[cpu.Residual] = []
    latency: list[cpu.Residual] = []
    tail: list[cpu.Residual] = []
    loads: list[float] = []
    for each in compared:
        run, trial = each.run(), each.trial
        p95, p99 = np.quantile(run.response_s, (0.95, 0.99)).tolist()
        if not each.throughput_was_fitted:
            throughput.append(_residual(trial.throughput_rps, run.throughput_rps, each.disturbed))
            loads.append(each.load if trial.load.rps is None else 0.0)
        latency.append(_residual(trial.latency.p95, p95, each.disturbed))
        tail.append(_residual(trial.latency.p99, p99, each.disturbed))
    prior = calibration.throughput_sd
    pace = _log_pace(throughput, loads, prior)
    throughput = [
        replace(r, value=r.value - pace * load) for r, load in zip(throughput, loads, strict=True)
    ]
    return replace(
        calibration,
        log_pace=pace,
        throughput_sd=cpu.pooled(prior, PRIOR_WEIGHT, throughput),
        latency_sd=cpu.pooled(PRIOR_LATENCY_SD, PRIOR_WEIGHT, latency),
        tail_sd=cpu.pooled(PRIOR_LATENCY_SD, PRIOR_WEIGHT, tail),
    )


def _log_pace(residuals: Sequence[cpu.Residual], loads: Sequence[float], sd: float) -> float:
    """Logarithm of how much faster loaded trials are than the model: the posterior mean."""
    precision, total = 1 / PACE_SD**2, 0.0
    for r, load in zip(residuals, loads, strict=True):
        if math.isfinite(r.value):
            disturbed = cpu.DISTURBED_SD if r.disturbed else 0.0
            weight = 1 / (sd**2 + r.sd**2 + disturbed**2)
            precision += weight * load**2
            total += weight * load * r.value
    return total / precision


def _residual(measured: Interval, predicted: float, disturbed: bool) -> cpu.Residual:
    stated = (measured.high - measured.low) / (2 * Z95) / measured.value
    return cpu.Residual(
        _log_ratio(measured.value, predicted),
        disturbed,
        sd=stated if math.isfinite(stated) else 0.0,
    )


def _demand_on_its_server(demand: Demand, trial: Measurement) -> Demand:
    """Under the server that the trial ran on."""
    return on_server(demand, trial.conditions.server, trial.settings.worker_class)


def _own(factors: Factors, demand: Demand, trial: Measurement) -> Factors:
    """With the CPU per request that this very trial had, where it was measured."""
    expected, got = _one_users_cpu(demand), trial.cpu_s_per_request.value
    if not (expected > 0 and got > 0 and math.isfinite(got)):
        return factors
    return replace(factors, inflation=got / expected)


def _regime(trial: Measurement) -> cpu.Regime:
    workers = trial.settings.workers
    return cpu.Regime(
        trial.kind,
        _busy(trial),
        cpu.crowd(min(workers, trial.load.users), trial.conditions.server_cores),
        workers,
        by_one=trial.load.users == 1 and trial.load.rps is None,
        preload=trial.settings.preload_app,
    )


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
    factors = _own(calibration.applied(central(demand), _regime(contrast)), demand, contrast)

    def throughput(fraction: float) -> float:
        changed = replace(factors, gil_fraction=fraction)
        return scenario.run(contrast.load.users, changed, REQUESTS, seed).throughput_rps

    most, least = throughput(0.0), throughput(1.0)
    rate = contrast.throughput_rps
    noise = max(LEAST_NOISE, (rate.high - rate.low) / 2 / rate.value)
    if most / least - 1 < VISIBLE * noise:
        return None
    if rate.value < least * (1 - Z95 * UNCALIBRATED_SD):
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
    factors = calibration.applied(central(demand), _regime(contrast))
    factors = _own(factors, demand, contrast)

    @cache
    def throughput(part: float) -> float:
        changed = replace(factors, lock=part)
        return scenario.run(contrast.load.users, changed, REQUESTS, seed).throughput_rps

    sd = math.hypot(UNCALIBRATED_SD, cpu.DISTURBED_SD if contrast.disturbed else 0.0)
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
        scenario = _scenario(on_server, trial)
        factors = calibration.applied(central(on_server), _regime(trial))
        factors = _own(factors, on_server, trial)
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
