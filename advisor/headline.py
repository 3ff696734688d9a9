"""The rate that a run answers with: predicted where it was borne out, else measured. Pure."""

from __future__ import annotations

from dataclasses import replace

from pretune.advisor.model.shown import Shown, find_shown
from pretune.advisor.run import Headline, Run


def with_headline(run: Run) -> Run:
    """The run with its headline; without a recommendation there is none."""
    recommended, verification = run.recommendation, run.verification
    if recommended is None:
        return replace(run, headline=None)
    predicted = recommended.predicted
    headline = Headline(
        recommended.settings, predicted.throughput_rps, predicted.latency.p95, "prediction"
    )
    if verification is not None and verification.misses:
        measured = verification.trial.measurement
        headline = Headline(
            measured.settings,
            measured.throughput_rps,
            measured.latency.p95,
            "verification",
            find_better(run),
        )
    return replace(run, headline=headline)


def find_better(run: Run) -> Shown | None:
    """The trial of another arrangement that surely carried more, within the SLO, than the one that
    was verified, with no more users: more users carry more wherever there is room."""
    verification, slo = run.verification, run.slo
    if verification is None or slo is None or verification.p95_s is None:
        return None
    verified = verification.trial.measurement
    here = verified.conditions
    shown = find_shown(
        (trial.measurement for trial in run.trials),
        here.server,
        here.front,
        verification.p95_s,
        slo.error_rate,
    )
    for each in shown:
        alike = (each.settings.workers, each.settings.threads, each.settings.worker_class) == (
            verified.settings.workers,
            verified.settings.threads,
            verified.settings.worker_class,
        )
        fair = verified.load.rps is not None or each.users <= verified.load.users
        if fair and not alike and each.throughput_rps.low > verified.throughput_rps.high:
            return each
    return None
