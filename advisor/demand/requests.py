"""Records of single requests, split into their parts; means of those with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.values import TUPLE
from pretune.advisor.profiler.statistics import BLOCKS, around, error_of_mean
from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.profiler.measurement import Measurement


def select_workload(telemetry: NDArray[np.void], endpoints: int) -> NDArray[np.void]:
    """Rows of the workload that the app answered, by start; failed ones only if all failed."""
    in_workload = (telemetry["endpoint"] >= 1) & (telemetry["endpoint"] <= endpoints)
    answered = in_workload & (telemetry["status"] > 0) & (telemetry["status"] < 500)
    rows = telemetry[answered if answered.any() else in_workload]
    return rows[np.argsort(rows["start"], kind="stable")]


def split_rows(rows: NDArray[np.void], trial: Measurement) -> NDArray[np.void]:
    """Split each request's time into its parts, a row of TUPLE for each of ``rows``.

    Time in a run queue is no wait, neither the thread's nor that of a local Postgres's sessions.
    """
    return _undelayed(_split(rows), float(np.mean(_run_queue_s(rows))), trial)


def _run_queue_s(rows: NDArray[np.void]) -> NDArray[np.float64]:
    return np.asarray(np.nan_to_num(rows["runq"], nan=0.0))


def _split(rows: NDArray[np.void]) -> NDArray[np.void]:
    tuples = np.zeros(len(rows), TUPLE)
    cpu = np.maximum(rows["cpu"], 0.0)
    inside = cpu - rows["head"]  # the wall time begins when the head is complete
    left = np.maximum(rows["wall"] - inside - _run_queue_s(rows), 0.0)
    db = np.clip(rows["db"], 0.0, left)
    tuples["endpoint"] = rows["endpoint"].astype(np.int64) - 1
    tuples["cpu"], tuples["db"], tuples["wait"] = cpu, db, left - db
    if "pool" in (rows.dtype.names or ()):
        tuples["pool"] = np.clip(rows["pool"], 0.0, cpu)
    return tuples


def _undelayed(tuples: NDArray[np.void], own_s: float, trial: Measurement) -> NDArray[np.void]:
    """The database's time for each request, as if every process had a core at once.

    What a local Postgres stood in the run queue is taken off. But what it did while the request's
    own thread stood there (``own_s``, the mean) is in no wait that the thread saw, and would be
    lost: a thread under a quota is often put off between asking and waiting. So the server's own
    account of being active is a lower bound, by at most ``own_s`` above what was seen. Both are
    known of all requests together; each one's wait is changed in proportion.
    """
    time = trial.database_time
    waited = float(tuples["db"].mean()) if len(tuples) else 0.0
    if time is None or waited <= 0:
        return tuples
    delay_s = time.server_delay_s.value if time.server_delay_s else math.nan
    delay = delay_s if math.isfinite(delay_s) else 0.0
    seen = max(0.0, waited - delay)
    active = time.server_active_s.value - delay
    if math.isfinite(active):
        seen = max(seen, min(active, seen + own_s))
    tuples["db"] *= seen / waited
    return tuples


def means(
    strata: NDArray[np.int64], fields: NDArray[np.float64], shares: Sequence[float]
) -> tuple[list[Interval], list[list[Interval]]]:
    """Means of ``fields`` (rows x fields, in time order) over the mix and within each stratum.

    The mix weighs strata by ``shares``, not by how often they came; a stratum without rows leaves
    its share to the others. Its own means are UNKNOWN, those of a single row have no limits.
    Neighbouring requests are alike (caches, frequency, neighbours): errors are those of blocks of
    consecutive requests, each mean a ratio of sums (a post-stratified estimator, Cochran).
    """
    n, width = fields.shape
    kinds = len(shares)
    blocks = min(n, BLOCKS)
    block = (np.arange(n) * blocks) // n
    cell = block * kinds + strata
    counts = np.bincount(cell, minlength=blocks * kinds).reshape(blocks, kinds, 1)
    sums = np.stack(
        [np.bincount(cell, fields[:, f], minlength=blocks * kinds) for f in range(width)], axis=1
    ).reshape(blocks, kinds, width)

    total = counts.sum(axis=0)  # kinds x 1
    present = total[:, 0] > 0
    values = sums.sum(axis=0) / np.maximum(total, 1)
    residuals = (sums - values * counts) / np.maximum(total / blocks, 1 / blocks)
    weights = np.where(present, np.asarray(shares, dtype=np.float64), 0.0)
    weights = weights / weights.sum() if weights.sum() > 0 else present / present.sum()
    mixed = np.einsum("bkf,k->bf", residuals, weights)
    mix = [
        around(float(value), error_of_mean(mixed[:, f]).half_width)
        for f, value in enumerate(weights @ values)
    ]
    each = [
        [_of_stratum(values[k, f], residuals[:, k, f], int(total[k, 0])) for f in range(width)]
        for k in range(kinds)
    ]
    return mix, each


def _of_stratum(value: float, residuals: NDArray[np.float64], rows: int) -> Interval:
    if not rows:
        return UNKNOWN
    error = error_of_mean(residuals)
    # blocks without a row say nothing about its scatter
    error = error._replace(df=min(error.df, rows - 1.0))
    return around(float(value), error.half_width)
