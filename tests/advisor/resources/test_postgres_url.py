"""Where a connection string leads, as libpq reads it and its environment."""

from pathlib import Path

import pytest

from pretune.advisor.resources.postgres_url import (
    Malformed,
    addresses,
    complete,
    is_local,
    is_postgres,
    redact,
)

REMOTE = "db.example.com"


@pytest.fixture
def service_file(tmp_path: Path) -> str:
    file = tmp_path / "services"
    file.write_text(f"[prod]\nhost={REMOTE}\nport=6000\n\n[here]\nhost=127.0.0.1\n")
    return str(file)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f"postgresql://app@{REMOTE}/shop", {}),
        (f"host={REMOTE} dbname=shop", {}),
        (f"  dbname = shop host = '{REMOTE}'", {}),
        (f"hostaddr=203.0.113.7 host={REMOTE}", {}),
        (f"postgresql:///shop?host={REMOTE}", {}),
        (f"postgresql://127.0.0.1,{REMOTE}/shop", {}),
        ("postgresql:///shop", {"PGHOST": REMOTE}),
        ("dbname=shop", {"PGHOST": REMOTE}),
        ("dbname=shop", {"PGHOSTADDR": "203.0.113.7"}),
        ("dbname=shop host=localhost", {"PGHOSTADDR": "203.0.113.7"}),
        ("service=prod", {}),
        ("postgresql:///shop?service=prod", {}),
        ("dbname=shop", {"PGSERVICE": "prod"}),
        ("dbname=shop service=prod", {"PGHOST": "127.0.0.1"}),
    ],
)
def test_a_host_of_another_machine_is_seen(
    text: str, environ: dict[str, str], service_file: str
) -> None:
    assert is_postgres(text)
    assert not is_local(text, {**environ, "PGSERVICEFILE": service_file})


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("postgresql://app@127.0.0.1/shop", {"PGHOST": REMOTE}),
        ("postgresql://app@localhost/shop", {"PGSERVICE": "prod"}),
        ("host=/run/postgresql dbname=shop", {"PGHOST": REMOTE}),
        ("dbname=shop", {}),
        ("dbname=shop", {"PGHOST": "/tmp"}),
        ("service=here", {"PGHOST": REMOTE}),
        ("dbname=shop host=::1", {}),
    ],
)
def test_this_machine_is_seen(text: str, environ: dict[str, str], service_file: str) -> None:
    assert is_local(text, {**environ, "PGSERVICEFILE": service_file})


def test_a_service_gives_its_port_too(service_file: str) -> None:
    (address,) = addresses("service=prod", {"PGSERVICEFILE": service_file})
    assert (address.host, address.port) == (REMOTE, 6000)


def test_a_service_that_no_file_names_is_an_error_that_names_it(service_file: str) -> None:
    with pytest.raises(Malformed, match="'nowhere'"):
        is_local("service=nowhere password=hunter2", {"PGSERVICEFILE": service_file})


def test_the_tool_s_own_environment_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", REMOTE)
    assert is_local("dbname=shop", {})
    assert not is_local("dbname=shop")


def test_what_the_environment_adds_is_kept_in_the_string(service_file: str) -> None:
    environ = {"PGHOST": "127.0.0.1", "PGPORT": "6543", "PGPASSWORD": "hunter2", "PGUSER": "app"}
    whole = complete("dbname=shop", environ)
    assert addresses(whole, {}) == addresses("dbname=shop", environ)
    assert "hunter2" in whole
    assert "hunter2" not in redact(whole)
    named = "postgresql://app@127.0.0.1:6000/shop"
    assert complete(named, environ) == named


@pytest.mark.parametrize("text", ["", "mysql://h/d", "sqlite:///x", "hostname=x", "postgresql"])
def test_what_is_no_postgres_is_not_taken_for_one(text: str) -> None:
    assert not is_postgres(text)


@pytest.mark.parametrize("text", ["host=h password=hunter2", "password='hun ter2' host=h"])
def test_keywords_are_shown_without_their_password(text: str) -> None:
    assert "ter2" not in redact(text)
    assert "host=h" in redact(text)
