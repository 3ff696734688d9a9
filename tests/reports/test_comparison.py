"""A comparison as people read it: terminal and HTML."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from support.comparisons import result

from pretune.advisor.commands import report
from pretune.advisor.comparison.document import assemble
from pretune.reports import comparison, comparison_html, comparison_terminal
from pretune.reports import comparison_summary as summary


@pytest.fixture
def document() -> dict[str, Any]:
    return assemble(result())


def shown(document: dict[str, Any], width: int = 80) -> str:
    out = io.StringIO()
    comparison_terminal.render(document, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_the_first_line_says_which_and_by_how_much(document) -> None:
    assert summary.sentence(document).startswith(
        "fits: granian 2.8 carries the most within the SLO"
    )
    assert "1.49 times uwsgi's" in summary.sentence(document)


def test_where_nothing_differs_the_sentence_says_so(document) -> None:
    document["servers"] = [s for s in document["servers"] if s["name"] in ("gunicorn", "uwsgi")]
    assert "no difference from gunicorn" in summary.sentence(document)


def test_a_server_without_a_capacity_is_not_compared_by_one(document) -> None:
    document["servers"] = [s for s in document["servers"] if s["name"] in ("granian", "waitress")]
    assert summary.sentence(document).endswith("requests/s; waitress breaks it with one user")


def test_every_server_has_its_row_and_every_absent_one_its_reason(document) -> None:
    text = shown(document, 300)
    for words in (
        "granian 2.8", "best", "0.67 (0.67-0.67)", "breaks the SLO with one user",
        "hypercorn serves ASGI only", "every worker died",
    ):  # fmt: skip
        assert words in text


def test_a_server_without_enough_answers_is_unknown_and_breaks_nothing(document) -> None:
    server = next(s for s in document["servers"] if s["name"] == "waitress")
    steps = [step for turn in server["rounds"] for step in turn["steps"]]
    for step in steps:
        step["users"] = 3
    assert summary.compare_with_best(document, server) == "breaks the SLO with 3 users"
    assert summary.capacity_text(server) == "none"
    for step in steps:
        step["p95_s"] = None
    assert summary.compare_with_best(document, server) == "unknown: too few answers"
    assert summary.capacity_text(server) == "unknown"


def test_what_was_lost_is_told_by_kind_and_what_was_not_tried_by_its_reason(document) -> None:
    _, (reload, recycling, term), boot = summary.lifecycles(document)[0]
    assert reload == (
        "3 of 400 lost (connection reset 3), 2 kept connections closed unanswered; 1.20 s, "
        "p95 50 ms"
    )
    assert recycling == "There is none"
    assert term == "0 of 90 lost; 800 ms, p95 30 ms"
    assert boot == "unnoticed: keeps running, 41 tries, nobody listens, says why"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_the_terminal_and_has_no_colour_there(document, width: int) -> None:
    text = shown(document, width)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width


def test_what_does_not_differ_from_the_lowest_is_marked(document) -> None:
    cells = {name: cells for name, cells, _ in summary.figures(document)}
    p95, memory, _ = zip(*cells.values(), strict=True)
    assert not any(cell.alike for cell in p95), "granian's p95 is lower than all others'"
    assert [cell.alike for cell in memory] == [False] * 4, "waitress has the least"
    cpu = {name: row[2].alike for name, row in cells.items()}
    assert sum(cpu.values()) == 3, "all are the same, and one is the lowest"


def test_the_page_stands_alone_and_escapes(
    document, poisoned: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    page = comparison_html.render(poisoned(document))
    assert "{{ 7*7 }}" in page
    assert "<img src=x" not in page
    assert "<script" not in page
    page = comparison_html.render(document)
    for words in ("granian 2.8", "breaks the SLO with one user", "Ratios of p95", "two do"):
        assert words in page


def test_a_hostile_one_does_no_harm_to_the_terminal(
    document, poisoned: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    assert "\x1b" not in shown(poisoned(document))


def test_it_is_written_and_read_again(document, tmp_path) -> None:
    comparison.write(tmp_path / comparison.NAME, document)
    again = comparison.read(tmp_path / comparison.NAME)
    assert again["servers"][1]["name"] == "granian"
    assert shown(again) == shown(document)


def test_a_saved_one_is_shown_again_by_report(document, tmp_path) -> None:
    comparison.write(tmp_path / comparison.NAME, document)
    done = CliRunner().invoke(report.command, [str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "granian 2.8 carries the most" in done.output
    assert "<html" in (tmp_path / comparison.PAGE).read_text()
