"""`tune compare`, as a user would run it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from support.runs import Sandbox

from pretune.reports import comparison


def test_two_servers_are_compared_and_the_others_are_lines(sandbox: Sandbox) -> None:
    code, output = sandbox.run(
        "compare", "tiny", "--ram", "1G", "--servers", "gunicorn,embedded,hypercorn",
        "--time-budget", "20s",
    )  # fmt: skip
    assert code == 0, output
    document = comparison.read(sandbox.out / "comparison.json")
    if document["verdict"] == "not_enough_data":
        pytest.skip(f"the machine is too busy: {document['failure']['message']}")
    assert document["verdict"] == "fits"
    assert {s["name"] for s in document["servers"]} == {"gunicorn", "embedded"}
    assert [a["name"] for a in document["absent"]] == ["hypercorn"]
    assert "serves ASGI only" in output
    assert document["rounds"] == 3
    for server in document["servers"]:
        assert server["failure"] == ""
        capacity = server["figures"]["capacity_rps"]
        assert 0 < capacity["value"] < 500, "2 ms of CPU on one core"
        assert capacity["low"] < capacity["value"] < capacity["high"]
        life = server["lifecycle"]
        assert all(life[what] is not None for what in ("reload", "recycling", "term", "boot"))
    embedded = next(s for s in document["servers"] if s["name"] == "embedded")
    assert embedded["lifecycle"]["reload"]["lost"] == 0, embedded["lifecycle"]
    names = [t["name"] for t in document["trials"] if t["name"][-1] in "123"]
    turns = [name.rsplit("-", 1) for name in names]
    assert [number for _, number in turns] == sorted(n for _, n in turns), "round by round"
    assert any(a != b for (a, _), (b, _) in pairwise(turns))
    assert "<html" in (sandbox.out / "comparison.html").read_text()
    assert sandbox.survivors() == []


def test_when_none_of_them_is_there_it_is_no_error(sandbox: Sandbox) -> None:
    code, output = sandbox.run("compare", "tiny", "--servers", "hypercorn,uvicorn", "--json")
    assert code == 0, output
    document = json.loads((sandbox.out / "comparison.json").read_text())
    assert document["verdict"] == "not_enough_data"
    assert len(document["absent"]) == 2


def test_a_name_that_is_no_server_is_wrong_usage(sandbox: Sandbox) -> None:
    code, output = sandbox.run("compare", "tiny", "--servers", "gunicron")
    assert code == 2
    assert "gunicron" in output
    assert "granian" in output
