"""Postgres URLs: which are read, what is shown of them, and where they lead."""

from __future__ import annotations

import pytest

from pretune.advisor.resources import postgres
from pretune.advisor.resources.postgres_url import (
    Malformed,
    addresses,
    is_local,
    is_postgres,
    redact,
    without_password,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40ss@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:a@b@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql:///d?user=u&password=x&a=b", "postgresql:///d?user=u&password=***&a=b"),
        ("postgresql://h/d?sslpassword=x", "postgresql://h/d?sslpassword=***"),
        ("postgresql:///d?user=u:v&password=x@y&a=b", "postgresql:///d?user=u:***&a=b"),
        ("postgresql://u:a?password=b@h/d", "postgresql://u:***"),
        ("postgresql://u:p@[bad/d", "postgresql://u:***@[bad/d"),
    ],
)
def test_redact_takes_out_the_password_only(url, shown):
    assert redact(url) == shown


UNENCODED = [
    f"{scheme}://app:{password}@127.0.0.1:1/db"
    for scheme in ("postgres", "postgresql+psycopg")
    for password in (
        *("S3/cret", "S3?cret", "S3#cret", "S3[cret", "S3]cret", "S3 cret", "S3%cret", "/S3cret"),
        *("S3@x/cret", "S3/c@ret", "S3@1?cret", "12/S3cret", "12?S3cret", "S3\ncret", "S3?c=ret"),
    )
]


@pytest.mark.parametrize("url", UNENCODED)
@pytest.mark.parametrize("ask", [postgres.inspect, is_local, addresses, postgres.connect])
def test_a_password_that_is_not_encoded_is_named_without_being_shown(ask, url):
    with pytest.raises(Malformed, match="percent-encoded") as caught:
        ask(url)
    message = str(caught.value)
    assert ":***@127.0.0.1:1/db" in message
    assert "cret" not in message
    assert "S3" not in message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@[bad/d",
        "postgresql://u:s3cret@h:port/d",
        "postgresql://u:s3cret\u2100@h/d",
        "mysql://u:s3cret@h/d",
    ],
)
def test_nothing_is_claimed_of_where_an_unreadable_url_leads(url):
    with pytest.raises(Malformed) as caught:
        is_local(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%2Fw@127.0.0.1:1/d",
        "postgresql://u:p@ss@127.0.0.1:1/d",
        "postgresql://u:p@127.0.0.1:1/d?application_name=me@here",
        "postgresql://127.0.0.1:1/d?user=me@corp",
        "postgresql:///d?host=/tmp/proj:region:name&user=me@corp",
        "postgresql://u:p@[::1]:5433/d",
    ],
)
def test_an_at_sign_where_it_may_stand_is_read(url):
    assert is_local(url)


@pytest.mark.parametrize("text", ["", "://", "sqlite:///x", "postgres", "http://[", "a:b@c"])
def test_asking_whether_it_is_postgres_never_raises(text):
    assert not is_postgres(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("no p@ss here", "postgresql://u:p%40ss@h/d"),
        ("no p%40ss here", "postgresql://u:p%40ss@h/d"),
        ("no x7 here", "postgresql://h/d?password=x7"),
    ],
)
def test_messages_lose_the_password_in_every_spelling(text, url):
    assert without_password(text, url) == "no *** here"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("postgresql://u@localhost/d", True),
        ("postgresql://u@127.0.0.53/d", True),
        ("postgresql://u@[::1]:5433/d", True),
        ("postgresql://u@[::ffff:127.0.0.1]/d", True),
        ("postgresql:///d?host=/var/run/postgresql", True),
        ("postgresql://%2Fvar%2Frun/d", True),
        ("postgresql+psycopg://u@localhost:6432/d", True),
        ("postgresql://u@192.0.2.7/d", False),
        ("postgresql://u@localhost,192.0.2.7/d", False),
        ("postgresql://u@localhost/d?host=192.0.2.7", False),
        ("postgresql://u@localhost/d?hostaddr=192.0.2.7", False),
        ("postgresql://u@no-such-host.invalid/d", False),
        ("postgresql:///d?service=production", False),
    ],
)
def test_only_this_machine_is_local(url, local, monkeypatch):
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGHOSTADDR", raising=False)
    assert is_local(url) is local


def test_the_environment_decides_when_the_url_names_no_host(monkeypatch):
    monkeypatch.setenv("PGHOST", "192.0.2.7")
    assert not is_local("postgresql:///d")
    monkeypatch.setenv("PGHOST", "/tmp")
    assert is_local("postgresql:///d")
