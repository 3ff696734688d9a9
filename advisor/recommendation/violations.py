"""Violations: the budgets and the SLO that a prediction breaks, and its distance from each.

A budget counts as kept only if the upper end of the prediction keeps it. A capacity's load was
chosen so that the upper end of its p95 keeps the SLO; only where even one user is too many the
value decides, since there is no load left to take away.
"""

from __future__ import annotations

from collections.abc import Iterable

from pretune.advisor.demand.values import WorkerDemand
from pretune.advisor.model.memory import DAY_S
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import format_bytes, format_seconds
from pretune.advisor.resources.budget import Budget
from pretune.server.settings import Settings

UP_TO = "up to "


def broken(prediction: Prediction, budget: Budget, slo_p95_s: float) -> tuple[str, ...]:
    """Every limit that does not hold, as ``RAM: 5.1 GiB > 4 GiB``; empty when all hold. Of what may
    hold as well, by the other end of the prediction: ``RAM: up to 5.1 GiB > 4 GiB``."""
    ram = prediction.ram_bytes
    sentences = list(over_budget(ram.high, prediction.pg_connections, prediction.fds, budget))
    if ram.low <= budget.ram_bytes < ram.high:
        sentences[0] = sentences[0].replace("RAM: ", f"RAM: {UP_TO}")
    p95, most = prediction.latency.p95, format_seconds(slo_p95_s)
    if p95.low > slo_p95_s:
        sentences.append(f"p95 {format_seconds(p95.value)} > {most}")
    elif p95.value > slo_p95_s:
        sentences.append(f"p95 {UP_TO}{format_seconds(p95.high)} > {most}")
    return tuple(sentences)


def surely(violates: Iterable[str]) -> tuple[str, ...]:
    """Those that no end of the prediction keeps."""
    return tuple(sentence for sentence in violates if UP_TO not in sentence)


def broken_by(
    worker: WorkerDemand, settings: Settings, prediction: Prediction, budget: Budget, p95_s: float
) -> tuple[str, ...]:
    """``broken``, where a leak that nothing recycles is told by when it fills the RAM: how much a
    day of it would take says nothing."""
    sentences = broken(prediction, budget, p95_s)
    when = filled_after(worker, settings, prediction, budget)
    if not when or not any(s.startswith("RAM") for s in sentences):
        return sentences
    return (when, *(s for s in sentences if not s.startswith("RAM")))


def filled_after(
    worker: WorkerDemand, settings: Settings, prediction: Prediction, budget: Budget
) -> str:
    """Say when a leak without recycling fills the RAM; "" where nothing leaks, or not in a day."""
    if worker.leak_class != "leak" or settings.max_requests:
        return ""
    slope = worker.leak_slope_bytes_per_request.high
    left = budget.ram_bytes - budget.reserve_bytes - prediction.pss_bytes.value
    if left <= 0:
        return f"RAM: needs {format_bytes(prediction.pss_bytes.value)}"
    seconds = left / max(slope * prediction.throughput_rps.value, 1e-9)
    if seconds >= DAY_S:
        return ""
    return f"never recycles: the leak fills the RAM in {format_seconds(seconds)}"


def over_budget(ram_bytes: float, pg_connections: int, fds: int, budget: Budget) -> tuple[str, ...]:
    """The part of ``broken`` that needs no simulation."""
    sentences = []
    if ram_bytes > budget.ram_bytes:
        sentences.append(f"RAM: {format_bytes(ram_bytes)} > {format_bytes(budget.ram_bytes)}")
    if budget.pg_connections is not None and pg_connections > budget.pg_connections:
        sentences.append(f"{pg_connections} Postgres connections > {budget.pg_connections}")
    if fds > budget.fds:
        sentences.append(f"{fds} file descriptors > {budget.fds}")
    return tuple(sentences)


def headroom(
    prediction: Prediction, budget: Budget, slo_p95_s: float
) -> tuple[tuple[str, float], ...]:
    """Budget -> fraction left free by the prediction's upper end; negative when broken."""
    distances = [
        ("ram_bytes", 1 - prediction.ram_bytes.high / budget.ram_bytes),
        ("cores", 1 - dict(prediction.utilisation).get("cpu", 0.0)),
        ("fds", 1 - prediction.fds / budget.fds),
        ("p95_ms", 1 - prediction.latency.p95.high / slo_p95_s),
    ]
    if budget.pg_connections:
        distances.append(("pg_connections", 1 - prediction.pg_connections / budget.pg_connections))
    return tuple(distances)
