"""How many instances a rate takes, and what they take from one Postgres."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.demands import make_demand

from pretune.advisor.model import memory
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.profiler.measurement import Conditions, Latency
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import answer, fleet
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.verdict import Verdict

GIB = 1 << 30
ALONE = 100.0  # requests/s that one core of the stand-in model carries


def capacity(question, settings, known=None):
    """As many requests/s as cores and slots allow, known to a tenth."""
    demand, worker, budget = question.demand, question.demand.worker, question.budget
    busy = settings.slots / (demand.cpu_s.value + demand.db_s.value + demand.wait_s.value)
    rps = min(question.conditions.server_cores / demand.cpu_s.value, busy)
    rate, p95_s = Interval(rps, 0.9 * rps, 1.1 * rps), question.p95_s
    time = Interval(0.9 * p95_s, 0.8 * p95_s, p95_s)
    return Prediction(
        4, rate, Latency(time, time, time, time), memory.peak_pss(worker, settings),
        memory.ram_to_provide(worker, settings, rate, budget.reserve_bytes),
        memory.postgres_connections(worker, settings, budget.instances),
        memory.descriptors(worker, settings, 4), (("cpu", 1.0),), "cpu", "the CPU is it",
    )  # fmt: skip


def loaded(question, settings, rps):
    found = capacity(replace(question, slo=Slo(0.01)), settings)
    return replace(found, throughput_rps=Interval.exact(rps), rps=rps)


MODEL = answer.Model(capacity, loaded)


def solve(rps, *, connections=None, db=0.010, budget=None, **given):
    asked = budget or Budget(GIB, 1.0, connections, 4096, any_number=True)
    question = Question(
        make_demand(cpu=1 / ALONE, db=db, db_cpu=0.002), asked, Slo(1.0, rps=rps),
        Conditions(1.0, 0.0, False, True), arrivals=True, **given,
    )  # fmt: skip
    return answer.solve(question, MODEL)


def test_one_instance_that_carries_the_rate_is_the_answer():
    found = solve(60.0)
    assert found.fleet is None
    assert found.found.verdict is Verdict.FITS
    assert found.budget.instances == 1


def test_a_larger_rate_is_answered_with_how_many():
    found = solve(20_000.0)
    assert found.found.verdict is Verdict.FITS
    assert found.fleet is not None
    sure = found.fleet.capacity_rps.low
    assert found.fleet.needed == math.ceil(20_000 / sure) == found.budget.instances
    assert found.each_rps == pytest.approx(20_000 / found.fleet.needed)
    assert found.each_rps <= sure
    assert found.fleet.each.rps == found.each_rps
    assert 0 <= found.fleet.headroom < 1 / found.fleet.needed


def test_as_many_as_the_user_has_are_enough_or_are_not():
    few = Budget(GIB, 1.0, None, 4096, instances=3)
    many = replace(few, instances=20)
    short, enough = solve(900.0, budget=few), solve(900.0, budget=many)
    assert short.found.verdict is Verdict.DOES_NOT_FIT
    assert short.fleet is not None
    assert short.fleet.needed is not None
    assert short.fleet.needed > 3
    assert short.fleet.asked
    said = fleet.describe_fleet(short.fleet, short.budget)
    assert any(text.startswith("3 may not be enough") for text in said)
    assert enough.found.verdict is Verdict.FITS
    assert enough.each_rps == pytest.approx(45.0)


def test_a_number_that_is_hardly_known_is_no_answer():
    def vague(*args, **given):
        found = capacity(*args, **given)
        rate = found.throughput_rps
        return replace(found, throughput_rps=Interval(rate.value, rate.value / 4, 4 * rate.value))

    question = Question(
        make_demand(cpu=1 / ALONE), Budget(GIB, 1.0, None, 4096, any_number=True),
        Slo(1.0, rps=20_000.0), Conditions(1.0, 0.0, False, True), arrivals=True,
    )  # fmt: skip
    found = answer.solve(question, answer.Model(vague, loaded)).found
    assert found.verdict is Verdict.NOT_ENOUGH_DATA
    assert "200 may do" in found.reason


@pytest.mark.parametrize(("times", "verdict"), [(2, "fits"), (4, "not_enough_data")])
def test_a_capacity_that_is_hardly_known_is_no_answer(times, verdict):
    def vague(*args, **given):
        found = capacity(*args, **given)
        rate = found.throughput_rps.value
        return replace(found, throughput_rps=Interval(rate, rate / times, rate * times))

    question = Question(
        make_demand(cpu=1 / ALONE), Budget(GIB, 1.0, None, 4096, any_number=True), Slo(1.0),
        Conditions(1.0, 0.0, False, True),
    )  # fmt: skip
    found = answer.solve(question, answer.Model(vague, loaded)).found
    assert found.verdict == verdict
    assert ("lies somewhere between" in found.reason) == (verdict == "not_enough_data")
    assert found.recommendation is not None
    assert (found.recommendation.binding == "unknown") == (verdict == "not_enough_data")


def test_a_pooler_is_needed_from_where_connections_end():
    found = solve(20_000.0, connections=400)
    assert found.fleet is not None
    database = found.fleet.database
    assert database is not None
    assert database.pooler
    assert database.enough
    one = database.connections // found.fleet.instances
    assert database.most_without_pooler == 400 // one
    assert database.load.value == pytest.approx(20_000 * 0.010)
    assert database.load.high < database.pool_size <= 400
    # what the pooler lends is no limit of one instance
    assert found.budget.pg_connections is None
    assert any("PgBouncer" in text for text in fleet.describe_fleet(found.fleet, found.budget))


def test_few_instances_need_no_pooler():
    found = solve(400.0, connections=1000)
    assert found.fleet is not None
    assert found.fleet.database is not None
    assert not found.fleet.database.pooler
    assert found.budget.pg_connections == 1000


def test_a_database_that_no_pooler_helps_is_the_limit():
    found = solve(20_000.0, connections=100)
    assert found.found.verdict is Verdict.DOES_NOT_FIT
    assert "the database is the limit" in found.found.reason


def test_the_database_of_many_instances_is_on_none_of_them():
    apart = fleet.with_database_apart(make_demand())
    assert apart.worker.db_pss_bytes.value == 0
    found = solve(20_000.0, connections=5000)
    assert found.fleet is not None
    assert found.fleet.database is not None
    assert found.fleet.database.cores is not None
    assert found.fleet.database.cores.value == pytest.approx(40.0)


@pytest.mark.parametrize("load", [0.5, 1.0, 10.0, 100.0, 1000.0])
def test_a_pool_is_the_smallest_that_leaves_one_query_in_a_hundred_waiting(load):
    size = fleet.pool_size(load)
    assert _waiting(load, size) <= fleet.WAITING
    assert size - 1 <= load or _waiting(load, size - 1) > fleet.WAITING


def test_without_load_one_connection_is_enough():
    assert fleet.pool_size(0.0) == 1


def _waiting(load, servers):
    """Erlang's C by its definition, in logarithms."""
    terms = [k * math.log(load) - math.lgamma(k + 1) for k in range(servers)]
    last = servers * math.log(load) - math.lgamma(servers + 1) - math.log(1 - load / servers)
    top = max(*terms, last)
    return math.exp(last - top) / (sum(math.exp(t - top) for t in terms) + math.exp(last - top))
