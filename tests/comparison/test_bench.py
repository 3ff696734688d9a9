"""docs/COMPARE.md is written from what was measured."""

from __future__ import annotations

from support.comparisons import result

from bench import compare
from pretune.advisor.comparison.document import assemble


def records() -> dict[str, dict]:
    document = {**assemble(result()), "trials": [], "files": {}}
    record = {
        "example": "board",
        "took_s": 300.0,
        "machine": {"cores": 2, "cpu": "x", "kernel": "6", "date": "today"},
        "disturbed_trials": 1,
        "trials": 20,
        "document": document,
    }
    return {"board": record, "shop": {**record, "example": "shop"}}


def test_the_page_has_every_example_and_every_server() -> None:
    text = compare.page(records())
    for words in (
        "## board",
        "## shop",
        "granian 2.8",
        "hypercorn serves ASGI only",
        "2 cores of x",
    ):
        assert words in text
    assert "0.67 (0.67-0.67)" in text


def test_the_errors_of_a_server_are_of_all_examples() -> None:
    found = compare.errors(records())
    assert len(found["gunicorn"]["throughput_rps_alike"]) == 2
    assert set(found) == {"gunicorn", "granian", "uwsgi", "waitress"}


def test_without_a_measurement_the_page_says_so() -> None:
    assert "Not measured" in compare.page({})


def test_what_is_published_is_what_is_stored() -> None:
    assert compare.page(compare.stored()) == compare.PAGE.read_text()
