"""Records of single requests, split into their parts; means of those with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.values import TUPLE
from pretune.advisor.profiler.statistics import BLOCKS, around, error_of_mean
from pretune.advisor.quantity import UNKNOWN, Z95, Interval

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


# So many requests of an endpoint tell its cost; fewer are said, and widen what rests on them.
FEWEST = 30
_SHOWN = 3  # endpoints in a sentence


def describe_thin(names: Sequence[str], shares: Sequence[float], counts: Sequence[int]) -> str:
    """Say which part of the traffic the demand trial has hardly seen; "" where it has seen all."""
    thin = sorted(
        (each for each in zip(shares, names, counts, strict=True) if each[0] and each[2] < FEWEST),
        reverse=True,
    )
    if not thin:
        return ""
    shown = ", ".join(f"{name} with {count}" for _, name, count in thin[:_SHOWN])
    more = f" and {len(thin) - _SHOWN} more" if len(thin) > _SHOWN else ""
    unseen = sum(share for share, _, count in thin if not count)
    rest = f"; {unseen:.1%} had none and is taken to cost what the rest does" if unseen else ""
    return (
        f"{sum(share for share, _, _ in thin):.1%} of the traffic rests on fewer than {FEWEST} "
        f"requests of an endpoint in the demand trial ({shown}{more}){rest}: the intervals are "
        "wider by that, and a larger --time-budget measures more of them"
    )


def means(
    strata: NDArray[np.int64], fields: NDArray[np.float64], shares: Sequence[float]
) -> tuple[list[Interval], list[list[Interval]]]:
    """Means of ``fields`` (rows x fields, in time order) over the mix and within each stratum.

    The mix weighs strata by ``shares``, not by how often they came; a stratum without rows leaves
    its share to the others, one with fewer than FEWEST rows is known as badly as so few tell, and
    both widen the mix (``_thin_variance``). The means of a stratum without rows are UNKNOWN, those
    of a single row have no limits.
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
    more = Z95 * np.sqrt(_thin_variance(strata, fields, values, total[:, 0], shares))
    mix = [
        around(float(value), math.hypot(error_of_mean(mixed[:, f]).half_width, more[f]))
        for f, value in enumerate(weights @ values)
    ]
    each = [
        [_of_stratum(values[k, f], residuals[:, k, f], int(total[k, 0])) for f in range(width)]
        for k in range(kinds)
    ]
    return mix, each


def _thin_variance(
    strata: NDArray[np.int64],
    fields: NDArray[np.float64],
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    shares: Sequence[float],
) -> NDArray[np.float64]:
    """The mix's variance, of each field, from strata of few rows or none.

    One without rows may cost as much more or less than the mix as the others differ from it; a
    single other tells nothing, so it may be off by all of it. The mean of one with few rows has the
    variance of rows about their stratum's mean, its own or that of all strata if larger.
    """
    share = np.asarray(shares, dtype=np.float64)
    share = share / share.sum() if share.sum() > 0 else share
    seen = counts > 0
    unseen = float(share[~seen].sum())
    spread = np.zeros(fields.shape[1])
    if unseen > 0:
        weights = share[seen] / share[seen].sum() if share[seen].sum() > 0 else None
        middle = np.average(values[seen], axis=0, weights=weights)
        around_it = np.average((values[seen] - middle) ** 2, axis=0, weights=weights)
        spread = unseen**2 * (around_it if seen.sum() > 1 else middle**2)
    thin = seen & (counts < FEWEST) & (share > 0)
    if thin.any():
        squares = (fields - values[strata]) ** 2
        pooled = squares.sum(axis=0) / max(1, len(fields) - int(seen.sum()))
        for k in np.flatnonzero(thin):
            own = squares[strata == k].sum(axis=0) / max(1, counts[k] - 1)
            spread = spread + share[k] ** 2 * np.maximum(own, pooled) / counts[k]
    return spread


def _of_stratum(value: float, residuals: NDArray[np.float64], rows: int) -> Interval:
    if not rows:
        return UNKNOWN
    error = error_of_mean(residuals)
    # blocks without a row say nothing about its scatter
    error = error._replace(df=min(error.df, rows - 1.0))
    return around(float(value), error.half_width)
