"""The verdict of a run, from values alone."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pretune.advisor import judge
from pretune.advisor.headline import with_headline
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.profiler.measurement import Conditions, Latency, Measurement, Role
from pretune.advisor.promises import rows, rows_at_half
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources.budget import UNLOADED_SOURCE, Budget, Slo
from pretune.advisor.run import Row, Run, Trial, Verification
from pretune.advisor.verdict import Verdict
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

MIB = 1024**2
BUDGET = Budget(ram_bytes=1024 * MIB, cores=2, pg_connections=20, fds=1024)
SLO = Slo(p95_s=0.3)
SETTINGS = Settings(workers=2, threads=4)


def around(x: float, part: float = 0.1) -> Interval:
    return Interval(x, x * (1 - part), x * (1 + part))


LATENCY = Latency(around(0.1), around(0.09), around(0.2), around(0.25))
PREDICTED = Prediction(
    8, around(80), LATENCY, around(100 * MIB), around(200 * MIB), 8, 30, (), "cpu", ""
)
MEASURED = Measurement(
    name="verification",
    settings=SETTINGS,
    load=Load(8, 10.0),
    conditions=Conditions(1, 1, True, True),
    steady=True,
    steady_note="",
    window_s=9.0,
    requests=700,
    throughput_rps=around(78, 0.03),
    latency=LATENCY,
    error_rate=0.0,
    errors=(),
    by_endpoint=(),
    pss_bytes=around(101 * MIB, 0.01),
    rss_bytes=150 * MIB,
    master_pss_bytes=10 * MIB,
    kernel_bytes=0.0,
    workers=(),
    memory_series=(),
    pg_connections_peak=8,
    pg_idle_in_transaction_peak=0,
    db_cpu_s_per_request=None,
    cpu_s_per_request=around(0.01),
    telemetry=np.empty(0),
    telemetry_lost=0,
    generator_cpu=0.1,
    generator_saturated=False,
    disturbed="",
)


def judged(
    predicted: Verdict = Verdict.FITS, slo: Slo = SLO, **changes: Any
) -> tuple[Verdict, str]:
    measured = replace(MEASURED, **changes)
    trial = Trial(measured, PREDICTED)
    run = Run(
        "app",
        1,
        Verdict.NOT_ENOUGH_DATA,
        recommendation=Recommendation(SETTINGS, PREDICTED, "cpu", (), ()),
        verification=Verification(trial, rows(PREDICTED, measured, BUDGET, slo)),
    )
    return judge.verdict(run, BUDGET, slo, predicted, "the search said so")


def missed(measured: Measurement) -> tuple[str, ...]:
    found = rows(PREDICTED, measured, BUDGET, SLO)
    return Verification(Trial(measured, PREDICTED), found).misses


def row(name: str, measured: Measurement) -> Row:
    (found,) = [r for r in rows(PREDICTED, measured, BUDGET, SLO) if r.name == name]
    return found


def late(p95: float) -> Latency:
    return replace(LATENCY, p95=around(p95, 0.05))


def test_a_verified_recommendation_fits() -> None:
    assert judged() == (Verdict.FITS, "")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"error_rate": 0.01}, "error rate 1.00% > 0.10%"),
        ({"pss_bytes": around(1100 * MIB)}, "RAM"),
        ({"pg_connections_peak": 21}, "21 Postgres connections > 20"),
    ],
)
def test_a_budget_broken_in_verification_does_not_fit(changes: dict[str, Any], word: str) -> None:
    verdict, why = judged(**changes)
    assert verdict is Verdict.DOES_NOT_FIT
    assert word in why


def test_a_p95_beyond_the_slo_leaves_the_capacity_unconfirmed() -> None:
    verdict, why = judged(latency=late(0.5))
    assert verdict is Verdict.NOT_ENOUGH_DATA
    assert "p95 500 ms > 300 ms at 8 users" in why


def test_a_p95_beyond_the_slo_on_a_disturbed_machine_is_no_measurement() -> None:
    verdict, why = judged(latency=late(0.5), disturbed="the hypervisor stole 40% of the CPU time")
    assert verdict is Verdict.MEASUREMENT_INVALID
    assert "stole 40%" in why


def test_a_p95_whose_interval_reaches_the_slo_breaks_nothing() -> None:
    assert judged(latency=late(0.31))[0] is Verdict.FITS


@pytest.mark.parametrize("predicted", [Verdict.DOES_NOT_FIT, Verdict.NOT_ENOUGH_DATA])
def test_an_objective_that_is_not_carried_stays_the_verdict(predicted: Verdict) -> None:
    assert judged(predicted) == (predicted, "the search said so")


def test_a_saturated_generator_makes_the_measurement_invalid() -> None:
    assert judged(generator_saturated=True)[0] is Verdict.MEASUREMENT_INVALID


def test_too_few_requests_are_not_enough_data() -> None:
    assert judged(requests=20)[0] is Verdict.NOT_ENOUGH_DATA


@pytest.mark.parametrize(
    ("requests", "verdict"), [(99, Verdict.NOT_ENOUGH_DATA), (100, Verdict.FITS)]
)
def test_a_p95_takes_five_requests_beyond_it(requests: int, verdict: Verdict) -> None:
    got, why = judged(requests=requests)
    assert got is verdict
    if why:
        assert "only 99 requests in the verification trial" in why
        assert "--time-budget, about 2 times as long" in why


@pytest.mark.parametrize(
    ("source", "verdict"),
    [(UNLOADED_SOURCE, Verdict.NOT_ENOUGH_DATA), ("--p95", Verdict.FITS)],
)
def test_an_slo_made_of_too_few_requests_is_none(source: str, verdict: Verdict) -> None:
    demand = Trial(replace(MEASURED, name="demand", role=Role.DEMAND, requests=17))
    run = Run(
        "app", 1, Verdict.NOT_ENOUGH_DATA, slo_source=source, trials=(demand,),
        recommendation=Recommendation(SETTINGS, PREDICTED, "cpu", (), ()),
        verification=Verification(Trial(MEASURED, PREDICTED), ()),
    )  # fmt: skip
    got, why = judge.verdict(run, BUDGET, SLO, Verdict.FITS, "")
    assert got is verdict
    if why:
        assert "17 requests in the demand trial, too few for its p95, and so of the SLO" in why


@pytest.mark.parametrize(
    ("name", "requests", "kept"),
    [("p95_ms", 99, None), ("p95_ms", 100, True), ("p99_ms", 499, None), ("p99_ms", 500, True)],
)
def test_a_percentile_of_too_few_requests_is_neither_kept_nor_missed(
    name: str, requests: int, kept: bool | None
) -> None:
    assert row(name, replace(MEASURED, requests=requests)).kept is kept


def test_an_slo_that_few_requests_surely_break_is_broken_and_one_they_keep_is_not_kept() -> None:
    few = replace(MEASURED, requests=30)
    assert row("slo_p95_ms", few).kept is None
    assert row("slo_p95_ms", replace(few, latency=late(0.5))).kept is False


@pytest.mark.parametrize(
    ("throughput", "binding", "left"),
    [(78, "cpu", "cpu"), (40, "cpu", "unknown"), (130, "cpu", "unknown"), (40, "ram_bytes", None)],
)
def test_what_binds_is_open_where_the_rate_came_out_otherwise(
    throughput: float, binding: str, left: str | None
) -> None:
    measured = replace(MEASURED, throughput_rps=around(throughput, 0.03))
    found = rows(PREDICTED, measured, BUDGET, SLO)
    run = Run(
        "app", 1, Verdict.FITS, recommendation=Recommendation(SETTINGS, PREDICTED, binding, (), ()),
        verification=Verification(Trial(measured, PREDICTED), found),
    )  # fmt: skip
    got = judge.with_doubt(run).recommendation
    assert got is not None
    assert got.binding == (left or binding)
    assert ("is outside" in got.predicted.explanation) is (left == "unknown")


def test_what_is_doubted_is_doubted_in_reasons_too() -> None:
    named = replace(PREDICTED, explanation="the CPU is the limit")
    sure = Recommendation(SETTINGS, named, "cpu", (), (("workers", "the CPU is the limit; 3 not"),))
    doubted = sure.doubted("the capacity is hardly known")
    assert doubted.binding == "unknown"
    assert doubted.predicted.explanation.startswith("the capacity is hardly known; probably")
    assert dict(doubted.reasons)["workers"] == (
        "probably, but not certainly, the CPU is the limit; 3 not"
    )
    assert replace(sure, binding="ram_bytes").doubted("x").binding == "ram_bytes"


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("throughput", {"throughput_rps": UNKNOWN}),
        ("mean latency", {"latency": replace(LATENCY, mean=UNKNOWN)}),
        ("p95", {"latency": replace(LATENCY, p95=UNKNOWN)}),
        ("memory", {"pss_bytes": UNKNOWN}),
        ("error rate", {"error_rate": math.nan}),
        ("no request was answered", {"requests": 0, "throughput_rps": Interval.exact(0.0)}),
    ],
)
def test_what_has_no_measured_value_does_not_hold_and_never_fits(
    name: str, unknown: dict[str, Any]
) -> None:
    measured = replace(MEASURED, **unknown)
    verification = Verification(Trial(measured, PREDICTED), rows(PREDICTED, measured, BUDGET, SLO))
    assert not verification.holds
    assert name in "; ".join(verification.not_shown)
    verdict, why = judged(**unknown)
    assert verdict is Verdict.NOT_ENOUGH_DATA
    assert why.startswith("not shown: " if measured.requests else "only 0 requests")


def test_a_table_with_a_value_in_every_promised_row_holds() -> None:
    found = rows(PREDICTED, MEASURED, BUDGET, SLO)
    assert Verification(Trial(MEASURED, PREDICTED), found).holds
    assert not Verification(Trial(MEASURED, PREDICTED), ()).holds


def test_half_of_the_load_is_judged_by_its_own_rows() -> None:
    half = replace(MEASURED, load=Load(4, 5.0), throughput_rps=around(40, 0.03))
    predicted = replace(PREDICTED, throughput_rps=around(41))
    found = rows(PREDICTED, MEASURED, BUDGET, SLO)

    def verified(half: Measurement) -> Verification:
        at_half = rows_at_half(predicted, half, BUDGET, SLO)
        return Verification(
            Trial(MEASURED, PREDICTED), found, half=Trial(half, predicted), half_rows=at_half
        )

    assert verified(half).holds
    assert {r.name for r in verified(half).half_rows} >= {"throughput_rps", "p95_ms", "slo_p95_ms"}
    missed = verified(replace(half, throughput_rps=around(20, 0.03)))
    assert not missed.holds
    assert missed.misses[0].startswith("at half of the load: throughput 20 requests/s is outside")
    few = verified(replace(half, requests=40))
    assert not few.holds
    assert "at half of the load: p95 of 40 requests, 100 are needed" in few.not_shown
    late_at_half = verified(replace(half, latency=late(0.5)))
    run = Run(
        "app", 1, Verdict.FITS, recommendation=Recommendation(SETTINGS, PREDICTED, "cpu", (), ()),
        verification=late_at_half,
    )  # fmt: skip
    verdict, why = judge.verdict(run, BUDGET, SLO, Verdict.FITS, "")
    assert verdict is Verdict.NOT_ENOUGH_DATA
    assert why.startswith("at half of the load: p95 500 ms > 300 ms at 4 users")


def carried(rps: float, settings: Settings, p95: float = 0.2, **changes: Any) -> Trial:
    measured = replace(
        MEASURED, name="sync", settings=settings, throughput_rps=around(rps, 0.03),
        latency=late(p95), **changes,
    )  # fmt: skip
    return Trial(measured)


@pytest.mark.parametrize(
    ("trial", "better"),
    [
        (carried(254.0, Settings(2, 1, "sync")), True),
        (carried(254.0, SETTINGS), False),  # the same arrangement
        (carried(41.0, Settings(2, 1, "sync")), False),  # not surely more
        (carried(254.0, Settings(2, 1, "sync"), p95=0.5), False),  # beyond the SLO
        (carried(254.0, Settings(2, 1, "sync"), requests=20), False),
        (carried(254.0, Settings(2, 1, "sync"), load=Load(24, 10.0)), False),  # by more users
    ],
)
def test_after_a_miss_the_measured_rate_is_the_headline_and_what_beats_it_is_named(
    trial: Trial, better: bool
) -> None:
    measured = replace(MEASURED, throughput_rps=around(40, 0.03))
    found = rows(PREDICTED, measured, BUDGET, SLO)
    run = Run(
        "app", 1, Verdict.FITS, slo=SLO, trials=(trial, Trial(measured, PREDICTED)),
        recommendation=Recommendation(SETTINGS, PREDICTED, "cpu", (), ()),
        verification=Verification(Trial(measured, PREDICTED), found, SLO.p95_s),
    )  # fmt: skip
    headline = with_headline(run).headline
    assert headline is not None
    assert (headline.source, headline.throughput_rps) == ("verification", around(40, 0.03))
    assert (headline.better is not None) is better
    assert headline.better is None or headline.better.trial == "sync"


def test_what_holds_has_the_predicted_rate_for_its_headline() -> None:
    found = rows(PREDICTED, MEASURED, BUDGET, SLO)
    run = Run(
        "app", 1, Verdict.FITS, slo=SLO,
        recommendation=Recommendation(SETTINGS, PREDICTED, "cpu", (), ()),
        verification=Verification(Trial(MEASURED, PREDICTED), found, SLO.p95_s),
    )  # fmt: skip
    headline = with_headline(run).headline
    assert headline is not None
    assert (headline.source, headline.throughput_rps) == ("prediction", PREDICTED.throughput_rps)
    assert with_headline(replace(run, recommendation=None)).headline is None


def test_a_trial_without_an_answer_says_nothing_of_throughput() -> None:
    nothing = replace(MEASURED, requests=0, throughput_rps=Interval.exact(0.0))
    assert row("throughput_rps", nothing).kept is None


def test_nothing_recommended_is_the_search_s_verdict() -> None:
    run = Run("app", 1, Verdict.NOT_ENOUGH_DATA)
    assert judge.verdict(run, BUDGET, SLO, Verdict.DOES_NOT_FIT, "RAM") == (
        Verdict.DOES_NOT_FIT,
        "RAM",
    )


def test_what_lies_inside_its_interval_is_no_miss() -> None:
    assert missed(MEASURED) == ()


def test_a_miss_names_quantity_value_and_interval() -> None:
    slow = replace(MEASURED, throughput_rps=around(40))
    assert missed(slow) == ("throughput 40 requests/s is outside 72 requests/s to 88 requests/s",)


def test_a_row_says_what_was_allowed_what_came_and_whether_it_was_kept() -> None:
    found = row("slo_p95_ms", replace(MEASURED, latency=late(0.5)))
    assert (found.limit, found.kept) == (300.0, False)
    assert found.value == around(500.0, 0.05)


def test_an_unpromised_quantity_outside_its_interval_is_no_miss() -> None:
    tail = replace(MEASURED, latency=replace(LATENCY, p99=around(3.0)))
    assert row("p99_ms", tail).kept is False
    assert missed(tail) == ()


def test_more_connections_than_predicted_are_a_miss_even_within_the_budget() -> None:
    assert missed(replace(MEASURED, pg_connections_peak=9)) == (
        "9 Postgres connections, 8 predicted",
    )


def test_what_was_not_measured_is_neither_kept_nor_missed() -> None:
    unknown = replace(MEASURED, throughput_rps=UNKNOWN)
    assert row("throughput_rps", unknown).kept is None
    assert missed(unknown) == ()


def test_a_local_postgres_counts_against_the_ram() -> None:
    verdict, why = judged(db_pss_bytes=950.0 * MIB)
    assert verdict is Verdict.DOES_NOT_FIT
    assert "RAM" in why
