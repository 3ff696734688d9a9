"""A run's conclusion, verdict and findings, put into its value. Pure."""

from __future__ import annotations

from dataclasses import replace

from pretune.advisor import judge
from pretune.advisor.conclusion import Conclusion
from pretune.advisor.findings import diagnose
from pretune.advisor.headline import with_headline
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.recommendation import today
from pretune.advisor.reverse_proxy import steps
from pretune.advisor.run import Failure, Run


def with_conclusion(run: Run, facts: Facts, conclusion: Conclusion) -> Run:
    """Put what was concluded in the place of what was concluded before."""
    estimate, answer = conclusion.estimate, conclusion.answer
    deployed = run.today
    # of debug mode's speed and memory nothing is deployed
    if deployed is not None and answer.today is not None and not facts.debug:
        deployed = replace(
            deployed,
            predicted=answer.today.predicted,
            violates=answer.today.violates,
            difference=answer.today.difference,
            gain=today.describe_gain(deployed, conclusion.recommendation),
        )
    run = replace(
        run,
        demand=estimate.demand,
        server_costs=estimate.demand.costs,
        extrapolation=estimate.extrapolation,
        breakdown=estimate.breakdown,
        own_lock=estimate.own_lock,
        preload_hindrance=estimate.preload_hindrance,
        slo=estimate.slo,
        slo_source=estimate.slo_source,
        candidates=answer.found.candidates,
        recommendation=today.with_today(conclusion.recommendation, run.today),
        baselines=answer.baselines,
        today=deployed,
        fleet=answer.fleet,
    )
    if run.front is None or run.recommendation is None:
        return run
    settings, rps = run.recommendation.settings, run.recommendation.predicted.throughput_rps.value
    front = steps.configure_for_deployment(run.front, facts, settings, rps)
    return replace(run, front=front)


def finish(run: Run, facts: Facts, conclusion: Conclusion) -> Run:
    """Judge and diagnose the run."""
    search_result, budget = conclusion.answer.found, conclusion.answer.budget
    slo = conclusion.estimate.slo
    verdict, why = judge.verdict(run, budget, slo, search_result.verdict, search_result.reason)
    failure = Failure("verdict", why) if why else None
    run = with_headline(judge.with_doubt(replace(run, verdict=verdict, failure=failure)))
    return replace(run, findings=diagnose.diagnose(run, facts))
