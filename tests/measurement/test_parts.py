"""The frame of ``python -m bench.measurement``: parts run, failed, put together, rendered."""

import importlib.util

import pytest

from bench.measurement import __main__ as command
from bench.measurement import coverage, parts
from bench.measurement.pairs import Pair
from bench.measurement.result import Aim, Result, Table
from pretune.advisor.quantity import Interval

RESULT = Result(
    title="Of something",
    tables=(Table(("what", "figure"), (("first", "1.0"),), "In turns:"),),
    aims=(Aim("cost", "at most 1%", "2%", met=False),),
    notes=("Short runs.",),
    data={"figures": [1.0]},
)


class Good:
    def run(self, *, quick):
        return RESULT


class Bad:
    def run(self, *, quick):
        raise RuntimeError("no such machine")


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(parts, "PARTS", {"good": "", "bad": ""})
    monkeypatch.setattr(parts, "load", {"good": Good(), "bad": Bad()}.__getitem__)


def test_a_result_survives_json():
    assert Result.from_json(RESULT.to_json()) == RESULT


def test_a_part_that_fails_is_said_and_stops_no_other(two, capsys):
    document = command.measure(["bad", "good"], quick=True)
    assert document["parts"]["bad"]["failed"] == "RuntimeError: no such machine"
    text = command.render(document, markdown=True)
    assert "Failed: RuntimeError: no such machine" in text
    assert "| cost | at most 1% | 2% | no | good |" in text
    assert "## Of something" in text
    assert "- Short runs." in text


def test_runs_are_put_together_in_the_tables_order_and_the_first_wins(two, capsys):
    early, late = (command.measure([name], quick=True) for name in ("bad", "good"))
    again = command.measure(["good"], quick=False)
    document = command.together([early, again, late])
    assert list(document["parts"]) == ["good", "bad"]
    assert document["parts"]["good"]["quick"] is False


@pytest.mark.parametrize("name", parts.PARTS)
def test_each_part_of_the_table_is_a_module(name):
    assert importlib.util.find_spec(parts.PARTS[name])


def test_runs_of_the_coverage_are_pooled_and_an_unknown_end_stays_unknown():
    claims = [Interval(1.0, 0.9, 1.1), Interval(2.0, float("nan"), float("nan"))]
    runs = [
        coverage.report(coverage.Figures((Pair("cpu", "app", claim, 1.05),), 3, 2.5, 1, 0, 1e-6))
        for claim in claims
    ]
    document = {"seconds": 5.0, "quick": True, "machine": {}}
    documents = [{"parts": {"coverage": {**document, "result": r.to_json()}}} for r in runs]
    found = command.together(documents)["parts"]["coverage"]
    assert found["seconds"] == 10.0
    pooled = coverage.Figures.from_json(found["result"]["data"])
    assert (len(pooled.pairs), pooled.repeats, pooled.repeated) == (2, 6, 2)
    assert found["result"]["aims"][0]["measured"].startswith("100.0% of 1,")
    assert "1 claims had no interval." in found["result"]["notes"]


def test_a_run_is_kept_part_by_part_and_what_failed_is_measured_again(two, tmp_path, capsys):
    for name in ("good", "bad", "good"):
        command.store(command.measure([name], quick=True), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["good-1.json", "good-2.json"]
    found = command.stored(tmp_path)
    assert [list(document["parts"]) for document in found] == [["good"], ["good"]]
    newest = command.together(found)["parts"]["good"]
    assert newest == command.together([found[0]])["parts"]["good"]
