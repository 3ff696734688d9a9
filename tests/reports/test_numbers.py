"""Three significant digits, the interval behind, a unit that fits."""

from __future__ import annotations

import pytest

from pretune.reports import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (182.4, "182"),
        (99.96, "100"),
        (9.999, "10.0"),
        (9.8, "9.80"),
        (5.0, "5"),
        (0.01234, "0.0123"),
        (41000, "41,000"),
        (-3.21, "-3.21"),
        (1e-9, "0"),
        (None, "unknown"),
        (float("nan"), "unknown"),
    ],
)
def test_digits(value, text):
    assert numbers.digits(value) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ({"value": 182, "low": 176, "high": 189}, "182 (176-189)"),
        ({"value": 5, "low": 5, "high": 5}, "5"),
        ({"value": None, "low": None, "high": 4100}, "at most 4,100"),
        ({"value": None, "low": None, "high": None}, "unknown"),
        ({"value": 3, "low": None, "high": 4}, "3 (?-4)"),
        ({"value": 8.42e-14, "low": 3.58e-31, "high": 19813}, "too few data (at most 19,813)"),
        ({"value": 0.5, "low": 0, "high": 30}, "0.500 (0-30)"),
        (None, "unknown"),
        (7, "7"),
    ],
)
def test_count(interval, text):
    assert numbers.count(interval) == text


def test_value_and_interval_share_a_unit():
    gib = 1024**3
    assert numbers.size({"value": 1.1 * gib, "low": 0.9 * gib, "high": 1.2 * gib}) == (
        "1.10 (0.900-1.20) GiB"
    )
    assert numbers.seconds({"value": 0.0098, "low": 0.0097, "high": 0.0099}) == (
        "9.80 (9.70-9.90) ms"
    )
    assert numbers.milliseconds({"value": 1200, "low": 1100, "high": 1300}) == (
        "1.20 (1.10-1.30) s"
    )
    assert numbers.seconds(200) == "3 min 20 s"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.001, "0.1%"),
        (0.884, "88%"),
        (0, "0%"),
        (-0.2, "-20%"),
        (0.99997, ">99%"),
        (1, "100%"),
        (9.5e-7, "<0.001%"),
        ({"value": 1.0, "low": 0.0, "high": 1.0}, "too few data"),
        ({"value": 0.88, "low": 0.83, "high": 0.931}, "88% (83-93%)"),
    ],
)
def test_percent(fraction, text):
    assert numbers.percent(fraction) == text


@pytest.mark.parametrize(
    ("left", "text"), [(0.57, "57%"), (9.5e-7, "none"), (-0.12, "12% over"), (None, "unknown")]
)
def test_what_is_left_of_a_budget_is_never_absurd(left, text):
    assert numbers.free(left) == text


@pytest.mark.parametrize(
    ("name", "value", "label", "text"),
    [
        ("leak_slope_bytes_per_request", 2048, "leak slope", "2 KiB per request"),
        ("db_s", 0.0123, "db", "12.3 ms"),
        ("error_rate", 0.02, "error", "2%"),
        ("calls", 31.0, "calls", "31"),
        ("endpoint", "/a\x1b[31m", "endpoint", "/a\\x1b[31m"),
        ("idle", True, "idle", "True"),
    ],
)
def test_evidence_takes_its_unit_from_its_name(name, value, label, text):
    assert numbers.named(name, value) == (label, text)


def test_control_characters_are_shown_not_sent():
    assert numbers.clean("a\x1b]0;x\x07\u202eb\nc") == "a\\x1b]0;x\\x07\\u202eb\nc"
    assert numbers.line("a\n\n b\tc") == "a b c"
