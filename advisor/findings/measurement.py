"""Findings about the measurement itself: what makes its figures less sure, what it left out."""

from __future__ import annotations

import math

from pretune.advisor.findings.rule import Evidence, FindingContext, Rule

NEAR_SATURATION = 0.7
LOST_RECORDS = 0.01


def _not_pinned(context: FindingContext) -> Evidence | None:
    loose = [t.name for t in context.trials if not t.conditions.pinned]
    return {"trials": loose} if loose else None


def _generator(context: FindingContext) -> Evidence | None:
    worst = max(context.trials, key=lambda t: t.generator_cpu, default=None)
    if worst is None or worst.generator_cpu < NEAR_SATURATION:
        return None
    return {"trial": worst.name, "generator_fraction": worst.generator_cpu}


def _disturbed(context: FindingContext) -> Evidence | None:
    sentences = [f"{t.name}: {t.disturbed}" for t in context.trials if t.disturbed]
    return {"trials": sentences} if sentences else None


def _not_steady(context: FindingContext) -> Evidence | None:
    sentences = [f"{t.name}: {t.steady_note}" for t in context.trials if not t.steady]
    return {"trials": sentences} if sentences else None


def _telemetry_lost(context: FindingContext) -> Evidence | None:
    for trial in context.trials:
        if trial.requests and trial.telemetry_lost > LOST_RECORDS * trial.requests:
            return {"trial": trial.name, "lost": trial.telemetry_lost, "requests": trial.requests}
    return None


def _prediction_missed(context: FindingContext) -> Evidence | None:
    verification = context.run.verification
    if verification is None or not verification.misses:
        return None
    return {"misses": list(verification.misses)}


def _carried_more(context: FindingContext) -> Evidence | None:
    """A trial of no more than is recommended that surely carried more than is claimed."""
    recommended, slo, budget = context.run.recommendation, context.run.slo, context.run.budget
    if recommended is None or slo is None or budget is None or slo.rps is not None:
        return None
    claimed, settings = recommended.predicted.throughput_rps, recommended.settings
    limit_s = slo.p95_s if slo.p95_s is not None else math.nan
    beyond = [
        t
        for t in context.judged
        if t.role is not None
        and t.load.rps is None
        and t.settings.workers <= settings.workers
        and t.settings.slots <= settings.slots
        and t.conditions.server_cores <= budget.cores
        and t.throughput_rps.low > claimed.high
        and t.latency.p95.high <= limit_s
        and t.error_rate <= slo.error_rate
    ]
    if not beyond:
        return None
    most = max(beyond, key=lambda t: t.throughput_rps.value)
    return {
        "trial": most.name,
        "workers": most.settings.workers,
        "threads": most.settings.threads,
        "measured_rps": most.throughput_rps.value,
        "claimed_rps": claimed.value,
        "high_rps": claimed.high,
        "p95_s": most.latency.p95.value,
    }


def _routes_skipped(context: FindingContext) -> Evidence | None:
    workload = context.run.workload
    if workload is None or not workload.skipped:
        return None
    return {
        "skipped": len(workload.skipped),
        "tested": len(workload.endpoints),
        "routes": [f"{s.name} ({s.reason})" for s in workload.skipped],
    }


RULES: tuple[Rule, ...] = (
    Rule(
        "machine-disturbed", "warning", _disturbed,
        "Other work disturbed the measurement ({trials})",
        "Stop what else runs here, or repeat on a quiet machine: the numbers of these trials "
        "are marked but not corrected.",
    ),
    Rule(
        "generator-near-saturation", "warning", _generator,
        "The load generator used {generator_fraction} of its core in the {trial} trial",
        "Measure with one more core, or with heavier requests: beyond this point the generator, "
        "not the app, limits the throughput.",
    ),
    Rule(
        "prediction-missed", "warning", _prediction_missed,
        "The verification trial did not match the prediction: {misses}",
        "Trust the measured numbers rather than the predicted ones, and repeat with a larger "
        "--time-budget. If the difference remains, please report it with report.json.",
    ),
    Rule(
        "trial-beyond-answer", "warning", _carried_more,
        "The {trial} trial ({workers} worker(s) x {threads}) carried {measured_rps} requests/s "
        "with a p95 of {p95_s}, within the limit; the answer claims {claimed_rps} (at most "
        "{high_rps}) for as much or more",
        "The two contradict each other, and what was measured counts: the claim is too low. "
        "Measure longer (--time-budget), or name a load (--rps) that has to be carried.",
    ),
    Rule(
        "not-steady", "warning", _not_steady,
        "No steady state was reached ({trials})",
        "Give more time with --time-budget: the app was still warming up or its load kept "
        "changing.",
    ),
    Rule(
        "telemetry-lost", "warning", _telemetry_lost,
        "{lost} of the {trial} trial's {requests} request records were overwritten unread",
        "Repeat on a quieter machine: the profiler did not get to run in time, so the demands "
        "rest on the remaining records.",
    ),
    Rule(
        "not-pinned", "info", _not_pinned,
        "Server and load generator could not be kept on separate cores ({trials})",
        "Run on a machine with at least two cores where sched_setaffinity is permitted; until "
        "then the times include some of the generator's.",
    ),
    Rule(
        "routes-skipped", "info", _routes_skipped,
        "{skipped} routes were not measured, {tested} were: {routes}",
        "Describe the missing traffic in a workload file (--workload) or with --path if it "
        "matters in production.",
    ),
)  # fmt: skip
