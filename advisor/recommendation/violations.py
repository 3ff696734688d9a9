"""Violations: the budgets and the SLO that a prediction breaks, and its distance from each.

A budget counts as kept only if the upper end of the prediction keeps it. A capacity's load was
chosen so that the upper end of its p95 keeps the SLO; only where even one user is too many the
value decides, since there is no load left to take away.
"""

from __future__ import annotations

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import format_bytes, format_seconds
from pretune.advisor.resources.budget import Budget


def broken(prediction: Prediction, budget: Budget, slo_p95_s: float) -> tuple[str, ...]:
    """Every limit that does not hold, as ``RAM: 5.1 GiB > 4 GiB``; empty when all hold."""
    sentences = list(
        over_budget(prediction.ram_bytes.high, prediction.pg_connections, prediction.fds, budget)
    )
    p95 = prediction.latency.p95.value
    if p95 > slo_p95_s:
        sentences.append(f"p95 {format_seconds(p95)} > {format_seconds(slo_p95_s)}")
    return tuple(sentences)


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
