"""Thresholds fail for what is surely beyond them, and for nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pretune.advisor.documents.plain import plain
from pretune.advisor.gate import THRESHOLDS, Check, judge, parse, verdict
from pretune.advisor.quantity import UNKNOWN
from pretune.advisor.verdict import Verdict

MIB = 1 << 20


def interval(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


DOCUMENT: dict[str, Any] = {
    "demand": {
        "cpu_s": interval(0.006, 0.0055, 0.0065),
        "db_s": interval(0.004, 0.004, 0.004),
        "db_calls": interval(12.0, 12.0, 12.0),
        "unloaded_p95_s": 0.020,
        "worker": {
            "base_pss_bytes": interval(80.0 * MIB, 78.0 * MIB, 82.0 * MIB),
            "leak_slope_bytes_per_request": interval(0.0, 0.0, 14.0),
            "boot_s": 0.8,
        },
    },
    "recommendation": {
        "predicted": {
            "throughput_rps": interval(320.0, 300.0, 340.0),
            "latency_ms": {"p95": interval(50.0, 40.0, 60.0)},
            "ram_bytes": interval(400.0 * MIB, 390.0 * MIB, 410.0 * MIB),
            "pg_connections": 9,
        }
    },
    "verification": {"measured": {"latency_ms": {"p95": interval(55.0, 54.0, 56.0)}}},
    "trials": [
        {"measured": {"requests": 1000, "error_rate": 0.0}},
        {"measured": {"requests": 3000, "error_rate": 0.01}},
    ],
}


def passed(name: str, limit: object, document: dict[str, Any] = DOCUMENT) -> bool | None:
    (check,) = judge(document, parse({name: limit}))
    assert check.name == name
    return check.passed


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("max_worker_memory", "90M", "70M"),
        ("max_ram", "0.5G", "300M"),
        ("max_cpu_per_request", "7ms", "5ms"),
        ("max_db_time", "4ms", "3.9ms"),
        ("max_db_calls", 12, 11),
        ("max_p95", "60ms", "53ms"),
        ("max_unloaded_p95", "20ms", "19ms"),
        ("min_rps", 290, 350),
        ("max_pg_connections", 9, 8),
        ("max_error_rate", "2%", 0.001),
        ("max_leak_per_request", 14, None),
        ("max_boot", "1s", "0.5s"),
    ],
)
def test_a_threshold_passes_and_fails_at_its_own_side(name: str, good: object, bad: object) -> None:
    assert passed(name, good) is True
    if bad is not None:
        assert passed(name, bad) is False


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("max_worker_memory", "80M"),
        ("max_cpu_per_request", "6ms"),
        ("min_rps", 310),
        ("max_leak_per_request", 10),
        ("max_error_rate", 0.0075),
    ],
)
def test_an_interval_across_the_limit_decides_nothing(name: str, limit: object) -> None:
    assert passed(name, limit) is None


@pytest.mark.parametrize("name", THRESHOLDS)
def test_what_a_run_did_not_learn_decides_nothing(name: str) -> None:
    failed = {"demand": None, "recommendation": None, "verification": None, "trials": []}
    assert passed(name, 0, failed) is None
    assert passed(name, 0, {}) is None


def test_an_unknown_bound_decides_nothing() -> None:
    worker = {"leak_slope_bytes_per_request": interval(None, None, None)}  # type: ignore[arg-type]
    assert passed("max_leak_per_request", 100, {"demand": {"worker": worker}}) is None


def test_p95_falls_back_to_the_prediction() -> None:
    unverified = {**DOCUMENT, "verification": None}
    assert passed("max_p95", "61ms", unverified) is True
    assert passed("max_p95", "56ms", unverified) is None


def test_a_mistyped_key_names_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean max_worker_memory"):
        parse({"max_workers_memory": "300M"})
    with pytest.raises(ValueError, match="there are max_worker_memory"):
        parse({"zzz": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_worker_memory", "big"),
        ("max_p95", "soon"),
        ("max_db_calls", "many"),
        ("min_rps", True),
        ("max_error_rate", 2),
        ("max_error_rate", "lots%"),
        ("max_db_calls", -1),
    ],
)
def test_a_wrong_value_is_named_with_its_key(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        parse({name: value})


def test_checks_say_value_and_limit_and_are_json() -> None:
    checks = judge(DOCUMENT, parse({"max_worker_memory": "70M", "min_rps": 310}))
    assert [c.passed for c in checks] == [False, None]
    assert checks[0].message == (
        "the memory of one worker is 80 MiB (78 MiB to 82 MiB), at most 70 MiB is asked for"
    )
    assert "across the limit" in checks[1].message
    assert json.loads(json.dumps(plain(checks)))[0]["value"]["low"] == 78 * MIB


@pytest.mark.parametrize(
    ("run", "passed", "expected"),
    [
        (Verdict.FITS, [True, True], Verdict.FITS),
        (Verdict.FITS, [True, False, None], Verdict.DOES_NOT_FIT),
        (Verdict.FITS, [True, None], Verdict.NOT_ENOUGH_DATA),
        (Verdict.NOT_ENOUGH_DATA, [False], Verdict.DOES_NOT_FIT),
        (Verdict.DOES_NOT_FIT, [True], Verdict.DOES_NOT_FIT),
        (Verdict.APP_FAILED, [False], Verdict.APP_FAILED),
    ],
)
def test_a_failed_check_fails_the_run(
    run: Verdict, passed: list[bool | None], expected: Verdict
) -> None:
    checks = [Check("max_boot", 1.0, UNKNOWN, p, "") for p in passed]
    assert verdict(run, checks) is expected
