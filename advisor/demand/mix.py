"""Trials restated for the workload's shares: what they would have shown, had their requests come in
those.

A short trial's requests are never quite in the workload's shares, and one endpoint may cost twenty
times what another does: raw means of two trials then differ by their luck before anything else.
What each endpoint costs is known from the demand trial, so a trial's own mix says how much dearer
or cheaper its mean request was than one of the workload (ratio estimation from a known auxiliary
variable; Cochran, *Sampling Techniques*, chapter 6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.requests import select_workload, split_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.observations import Observations
    from pretune.advisor.profiler.measurement import Measurement
    from pretune.loadtests.workload import Workload

# A trial's records tell its mix where they hold most of its requests; else its client's counts do.
MOST_RECORDS = 0.9


@dataclass(frozen=True)
class Costs:
    """Seconds of one request of each endpoint: CPU with the server's part, database, all time."""

    shares: NDArray[np.float64]
    cpu_s: NDArray[np.float64]
    db_s: NDArray[np.float64]
    time_s: NDArray[np.float64]


def at_shares(workload: Workload, observations: Observations) -> Observations:
    """Every trial with CPU per request and throughput of the workload's mix."""
    costs = _costs(workload, observations.demand)
    if costs is None:
        return observations
    names = [endpoint.name for endpoint in workload.endpoints]

    def restated(trial: Measurement) -> Measurement:
        mix = _mix(trial, names)
        return trial if mix is None else _restated(trial, costs, mix)

    return observations.changed(restated)


def _costs(workload: Workload, trial: Measurement) -> Costs | None:
    """None where nothing was served; what one endpoint costs that was not: as the others do."""
    count = len(workload.endpoints)
    rows = select_workload(trial.telemetry, count)
    if count < 2 or not len(rows):
        return None
    tuples = split_rows(rows, trial)
    served = np.bincount(tuples["endpoint"], minlength=count)
    shares = np.array([endpoint.share for endpoint in workload.endpoints], dtype=np.float64)
    known = np.where(served > 0, shares, 0.0)
    if not known.sum() > 0:
        return None

    def each(field: NDArray[np.float64]) -> NDArray[np.float64]:
        means = np.bincount(tuples["endpoint"], field, minlength=count) / np.maximum(served, 1)
        return np.asarray(np.where(served > 0, means, known @ means / known.sum()))

    server_s = max(0.0, trial.cpu_s_per_request.value - float(np.mean(trial.telemetry["cpu"])))
    cpu, db = each(tuples["cpu"]) + server_s, each(tuples["db"])
    return Costs(shares / shares.sum(), cpu, db, cpu + db + each(tuples["wait"]))


def _mix(trial: Measurement, names: list[str]) -> NDArray[np.float64] | None:
    """The part of each endpoint among the trial's requests; None where it is not known."""
    counts = np.zeros(len(names))
    if "endpoint" in (trial.telemetry.dtype.names or ()):
        rows = select_workload(trial.telemetry, len(names))
        numbers = rows["endpoint"].astype(np.int64) - 1
        counts = np.bincount(numbers, minlength=len(names)).astype(np.float64)
    if counts.sum() < MOST_RECORDS * max(1, trial.requests):
        seen = {each.name: each.requests for each in trial.by_endpoint}
        counts = np.array([seen.get(name, 0) for name in names], dtype=np.float64)
    total = float(counts.sum())
    return np.asarray(counts / total, dtype=np.float64) if total else None


def _restated(trial: Measurement, costs: Costs, mix: NDArray[np.float64]) -> Measurement:
    cpu = _ratio(costs.cpu_s, costs.shares, mix)
    db_cpu = trial.db_cpu_s_per_request
    if db_cpu is not None:
        db_cpu = db_cpu.scaled(_ratio(costs.db_s, costs.shares, mix))
    slots = max(1, min(trial.load.users, trial.settings.slots))
    cores = min(trial.conditions.server_cores, float(slots))

    def bottleneck_s(weights: NDArray[np.float64]) -> float:
        """Seconds between two answers, by the operational bounds."""
        return max(float(weights @ costs.time_s) / slots, float(weights @ costs.cpu_s) / cores)

    slower = bottleneck_s(costs.shares) / bottleneck_s(mix) if trial.load.rps is None else 1.0
    return replace(
        trial,
        cpu_s_per_request=trial.cpu_s_per_request.scaled(cpu),
        db_cpu_s_per_request=db_cpu,
        throughput_rps=trial.throughput_rps.scaled(1 / slower),
    )


def _ratio(
    cost: NDArray[np.float64], shares: NDArray[np.float64], mix: NDArray[np.float64]
) -> float:
    """Return how much dearer a request of the workload is than one of the trial."""
    here = float(mix @ cost)
    return float(shares @ cost) / here if here > 0 else 1.0
