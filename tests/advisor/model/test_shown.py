"""What a trial carried within the SLO is the least that is claimed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.measured import measurement

from pretune.advisor.model.nearness import distance
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.shown import Shown, find_shown
from pretune.advisor.profiler.measurement import Latency, Measurement
from pretune.advisor.quantity import Interval
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

pytestmark = pytest.mark.fast


def around(x: float, part: float = 0.05) -> Interval:
    return Interval(x, x * (1 - part), x * (1 + part))


def trial(**changes: Any) -> Measurement:
    p95 = changes.pop("p95_s", 0.2)
    made = measurement(Settings(1, 40), rps=221.0)
    latency = Latency(around(p95), around(p95), around(p95), around(p95))
    return replace(made, **{"load": Load(64, 10.0), "latency": latency, **changes})


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"p95_s": 0.5}, False),  # beyond the SLO
        ({"error_rate": 0.01}, False),
        ({"requests": 60}, False),
        ({"load": Load(1, 10.0)}, False),
        ({"load": Load(0, 10.0, rps=221.0)}, False),
    ],
)
def test_a_trial_shows_what_it_carried_within_the_slo(
    changes: dict[str, Any], counts: bool
) -> None:
    assert bool(find_shown([trial(**changes)], "embedded", "", 0.36, 0.001)) is counts
    assert not find_shown([trial(**changes)], "gunicorn", "", 0.36, 0.001)


def test_the_prediction_is_raised_to_what_was_shown() -> None:
    (shown,) = find_shown([trial()], "embedded", "", 0.36, 0.001)
    vague = Interval(8.18, 2.01, 33.4)
    p95 = Interval(0.3, 0.05, 2.0)
    predicted = Prediction(
        64, vague, Latency(p95, p95, p95, p95), vague, vague, 0, 0, (), "cpu", "the CPU"
    )
    raised = shown.raise_to(predicted)
    assert raised.throughput_rps.value == raised.throughput_rps.low == 221.0
    assert raised.throughput_rps.high >= 221.0
    assert raised.latency.p95.value == pytest.approx(0.2)
    assert raised.latency.p95.high == pytest.approx(0.21)
    assert raised.explanation.startswith("the demand trial carried 221 requests/s")


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (Settings(1, 40), True),
        (Settings(2, 40), True),
        (Settings(2, 20), False),
        (Settings(1, 1, "sync"), False),
    ],
)
def test_an_arrangement_is_comparable_where_it_has_all_that_the_trial_had(
    other: Settings, part: bool
) -> None:
    exact = Interval.exact(1.0)
    assert Shown("server", Settings(1, 40), 64, exact, exact, 1.0).is_part_of(other) is part


@pytest.mark.parametrize(
    ("one", "nearer", "farther"),
    [
        (Settings(4, 1, "sync"), Settings(4, 1, "sync"), Settings(5, 1, "sync")),
        (Settings(4, 1, "sync"), Settings(5, 1, "sync"), Settings(4, 4)),
        (Settings(4, 4), Settings(3, 4), Settings(2, 4)),
        (Settings(4, 4), Settings(4, 6), Settings(4, 1)),
        (Settings(4, 4), Settings(8, 4), Settings(16, 4)),
    ],
)
def test_distance_grows_with_what_would_be_changed(
    one: Settings, nearer: Settings, farther: Settings
) -> None:
    assert distance(one, nearer) < distance(one, farther)
    assert distance(one, nearer) == pytest.approx(distance(nearer, one))
    assert distance(one, one) == 0
