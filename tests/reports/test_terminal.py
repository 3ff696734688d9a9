"""The verdict in the terminal."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from pretune.reports import terminal


def test_the_first_line_is_the_verdict(load, show):
    first = show(terminal.render, load("fits"), width=120).splitlines()[0]
    assert re.fullmatch(
        r"fits: 5 workers x 4 threads carry \d+ requests/s \(p95 \d+ ms\) "
        r"in at most [\d.]+ of 4 GiB",
        first,
    )


@pytest.mark.parametrize(
    ("verdict", "facts"),
    [
        ("does_not_fit", ["does not fit: even 1 worker x 1 thread: needs 406 MiB of 256 MiB"]),
        ("not_enough_data", ["not enough data: the verification trial", "not confirmed"]),
        (
            "app_failed",
            ["app failed: examples.shop.wsgi does not import", "KeyError: 'SECRET_KEY'"],
        ),
        ("measurement_invalid", ["measurement invalid: the load generator was saturated"]),
    ],
)
def test_each_verdict_says_why(load, show, verdict, facts):
    text = show(terminal.render, load(verdict), width=120)
    assert text.startswith(facts[0])
    for fact in facts:
        assert fact in text


def test_settings_stand_with_their_reasons_and_predicted_beside_measured(load, show):
    document = load("fits")
    text = show(terminal.render, document, width=120)
    for fact in (
        "max_requests_jitter",
        "a worker boots in 1.9 s",
        "throughput",
        "SLO: p95",
        "gunicorn 27.0.1",
        "assumed: equal shares of 7 routes",
        "/checkout/",
        "only answers POST",
        "Passenger",
        "[memory-leak]",
        "fix: Load the related rows",
        "capacity/report.html",
        "CPU: 2 cores / 9.8 ms",
    ):
        assert fact in text
    assert "worker_connections     1,000" in text  # gthread workers keep to it, too
    assert text.index("[memory-leak]") < text.index("[n-plus-one-queries]")


def judged(document, name, **changes):
    """One row of the verification, as the run would have judged another measurement."""
    (row,) = [r for r in document["verification"]["rows"] if r["name"] == name]
    row.update(changes)


def test_a_miss_is_shown(load, show):
    document = load("fits")
    document["verification"]["holds"] = False
    judged(document, "throughput_rps", value={"value": 9, "low": 8, "high": 10}, kept=False)
    document["verdict"] = "does_not_fit"
    text = show(terminal.render, document, width=120)
    assert "measured throughput 9 (8-10)/s, expected" in text.splitlines()[0]
    assert re.search(r"throughput .* 9 \(8-10\)/s +miss", text)
    assert "does not hold" in text


def test_a_broken_promise_is_the_reason_before_a_wrong_prediction(load, show):
    document = load("fits")
    document["verdict"] = "does_not_fit"
    document["verification"]["holds"] = False
    document["verification"]["misses"] = ["error rate 2.00% > 0.10%"]
    judged(document, "error_rate", value=0.02, kept=False)
    judged(document, "throughput_rps", value={"value": 9, "low": 8, "high": 10}, kept=False)
    text = show(terminal.render, document, width=120)
    assert "measured SLO: error rate 2%, expected at most 0.1%" in text.splitlines()[0]
    assert "not kept: error rate 2.00% > 0.10%" in text


def test_what_is_not_promised_is_outside_but_no_miss(load, show):
    document = load("fits")
    judged(document, "p99_ms", value={"value": 9, "low": 8, "high": 10}, kept=False)
    text = show(terminal.render, document, width=120)
    assert re.search(r"p99 latency .* outside", text)
    assert " miss" not in text


def test_what_the_run_excused_is_shown_as_kept(load, show):
    document = load("fits")
    judged(document, "pss_bytes", value={"value": 9e6, "low": 8e6, "high": 1e7}, kept=True)
    assert re.search(r"memory \(PSS\) .* ok", show(terminal.render, document, width=120))


def test_the_gate_is_shown_and_gives_the_reason(load, show):
    document = load("fits")
    document["verdict"] = "does_not_fit"
    document["gate"] = {
        "checks": [
            {"name": "p95_ms", "passed": True},
            {"name": "ram_bytes", "passed": False, "message": "38 MiB more per worker"},
            {"name": "rps", "passed": None, "message": "the interval is too wide"},
        ]
    }
    text = show(terminal.render, document)
    assert text.startswith("does not fit: 38 MiB more per worker")
    assert re.search(r"rps +undecided +the interval is too wide", text)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("tty", [False, True])
def test_tables_and_sentences_fit_the_width(any_document, show, width, tty):
    text = show(terminal.render, any_document, width=width, tty=tty)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert max(cell_len(row) for row in plain.splitlines()) <= width


def test_no_escape_codes_where_there_is_no_terminal(hostile, show):
    text = show(terminal.render, hostile)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_hostile_text_sends_no_codes_of_its_own_to_a_terminal(hostile, show):
    text = show(terminal.render, hostile, tty=True)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", re.sub(r"\x1b\[[\d;]*m", "", text))
    assert "[red]" in text  # markup stays text


def test_no_color_is_respected(load, show, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = show(terminal.render, load("fits"), tty=True)
    assert not re.search(r"\x1b\[(?:\d+;)*3\dm", text)


def test_a_document_with_nothing_optional_still_renders(load, show):
    document = load("app_failed")
    for name in ("files", "notes", "gate", "series"):
        document.pop(name, None)
    document["failure"] = None
    assert show(terminal.render, document).strip() == "app failed"


def test_what_a_worker_is_made_of_is_listed_by_size(load, show):
    document = load("fits")
    text = show(terminal.render, document)
    section = text.partition("at boot, by package")[2].partition("\n\n")[0]
    names = [line.strip().partition("  ")[0] for line in section.splitlines()[2:]]
    assert names[:3] == ["the interpreter", "django", "the standard library"]
    assert len(names) == 6
    document["boot_memory"] = None
    assert "at boot" not in show(terminal.render, document)


def test_the_lines_of_the_user_where_most_time_goes_are_shown(load, show):
    text = show(terminal.render, load("fits"), width=120)
    lines = text.partition("Where the time goes")[2].partition("\n\n")[0]
    assert "shop/views.py:41 in Cursor.execute" in lines
    assert lines.index("views.py:41") < lines.index("views.py:38")  # the longest first
    assert "django/core" not in lines  # no line of the user's
