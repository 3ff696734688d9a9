"""The verdict on a whole run. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from pretune.advisor.profiler.measurement import Role
from pretune.advisor.promises import SLO_P95, fewest, promises, promises_at_half
from pretune.advisor.resources.budget import UNLOADED_SOURCE, Budget, Slo
from pretune.advisor.run import Run
from pretune.advisor.trials import answering
from pretune.advisor.verdict import Verdict


def verdict(
    run: Run, budget: Budget, slo: Slo, predicted: Verdict, reason: str
) -> tuple[Verdict, str]:
    """The verdict and, unless it fits, the sentence that says why.

    ``predicted`` and ``reason`` are the search's. A promise broken in the verification trial is
    worse than any prediction. A p95 beyond the SLO there, at a load that we chose ourselves, says
    that the capacity is not what was predicted, not that the settings do not fit.
    """
    lost = answering.find_loss(trial.measurement for trial in run.trials)
    if lost is not None:
        return Verdict.APP_FAILED, answering.describe_loss(*lost, run.server)
    verification = run.verification
    if verification is None:
        if run.recommendation is not None:
            return Verdict.NOT_ENOUGH_DATA, "the recommendation was not verified"
        return predicted, reason
    measured = verification.trial.measurement
    if verification.p95_s is not None:
        slo = replace(slo, p95_s=verification.p95_s)
    judged = [row for row in promises(measured, budget, slo) if row.kept is False]
    if verification.half is not None:
        at_half = promises_at_half(verification.half.measurement, budget, slo)
        judged += [row for row in at_half if row.kept is False]
    disturbed = verification.disturbed
    exceeded = [row.sentence for row in judged if row.name != SLO_P95]
    if exceeded:
        return Verdict.DOES_NOT_FIT, "; ".join(exceeded)
    if predicted is not Verdict.FITS:
        return predicted, reason
    late = next((row.sentence for row in judged if row.name == SLO_P95), "")
    if late and disturbed:
        sentence = f"{late}, while {disturbed}; repeat on a quiet machine"
        return Verdict.MEASUREMENT_INVALID, sentence
    if late:
        return Verdict.NOT_ENOUGH_DATA, f"{late}: the predicted capacity was not confirmed"
    if measured.generator_saturated:
        return Verdict.MEASUREMENT_INVALID, "the load generator was saturated"
    few = too_few(run)
    if few:
        return Verdict.NOT_ENOUGH_DATA, few
    if verification.not_shown:
        return Verdict.NOT_ENOUGH_DATA, f"not shown: {'; '.join(verification.not_shown)}"
    return Verdict.FITS, ""


def with_doubt(run: Run) -> Run:
    """A throughput that came out beyond what was predicted leaves open what limits it: what the
    model named, it named for another rate."""
    recommended, verification = run.recommendation, run.verification
    if recommended is None or verification is None:
        return run
    missed = [r for r in verification.rows if r.name == "throughput_rps" and r.kept is False]
    return replace(run, recommendation=recommended.doubted(missed[0].sentence)) if missed else run


def too_few(run: Run) -> str:
    """Which trial a p95 rests on that has too few requests for one, and what would help; "" where
    all have enough. The demand trial's counts where the SLO was made of it."""
    asked = [] if run.verification is None else [run.verification.trial.measurement]
    if run.slo_source == UNLOADED_SOURCE:
        asked += [t.measurement for t in run.trials if t.measurement.role is Role.DEMAND]
    least = fewest(0.95)
    short = [m for m in asked if m.requests < least]
    if not short:
        return ""
    worst = min(short, key=lambda m: m.requests)
    longer = f"about {math.ceil(least / worst.requests)} times as long" if worst.requests else ""
    slo = ", and so of the SLO" if worst.role is Role.DEMAND else ""
    return (
        f"only {worst.requests} requests in the {worst.name} trial, too few for its p95{slo} "
        f"({least} are needed): give more time with --time-budget{longer and ', ' + longer}"
    )
