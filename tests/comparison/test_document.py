"""The document of a comparison, and what is read from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.comparisons import DRIFT, entry, result

from pretune.advisor.comparison.document import assemble, compared
from pretune.reports import comparison
from pretune.reports import document as documents


def test_it_keeps_its_schema() -> None:
    documents.validate(assemble(result()), comparison.SCHEMA)


def test_an_empty_one_keeps_it_too() -> None:
    documents.validate(assemble(replace(result(), entries=())), comparison.SCHEMA)


def test_a_field_that_is_missing_is_noticed() -> None:
    document = assemble(result())
    del document["servers"][0]["figures"]["p95_s"]
    with pytest.raises(documents.InvalidDocument, match="p95_s"):
        documents.validate(document, comparison.SCHEMA)


def test_figures_hold_the_drift_of_the_rounds_and_ratios_do_not() -> None:
    document = assemble(result())
    gunicorn, granian = document["servers"][:2]
    assert max(DRIFT) / min(DRIFT) > 1.5
    assert gunicorn["figures"]["capacity_rps"]["high"] > 1.3 * 200
    pair = next(
        p for p in document["pairs"] if p["quantity"] == "capacity_rps" and p["second"] == "granian"
    )
    assert pair["first"] == "gunicorn"
    assert pair["ratio"]["value"] == pytest.approx(2 / 3, rel=0.01)
    assert pair["ratio"]["high"] / pair["ratio"]["low"] < 1.02
    assert pair["differs"]
    assert (
        granian["figures"]["capacity_rps"]["value"] > gunicorn["figures"]["capacity_rps"]["value"]
    )


def test_a_capacity_that_was_only_at_least_is_compared_with_none() -> None:
    there = entry("gunicorn", "27.0", 200.0)
    crossings = [replace(t, crossing=replace(t.crossing, at_least=True)) for t in there.done]
    quick = replace(there, turns=tuple(crossings))
    found = compared((quick, entry("granian", "2.8", 300.0), entry("uwsgi", "2.0", 200.0)))
    named = {(r.first, r.second) for r in found if r.quantity == "capacity_rps"}
    assert named == {("granian", "uwsgi")}


def test_a_round_that_one_server_missed_is_no_pair() -> None:
    there = entry("gunicorn", "27.0", 200.0)
    there = replace(there, turns=(None, *there.turns[1:]))
    (ratio, *_) = compared((there, entry("granian", "2.8", 300.0)))
    assert ratio.rounds == 3


def test_the_error_of_a_prediction_is_measured_over_predicted() -> None:
    server = assemble(result())["servers"][0]
    error = server["errors"]["throughput_rps_alike"]
    value = server["figures"]["throughput_rps"]["value"]
    assert error["error_fraction"] == pytest.approx(value / 150 - 1)
    assert error["inside"] == (142.5 <= value <= 157.5)
    assert "throughput_rps_at_most" in server["errors"], "the first load was at the predicted users"
