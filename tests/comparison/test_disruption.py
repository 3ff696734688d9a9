"""What was lost, by what the clients saw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pretune.advisor.comparison.disruption import judge
from pretune.loadtests.records import ERROR_NUMBER, dtype


def sent(*rows: tuple[float, float, int, str]) -> np.ndarray:
    """(start, wall, status, kind)"""
    found = np.zeros(len(rows), dtype())
    for at, (start, wall, status, kind) in enumerate(rows):
        found[at]["start"], found[at]["wall"] = start, wall
        found[at]["status"], found[at]["error"] = status, ERROR_NUMBER[kind]
    return found


OK = (200, "")


def test_each_kind_of_loss_is_counted_by_its_name() -> None:
    records = sent(
        (1.0, 0.1, *OK),
        (4.9, 0.2, *OK),
        (5.0, 0.1, 0, "connection reset"),
        (5.0, 0.1, 0, "connection reset"),
        (5.1, 0.1, 0, "connection closed"),
        (5.2, 0.1, 503, "status"),
        (5.2, 0.1, 404, "status"),
        (5.3, 0.1, 0, "kept connection closed"),
    )
    found = judge("reload", records, 5.0, 6.0, abandoned=1)
    assert dict(found.lost) == {
        "connection reset": 2, "connection closed": 1, "503": 1, "no answer": 1,
    }  # fmt: skip
    assert found.lost_count == 5
    assert found.kept == 1
    assert found.requests == 8
    assert found.took_s == pytest.approx(1.0)


def test_what_failed_before_the_signal_is_not_its_fault() -> None:
    found = judge("reload", sent((1.0, 0.5, 500, "status"), (5.0, 0.1, *OK)), 5.0, 5.5)
    assert found.lost_count == 0
    assert found.requests == 1


def test_a_refused_connection_is_a_loss_unless_the_server_was_to_end() -> None:
    records = sent((5.1, 0.0, 0, "connection refused"), (5.2, 0.0, *OK))
    assert judge("reload", records, 5.0, 6.0).lost_count == 1
    at_term = judge("term", records, 5.0, 6.0, ends=True)
    assert at_term.lost_count == 0
    assert at_term.refused == 1
    assert at_term.requests == 1


def test_a_share_without_a_loss_has_an_upper_end() -> None:
    records = sent(*[(5.0 + n / 100, 0.01, *OK) for n in range(100)])
    share = judge("reload", records, 5.0, 5.5).lost_fraction
    assert share.value == 0
    assert 0.02 < share.high < 0.05


def test_the_p95_is_of_what_was_sent_until_it_was_done() -> None:
    slow = [(5.0 + n / 100, 0.5, *OK) for n in range(50)]
    quick = [(7.0 + n / 100, 0.01, *OK) for n in range(50)]
    early = [(1.0 + n / 100, 0.02, *OK) for n in range(50)]
    found = judge("reload", sent(*early, *slow, *quick), 5.0, 6.0)
    assert found.p95_before_s == pytest.approx(0.02)
    assert found.p95_s == pytest.approx(0.5)
    assert found.slowest_s == pytest.approx(0.5)


def test_what_was_not_done_in_time_says_so() -> None:
    found = judge("reload", sent((5.0, 0.1, *OK)), 5.0, None)
    assert found.took_s is None
    assert math.isnan(found.p95_s)
