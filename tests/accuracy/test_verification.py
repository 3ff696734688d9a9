"""What is kept of a run, and what a table says of many; nothing is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import verification


def record(example: str, *, holds: bool, throughput: float = 100.0) -> dict[str, Any]:
    return {
        "example": example,
        "took_s": 100.0,
        "holds": holds,
        "disturbed": "",
        "rows": [
            {
                "name": "throughput_rps",
                "limit": {"value": 100.0, "low": 90.0, "high": 110.0},
                "value": {"value": throughput, "low": throughput, "high": throughput},
                "kept": 90 <= throughput <= 110,
                "promised": True,
            },
            {"name": "pss_bytes", "limit": {"value": 1.0, "low": 0.9, "high": 1.1},
             "value": {"value": None, "low": None, "high": None}, "kept": None, "promised": True},
        ],
    }  # fmt: skip


def test_runs_are_pooled_over_the_examples() -> None:
    runs = [record("shop", holds=True)] * 3 + [record("board", holds=False, throughput=80.0)]
    text = verification.report(runs)
    assert "| all | 4 | 75% (30%-95%) |" in " ".join(text.split())
    assert verification.kept(runs, "throughput_rps") == (3, 4)


def test_what_was_not_measured_counts_neither_as_kept_nor_as_missed() -> None:
    runs = [record("shop", holds=True)]
    assert verification.kept(runs, "pss_bytes") == (0, 0)
    assert verification.errors(runs, "pss_bytes") == []


def test_a_run_without_a_verification_did_not_hold() -> None:
    path = Path(__file__).parents[1] / "reports" / "documents" / "fits.json"
    document = json.loads(path.read_text())
    assert verification.summarized("shop", document, 90.0)["holds"]
    kept = verification.summarized("shop", {**document, "verification": None}, 90.0)
    assert not kept["holds"]
    assert "rows" not in kept


def test_a_run_that_left_no_report_did_not_hold() -> None:
    failed = verification.summarized("shop", None, 30.0)
    assert not failed["holds"]
    assert "| all | 2 | 50%" in " ".join(
        verification.report([failed, record("shop", holds=True)]).split()
    )


def test_the_example_with_the_fewest_runs_is_next_until_there_are_enough() -> None:
    names = list(verification.EXAMPLES)
    runs = [record("shop", holds=True), record("board", holds=True)]
    assert verification.next_of(names, [], 60) == "shop"
    assert verification.next_of(names, runs, 60) == "tickets"
    assert verification.next_of(names, runs, 2) is None


def test_a_table_says_of_which_machine_and_which_state_of_the_tool_it_is() -> None:
    machine = {"cores": 2, "cpu": "some CPU", "kernel": "6"}
    runs = [{**record("shop", holds=True), "machine": machine, "commit": c} for c in ("a", "b")]
    told = verification.report(runs)
    assert "machine: 2 cores, some CPU, Linux 6; commits: a, b; time budget: 120 s." in told
