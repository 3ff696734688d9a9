"""The first line says no more than the verification showed, whatever the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from pretune.reports import summary

Load = Callable[[str], dict[str, Any]]
VERDICTS = ("fits", "does_not_fit", "not_enough_data", "app_failed", "measurement_invalid")
MISSED = "throughput 9 requests/s is outside 137 requests/s to 147 requests/s"
UNKNOWN = "p95: no request was answered"
# misses and unknowns of the verification -> the word for it; None: there is none
SHOWN = {
    ((), ()): "holds",
    ((MISSED,), ()): "does not hold",
    ((MISSED,), (UNKNOWN,)): "does not hold",
    ((), (UNKNOWN,)): "not shown",
    None: "not shown",
}
FLEET = {"rps": 500.0, "sentences": ["4 instances carry 500 requests/s"]}


def document_of(load: Load, shown: Any, fleet: Any) -> dict[str, Any]:
    document = load("fits")
    if shown is None:
        document["verification"] = None
    else:
        misses, unknown = shown
        document["verification"].update(
            holds=not misses and not unknown, misses=list(misses), not_shown=list(unknown)
        )
    document["fleet"] = fleet
    return document


@pytest.mark.parametrize(
    ("verdict", "shown", "fleet"), list(itertools.product(VERDICTS, SHOWN, (None, FLEET)))
)
def test_no_line_promises_what_was_not_shown(
    load: Load, verdict: str, shown: Any, fleet: Any
) -> None:
    document = document_of(load, shown, fleet)
    document["verdict"] = verdict
    line, word = summary.sentence(document), SHOWN[shown]
    assert line.startswith(verdict.replace("_", " "))
    assert summary.standing(document) == word
    if verdict == "fits":
        assert (word in line) is (word != "holds")
        assert ("carry" in line) is (word != "does not hold")


def test_after_a_miss_the_measured_rate_is_the_answer_and_the_prediction_stands_beside(
    load: Load,
) -> None:
    document = document_of(load, ((MISSED,), ()), None)
    document["verification"]["measured"]["throughput_rps"] = {"value": 9, "low": 8, "high": 10}
    line = summary.sentence(document)
    assert line.startswith(
        "fits: 5 workers x 4 threads measured at 9 (8-10) requests/s (p95 146 ms"
    )
    assert "the prediction, 142 (137-146) requests/s, does not hold: throughput 9" in line


def test_after_a_miss_a_trial_that_carried_more_is_named(load: Load) -> None:
    document = document_of(load, ((MISSED,), ()), None)
    settings = {**document["recommendation"]["settings"], "workers": 2, "threads": 1}
    document["headline"] = {
        "better": {
            "trial": "sync",
            "settings": settings | {"worker_class": "sync"},
            "throughput_rps": {"value": 254, "low": 246, "high": 262},
        }
    }
    line = summary.sentence(document)
    assert line.endswith(
        "; better: 2 workers (sync), which carried 254 (246-262) requests/s in the sync trial "
        "within the p95"
    )


ALL = {"measured": 7, "known": 7, "listed": True, "root": ""}


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (None, ""),
        (ALL, "measured 7 of 7 known routes"),
        (
            ALL | {"measured": 3, "root": "needs a login (answers 401)"},
            "measured 3 of 7 known routes; / was not among them: it needs a login (answers 401) "
            "(give [headers] or a locustfile)",
        ),
        (
            ALL | {"root": "answers 500"},
            "measured 7 of 7 known routes; / was not among them: it answers 500",
        ),
        (
            ALL | {"measured": 0, "known": 0, "listed": False},
            "routes cannot be listed, pages were found by links",
        ),
    ],
)
def test_the_line_says_which_share_of_the_routes_was_measured(
    load: Load, coverage: Any, said: str
) -> None:
    document = load("fits")
    before = summary.sentence(document)
    document["workload"]["coverage"] = coverage
    assert summary.coverage(document) == said
    assert summary.sentence(document) == (f"{before}; {said}" if said else before)
