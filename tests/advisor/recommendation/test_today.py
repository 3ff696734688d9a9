"""Today's deployment as the model takes it, and beside the recommendation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.judged import CONDITIONS, DEMAND, GIB, MIB, capacity

from pretune.advisor.deployed.value import Deployed, Setting
from pretune.advisor.documents.report import assemble
from pretune.advisor.findings.diagnose import diagnose
from pretune.advisor.model import paired
from pretune.advisor.model.question import Question
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import today
from pretune.advisor.recommendation.baselines import predict_one
from pretune.advisor.recommendation.today import Today
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.run import Run
from pretune.advisor.verdict import Verdict
from pretune.reports import document as documents
from pretune.server.settings import Settings

BUDGET = Budget(ram_bytes=GIB, cores=2.0, pg_connections=None, fds=1024, reserve_bytes=100 * MIB)


def deployed(server: str = "gunicorn", **settings: Any) -> Deployed:
    """As read: gunicorn's defaults where nothing is said."""
    said = {name: Setting(value, "Procfile:1") for name, value in settings.items()}
    defaults = {"workers": 1, "threads": 1, "worker_class": "sync", "timeout": 30.0}
    if server != "gunicorn":
        defaults.pop("worker_class")
    rest = {name: Setting(value, f"{server}'s default") for name, value in defaults.items()}
    return Deployed(server, "Procfile:1", "shop.wsgi", {**rest, **said})


@pytest.mark.parametrize(
    ("server", "settings", "interface", "on", "expected"),
    [
        ("gunicorn", {"workers": 9}, "wsgi", "gunicorn", (9, 1, "sync")),
        ("gunicorn", {"workers": 3, "threads": 4}, "wsgi", "gunicorn", (3, 4, "gthread")),
        ("gunicorn", {"worker_class": "gthread"}, "wsgi", "embedded", (1, 1, "gthread")),
        ("gunicorn", {"worker_class": "asgi", "threads": 4}, "asgi", "gunicorn", (1, 1, "asgi")),
        ("uvicorn", {"workers": 4}, "asgi", "uvicorn", (4, 1, "asgi")),
        ("uvicorn", {"workers": 4}, "asgi", "gunicorn", (4, 1, "asgi")),
        ("waitress", {"threads": 4}, "wsgi", "gunicorn", (1, 4, "gthread")),
        ("granian", {"threads": 4}, "asgi", "granian", (1, 1, "asgi")),
        ("gunicorn", {"workers": 2}, "wsgi", "uwsgi", (2, 1, "gthread")),
    ],
)
def test_the_model_takes_what_really_runs(
    server: str, settings: dict[str, Any], interface: str, on: str, expected: tuple[Any, ...]
) -> None:
    found = today.take_deployed(deployed(server, **settings), interface, on)
    assert found.settings is not None, found.why
    assert (found.settings.workers, found.settings.threads, found.settings.worker_class) == expected


@pytest.mark.parametrize(
    ("server", "settings", "interface", "why"),
    [
        ("gunicorn", {"worker_class": "gevent"}, "wsgi", "the model does not know gevent"),
        ("gunicorn", {}, "asgi", "sync workers do not serve ASGI"),
        ("uvicorn", {}, "wsgi", "uvicorn does not serve WSGI"),
        ("uwsgi", {"worker_class": "gevent"}, "wsgi", "the model does not know gevent of uwsgi"),
        ("gunicorn", {"workers": 4000}, "wsgi", "4000 workers are more than the model covers"),
        ("granian", {"threads": 512}, "wsgi", "512 threads are more than the model covers"),
    ],
)
def test_what_the_model_does_not_know_is_said(
    server: str, settings: dict[str, Any], interface: str, why: str
) -> None:
    found = today.take_deployed(deployed(server, **settings), interface, server)
    assert found.settings is None
    assert why in found.why


def test_what_is_known_only_at_run_time_is_not_guessed() -> None:
    said = deployed()
    at_run_time = Setting(None, "Procfile:1", "set by $WORKERS at run time")
    said = replace(said, settings={**said.settings, "workers": at_run_time})
    found = today.take_deployed(said, "wsgi", "gunicorn")
    assert found.settings is None
    assert found.why == "workers: Procfile:1, set by $WORKERS at run time"


def predicted(settings: Settings, slo: Slo | None = None) -> Today:
    found = today.take_deployed(
        deployed(workers=settings.workers, threads=settings.threads), "wsgi", "gunicorn"
    )
    assert found.settings is not None
    question = Question(DEMAND, BUDGET, slo or Slo(p95_s=0.2), CONDITIONS)
    baseline = predict_one("today", found.settings, question, capacity)
    return replace(found, predicted=baseline.predicted, violates=baseline.violates)


def test_it_is_judged_like_any_arrangement_and_found_where_it_breaks_a_budget() -> None:
    found = predicted(Settings(9))
    assert found.violates
    assert found.violates[0].startswith("RAM: ")
    run = Run("shop", 1, Verdict.FITS, budget=BUDGET, demand=DEMAND, today=found)
    (finding,) = [f for f in diagnose(run) if f.id == "today-breaks"]
    assert finding.severity == "critical"
    assert finding.title.startswith(
        "Today's 9 workers (Procfile:1) of 200 MiB each break limits here"
    )
    assert "> 1 GiB" in finding.title
    assert finding.evidence["worker_bytes"] == 200 * MIB
    assert predicted(Settings(2)).violates == ()


def test_a_rate_that_is_not_carried_is_broken() -> None:
    found = predicted(Settings(2), Slo(p95_s=0.2, rps=250.0))
    assert found.violates == ("carries 100 of 250 requests/s",)
    assert predicted(Settings(2), Slo(p95_s=0.2, rps=90.0)).violates == ()


def test_settings_that_surely_carry_less_are_found_and_others_are_not() -> None:
    found = predicted(Settings(2))
    assert found.predicted is not None
    here = replace(found.predicted, expected_rps=100.0, draws=(100.0,) * 16)

    def ids(rps: float) -> list[str]:
        there = replace(here, expected_rps=rps, draws=(rps,) * 16)
        answer = Recommendation(Settings(3), there, "cpu", (), ())
        assert found.settings is not None
        difference = paired.difference((found.settings, here), (Settings(3), there))
        today = replace(found, predicted=here, difference=difference)
        run = Run(
            "shop", 1, Verdict.FITS, budget=BUDGET, demand=DEMAND, today=today,
            recommendation=answer,
        )  # fmt: skip
        return [f.id for f in diagnose(run) if f.id.startswith("today")]

    assert ids(200.0) == ["today-carries-less"]
    assert ids(110.0) == []  # within what the model misses
    assert ids(100.0) == []


def test_what_was_not_read_is_a_finding() -> None:
    found = today.take_deployed(
        replace(deployed(), unknown=("--frob (Procfile:1)",)), "wsgi", "gunicorn"
    )
    (finding,) = diagnose(Run("shop", 1, Verdict.FITS, today=found))
    assert finding.id == "today-not-all-read"
    assert "--frob (Procfile:1) not understood" in finding.title
    found = today.take_deployed(deployed(worker_class="gevent"), "wsgi", "gunicorn")
    (finding,) = diagnose(Run("shop", 1, Verdict.FITS, today=found))
    assert "does not know gevent" in finding.title


def test_reasons_compare_with_today() -> None:
    found = predicted(Settings(9))
    assert found.predicted is not None
    answer = Recommendation(
        Settings(2, 4, "gthread", timeout=30.0), found.predicted, "cpu", (),
        (("workers", "two cores."), ("worker_class", "threads."), ("timeout", "the tail."),
         ("backlog", "burst.")),
    )  # fmt: skip
    compared = today.with_today(answer, found)
    assert compared is not None
    assert dict(compared.reasons) == {
        "workers": "instead of 9 (Procfile:1): two cores.",
        "worker_class": "instead of sync (gunicorn's default): threads.",
        "timeout": "the tail.",
        "backlog": "burst.",
    }
    slower = replace(answer, settings=replace(answer.settings, timeout=8.0))
    compared = today.with_today(slower, found)
    assert compared is not None
    said = dict(compared.reasons)["timeout"]
    assert said == "instead of 30 s (gunicorn's default): the tail."
    assert today.with_today(None, found) is None
    assert today.with_today(answer, None) is answer


def test_the_document_holds_it_by_the_schema() -> None:
    found = predicted(Settings(9))
    document = assemble(Run("shop", 1, Verdict.NOT_ENOUGH_DATA, today=found))
    documents.validate(document)
    assert document["today"]["said"][0] == {
        "setting": "workers", "value": 9, "where": "Procfile:1", "note": "",
    }  # fmt: skip
    assert document["today"]["predicted"]["throughput_rps"]["value"] == 100.0
    nothing = replace(found, settings=None, predicted=None, why="workers: unknown", violates=())
    documents.validate(assemble(Run("shop", 1, Verdict.NOT_ENOUGH_DATA, today=nothing)))


def figures(rps: float, ram: float, connections: int = 0, part: float = 0.0) -> Any:
    question = Question(DEMAND, BUDGET, Slo(0.3), CONDITIONS)
    return replace(
        capacity(question, Settings(2, 4)),
        throughput_rps=Interval.exact(rps),
        draws=tuple(rps * (1 + part * (-1) ** n) for n in range(16)),
        ram_bytes=Interval.exact(ram * MIB),
        pg_connections=connections,
    )


@pytest.mark.parametrize(
    ("mine", "theirs", "settings", "said"),
    [
        (
            figures(400.0, 320.0, 7, 0.02),
            figures(398.0, 569.0, 10),
            Settings(6, 1, "sync"),
            "Nothing is surely gained in speed: today's arrangement cannot be told from the "
            "recommended one: 398 beside 400 requests/s expected, 15.5% less to 17.2% more. What "
            "is gained: 249 MiB of RAM and 3 Postgres connections.",
        ),
        (figures(500.0, 320.0), figures(400.0, 569.0), Settings(6, 1, "sync"), ""),
        (
            figures(400.0, 569.0),
            figures(400.0, 569.0),
            Settings(9, 1, "sync"),
            "Workers and threads stay as they are: nothing that was tried is surely faster.",
        ),
    ],
)
def test_what_is_gained_is_said_where_speed_is_not(
    mine: Any, theirs: Any, settings: Settings, said: str
) -> None:
    nine = Settings(9, 1, "sync")
    told = paired.difference((nine, theirs), (settings, mine))
    here = Today(deployed(workers=9), nine, predicted=theirs, difference=told)
    answer = Recommendation(settings, mine, "cpu", (), ())
    assert today.describe_gain(here, answer) == said
    assert today.describe_gain(replace(here, violates=("RAM",)), answer) == ""
    assert today.describe_gain(here, None) == ""
