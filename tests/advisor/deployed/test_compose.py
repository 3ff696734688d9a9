"""Compose files: what compose's own rules make of environment, documents and tags."""

from __future__ import annotations

import pytest

from pretune.advisor.deployed import compose
from pretune.advisor.deployed.value import Command


def services(text: str) -> dict[str, Command]:
    reading = compose.read("compose.yml", text, {})
    assert reading.problems == ()
    return {command.name: command for command in reading.commands}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("text", "text"),
        ("yes", "yes"),  # a boolean in YAML 1.1, a text to compose
        ("on", "on"),
        ("True", "true"),
        ("'True'", "True"),
        ("017", "15"),
        ("'017'", "017"),
        ("0o17", "15"),
        ("-0x1f", "-31"),
        ("089", "89"),
        ("1_000", "1000"),
        ("24.10", "24.1"),
        ("2.0", "2"),
        ("12:30", "12:30"),
        ("1.2.3", "1.2.3"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("''", ""),
        ("", None),
        ("~", None),
        ("null", None),
        ("'null'", "null"),
        ("!!str 017", "017"),
    ],
)
def test_a_value_of_the_environment_is_what_compose_hands_on(
    written: str, value: str | None
) -> None:
    web = services(f"services:\n  web:\n    environment:\n      A: {written}\n")["web"]
    assert web.environ.get("A") == (None if value is None else (value, "compose.yml:4"))


def test_an_entry_of_a_list_is_text() -> None:
    web = services("services:\n  web:\n    environment: [A=017, B=yes, C=, D]\n")["web"]
    assert {name: value for name, (value, _) in web.environ.items()} == {
        "A": "017",
        "B": "yes",
        "C": "",
    }


def test_later_documents_are_merged_into_the_first() -> None:
    both = services(
        "services:\n  web:\n    command: gunicorn -w 2 app\n    mem_limit: 1g\n"
        "    environment: [A=1, B=2]\n  cron:\n    command: cron\n"
        "---\nservices:\n  web:\n    command: [gunicorn, -w, '4', app]\n"
        "    environment: {B: 3, C: 4}\n  beat:\n    command: beat\n"
    )
    assert list(both) == ["web", "cron", "beat"]
    web = both["web"]
    assert (web.words, web.text, web.where) == (
        ("gunicorn", "-w", "4", "app"),
        "",
        "compose.yml:11",
    )
    assert web.environ == {
        "A": ("1", "compose.yml:5"),
        "B": ("3", "compose.yml:12"),
        "C": ("4", "compose.yml:12"),
    }
    assert [(fact.value, fact.where) for fact in web.facts] == [("1g", "compose.yml:4")]


def test_reset_takes_away_and_override_replaces() -> None:
    web = services(
        "services:\n  web:\n    command: gunicorn -w 2 app\n    mem_limit: 1g\n"
        "    environment: {A: 1}\n    ports: !override ['80:80']\n"
        "---\nservices:\n  web:\n    mem_limit: !reset null\n    environment: !override {B: 2}\n"
        "    command: !override gunicorn app\n"
    )["web"]
    assert web.text == "gunicorn app"
    assert web.facts == ()
    assert web.environ == {"B": ("2", "compose.yml:11")}


def test_a_reset_in_the_only_document_is_no_value() -> None:
    web = services(
        "services:\n  web:\n    entrypoint: !reset []\n    command: gunicorn app\n"
        "    environment: {A: !reset , B: 1}\n"
    )["web"]
    assert (web.text, list(web.environ)) == ("gunicorn app", ["B"])


def test_a_folded_command_with_blank_lines_is_one_command_line() -> None:
    web = services("services:\n  web:\n    command: >\n      gunicorn app\n\n      -w 3\n")["web"]
    assert web.text.split() == ["gunicorn", "app", "-w", "3"]
    assert web.place("-w") == "compose.yml:6"
