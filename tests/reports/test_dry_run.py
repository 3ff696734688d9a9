"""The plan before the run."""

from __future__ import annotations

import re

import pytest

from pretune.reports import dry_run


@pytest.fixture
def plan(load):
    document = load("fits")
    return {
        **{name: document[name] for name in ("target", "budget", "slo", "workload")},
        "database": {
            "url": "postgresql://shop:s3cret@127.0.0.1:5432/shop",
            "source": "DATABASE_URL",
            "local": True,
        },
        "trials": [
            {"name": "demand", "detail": "1 worker x 1 thread, 1 user", "expected_s": 12.0},
            {"name": "verification", "detail": "the recommendation", "expected_s": 15.5},
        ],
        "total_s": 120.0,
        "notes": ["the database is on this machine"],
    }


def test_everything_the_run_would_use_is_shown(plan, show):
    text = show(dry_run.render, plan, width=120)
    for fact in (
        "no load is sent",
        "examples.shop.wsgi:application",
        "/srv/shop/.venv/bin/python",
        "django",
        "cgroup quota (cpu.max)",
        "--ram",
        "postgresql://shop:***@127.0.0.1:5432/shop",
        "GET /product/<int:pk>/",
        "/product/1/ and 2 more",
        "assumed: equal shares of 7 routes",
        "shop.localhost",
        "only answers POST",
        "together about 27.5 s of a time budget of 2 min 0 s",
    ):
        assert fact in text
    assert "s3cret" not in text


def test_classes_of_users_are_shown_with_their_mix(plan, show):
    task = {"name": "Section.read", "weight": 2, "share": 0.6}
    known = {"name": "Reader", "weight": 3.0, "fixed": False, "wait": "1 to 5 s", "begins": True}
    other = {"name": "Robot", "weight": 1.0, "fixed": True, "wait": "none", "begins": False}
    users = [
        {**known, "share": 0.9, "tasks": [task]},
        {**other, "share": None, "tasks": [{**task, "share": None}]},
    ]
    workload = {**plan["workload"], "source": "locustfile", "endpoints": [], "users": users}
    text = show(dry_run.render, {**plan, "workload": workload}, width=120)
    assert "2 classes of users (locustfile)" in text
    assert re.search(r"Reader +3 +1 to 5 s +90%", text)
    assert re.search(r"Section\.read +2 +60%", text)
    assert re.search(r"Robot +1 \(fixed\) +none +measured first", text)
    assert "0 routes" not in text


def test_secret_headers_are_named_but_not_shown(plan, show):
    plan["workload"]["headers"] = {"Authorization": "Bearer abc", "Cookie": "sid=def"}
    text = show(dry_run.render, plan)
    assert "Authorization" in text
    assert "abc" not in text
    assert "def" not in text.replace("default", "")


def test_a_password_of_the_deployment_s_files_is_not_shown(plan, show):
    plan["notes"] = ["gunicorn.conf.py cannot be used: cannot reach pg://shop:hunter2@db/shop"]
    assert "hunter2" not in show(dry_run.render, plan)


def test_an_app_without_database_and_routes(plan, show):
    plan["database"] = None
    plan["workload"]["endpoints"] = []
    plan["slo"]["p95_ms"] = None
    text = show(dry_run.render, plan)
    assert "no DATABASE_URL" in text
    assert "Traffic: 0 routes" in text
    assert "to be measured" in text


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_width(plan, show, width):
    plan["workload"]["endpoints"][0]["name"] = "/" + "very-long/" * 30
    text = show(dry_run.render, plan, width=width, tty=True)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= width


def test_what_was_read_of_a_deployment_is_shown(plan, show, load):
    plan |= {"today": load("fits")["today"], "deployment_files": ["Procfile", "compose.yaml"]}
    text = show(dry_run.render, plan, width=120)
    for fact in (
        "Procfile:2, unless $WEB_CONCURRENCY is set",
        "Procfile:2 starts gunicorn: 20 workers (sync).",
        "Not understood: --frobnicate (Procfile:2).",
        "Read: Procfile, compose.yaml.",
    ):
        assert fact in text
    plan |= {"today": None, "deployment_files": ["Dockerfile"]}
    assert "none found in Dockerfile" in show(dry_run.render, plan, width=120)
