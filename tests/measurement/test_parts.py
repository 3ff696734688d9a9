"""The frame of ``python -m bench.measurement``: parts run, failed, put together, rendered."""

import importlib.util

import pytest

from bench.measurement import __main__ as command
from bench.measurement import parts
from bench.measurement.result import Aim, Result, Table

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
