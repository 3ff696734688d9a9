"""Reasons are made from the row of the server that the answer is for, and speak of no other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.demands import make_demand

from pretune.advisor.demand.values import Demand
from pretune.advisor.model.predict import predict
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import reasons
from pretune.advisor.recommendation.search import recommend
from pretune.advisor.resources.budget import Budget, Slo
from pretune.server.adapters import catalogue
from pretune.server.adapters.server import Recycling
from pretune.server.settings import WORKER_CLASSES, Settings

GIB = 1 << 30
SERVERS = [server.name for server in catalogue.every()]
SLOPE = Interval(1000.0, 900.0, 1100.0)


def leaking(demand: Demand, slope: Interval = SLOPE) -> Demand:
    worker = replace(demand.worker, leak_class="leak", leak_slope_bytes_per_request=slope)
    return replace(demand, worker=worker)


def ask(server: str, demand: Demand, kind: str) -> Question:
    conditions = Conditions(2.0, 0.0, True, False, server=server)
    budget = Budget(4 * GIB, 2.0, None, 1024)
    return Question(demand, budget, Slo(0.1), conditions, interface=WORKER_CLASSES[kind])


def predict_on(server: str, demand: Demand, kind: str) -> Prediction:
    return predict(ask(server, demand, kind), Settings(1, 1, kind), 1)


def derived(server: str) -> Iterator[tuple[Settings, dict[str, str]]]:
    row = catalogue.find(server)
    for kind in row.classes:
        prediction = predict_on(server, make_demand(), kind)
        few = replace(make_demand(), tuples=make_demand().tuples[:5])
        demands = (make_demand(), leaking(make_demand()), few)
        grid = itertools.product(demands, (1, 4), (1, 4), (0, 44_000), (False, True))
        for demand, workers, threads, limit, preload in grid:
            settings = row.attainable(
                Settings(
                    workers, threads if kind == "gthread" else 1, kind,
                    max_requests=limit, max_requests_jitter=limit // 8, preload_app=preload,
                )
            )  # fmt: skip
            found, said, _ = reasons.derive(ask(server, demand, kind), settings, prediction, ())
            yield found, dict(said)


@pytest.mark.parametrize("server", SERVERS)
def test_no_reason_speaks_of_another_server(server: str) -> None:
    others = re.compile("|".join(rf"\b{name}\b" for name in SERVERS if name != server))
    for settings, said in derived(server):
        for name, sentence in said.items():
            assert not others.search(sentence), (name, sentence, settings)


@pytest.mark.parametrize("server", list(catalogue.SERVERS))
def test_what_a_server_does_not_do_is_said_in_the_setting_s_reason(server: str) -> None:
    row = catalogue.SERVERS[server]
    for settings, said in derived(server):
        for name, hindrance in row.impossible(settings).items():
            assert name not in said or hindrance in said[name], (name, said, settings)


def test_the_timeout_means_what_it_does_on_the_answer_s_server() -> None:
    def meant(server: str, kind: str) -> str:
        prediction = predict_on(server, make_demand(), kind)
        question = ask(server, make_demand(), kind)
        return dict(reasons.derive(question, Settings(2, 1, kind), prediction, ())[1])["timeout"]

    assert "a heartbeat of the whole worker" in meant("gunicorn", "gthread")
    assert "a request that takes longer is ended" in meant("embedded", "gthread")
    assert "harakiri: Longest one request may take" in meant("uwsgi", "gthread")
    assert "waitress has no such setting" in meant("waitress", "gthread")


def test_a_lone_worker_that_is_recycled_overlaps_only_where_it_does() -> None:
    for server in SERVERS:
        row = catalogue.find(server)
        for settings, said in derived(server):
            jitter = said.get("max_requests_jitter", "")
            if settings.workers == 1 and jitter.startswith("a single worker"):
                overlaps = row.recycling_of(1) is Recycling.OVERLAPS
                assert ("ready before it leaves" in jitter) is overlaps, (server, jitter)


@pytest.mark.parametrize(("server", "kind"), [("uvicorn", "asgi"), ("waitress", "gthread")])
def test_a_leak_without_recycling_says_when_to_restart(server: str, kind: str) -> None:
    demand = leaking(make_demand(), Interval(100.0, 90.0, 110.0))
    prediction = predict_on(server, demand, kind)
    settings = Settings(1, 1, kind)
    said = dict(reasons.derive(ask(server, demand, kind), settings, prediction, ())[1])
    assert "restart it from outside every" in said["max_requests"]
    assert prediction.ram_bytes.high <= 4 * GIB  # what leaks until then is in it


def stand_in(question: Question, settings: Settings, known: object = None) -> Prediction:
    return predict(question, settings, 2 * settings.workers)


def test_the_search_has_uvicorn_recycle_two_workers_rather_than_end_one() -> None:
    """One worker with a limit would end for good; its leak would fill the RAM in minutes."""
    question = ask("uvicorn", leaking(make_demand(), Interval(6e3, 5.4e3, 6.6e3)), "asgi")
    question = replace(question, budget=Budget(GIB, 1.0, None, 1024))
    found = recommend(question, stand_in)
    assert found.recommendation is not None, found.reason
    settings = found.recommendation.settings
    assert settings.workers > 1
    assert settings.max_requests > 0
    assert found.recommendation.server == "uvicorn"
    assert "max_requests" not in dict(found.recommendation.impossible)


def test_a_route_that_was_measured_apart_is_within_the_timeouts() -> None:
    demand = make_demand()
    asked = replace(ask("gunicorn", demand, "gthread"), apart_s=8.02)
    prediction = predict_on("gunicorn", demand, "gthread")
    found = reasons.derive(asked, Settings(2, 4), prediction, ())
    said = dict(found.reasons)
    assert found.settings.timeout == 25.0
    assert "measured apart, takes 8.02 s" in said["timeout"]
    assert "within 8.02 s (the slowest route, measured apart)" in said["graceful_timeout"]


def test_of_debug_mode_no_leak_is_told() -> None:
    demand = leaking(make_demand())
    asked = replace(ask("gunicorn", demand, "gthread"), debug=True)
    prediction = predict_on("gunicorn", demand, "gthread")
    said = dict(reasons.derive(asked, Settings(2, 4), prediction, ()).reasons)
    assert said["max_requests"].startswith("the app runs in debug mode")
