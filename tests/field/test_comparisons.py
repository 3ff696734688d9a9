"""How servers are compared: rounds in pairs, intervals over rounds, text for people."""

from __future__ import annotations

import pytest

from bench.servers import speed, tables
from bench.servers.__main__ import render
from bench.servers.contenders import AIMS, BY_NAME, CONTENDERS
from bench.servers.load import Round
from bench.servers.ratios import estimate, paired
from bench.servers.speed import Rounds


def one_round(rps: float, cpu_us: float) -> Round:
    return Round(
        rps=rps, cpu_us=cpu_us, got=1.0, steal=0.0, p50_ms=1.0, p99_ms=2.0, errors=0, timeouts=0
    )


def test_an_interval_holds_its_median_and_grows_with_the_spread():
    narrow, wide = estimate([1.0, 1.1, 1.2, 1.1, 1.0]), estimate([0.5, 1.1, 3.0, 1.1, 0.2])
    for each in (narrow, wide):
        assert each.low <= each.value <= each.high
    assert wide.high - wide.low > narrow.high - narrow.low
    assert estimate([2.0]).low == estimate([2.0]).high == 2.0


def test_only_rounds_of_both_are_compared():
    found = paired({0: 10.0, 1: 99.0, 2: 30.0}, {0: 5.0, 2: 15.0, 3: 1.0})
    assert found is not None
    assert found.value == found.low == found.high == 2.0
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_every_aim_and_reference_is_measured():
    names = {name for ours, theirs, _ in AIMS for name in (ours, theirs)}
    assert names | {each.reference for each in CONTENDERS} <= BY_NAME.keys()
    for each in CONTENDERS:
        assert BY_NAME[each.reference].interface == each.interface


@pytest.mark.parametrize("markdown", [False, True])
def test_a_run_becomes_text(markdown):
    table = {}
    for n, name in enumerate(("pretune gthread 1 + telemetry", "gunicorn gthread 1"), 1):
        made = Rounds(BY_NAME[name], "short")
        made.valid = {number: one_round(6000.0 / n, 10.0 * n) for number in range(3)}
        table[name, "short"] = made
    document = {
        "machine": {"date": "today", "cores": 2, "cpu": "x", "kernel": "6"},
        "versions": {"Python": "3"}, "seconds": 3, "rounds": 3, "connections": 32,
        "interfaces": {each.name: each.interface for each in CONTENDERS},
        "headers": ["short"], "absent": {"uwsgi": "it does not answer\nmore"},
        **speed.to_json(table, ["short"]),
    }  # fmt: skip
    text = render(document, markdown=markdown)
    assert "2.00 (2.00-2.00)" in text
    assert "Not measured: uwsgi: it does not answer" in text
    assert "5 x" in text
    assert text.count("|") > 20 or not markdown


def test_a_table_is_aligned():
    lines = tables.table(("a", "b"), [("long name", "1"), ("x", "22")], markdown=False).splitlines()
    assert len({len(line) for line in lines}) == 1
