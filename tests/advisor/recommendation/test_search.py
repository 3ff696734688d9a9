"""The joint search, with an analytic model for the simulation, against exhaustive search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pretune.advisor.demand.values import TUPLE, Demand, WorkerDemand
from pretune.advisor.model import memory
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.model.shown import Shown
from pretune.advisor.profiler.measurement import Conditions, Latency
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import answer, recycling, tail
from pretune.advisor.recommendation.search import Found, conclusion, recommend, shape
from pretune.advisor.recommendation.space import last, preload_pays
from pretune.advisor.recommendation.violations import broken
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.verdict import Verdict
from pretune.server.settings import Settings

MIB, GIB = 1 << 20, 1 << 30
EXACT = Interval.exact


def demand(
    cpu_s: float = 0.006,
    db_s: float = 0.004,
    *,
    gil: float = 1.0,
    leak: float = 0.0,
    saving: Interval | None = None,
    connections: int = 1,
) -> Demand:
    rng = np.random.default_rng(1)
    tuples = np.zeros(2000, TUPLE)
    tuples["cpu"] = cpu_s * rng.lognormal(-0.125, 0.5, 2000)
    tuples["db"] = db_s
    worker = WorkerDemand(
        EXACT(80.0 * MIB), EXACT(1.0 * MIB), 15.0 * MIB, saving,
        Interval(leak, 0.9 * leak, 1.1 * leak), "leak" if leak else "none",
        0.8, 0.1, 15, connections, float(connections),
    )  # fmt: skip
    return Demand(
        tuples, (1.0,), EXACT(cpu_s), EXACT(gil), EXACT(0.0), EXACT(db_s), EXACT(4.0), None,
        EXACT(0.0), EXACT(0.0), (), worker, cpu_s + db_s, 0.0001,
    )  # fmt: skip


class Analytic:
    """Throughput by the bounds, softened; p95 from the SLO. Counts what it was asked."""

    def __init__(self, slowest_s: float = 0.0) -> None:
        self.asked: list[Settings] = []
        self.in_full: list[Settings] = []
        self.slowest_s = slowest_s

    def __call__(
        self,
        question: Question,
        settings: Settings,
        known: Mapping[Settings, Prediction] | None = None,
    ) -> Prediction:
        (self.in_full if known is None else self.asked).append(settings)
        demand, budget, slo_p95_s = question.demand, question.budget, question.p95_s
        cpu, total = demand.cpu_s.value, demand.cpu_s.value + demand.db_s.value
        ceilings = {
            "cpu": question.conditions.server_cores / cpu,
            "gil": settings.workers / (cpu * demand.cpu_gil_fraction.value),
            "slots": settings.workers * settings.threads / total,
        }
        rps = sum(x**-6.0 for x in ceilings.values()) ** (-1 / 6)
        binding = min(ceilings, key=lambda name: ceilings[name])
        rate = Interval(rps, 0.95 * rps, 1.05 * rps)
        users = 1 if self.slowest_s else max(2, round(rps * slo_p95_s))
        p95 = EXACT(self.slowest_s or slo_p95_s)
        worker = demand.worker
        return Prediction(
            users, rate, Latency(p95, p95, p95, p95), memory.peak_pss(worker, settings),
            memory.ram_to_provide(worker, settings, rate, budget.reserve_bytes),
            memory.postgres_connections(worker, settings, budget.instances),
            memory.descriptors(worker, settings, users),
            tuple((name, rps / x) for name, x in ceilings.items()), binding, f"{binding} is it",
        )  # fmt: skip


def solve(d: Demand, b: Budget, slo: Slo = Slo(None), interface: str = "wsgi") -> Found:  # noqa: B008
    return recommend(ask(d, b, slo, interface=interface), Analytic())


def ask(d: Demand, b: Budget, slo: Slo = Slo(None), **given: Any) -> Question:  # noqa: B008
    return Question(d, b, slo, Conditions(b.cores, 0.0, True, False), **given)


def exhaustive(d: Demand, b: Budget) -> float:
    """The most requests/s of all arrangements that keep the budgets."""
    model, best = Analytic(), 0.0
    question = ask(d, b, Slo(0.1))
    for w in range(1, 65):
        for t in range(1, 33):
            settings = Settings(w, t)
            ram = memory.ram_to_provide(d.worker, settings, EXACT(0.0), b.reserve_bytes)
            connections = memory.postgres_connections(d.worker, settings, b.instances)
            if ram.high <= b.ram_bytes and connections <= (b.pg_connections or 10**9):
                p = model(question, settings)
                best = max(best, p.throughput_rps.value)
    return best


CASES = [
    (demand(), Budget(4 * GIB, 2.0, 97, 1024)),
    (demand(0.002, 0.030), Budget(2 * GIB, 4.0, 97, 1024)),
    (demand(0.002, 0.030), Budget(2 * GIB, 4.0, 10, 1024)),
    (demand(0.002, 0.030), Budget(600 * MIB, 4.0, 40, 1024)),
    (demand(0.006, 0.0), Budget(700 * MIB, 8.0, None, 1024)),
    (demand(0.006, 0.100), Budget(8 * GIB, 2.0, 30, 1024, instances=3)),
    (demand(0.003, 0.010, gil=0.4), Budget(GIB, 3.5, 60, 1024)),
]


@pytest.mark.parametrize(("d", "b"), CASES)
def test_the_answer_is_within_noise_of_exhaustive_search(d: Demand, b: Budget) -> None:
    found = solve(d, b)
    assert found.recommendation is not None
    chosen = found.recommendation.predicted
    assert chosen.throughput_rps.value >= 0.98 * exhaustive(d, b)
    assert chosen.ram_bytes.high <= b.ram_bytes
    assert b.pg_connections is None or chosen.pg_connections <= b.pg_connections
    assert chosen.fds <= b.fds
    assert found.verdict is Verdict.FITS


@pytest.mark.parametrize(("d", "b"), CASES)
def test_few_predictions_are_enough(d: Demand, b: Budget) -> None:
    model = Analytic()
    recommend(ask(d, b), model)
    assert len(model.asked) <= 45
    assert len(set(model.asked)) == len(model.asked)
    assert len(set(model.in_full)) == len(model.in_full) <= 11


@pytest.mark.parametrize(("d", "b"), CASES)
@pytest.mark.parametrize("rps", [None, 100.0])
def test_the_winner_was_predicted_in_full(d: Demand, b: Budget, rps: float | None) -> None:
    model = Analytic()
    found = recommend(ask(d, b, Slo(None, rps=rps)), model)
    assert found.candidates[0].settings in model.in_full


@pytest.mark.parametrize(("d", "b"), CASES)
def test_no_kept_candidate_as_fast_is_smaller(d: Demand, b: Budget) -> None:
    found = solve(d, b)
    assert found.recommendation is not None
    mine = found.recommendation.predicted
    for c in found.candidates:
        if (
            c.difference
            and c.difference.rps >= mine.compared_rps
            and c.predicted.ram_bytes.high <= (b.ram_bytes)
        ):
            assert c.predicted.pss_bytes.high >= mine.pss_bytes.high or " > " in c.rejected_by


def test_only_the_winner_is_not_rejected_and_stands_first() -> None:
    found = solve(*CASES[3])
    assert [c.rejected_by for c in found.candidates].count("") == 1
    assert found.candidates[0].rejected_by == ""
    assert found.recommendation is not None
    assert found.candidates[0].predicted == found.recommendation.predicted


@pytest.mark.parametrize(
    ("d", "b", "binding", "rejected"),
    [
        (demand(0.002, 0.030), Budget(8 * GIB, 4.0, 10, 1024), "pg_connections", "11 Postgres"),
        (demand(), Budget(300 * MIB, 4.0, None, 1024), "ram_bytes", "RAM: "),
        (demand(), Budget(4 * GIB, 2.0, None, 1024), "cpu", "requests/s expected"),
    ],
)
def test_the_binding_constraint_is_the_one_that_forbids_more(
    d: Demand, b: Budget, binding: str, rejected: str
) -> None:
    found = solve(d, b)
    assert found.recommendation is not None
    assert found.recommendation.binding == binding
    assert any(rejected in c.rejected_by for c in found.candidates)


def test_instances_share_the_connections() -> None:
    one = solve(demand(0.002, 0.03), Budget(8 * GIB, 4.0, 40, 1024)).recommendation
    four = solve(demand(0.002, 0.03), Budget(8 * GIB, 4.0, 40, 1024, instances=4)).recommendation
    assert one is not None
    assert four is not None
    assert four.predicted.pg_connections <= 40
    assert four.settings.slots < one.settings.slots


def test_a_target_takes_the_smallest_that_surely_carries_it() -> None:
    d, b = demand(), Budget(4 * GIB, 4.0, None, 1024)
    most = solve(d, b).recommendation
    found = solve(d, b, Slo(None, rps=200.0))
    assert most is not None
    assert found.recommendation is not None
    assert found.recommendation.predicted.throughput_rps.low >= 200
    assert found.recommendation.predicted.pss_bytes.value < most.predicted.pss_bytes.value
    assert found.recommendation.binding == "rps"
    assert found.verdict is Verdict.FITS
    smaller = [c for c in found.candidates if "certainly carries only" in c.rejected_by]
    assert smaller


@pytest.mark.parametrize(("d", "b"), CASES)
@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
def test_no_arrangement_that_surely_carries_a_target_is_smaller(
    d: Demand, b: Budget, part: float
) -> None:
    rps = part * 0.95 * exhaustive(d, b)
    found = solve(d, b, Slo(None, rps=rps))
    assert found.recommendation is not None
    assert found.verdict is Verdict.FITS
    model, question = Analytic(), ask(d, b, Slo(0.1))
    mine = found.recommendation.predicted
    assert mine.throughput_rps.low >= rps
    smallest = min(
        memory.peak_pss(d.worker, Settings(w, t)).high
        for w in range(1, 33)
        for t in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
        for p in [model(question, Settings(w, t))]
        if p.throughput_rps.low >= rps and not broken(p, b, 0.1)
    )
    assert mine.pss_bytes.high <= 1.02 * smallest


@pytest.mark.parametrize(("d", "b"), CASES)
def test_a_target_out_of_reach_still_finds_the_most(d: Demand, b: Budget) -> None:
    found = solve(d, b, Slo(None, rps=1e6))
    assert found.recommendation is not None
    assert found.recommendation.predicted.throughput_rps.value >= 0.98 * exhaustive(d, b)


@pytest.mark.parametrize(
    ("rps", "verdict", "words"),
    [
        (None, Verdict.FITS, "carries 200 requests/s (190 to 210); "),
        (150.0, Verdict.FITS, "the smallest that certainly carries 150 requests/s"),
        (190.0, Verdict.FITS, "the smallest that certainly carries 190 requests/s"),
        (190.1, Verdict.NOT_ENOUGH_DATA, "190.1 asked for lie within the uncertainty"),
        (210.0, Verdict.NOT_ENOUGH_DATA, "210 asked for lie within the uncertainty"),
        (211.0, Verdict.DOES_NOT_FIT, "less than the 211 asked for; cpu is it"),
    ],
)
def test_the_sentence_says_on_which_side_of_the_target_it_is(
    rps: float | None, verdict: Verdict, words: str
) -> None:
    found = solve(demand(), Budget(4 * GIB, 2.0, None, 1024)).recommendation
    assert found is not None
    prediction = replace(found.predicted, throughput_rps=Interval(200.0, 190.0, 210.0))
    got, reason = conclusion(found.settings, prediction, rps)
    assert got is verdict
    assert words in reason
    assert shape(found.settings) in reason


def test_a_target_out_of_reach_does_not_fit_but_shows_the_most() -> None:
    found = solve(demand(), Budget(4 * GIB, 2.0, None, 1024), Slo(None, rps=1000.0))
    assert found.verdict is Verdict.DOES_NOT_FIT
    assert found.recommendation is not None
    assert "1000" in found.reason


def test_a_target_inside_the_uncertainty_is_not_enough_data() -> None:
    most = solve(demand(), Budget(4 * GIB, 2.0, None, 1024)).recommendation
    assert most is not None
    target = most.predicted.throughput_rps.value
    found = solve(demand(), Budget(4 * GIB, 2.0, None, 1024), Slo(None, rps=target))
    assert found.verdict is Verdict.NOT_ENOUGH_DATA


def test_nothing_fits_names_the_budget() -> None:
    found = solve(demand(), Budget(100 * MIB, 2.0, None, 1024))
    assert found.recommendation is None
    assert found.verdict is Verdict.DOES_NOT_FIT
    assert "RAM: 175 MiB > 100 MiB" in found.reason


def test_an_slo_that_no_load_keeps_is_said() -> None:
    question = ask(demand(), Budget(4 * GIB, 2.0, None, 1024), Slo(0.005))
    found = recommend(question, Analytic(slowest_s=0.012))
    assert found.recommendation is None
    assert found.verdict is Verdict.DOES_NOT_FIT
    assert "5 ms" in found.reason
    assert all(c.rejected_by for c in found.candidates)


def test_asgi_has_workers_only() -> None:
    found = solve(demand(), Budget(4 * GIB, 2.0, None, 1024), interface="asgi")
    assert found.recommendation is not None
    assert {(c.settings.worker_class, c.settings.threads) for c in found.candidates} == {
        ("asgi", 1)
    }
    assert "threads" not in dict(found.recommendation.reasons)


def test_a_leak_is_bounded_by_recycling_within_the_ram() -> None:
    d, b = demand(leak=20_000.0), Budget(GIB, 2.0, None, 1024)
    recommendation = solve(d, b).recommendation
    assert recommendation is not None
    s = recommendation.settings
    assert s.max_requests > 0
    assert 0 < s.max_requests_jitter <= s.max_requests
    grown = s.workers * (s.max_requests + s.max_requests_jitter) * 22_000
    still = replace(d.worker, leak_class="none")
    needed = memory.ram_to_provide(still, s, EXACT(0.0)).high
    assert needed + grown <= b.ram_bytes
    assert "leak" in dict(recommendation.reasons)["max_requests"]


def test_without_a_leak_nothing_is_recycled() -> None:
    recommendation = solve(*CASES[0]).recommendation
    assert recommendation is not None
    assert recommendation.settings.max_requests == 0
    assert "max_requests_jitter" not in dict(recommendation.reasons)


def test_jitter_keeps_restarts_apart() -> None:
    d, b = demand(leak=500.0), Budget(8 * GIB, 2.0, None, 1024)
    cycle = recycling.plan_recycling(d, Settings(4, 4), b)
    assert cycle is not None
    settings = Settings(4, 4, max_requests=cycle.max_requests, max_requests_jitter=cycle.jitter)
    assert recycling.meeting_probability(settings, d.worker.boot_s, 300.0) <= 0.05
    # The probability holds: restarts uniform in the window, simulated.
    rng = np.random.default_rng(1)
    window = settings.max_requests_jitter * 4 / 300.0
    starts = np.sort(rng.uniform(0, window, (20_000, 4)), axis=1)
    met = (np.diff(starts, axis=1) < d.worker.boot_s).any(axis=1).mean()
    expected = recycling.meeting_probability(settings, d.worker.boot_s, 300.0)
    assert met == pytest.approx(expected, rel=0.2)


def test_a_leak_too_fast_to_recycle_does_not_fit() -> None:
    found = solve(demand(leak=50e6), Budget(GIB, 2.0, None, 1024))
    assert found.recommendation is None


@pytest.mark.parametrize(
    ("saving", "pays"),
    [
        (None, False),
        (Interval(30.0 * MIB, 25.0 * MIB, 35.0 * MIB), True),
        (Interval(1.0 * MIB, 0.5 * MIB, 1.5 * MIB), False),
        (Interval(30.0 * MIB, -5.0 * MIB, 65.0 * MIB), False),
    ],
)
def test_preload_is_used_when_its_saving_is_sure(saving: Interval | None, pays: bool) -> None:
    d = demand(saving=saving)
    assert preload_pays(d) is pays
    recommendation = solve(d, Budget(4 * GIB, 4.0, None, 1024)).recommendation
    assert recommendation is not None
    assert recommendation.settings.workers > 1
    assert recommendation.settings.preload_app is pays


def test_an_app_that_must_not_be_loaded_before_the_fork_is_not() -> None:
    d = demand(saving=Interval(30.0 * MIB, 25.0 * MIB, 35.0 * MIB))
    budget = Budget(4 * GIB, 4.0, None, 1024)
    question = ask(d, budget, preload_hindrance="its import leaves a thread")
    found = recommend(question, Analytic()).recommendation
    assert found is not None
    assert found.settings.workers > 1
    assert not found.settings.preload_app
    assert "its import leaves a thread" in dict(found.reasons)["preload_app"]


@pytest.mark.parametrize(("d", "b"), CASES)
def test_every_setting_has_a_reason_with_a_number(d: Demand, b: Budget) -> None:
    recommendation = solve(d, b).recommendation
    assert recommendation is not None
    reasons = dict(recommendation.reasons)
    for name in ("workers", "timeout", "graceful_timeout", "max_requests", "backlog"):
        assert any(ch.isdigit() for ch in reasons[name]), name
        assert reasons[name].endswith(".")
    assert recommendation.settings.timeout >= 5
    assert recommendation.settings.graceful_timeout <= 9
    assert all(-1 <= left <= 1 for _, left in recommendation.headroom)


def test_shapes_read_as_people_say_them() -> None:
    assert shape(Settings(1, 4)) == "1 worker x 4 threads"
    assert shape(Settings(3, 1, "sync")) == "3 sync workers"


# ---- the tail behind the timeout


def test_the_bound_of_the_tail_lies_beyond_the_sample_and_above_the_truth() -> None:
    above = 0
    for seed in range(50):
        times = np.random.default_rng(seed).exponential(0.01, 4000)
        fitted = tail.fit(times, (1 - 1e-6,), seed=seed)
        assert fitted is not None
        above += fitted.bound(1 - 1e-6) >= 0.01 * np.log(1e6)
        assert fitted.bound(1 - 1e-6) <= 10 * fitted.maximum_s
    assert above >= 40


def test_a_heavy_tail_is_capped_at_ten_times_the_sample() -> None:
    times = 0.01 * np.random.default_rng(1).pareto(0.9, 2000)
    fitted = tail.fit(times, (1 - 1e-6,))
    assert fitted is not None
    assert fitted.shape > 0.4
    assert fitted.bound(1 - 1e-6) <= 10 * fitted.maximum_s


def test_a_quantile_inside_the_sample_is_the_samples_own() -> None:
    times = np.linspace(0, 1, 10_001)
    fitted = tail.fit(times, (0.9, 0.999))
    assert fitted is not None
    assert fitted.bound(0.9) == pytest.approx(0.9, abs=0.001)
    assert fitted.bound(0.999) == pytest.approx(1.0, abs=0.05)


def test_too_few_times_have_no_tail() -> None:
    assert tail.fit(np.full(50, 0.1), (0.999,)) is None


def test_constant_times_do_not_break_the_fit() -> None:
    fitted = tail.fit(np.full(1000, 0.1), (1 - 1e-6,))
    assert fitted is not None
    assert fitted.bound(1 - 1e-6) == pytest.approx(0.1)


def test_an_arrangement_that_surely_keeps_no_load_is_not_compared_by_its_rate() -> None:
    class Unsure(Analytic):
        """Of more than two workers nothing is known well enough to keep the p95 at any load."""

        def __call__(self, *args: Any, **given: Any) -> Prediction:
            found = super().__call__(*args, **given)
            if args[1].workers <= 2:
                return found
            slo_p95_s = args[0].p95_s
            p95 = Interval(0.5 * slo_p95_s, 0.1 * slo_p95_s, 2 * slo_p95_s)
            rate = Interval.exact(1.0)
            return replace(found, throughput_rps=rate, latency=replace(found.latency, p95=p95))

    b = Budget(4 * GIB, 2.0, None, 1024)
    found = recommend(ask(demand(), b), Unsure()).recommendation
    assert found is not None
    assert found.settings.workers == 2
    # the upper end of a guess says nothing of what it would carry
    assert "p95" not in dict(found.reasons)["workers"]


class Told(Analytic):
    """Changes what the model says of some arrangements."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def __call__(self, *args: Any, **given: Any) -> Prediction:
        found = super().__call__(*args, **given)
        return replace(found, **self.change(args[1], found))


def told(change: Any) -> Found:
    b = Budget(4 * GIB, 2.0, None, 1024)
    return recommend(ask(demand(), b), Told(change))


def test_what_is_promised_alike_is_told_apart_by_what_is_expected() -> None:
    """Where p95 is hardly known, all are promised at one user, where all are alike."""
    found = told(
        lambda s, p: {
            "throughput_rps": Interval(90.0, 20.0, 400.0),
            "expected_rps": p.throughput_rps.value,
        }
    )
    usual = solve(demand(), Budget(4 * GIB, 2.0, None, 1024)).recommendation
    assert found.recommendation is not None
    assert usual is not None
    assert found.recommendation.settings.workers == usual.settings.workers > 1


def test_a_smaller_one_is_as_good_only_if_the_common_draws_say_so() -> None:
    """As fast as expected, but with one thread it loses wherever requests wait for more."""
    draws = {"none": (100.0,) * 8, "some": (99.0, 90.0, 70.0, 80.0, 95.0, 85.0, 75.0, 88.0)}

    def change(settings: Settings, found: Prediction) -> dict[str, Any]:
        slots = "some" if settings.threads == 1 else "none"
        return {"expected_rps": 100.0, "draws": draws[slots]}

    found = told(change)
    assert found.recommendation is not None
    assert found.recommendation.settings.threads > 1
    assert any("no difference can be told" in c.rejected_by for c in found.candidates)
    alike = told(lambda s, p: {"expected_rps": 100.0, "draws": draws["some"]}).recommendation
    assert alike is not None
    assert alike.settings.threads == 1


ALIKE = (99.9, 100.1) * 8


def test_of_arrangements_that_cannot_be_told_apart_the_nearest_to_todays_wins() -> None:
    def alike(settings: Settings, found: Prediction) -> dict[str, Any]:
        return {"expected_rps": 100.0, "draws": ALIKE}

    b, d = Budget(4 * GIB, 2.0, None, 1024), demand()
    for today in (Settings(6, 5), Settings(9, 1, "sync")):
        found = recommend(ask(d, b, today=today), Told(alike)).recommendation
        assert found is not None
        mine = found.settings
        assert (mine.workers, mine.threads, mine.worker_class) == (
            today.workers,
            today.threads,
            today.worker_class,
        )
    smallest = recommend(ask(d, b), Told(alike)).recommendation
    assert smallest is not None
    assert smallest.settings.workers == 1


def test_a_surely_faster_arrangement_beats_todays() -> None:
    found = recommend(
        ask(demand(), Budget(4 * GIB, 2.0, None, 1024), today=Settings(1, 1)), Analytic()
    )
    assert found.recommendation is not None
    assert found.recommendation.settings.workers > 1


def shown(settings: Settings, rps: float, cores: float = 1.0) -> Shown:
    rate = Interval(rps, 0.97 * rps, 1.03 * rps)
    return Shown("server", settings, 64, rate, Interval.exact(0.02), cores)


@pytest.mark.parametrize(
    ("cores", "rps", "followed"), [(1.0, 500.0, True), (4.0, 500.0, False), (1.0, 5.0, False)]
)
def test_a_trial_that_carried_more_than_the_claim_is_followed(
    cores: float, rps: float, followed: bool
) -> None:
    b = Budget(4 * GIB, 2.0, None, 1024)
    question = ask(demand(), b, Slo(0.1), shown=(shown(Settings(1, 24), rps, cores),))
    found = recommend(question, Analytic()).recommendation
    assert found is not None
    assert (found.shown is not None) is followed
    if followed:
        assert found.settings.workers == 1
        assert found.settings.threads == 24
        assert found.predicted.throughput_rps.value >= rps
        assert found.predicted.users == 64
        assert "the server trial carried 500 requests/s" in found.predicted.explanation


def test_what_a_trial_carried_with_less_is_the_least_of_the_answer() -> None:
    b = Budget(4 * GIB, 2.0, None, 1024)
    alone = recommend(ask(demand(), b, Slo(0.1)), Analytic()).recommendation
    assert alone is not None
    question = ask(demand(), b, Slo(0.1), shown=(shown(Settings(1, 1), 500.0),))
    found = recommend(question, Analytic()).recommendation
    assert found is not None
    assert found.settings.workers == alone.settings.workers
    assert found.predicted.throughput_rps.low >= 485.0


def test_a_formula_that_breaks_nothing_and_beats_the_answer_is_looked_at() -> None:
    """Only two sync workers are quick here, and the walk does not come to them by itself."""

    def quick(settings: Settings, found: Prediction) -> dict[str, Any]:
        best = (settings.workers, settings.threads, settings.worker_class) == (8, 1, "sync")
        return {"expected_rps": 254.0 if best else 127.0}

    question = ask(demand(), Budget(4 * GIB, 2.0, None, 1024))
    found = answer.solve(question, answer.Model(capacity=Told(quick))).found.recommendation
    assert found is not None
    assert (found.settings.workers, found.settings.worker_class) == (8, "sync")


@pytest.mark.parametrize("most", [1, 2, 3, 5, 64, 127, 128])
@pytest.mark.parametrize("least", [1, 2])
def test_the_most_workers_are_found_also_where_one_does_not_fit(most: int, least: int) -> None:
    held = last(lambda n: least <= n <= most, 128, least)
    assert held == (most if most >= least else 0)


def test_a_leak_that_nothing_recycles_is_told_by_when_the_ram_is_full() -> None:
    d = demand(leak=50_000.0)
    conditions = Conditions(1.0, 0.0, True, False, server="uvicorn")
    question = Question(d, Budget(GIB, 1.0, None, 1024), Slo(None), conditions, interface="asgi")
    found = recommend(question, Analytic())
    said = [c.rejected_by for c in found.candidates]
    assert any("the leak fills the RAM in" in sentence for sentence in said)
    assert not any("RAM: " in sentence and "GiB >" in sentence for sentence in said), said


def test_what_binds_is_open_where_the_draws_differ() -> None:
    busy = {"utilisation": (("cpu", 0.98), ("gil", 0.97)), "binding": "cpu"}
    sure = told(lambda s, p: busy).recommendation
    doubted = told(lambda s, p: {**busy, "may_bind": ("gil",)}).recommendation
    assert sure is not None
    assert doubted is not None
    assert (sure.binding, doubted.binding) == ("cpu", "unknown")


def test_a_demand_without_an_interval_is_searched_all_the_same() -> None:
    unknown = replace(demand(), cpu_s=Interval(0.006, np.nan, np.nan))
    found = solve(unknown, Budget(4 * GIB, 2.0, None, 1024))
    assert found.candidates


class Drawn(Analytic):
    """With draws that differ between arrangements by ``noise``, and what a random truth says."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def __call__(self, *args: Any, **given: Any) -> Prediction:
        found = super().__call__(*args, **given)
        wrong = float(np.exp(0.05 * self.rng.standard_normal()))
        rps = found.throughput_rps.value * wrong
        draws = rps * np.exp(0.02 * self.rng.standard_normal(16))
        in_full = len(args) < 3 and not given
        return replace(found, expected_rps=rps, draws=tuple(draws.tolist()) if in_full else ())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("d", "b"), CASES)
def test_nothing_faster_is_called_slower(d: Demand, b: Budget, seed: int) -> None:
    found = recommend(ask(d, b), Drawn(seed))
    assert found.recommendation is not None
    chosen = found.recommendation.predicted.compared_rps
    for c in found.candidates[1:]:
        assert c.difference is not None
        assert c.difference.rps == c.predicted.compared_rps
        assert c.difference.against_rps == chosen
        change = c.difference.change
        if " slower (" in c.rejected_by:
            assert c.difference.rps < chosen
            assert change.low <= change.value <= change.high < 0
        if np.isfinite(change.low):
            assert change.low <= c.difference.rps / chosen - 1 <= change.high


def test_a_difference_is_claimed_only_where_its_interval_excludes_none() -> None:
    """Of 10% less that the model expects it is wrong too often; of 60% less it is not."""
    little = {1: 0.90, 2: 1.0, 3: 1.0}
    much = {1: 0.40, 2: 1.0, 3: 1.0}

    def said(part: dict[int, float]) -> str:
        def change(settings: Settings, found: Prediction) -> dict[str, Any]:
            rps = 300.0 * part.get(settings.workers, 0.99)
            return {"expected_rps": rps, "draws": (rps,) * 16}

        recommendation = told(change).recommendation
        assert recommendation is not None
        assert recommendation.settings.workers == 2
        return dict(recommendation.reasons)["workers"]

    assert "1 cannot be told from it: 270 beside 300 requests/s expected" in said(little)
    assert "1 would carry 60.0% less (" in said(much)
