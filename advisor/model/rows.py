"""Turns a demand into what the simulation draws from: whole measured rows, in the workload's mix.

Whole rows, so the correlation inside a request survives; in the workload's shares, so a share that
the trial did not hit exactly is put right. For a value every row comes equally often, in random
order: what is predicted then varies with the order only, not with which rows luck picked. For an
interval rows are drawn with replacement, as another trial would have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.values import Demand
from pretune.advisor.model.simulation import MAX_SEGMENTS
from pretune.advisor.model.state import ROW
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Z95, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Factors:
    """One possible truth about what the rows alone do not say."""

    gil_fraction: float
    inflation: float = 1.0  # of all CPU per request, by the machine's state and concurrency
    overhead_s: float = 0.0
    db_cpu_s: float = 0.0
    lock: float = 0.0  # of the application's own, see advisor.model.lock
    one_lock: bool = False  # it is one for all workers
    front_s: float = 0.0  # CPU of a proxy in front, where one stands there
    pace: float = 1.0  # throughput over what the model gives, see advisor.model.calibration


def central(demand: Demand) -> Factors:
    return Factors(
        gil_fraction=_or(demand.cpu_gil_fraction.value, 1.0),
        overhead_s=_or(demand.overhead_cpu_s.value, 0.0),
        db_cpu_s=_or(demand.db_cpu_s.value, 0.0) if demand.db_cpu_s else 0.0,
        front_s=_or(demand.front_cpu_s.value, 0.0),
    )


def drawn(demand: Demand, factors: Factors, rng: np.random.Generator) -> Factors:
    """``factors`` moved within the demand's intervals."""
    cpu = sample(demand.cpu_s, rng, demand.cpu_s.value) + factors.overhead_s
    expected = demand.cpu_s.value + factors.overhead_s
    return replace(
        factors,
        inflation=cpu / expected if expected > 0 else 1.0,
        gil_fraction=min(1.0, sample(demand.cpu_gil_fraction, rng, factors.gil_fraction)),
        db_cpu_s=sample(demand.db_cpu_s, rng, factors.db_cpu_s) if demand.db_cpu_s else 0.0,
        front_s=sample(demand.front_cpu_s, rng, factors.front_s) if factors.front_s else 0.0,
    )


def sample(interval: Interval, rng: np.random.Generator, unknown: float) -> float:
    """A draw from a 95% interval read as two half-normals, never below 0."""
    z = rng.standard_normal()
    if not all(map(math.isfinite, (interval.value, interval.low, interval.high))):
        return unknown
    side = interval.high - interval.value if z > 0 else interval.value - interval.low
    return max(0.0, interval.value + z * side / Z95)


def build_rows(demand: Demand, factors: Factors, conditions: Conditions) -> NDArray[np.void]:
    """Service times of every measured request under ``factors``.

    Postgres's CPU is split off each row's database time in proportion to it, where Postgres stands
    on this machine; elsewhere its time is all delay.
    """
    tuples = demand.tuples
    if len(tuples) == 0:
        raise ValueError("the demand holds no measured requests")
    db = _seconds(tuples["db"])
    wait = _seconds(tuples["wait"])
    cpu = _seconds(tuples["cpu"])
    share = 0.0
    mean_db = float(db.mean())
    if conditions.database_local and mean_db > 0:
        share = min(1.0, factors.db_cpu_s / mean_db)
    db_calls, wait_calls = _calls(demand, db, wait)
    rows = np.empty(len(tuples), ROW)
    rows["cpu"] = (cpu + factors.overhead_s) * factors.inflation
    rows["pool"] = 0.0
    if "pool" in (tuples.dtype.names or ()):
        # what concurrency saves is the loop's: one turn of it serves several requests
        pool = _seconds(tuples["pool"]) * max(1.0, factors.inflation)
        rows["pool"] = np.minimum(pool, rows["cpu"])
    rows["db_delay"] = db * (1.0 - share)
    rows["db_cpu"] = db * share
    rows["wait"] = wait
    rows["db_calls"] = db_calls
    rows["wait_calls"] = wait_calls
    return rows


def draw_picks(
    demand: Demand, count: int, rng: np.random.Generator, *, bootstrap: bool = False
) -> NDArray[np.int64]:
    """Indices of rows, one per request to simulate, in the workload's shares.

    A systematic sample (each row as often as its share says, give or take one) in random order.
    With ``bootstrap`` as a trial would have drawn them: endpoints by share in the same way, of each
    any of its rows. Endpoints of which nothing was measured are left out and the other shares stand
    for them.
    """
    endpoint = demand.tuples["endpoint"].astype(np.int64)
    groups = [np.flatnonzero(endpoint == k) for k in range(len(demand.shares))]
    shares = np.array(
        [share if len(g) else 0.0 for share, g in zip(demand.shares, groups, strict=True)]
    )
    if not shares.sum() > 0:
        raise ValueError("no endpoint of the workload has a measured request")
    picks = rng.permutation(_systematic(demand, groups, shares, count))
    if bootstrap:
        for group in groups:
            mine = np.isin(picks, group)
            picks[mine] = group[rng.integers(0, max(1, len(group)), int(mine.sum()))]
    return picks


def _systematic(
    demand: Demand, groups: list[NDArray[np.int64]], shares: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    """Every 1/count of the cumulated shares, endpoint by endpoint, the cheap requests first."""
    cost = demand.tuples["cpu"]
    ordered = np.concatenate([g[np.argsort(cost[g], kind="stable")] for g in groups])
    weights = np.concatenate(
        [np.full(len(g), share / max(1, len(g))) for g, share in zip(groups, shares, strict=True)]
    )
    cumulated = np.cumsum(weights / weights.sum())
    at = np.searchsorted(cumulated, (np.arange(count) + 0.5) / count)
    drawn_rows: NDArray[np.int64] = ordered[np.minimum(at, len(ordered) - 1)]
    return drawn_rows


def mean_rows(demand: Demand, rows: NDArray[np.void]) -> tuple[float, float, float, float]:
    """Mean (cpu, db_delay, db_cpu, wait) of a request in the workload's mix, seconds."""
    endpoint = demand.tuples["endpoint"]
    weight = np.zeros(len(endpoint))
    for k, share in enumerate(demand.shares):
        mine = endpoint == k
        if mine.any():
            weight[mine] = share / mine.sum()
    weight /= weight.sum()
    cpu, delay, db_cpu, wait = (
        float(weight @ rows[name]) for name in ("cpu", "db_delay", "db_cpu", "wait")
    )
    return cpu, delay, db_cpu, wait


def _seconds(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clean a column of seconds: a value that a clock could not tell, or told below zero, is 0."""
    return np.maximum(np.nan_to_num(field, nan=0.0), 0.0)


def _calls(
    demand: Demand, db: NDArray[np.float64], wait: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Waits per row, at most MAX_SEGMENTS - 1 together; a row that waited has at least one."""
    most = MAX_SEGMENTS - 1
    per_endpoint = np.full(len(demand.shares), _or(demand.db_calls.value, 1.0))
    for k, measured in enumerate(demand.by_endpoint[: len(per_endpoint)]):
        per_endpoint[k] = _or(measured.db_calls.value, per_endpoint[k])
    calls = np.rint(per_endpoint[np.clip(demand.tuples["endpoint"], 0, len(per_endpoint) - 1)])
    waits = np.where(wait > 0, np.clip(round(_or(demand.wait_calls.value, 1.0)), 1, most - 1), 0)
    db_calls = np.where(db > 0, np.clip(calls, 1, most - waits), 0)
    return db_calls.astype(np.int64), waits.astype(np.int64)


def _or(value: float, unknown: float) -> float:
    return value if math.isfinite(value) else unknown
