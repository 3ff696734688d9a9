"""Secrets stay out of everything that is written or shown."""

from __future__ import annotations

import pytest

from pretune.reports import charts, gunicorn_conf, html, redaction, terminal
from pretune.reports import document as documents


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("postgresql://u:p@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@ss:w@h:5/db", "postgresql://u:***@h:5/db"),
        ("postgresql://u:p/w@h:5/db", "postgresql://u:***@h:5/db"),
        ("postgresql://:p@h/db", "postgresql://:***@h/db"),
        ("postgresql://h/db?user=u&password=p&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("postgresql://h/db?sslpassword=p", "postgresql://h/db?sslpassword=***"),
        ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
        ("host=h password=p dbname=d", "host=h password=*** dbname=d"),
        ("host=h password='a b' dbname=d", "host=h password=*** dbname=d"),
        ("sqlite:///db.sqlite3", "sqlite:///db.sqlite3"),
        ("postgresql://u:p'\"<w>@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p?w#[x]@h/db", "postgresql://u:***@h/db"),
        ("postgresql://h/db?password=p#w&x=1", "postgresql://h/db?password=***&x=1"),
    ],
)
def test_passwords_are_hidden_wherever_they_stand(url, hidden):
    assert redaction.in_dsn(url) == hidden


def test_the_users_code_in_a_traceback_is_left_alone():
    row = "    connect(password=os.environ['PGPASSWORD'])"
    assert redaction.in_urls(row) == row


@pytest.fixture
def leaky(load):
    document = load("not_enough_data")
    document["failure"].update(
        message="cannot reach redis://:s3cret@cache:6379/0",
        traceback='OperationalError: "postgresql://shop:s3cret@db/shop"',
        log_tail="using amqp://shop:s3cret@mq//",
    )
    document["workload"]["headers"]["Authorization"] = "Bearer s3cret"
    document["findings"][0]["fix"] = "not postgresql://shop:s3cret@db/shop"
    document["recommendation"]["reasons"]["workers"] = "see http://u:s3cret@h/"
    return document


def test_no_output_has_a_secret(leaky, show, tmp_path, monkeypatch):
    monkeypatch.setattr(charts, "draw", lambda document: {})
    documents.write(tmp_path / "report.json", leaky)
    texts = [
        (tmp_path / "report.json").read_text(),
        show(terminal.render, leaky),
        html.render(leaky),
        gunicorn_conf.render(leaky),
    ]
    for text in texts:
        assert "s3cret" not in text
        assert "***" in text
