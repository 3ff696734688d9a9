"""Whether what was predicted came true, and what the whole run amounts to. Pure."""

from __future__ import annotations

from dataclasses import replace

from pretune.advisor.budget import Budget, Slo
from pretune.advisor.document import Run
from pretune.advisor.measurement import Measurement
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import Interval, format_bytes
from pretune.advisor.verdict import Verdict

# Fewer requests than this in a trial say too little about its tail.
FEWEST_REQUESTS = 200


def misses(
    predicted: Prediction, measured: Measurement, budget: Budget, slo: Slo
) -> tuple[str, ...]:
    """What the verification trial did not keep; empty when it holds.

    A measured value outside the predicted interval is a miss, and so is any broken promise: the
    SLO or a budget.
    """
    found = []
    for name, expected, got, show in (
        ("throughput", predicted.throughput_rps, measured.throughput_rps.value, _rate),
        ("mean latency", predicted.latency.mean, measured.latency.mean.value, _milliseconds),
        ("p95", predicted.latency.p95, measured.latency.p95.value, _milliseconds),
        ("memory", predicted.pss_bytes, measured.pss_bytes.value, format_bytes),
    ):
        if name == "memory" and got < expected.low and _idle(measured):
            continue  # a worker that served nothing is smaller than one that did, by nature
        if not expected.contains(got):
            found.append(f"{name} {show(got)} is outside {_range(expected, show)}")
    return (*found, *broken(measured, budget, slo))


def broken(measured: Measurement, budget: Budget, slo: Slo) -> tuple[str, ...]:
    """The promises a trial broke: SLO and budgets, by what was measured."""
    late = broken_latency(measured, slo)
    return (*((late,) if late else ()), *broken_budgets(measured, budget, slo))


def broken_latency(measured: Measurement, slo: Slo) -> str:
    """ "" unless even the lower end of the measured p95 is beyond the SLO."""
    if slo.p95_s is None or not measured.latency.p95.low > slo.p95_s:
        return ""
    p95, users = _milliseconds(measured.latency.p95.value), measured.load.users
    return f"p95 {p95} > {_milliseconds(slo.p95_s)} at {users} users"


def broken_budgets(measured: Measurement, budget: Budget, slo: Slo) -> tuple[str, ...]:
    """Error rate, RAM and connections beyond what was allowed."""
    found = []
    if measured.error_rate > slo.error_rate:
        found.append(f"error rate {measured.error_rate:.2%} > {slo.error_rate:.2%}")
    ram = measured.pss_bytes.value + measured.kernel_bytes + budget.reserve_bytes
    ram += measured.db_pss_bytes or 0.0
    if ram > budget.ram_bytes:
        found.append(f"RAM {format_bytes(ram)} > {format_bytes(budget.ram_bytes)}")
    peak = measured.pg_connections_peak
    if peak is not None and budget.pg_connections is not None:
        total = peak * budget.instances
        if total > budget.pg_connections:
            found.append(f"{total} Postgres connections > {budget.pg_connections}")
    return tuple(found)


def verdict(
    run: Run, budget: Budget, slo: Slo, predicted: Verdict, reason: str
) -> tuple[Verdict, str]:
    """The verdict and, unless it fits, the sentence that says why.

    ``predicted`` and ``reason`` are the search's. A promise broken in the verification trial is
    worse than any prediction. A p95 beyond the SLO there, at a load that we chose ourselves, says
    that the capacity is not what was predicted, not that the settings do not fit.
    """
    verification = run.verification
    if verification is None:
        if run.recommendation is not None:
            return Verdict.NOT_ENOUGH_DATA, "the recommendation was not verified"
        return predicted, reason
    measured = verification.trial.measurement
    if verification.p95_s is not None:
        slo = replace(slo, p95_s=verification.p95_s)
    promises = broken_budgets(measured, budget, slo)
    if promises:
        return Verdict.DOES_NOT_FIT, "; ".join(promises)
    if predicted is not Verdict.FITS:
        return predicted, reason
    late = broken_latency(measured, slo)
    if late and measured.disturbed:
        return (
            Verdict.MEASUREMENT_INVALID,
            f"{late}, while {measured.disturbed}; repeat on a quiet machine",
        )
    if late:
        return Verdict.NOT_ENOUGH_DATA, f"{late}: the predicted capacity was not confirmed"
    if measured.generator_saturated:
        return Verdict.MEASUREMENT_INVALID, "the load generator was saturated"
    if measured.requests < FEWEST_REQUESTS:
        return (
            Verdict.NOT_ENOUGH_DATA,
            f"only {measured.requests} requests in the verification trial; "
            "give more time with --time-budget",
        )
    return Verdict.FITS, ""


def _idle(measured: Measurement) -> bool:
    return any(worker.requests == 0 for worker in measured.workers)


def _rate(x: float) -> str:
    return f"{x:.3g} requests/s"


def _milliseconds(x: float) -> str:
    return f"{x * 1e3:.3g} ms"


def _range(interval: Interval, show: object) -> str:
    assert callable(show)
    return f"{show(interval.low)} to {show(interval.high)}"
