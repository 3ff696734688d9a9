"""The answer for one machine or for many: search, other formulas and fleet together. Pure.

Where one instance does not carry the rate that is asked for and their number is open, the answer is
how many do. Each is then taken at the most it surely carries, with the database, which all share,
on a machine of its own. Arrangements that need no pooler are preferred while they cost at most
``DEARER`` times as many instances.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pretune.advisor.model.predict import capacity, predict_arrivals
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.recommendation import around_server, baselines, fleet, least_ram, search
from pretune.advisor.recommendation.around_server import Surroundings
from pretune.advisor.recommendation.fleet import Fleet
from pretune.advisor.recommendation.search import Capacity, Found
from pretune.advisor.recommendation.values import Baseline
from pretune.advisor.recommendation.violations import over_budget
from pretune.advisor.resources.budget import Budget
from pretune.advisor.verdict import Verdict
from pretune.server.settings import Settings

DEARER = 1.1


@dataclass(frozen=True)
class Model:
    """The model's functions; stand-ins in tests."""

    capacity: Capacity = capacity
    predict_arrivals: Callable[[Question, Settings, float], Prediction] = predict_arrivals


MODEL = Model()


@dataclass(frozen=True)
class Answer:
    """``budget``: with the number of instances, and without connections where a pooler lends them.
    ``each_rps``: the rate of one instance, None where none was asked for."""

    found: Found
    budget: Budget
    each_rps: float | None = None
    fleet: Fleet | None = None
    baselines: tuple[Baseline, ...] = field(default=())
    today: Baseline | None = None


def solve(question: Question, model: Model = MODEL) -> Answer:
    """The answer to a question whose ``slo.rps`` is of all instances together."""
    budget, rps = question.budget, question.slo.rps
    if budget.instances > 1:
        question = _apart(question)
    each = None if rps is None else rps / budget.instances
    of_one = replace(question, slo=replace(question.slo, rps=each))
    search_result = _search(of_one, model)
    answer = Answer(_explained(_doubted(search_result, each), question), budget, each)
    if search_result.recommendation is not None:
        carried = search_result.recommendation.predicted.throughput_rps
        alone = budget.instances == 1
        if rps is None and not alone:
            answer = replace(answer, fleet=_planned(question, answer, None, model, asked=True))
        elif rps is not None and each is not None and carried.low < each and budget.any_number:
            answer = _as_many_as_it_takes(_apart(question), rps, model) or answer
        elif rps is not None and not (alone and budget.any_number):
            answer = replace(answer, fleet=_planned(question, answer, rps, model, asked=True))
    others, deployed = _others(question, answer, model), _today(question, answer, model)
    recommended = answer.found.recommendation
    if recommended is not None and answer.fleet is None:
        others = tuple(each.beside(recommended) for each in others)
        deployed = deployed and deployed.beside(recommended)
    return replace(answer, found=_deployed(question, answer), baselines=others, today=deployed)


def _search(question: Question, model: Model) -> Found:
    """Search; once more where somebody's formula, that breaks nothing, beats what was found."""
    found = search.recommend(question, model.capacity)
    recommendation = found.recommendation
    if recommendation is None or question.slo.rps is not None:
        return found
    least = recommendation.predicted.compared_rps / (1 - search.DOUBTFUL)
    others = baselines.predict_all(question, model.capacity, users=recommendation.predicted.users)
    better = [o.settings for o in others if not o.violates and o.predicted.compared_rps > least]
    return search.recommend(question, model.capacity, better) if better else found


def _today(question: Question, answer: Answer, model: Model) -> Baseline | None:
    """Predict today's deployment, at as many instances as the answer has."""
    if question.today is None:
        return None
    asked = replace(
        question,
        budget=replace(question.budget, instances=answer.budget.instances),
        slo=replace(question.slo, rps=answer.each_rps),
    )
    return baselines.predict_one("today", question.today, asked, model.capacity)


def _deployed(question: Question, answer: Answer) -> Found:
    """With what has to be set around the server."""
    recommendation = answer.found.recommendation
    if recommendation is None:
        return answer.found
    around = Surroundings(
        question.demand, question.budget, recommendation, answer.fleet, question.framework
    )
    advised = replace(recommendation, deployment=around_server.advise(around))
    return replace(answer.found, recommendation=advised)


def _others(question: Question, answer: Answer, model: Model) -> tuple[Baseline, ...]:
    """Everybody else's, at as many instances and at all connections that Postgres gives."""
    budget = replace(question.budget, instances=answer.budget.instances)
    recommended = answer.found.recommendation
    users = recommended.predicted.users if recommended else 0.0
    formulas = baselines.predict_all(replace(question, budget=budget), model.capacity, users=users)
    if recommended is None:
        return formulas
    pools = baselines.judge_pools(
        recommended.settings, recommended.predicted, budget, question.p95_s, question.framework
    )
    return (*formulas, *pools)


def _doubted(search_result: Found, rps: float | None) -> Found:
    """A capacity that is hardly known is no answer; a rate that is surely carried is one."""
    if (
        search_result.recommendation is None
        or rps is not None
        or search_result.verdict is not Verdict.FITS
    ):
        return search_result
    rate = search_result.recommendation.predicted.throughput_rps
    if rate.value <= fleet.VAGUE * rate.low:
        return search_result
    sentence = f"the capacity lies somewhere between {rate.low:.0f} and {rate.high:.0f} requests/s"
    return replace(
        search_result,
        recommendation=search_result.recommendation.doubted(sentence),
        verdict=Verdict.NOT_ENOUGH_DATA,
        reason=f"{sentence}: measure longer (--time-budget) or on a quieter machine",
    )


def _explained(search_result: Found, question: Question) -> Found:
    """Add how much RAM would do, where nothing fits for want of RAM alone."""
    if search_result.recommendation is not None or len(search_result.candidates) != 1:
        return search_result
    (only,) = search_result.candidates
    budget = question.budget
    needed = only.predicted.ram_bytes.high
    broken = over_budget(needed, only.predicted.pg_connections, only.predicted.fds, budget)
    if len(broken) != 1 or needed <= budget.ram_bytes:
        return search_result
    server = question.conditions.server
    least = least_ram.find_least_ram(question.demand, budget, question.interface, server)
    return replace(search_result, reason=least_ram.explain_least_ram(least, budget, needed))


def _apart(question: Question) -> Question:
    conditions = replace(question.conditions, database_local=False)
    return replace(
        question, demand=fleet.with_database_apart(question.demand), conditions=conditions
    )


def _as_many_as_it_takes(question: Question, rps: float, model: Model) -> Answer | None:
    """None where not even one instance keeps its budgets and the SLO."""
    most = replace(question, slo=replace(question.slo, rps=None), arrivals=True)
    free = replace(most, budget=replace(question.budget, pg_connections=None))
    pooled = _counted(question, search.recommend(free, model.capacity), rps, model)
    if pooled is None or pooled.fleet is None:
        return None
    database = pooled.fleet.database
    if database is None or not database.pooler:
        budget = replace(question.budget, instances=pooled.budget.instances)
        return _concluded(replace(pooled, budget=budget))
    shared = replace(question.budget, instances=pooled.budget.instances)
    search_result = search.recommend(replace(most, budget=shared), model.capacity)
    alone = _counted(question, search_result, rps, model)
    if (
        alone is not None
        and alone.fleet is not None
        and alone.fleet.database is not None
        and not alone.fleet.database.pooler
        and alone.budget.instances <= math.ceil(DEARER * pooled.budget.instances)
    ):
        return _concluded(replace(alone, budget=replace(shared, instances=alone.budget.instances)))
    return _concluded(pooled)


def _counted(question: Question, search_result: Found, rps: float, model: Model) -> Answer | None:
    if search_result.recommendation is None:
        return None
    count = fleet.count_instances(rps, search_result.recommendation.predicted.throughput_rps)
    budget = replace(question.budget, pg_connections=None, instances=count)
    answer = Answer(search_result, budget, rps / count)
    return replace(answer, fleet=_planned(question, answer, rps, model, asked=False))


def _planned(
    question: Question, answer: Answer, rps: float | None, model: Model, *, asked: bool
) -> Fleet:
    recommendation = answer.found.recommendation
    assert recommendation is not None
    each = recommendation.predicted
    if answer.each_rps is not None and each.throughput_rps.low >= answer.each_rps:
        budget = replace(question.budget, instances=answer.budget.instances)
        of_one = replace(question, budget=budget)
        each = model.predict_arrivals(of_one, recommendation.settings, answer.each_rps)
    return fleet.plan_fleet(
        question.demand,
        question.budget,
        recommendation.settings,
        recommendation.predicted.throughput_rps,
        each,
        instances=answer.budget.instances,
        asked=asked,
        rps=rps,
    )


def _concluded(answer: Answer) -> Answer:
    """With the verdict of all instances together."""
    assert answer.fleet is not None
    sentences = fleet.describe_fleet(answer.fleet, answer.budget)
    reason, verdict = sentences[0], Verdict.FITS
    if not answer.fleet.carries:
        reason = next(s for s in sentences if "no pooler helps" in s)
        verdict = Verdict.DOES_NOT_FIT
    elif not answer.fleet.known:
        verdict = Verdict.NOT_ENOUGH_DATA
    return replace(answer, found=replace(answer.found, verdict=verdict, reason=reason))
