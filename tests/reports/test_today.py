"""Today's deployment in what people read."""

from __future__ import annotations

from typing import Any

from pretune.reports import html, terminal, today


def test_the_terminal_shows_it_beside_the_recommendation(load: Any, show: Any) -> None:
    text = show(terminal.render, load("fits"), width=120)
    (header,) = [line for line in text.splitlines() if line.strip().startswith("setting")]
    assert header.split() == ["setting", "value", "today", "reason"]
    row = next(line for line in text.splitlines() if line.strip().startswith("workers "))
    assert row.split()[:3] == ["workers", "5", "20"]
    (row,) = [line for line in text.splitlines() if line.strip().startswith("graceful_timeout ")]
    assert row.split()[:4] == ["graceful_timeout", "10", "s", "?"]
    for fact in (
        "Procfile:2 starts gunicorn: 20 workers (sync).",
        "On this budget it is predicted to carry 187",
        "break: RAM: 4.1 GiB > 4 GiB.",
        "Not understood: --frobnicate (Procfile:2).",
        "Limits there: memory limit 4g (compose.yaml:9).",
        "Dockerfile:12 starts gunicorn with 4 workers, 1 threads.",
        "shop.service:6: /etc/shop.env is read at run time",
        "today (Procfile:2)",
    ):
        assert fact in text


def test_the_page_shows_where_each_setting_stands(load: Any) -> None:
    page = html.render(load("fits"))
    assert "Procfile:2, unless $WEB_CONCURRENCY is set" in page
    assert '<th scope="col" class="n">today</th>' in page
    assert "today (Procfile:2)" in page


def test_without_a_deployment_nothing_is_said_of_one(load: Any, show: Any) -> None:
    document = load("fits")
    for nothing in (
        {**document, "today": None},
        {k: v for k, v in document.items() if k != "today"},
    ):
        assert today.sentences(nothing) == []
        assert today.row(nothing) is None
        assert "today" not in show(terminal.render, nothing, width=120)
        assert 'id="today"' not in html.render(nothing)


def test_what_is_not_predicted_says_why(load: Any) -> None:
    document = load("fits")
    document["today"] |= {
        "settings": None, "predicted": None, "violates": [], "why": "workers: set by $W at run",
    }  # fmt: skip
    assert today.sentences(document)[:2] == [
        "Procfile:2 starts gunicorn.",
        "Not predicted: workers: set by $W at run.",
    ]
    assert today.row(document) is None


def test_a_prediction_on_another_server_says_so(load: Any) -> None:
    document = load("fits")
    document["today"] |= {"server": "uwsgi"}
    assert "is predicted to carry on gunicorn 187" in today.sentences(document)[1]
