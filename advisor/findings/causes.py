"""Findings about the reason of errors, as it was recognised in answers, log and database: one rule
for each row of ``profiler.causes``."""

from __future__ import annotations

from pretune.advisor.findings.rule import Evidence, FindingContext, Rule
from pretune.advisor.profiler.causes import CAUSES, Cause
from pretune.advisor.profiler.measurement import ErrorCause, Measurement


def _seen(context: FindingContext, kind: str) -> Evidence | None:
    """The trial with the most errors among those in whose texts it stands."""
    found: list[tuple[Measurement, ErrorCause]] = [
        (trial, cause)
        for trial in context.judged
        for cause in trial.causes
        if cause.kind == kind and (trial.error_rate > 0 or (trial.counts and trial.counts.lost))
    ]
    if not found:
        return None
    trial, cause = max(found, key=lambda pair: (pair[0].error_rate, pair[1].times))
    return {
        "trial": trial.name,
        "error_rate": trial.error_rate,
        "said": cause.said,
        "lines": cause.times,
    }


def _rule(cause: Cause) -> Rule:
    return Rule(
        f"errors-{cause.kind}",
        "critical",
        lambda context: _seen(context, cause.kind),
        f'Errors say "{{said}}": {cause.means} ({{error_rate}} of the {{trial}} trial\'s requests '
        "failed)",
        cause.fix,
    )


RULES: tuple[Rule, ...] = tuple(_rule(cause) for cause in CAUSES)
