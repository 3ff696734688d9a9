"""The costs of requests and workers, and where the time goes beside each endpoint."""

from __future__ import annotations

from typing import Any

from pretune.advisor.demand.breakdown import Breakdown
from pretune.advisor.demand.values import Demand
from pretune.advisor.documents.plain import move, plain
from pretune.advisor.run import Run

# The document's order has what was added later beside what it belongs to.
_LAST = (
    *("wait_s", "wait_calls", "by_endpoint", "inside"),
    *("worker", "unloaded_p95_s", "generator_cpu_s"),
)


def write_demand(demand: Demand | None, breakdown: Breakdown | None) -> dict[str, Any] | None:
    if demand is None:
        return None
    document = {**plain(demand), "inside": plain(breakdown)}
    if breakdown is not None:
        for endpoint in document["by_endpoint"]:
            endpoint |= plain(breakdown.endpoint(endpoint["name"])) or {}
    return move(document, last=_LAST)


def write_boot_memory(run: Run) -> dict[str, Any] | None:
    """Write what importing the app took, beside a worker that has booted and not served yet."""
    if run.boot_memory is None:
        return None
    booted = [
        float(series.anon_bytes[0])
        for trial in run.trials
        for series in trial.measurement.memory_series
        if series.anon_bytes is not None and len(series.requests) and series.requests[0] == 0
    ]
    return {**plain(run.boot_memory), "worker_anon_bytes": booted[0] if booted else None}
