"""What the environment says is secret is taken out of any text, however it is spelled there."""

from __future__ import annotations

import json

import pytest

from pretune.advisor.confidential import hide, known_secrets

HARD = "S3'cr\"e<t> /?#[x]@y\\z"


@pytest.mark.parametrize("password", [HARD, "S3 cret", "p%40ss", "<script>", "it's", "a@bcd@e"])
@pytest.mark.parametrize("written", ["postgres://app:{}@127.0.0.1:1/db", "redis://:{}@h"])
def test_a_password_is_known_from_the_url_it_stands_in(written, password):
    assert password in known_secrets({"SOME_URL": written.format(password)})


@pytest.mark.parametrize(
    "written", ["host=h password='S3 <cret>' dbname=d", "postgres:///d?user=u&password=S3 <cret>"]
)
def test_a_password_is_known_from_a_parameter(written):
    assert "cret" not in hide(written, known_secrets({"DSN": written}))


@pytest.mark.parametrize(
    "show", [str, repr, json.dumps, lambda url: f"cannot use {url}!", lambda url: repr([url])]
)
def test_an_exception_that_repeats_the_url_loses_its_password(show):
    url = f"postgres://app:{HARD}@127.0.0.1:1/db"
    hidden = hide(show(url), known_secrets({"DATABASE_URL": url}))
    assert "app:***@127.0.0.1:1/db" in hidden


@pytest.mark.parametrize("spelled", ["p@ss/word", "p%40ss%2Fword"])
def test_a_password_is_hidden_raw_and_decoded(spelled):
    secrets = known_secrets({}, "postgres://app:p%40ss%2Fword@h/db")
    assert hide(f"login with {spelled} failed", secrets) == "login with *** failed"


def test_a_parsers_complaint_about_part_of_a_password_is_hidden():
    secrets = known_secrets({"DATABASE_URL": "postgres://app:secr/et42@h:1/db"})
    assert hide("Port could not be cast to integer value as 'secr'", secrets).endswith("'***'")
    assert "et42" not in hide("database et42@h", secrets)


def test_a_url_without_a_password_makes_nothing_secret():
    environ = {"A": "http://host:8000/static,admin@example.com", "B": "http://h:80/x", "C": "a@b"}
    text = "static, host, 8000, admin, example.com"
    assert hide(text, known_secrets(environ)) == text


def test_each_url_of_several_gives_its_password():
    secrets = known_secrets({"SENTINELS": "redis://:first@a:1,redis://:second@b:2"})
    assert {"first", "second"} <= set(secrets)


@pytest.mark.parametrize(
    "name", ["PGPASSWORD", "DJANGO_SECRET_KEY", "github_token", "STRIPE_API_KEY", "OPENAI_APIKEY"]
)
def test_variables_named_like_secrets_are_secrets(name):
    assert hide("got k-12345.", known_secrets({name: "k-12345"})) == "got ***."


@pytest.mark.parametrize(
    "environ",
    [{"PGPASSWORD": "abc"}, {"USE_TOKEN": "true"}, {"U": "redis://:abc@h"}, {"HOME": "/x1"}],
)
def test_short_values_switches_and_other_variables_are_not(environ):
    assert known_secrets(environ) == ()


def test_a_long_secret_is_hidden_whole_though_it_begins_with_another():
    secrets = known_secrets({"A_TOKEN": "k-12", "B_TOKEN": "k-1234"})
    assert hide("k-1234 k-12", secrets) == "*** ***"
    assert hide("k-1234 k-12", secrets[::-1]) == "*** ***"


def test_a_password_that_is_a_word_is_hidden_as_a_word():
    secrets = known_secrets({}, "postgres://app:postgres@h/d")
    shown = hide("postgresql 16: postgres://app:postgres@h/d", secrets)
    assert shown == "postgresql 16: postgres://app:***@h/d"


def test_a_long_secret_is_hidden_within_a_word_too():
    assert hide("xabcdefghijklmnopy", ("abcdefghijklmnop",)) == "x***y"


def test_a_document_loses_secrets_at_every_depth_and_keeps_its_keys():
    document = {
        "hunter22": 1,
        "failure": {"kind": "boot", "log_tail": ["ok", "pw hunter22!"], "at": ("hunter22", None)},
        "share": 0.5,
    }
    before = json.dumps(document)
    assert hide(document, ("hunter22",)) == {
        "hunter22": 1,
        "failure": {"kind": "boot", "log_tail": ["ok", "pw ***!"], "at": ["***", None]},
        "share": 0.5,
    }
    assert json.dumps(document) == before


def test_a_password_cannot_take_the_verdict_away():
    assert hide({"verdict": "fits", "why": "fits"}, ("fits",)) == {"verdict": "fits", "why": "***"}


def test_without_secrets_nothing_changes():
    assert hide("text", ()) == "text"
    assert hide("text", ("",)) == "text"
