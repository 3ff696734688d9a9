"""An app is not loaded before the fork where its import or its own trials speak against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.measured import measurement

from pretune.advisor.demand import preloading
from pretune.advisor.observations import Observations
from pretune.advisor.preflight.facts import LeftOpen
from pretune.advisor.profiler.measurement import Measurement, RequestCounts, Role
from pretune.server.settings import Settings

pytestmark = pytest.mark.fast
THREAD = LeftOpen("thread", "poller (shop.py:9 in wait)")
POSTGRES = LeftOpen("connection", "127.0.0.1:5432")


def trial(role: Role, counts: RequestCounts, *, preload: bool = False) -> Measurement:
    made = measurement(Settings(2 if preload else 1, 2, preload_app=preload))
    return replace(made, name=role, role=role, counts=counts)


def observed(preloaded: RequestCounts, others: RequestCounts) -> Observations:
    return Observations(
        trial(Role.DEMAND, others),
        contrast=trial(Role.CONTRAST, others),
        preload=trial(Role.PRELOAD, preloaded, preload=True),
    )


def test_errors_in_preloaded_trials_alone_forbid_it() -> None:
    seen = observed(RequestCounts(590, 410, 0), RequestCounts(3000, 0, 0))
    said = preloading.find_hindrance((), seen)
    assert said.startswith("41% of the requests to preloaded workers failed, and 0.00% of those")
    # what a trial of errors weighs and takes is nobody's memory and time
    assert preloading.usable(seen).preload is None


def test_requests_that_preloaded_workers_never_answer_count_as_errors() -> None:
    seen = observed(RequestCounts(0, 0, 40), RequestCounts(3000, 0, 0))
    assert "100% of the requests to preloaded workers" in preloading.find_hindrance((), seen)


@pytest.mark.parametrize(
    ("preloaded", "others"),
    [
        (RequestCounts(1000, 0, 0), RequestCounts(3000, 0, 0)),
        (RequestCounts(900, 100, 0), RequestCounts(2700, 300, 0)),  # it fails everywhere
        (RequestCounts(9, 3, 0), RequestCounts(3000, 0, 0)),  # too few to tell
        (RequestCounts(998, 2, 0), RequestCounts(3000, 0, 0)),
    ],
)
def test_without_a_sure_difference_nothing_is_forbidden(
    preloaded: RequestCounts, others: RequestCounts
) -> None:
    seen = observed(preloaded, others)
    assert preloading.find_hindrance((), seen) == ""
    assert preloading.usable(seen) is seen


def test_what_the_import_left_open_is_named() -> None:
    seen = observed(RequestCounts(1000, 0, 0), RequestCounts(3000, 0, 0))
    said = preloading.find_hindrance((POSTGRES, THREAD), seen)
    assert "the connection 127.0.0.1:5432 and the thread poller (shop.py:9 in wait)" in said
    assert preloading.usable(seen).preload is not None  # it was served without errors
    many = preloading.describe([LeftOpen("thread", str(n)) for n in range(5)])
    assert many == "the thread 0, the thread 1, the thread 2 and 2 more"


def test_an_app_that_does_not_run_preloaded_is_not_preloaded() -> None:
    seen = replace(
        observed(RequestCounts(1, 0, 0), RequestCounts(1, 0, 0)), preload=None,
        preload_failed="the worker did not become ready",
    )  # fmt: skip
    assert "it does not run (the worker did not become ready)" in preloading.find_hindrance(
        (), seen
    )
