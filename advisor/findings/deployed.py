"""Findings about what is deployed today, as the model predicts it on this budget."""

from __future__ import annotations

from pretune.advisor.findings.rule import Evidence, FindingContext, Rule
from pretune.advisor.recommendation.violations import surely

# As little less than the recommendation is not worth a deployment.
WORTH = 0.05


def _breaks(context: FindingContext) -> Evidence | None:
    today, demand = context.run.today, context.run.demand
    if context.debug or today is None or today.predicted is None or demand is None:
        return None
    violates = surely(today.violates)
    if not violates:
        return None
    assert today.settings is not None
    return {
        "workers": today.settings.workers,
        "threads": today.settings.threads,
        "where": today.place("workers"),
        "worker_bytes": demand.worker.base_pss_bytes.value,
        "needs_bytes": today.predicted.ram_bytes.value,
        "violates": list(violates),
    }


def _preloads(context: FindingContext) -> Evidence | None:
    today, why = context.run.today, context.run.preload_hindrance
    if today is None or today.settings is None or not today.settings.preload_app or not why:
        return None
    return {"where": today.place("preload_app"), "why": why}


def _carries_less(context: FindingContext) -> Evidence | None:
    """Surely less than what is recommended, by the interval of their difference."""
    today, recommended = context.run.today, context.run.recommendation
    if context.debug or today is None or today.predicted is None or recommended is None:
        return None
    if today.violates:
        return None
    if context.run.slo is not None and context.run.slo.rps is not None:
        return None  # the smallest that carries a rate, not the fastest
    found = today.difference
    if found is None or not found.less or found.change.value > -WORTH:
        return None
    return {
        "where": today.place("workers"),
        "today_rps": found.rps,
        "recommended_rps": found.against_rps,
        "less_fraction": -found.change.value,
        "at_least_fraction": -found.change.high,
        "at_most_fraction": -found.change.low,
    }


def _not_all_read(context: FindingContext) -> Evidence | None:
    today = context.run.today
    if today is None or not (today.deployed.unknown or today.why):
        return None
    unknown = today.deployed.unknown
    return {
        "where": today.deployed.where,
        "options": list(unknown),
        "why": today.why or f"{', '.join(unknown)} not understood",
    }


RULES: tuple[Rule, ...] = (
    Rule(
        "today-breaks", "critical", _breaks,
        "Today's {workers} workers ({where}) of {worker_bytes} each break limits here: "
        "{violates}",
        "Deploy the settings recommended here, or provide what is missing.",
    ),
    Rule(
        "today-preloads", "critical", _preloads,
        "Today's settings ({where}) load the app before the fork, which it does not stand: {why}",
        "Switch preload_app off, or open what is named in each worker after the fork.",
    ),
    Rule(
        "today-carries-less", "info", _carries_less,
        "Today's settings ({where}) are predicted to carry {today_rps} requests/s, {less_fraction} "
        "less ({at_least_fraction} to {at_most_fraction}) than the {recommended_rps} that are "
        "possible",
        "Deploy the settings recommended here; the reasons say what each of them changes.",
    ),
    Rule(
        "today-not-all-read", "info", _not_all_read,
        "Not all of today's deployment ({where}) could be taken into account: {why}",
        "Compare with care: what was not read may change how requests are served.",
    ),
)  # fmt: skip
