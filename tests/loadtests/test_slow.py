"""Routes that would take all of a trial's time are set apart, and no others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pretune.loadtests import slow
from pretune.loadtests.workload import Coverage, Endpoint, Workload

pytestmark = pytest.mark.fast


def workload(**times: float) -> Workload:
    share = 1 / len(times)
    return Workload(
        tuple(Endpoint(f"/{name}", (f"/{name}",), share, tried_s=s) for name, s in times.items()),
        assumption=f"equal shares of {len(times)} routes",
    )


def test_a_route_of_eight_seconds_among_quick_ones_is_set_apart() -> None:
    given = replace(workload(index=0.004, item=0.016, report=8.01), coverage=Coverage(3, 4))
    found = slow.set_apart(given)
    assert found.coverage == Coverage(2, 4)
    assert [(e.name, e.share) for e in found.endpoints] == [("/index", 0.5), ("/item", 0.5)]
    (report,) = found.apart
    assert (report.name, report.share) == ("/report", pytest.approx(1 / 3))
    assert found.assumption == "equal shares of 3 routes; /report (8.01 s) measured apart"
    alone = slow.only_apart(found)
    assert [(e.name, e.share) for e in alone.endpoints] == [("/report", 1.0)]
    assert slow.set_apart(found) is found  # there is nothing left to set apart


@pytest.mark.parametrize(
    "times",
    [
        {"index": 0.004, "item": 0.9},  # slow, and it can be measured
        {"a": 2.0, "b": 3.0, "c": 2.5},  # all are
        {"only": 8.0},
        {"index": 0.5, "item": 0.6, "report": 3.0},  # no ten times as slow as the others
        {"a": 0.0, "b": 8.0},  # nothing is known to compare with
    ],
)
def test_other_workloads_stay_as_they_are(times: dict[str, float]) -> None:
    given = workload(**times)
    assert slow.set_apart(given) is given


def test_the_others_are_what_most_requests_are() -> None:
    """Not what most routes are: shares count."""
    given = workload(page=0.01, heavy=2.0, other=2.0)
    shares = (0.9, 0.05, 0.05)
    endpoints = zip(given.endpoints, shares, strict=True)
    given = replace(given, endpoints=tuple(replace(e, share=s) for e, s in endpoints))
    assert [e.name for e in slow.set_apart(given).apart] == ["/heavy", "/other"]
