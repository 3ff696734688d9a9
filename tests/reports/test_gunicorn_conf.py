"""The deployable file: accepted by gunicorn, and nothing but what we meant."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys

import pytest

from pretune.reports import gunicorn_conf

needs_gunicorn = pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed"
)
WSGI = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
ASGI = "async def app(scope, receive, send):\n    pass\n"


def assignments(text):
    """Names and values; what else is in the file may only be our one hook."""
    body = ast.parse(text).body
    hooks = [node for node in body if not isinstance(node, ast.Assign)]
    ours = ast.parse(gunicorn_conf._FREEZE).body
    assert [ast.dump(node) for node in hooks] in ([], [ast.dump(node) for node in ours])
    values = [node for node in body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in values}


def as_class(document, worker_class):
    settings = document["recommendation"]["settings"]
    settings["worker_class"] = worker_class
    settings["threads"] = 4 if worker_class == "gthread" else 1
    return document


def test_the_settings_and_their_reasons_are_in_the_file(load):
    text = gunicorn_conf.render(load("fits"))
    assert assignments(text) == {
        "worker_class": "gthread",
        "workers": 5,
        "threads": 4,
        "worker_connections": 1000,
        "timeout": 8,
        "graceful_timeout": 10,
        "keepalive": 5,
        "max_requests": 41000,
        "max_requests_jitter": 12300,
        "preload_app": True,
        "backlog": 2048,
    }
    assert "# a worker boots in 1.9 s" in text
    assert "gunicorn -c gunicorn.conf.py examples.shop.wsgi:application" in text
    assert max(len(row) for row in text.splitlines()) <= 96


@pytest.mark.parametrize(
    ("worker_class", "absent"),
    [
        ("sync", {"threads", "worker_connections", "keepalive"}),
        ("gthread", set()),
        ("asgi", {"threads"}),
    ],
)
def test_only_what_applies_is_written(load, worker_class, absent):
    names = assignments(gunicorn_conf.render(as_class(load("fits"), worker_class)))
    assert not absent & set(names)


@pytest.mark.parametrize(
    ("verified", "written"),
    [
        ("uvicorn_worker.UvicornWorker", "uvicorn_worker.UvicornWorker"),
        ("asgi", "asgi"),
        ('asgi"; import os #', "asgi"),
    ],
)
def test_the_worker_class_is_the_one_that_was_verified(load, verified, written):
    document = as_class(load("fits"), "asgi")
    document["verification"]["worker_class"] = verified
    assert assignments(gunicorn_conf.render(document))["worker_class"] == written


@pytest.mark.parametrize("preload", [True, False])
def test_what_preload_shares_is_frozen_as_it_was_in_the_trials(load, preload):
    document = load("fits")
    document["recommendation"]["settings"]["preload_app"] = preload
    assert ("gc.freeze()" in gunicorn_conf.render(document)) is preload


def test_no_recycling_no_jitter(load):
    document = load("fits")
    document["recommendation"]["settings"]["max_requests"] = 0
    names = assignments(gunicorn_conf.render(document))
    assert names["max_requests"] == 0
    assert "max_requests_jitter" not in names


def test_whole_seconds_are_rounded_up(load):
    document = load("fits")
    document["recommendation"]["settings"]["timeout"] = 7.2
    assert assignments(gunicorn_conf.render(document))["timeout"] == 8


@pytest.mark.parametrize(
    "text",
    [
        "a\nimport os",
        "a\rimport os",
        "a\x0cimport os",
        "a\x85import os",
        "a\u2028import os",
        "a\\\nimport os",
        "a\x00b",
        '"""',
        "\udcff",
        "x " * 500,
        "-*- coding: utf-7 -*-",
    ],
)
def test_a_hostile_text_stays_in_its_comment(load, text):
    document = load("fits")
    expected = assignments(gunicorn_conf.render(document))
    document["recommendation"]["reasons"] = dict.fromkeys(expected, text)
    document["target"]["callable_name"] = text
    document["tool"] = text
    rendered = gunicorn_conf.render(document)
    assert assignments(rendered.encode("utf-8")) == expected
    assert all(not row.strip("# ") or "coding" not in row for row in rendered.splitlines()[:2])


def test_unconfirmed_settings_say_so(load):
    assert "NOT CONFIRMED" in gunicorn_conf.render(load("not_enough_data"))
    assert "NOT CONFIRMED" not in gunicorn_conf.render(load("fits"))


def test_nothing_recommended_nothing_written(load):
    with pytest.raises(gunicorn_conf.NothingRecommended):
        gunicorn_conf.render(load("app_failed"))


@needs_gunicorn
@pytest.mark.parametrize(
    ("worker_class", "app"), [("sync", WSGI), ("gthread", WSGI), ("asgi", ASGI)]
)
def test_gunicorn_accepts_the_file(load, tmp_path, worker_class, app):
    (tmp_path / "trivial.py").write_text(app)
    (tmp_path / "gunicorn.conf.py").write_text(
        gunicorn_conf.render(as_class(load("fits"), worker_class)), encoding="utf-8"
    )
    check = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--check-config", "--print-config", "trivial:app"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert check.returncode == 0, check.stderr
    printed = dict(row.split("=", 1) for row in check.stdout.splitlines() if "=" in row)
    seen = {name.strip(): value.strip() for name, value in printed.items()}
    assert seen["workers"] == "5"
    assert seen["timeout"] == "8"
    assert worker_class in seen["worker_class"].lower()
