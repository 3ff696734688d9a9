"""The main job on a stand-in bench that gives back what was measured once."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.standin import Change, Progress, StandIn, late, session_of, spend

from pretune.advisor import saved
from pretune.advisor.demand import allocators
from pretune.advisor.failure import AppFailed, MeasurementInvalid, OutOfTime
from pretune.advisor.pipeline import Pipeline
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.profiler.measurement import Measurement, MemorySeries, Role
from pretune.advisor.saved import Saved, conclude_again
from pretune.advisor.session import Session
from pretune.advisor.verdict import Verdict

BEFORE = ["demand", "contrast", "server", "server-alone", "sync", "sync-alone", "crowd", "preload"]


@pytest.fixture(autouse=True)
def no_other_allocators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocators, "alternatives", lambda environ, installed: [])


class Case:
    """A pipeline, its session and its bench."""

    def __init__(self, out: Path, changes: dict[str, list[Change]], time_budget_s: float) -> None:
        self.session: Session = session_of(out, time_budget_s=time_budget_s)
        self.progress = Progress()
        self._changes = changes
        self.pipeline = Pipeline(self.session, self._bench)

    def _bench(self, workspace: object, known: Preflight, progress: object) -> StandIn:
        self.bench = StandIn(known, self._changes)
        return self.bench

    def advise(self) -> Case:
        self.pipeline.advise(self.progress)
        return self


def case(out: Path, time_budget_s: float = 60.0, **changes: list[Change]) -> Case:
    return Case(
        out, {name.replace("_", "-"): them for name, them in changes.items()}, time_budget_s
    )


def test_the_trials_run_in_their_order_and_the_answer_is_verified(tmp_path: Path) -> None:
    done = case(tmp_path).advise()
    assert done.bench.names == [*BEFORE, "verification"]
    servers = {name: server for name, server, *_ in done.bench.ran}
    assert servers["demand"] == servers["contrast"] == "embedded"
    assert {servers[name] for name in done.bench.names[2:]} == {"gunicorn"}
    run = done.session.run
    assert run.recommendation is not None
    assert run.verification is not None
    assert run.verification.trial.measurement.settings == run.recommendation.settings
    assert run.verification.trial.predicted is not None
    assert [t.measurement.name for t in run.trials] == done.bench.names
    assert [t.predicted is None for t in run.trials] == [True] * len(BEFORE) + [False]
    assert done.bench.closed
    assert done.progress.phases.count("model") == 1


# Of long budgets most is spent, so that no second of a busy machine changes what is left of them.


def test_in_a_short_time_budget_what_an_answer_can_do_without_is_left_out_and_said(
    tmp_path: Path,
) -> None:
    made = case(tmp_path, time_budget_s=600.0)
    spend(430.0, made.session)
    done = made.advise()
    assert done.bench.names == ["demand", "contrast", "verification"]
    (note,) = [note for note in done.session.run.notes if "left out" in note]
    assert note.startswith("left out for want of time: ")
    assert all(name in note for name in BEFORE[2:])
    assert note.endswith("(the time budget is 600 s)")
    loads = {name: load.duration_s for name, _, _, load in done.bench.ran}
    assert loads["demand"] == pytest.approx(0.6 * 96.0, rel=0.1)
    assert done.session.run.verification is not None


def test_a_trial_that_took_the_others_time_leaves_what_is_needed(tmp_path: Path) -> None:
    def slow(measured: Measurement) -> Measurement:
        spend(540.0, made.session)
        made.bench.boots_s += [6.0, 7.0]
        return measured

    made = case(tmp_path, time_budget_s=600.0, demand=[slow])
    done = made.advise()
    assert done.bench.names == ["demand", "contrast", "verification"]
    (note,) = [note for note in done.session.run.notes if "left out" in note]
    assert note.endswith("preload (the time budget is 600 s, 13 s of it in 2 boots of the app)")
    assert done.session.run.recommendation is not None
    # with less load than was planned
    loads = {name: load.duration_s for name, _, _, load in done.bench.ran}
    assert loads["verification"] < loads["demand"]


def test_without_time_for_it_the_answer_is_given_unverified(tmp_path: Path) -> None:
    def endless(measured: Measurement) -> Measurement:
        spend(90.0, made.session)
        return measured

    made = case(tmp_path, contrast=[endless])
    done = made.advise()
    assert done.bench.names == ["demand", "contrast"]
    run = done.session.run
    assert run.recommendation is not None
    assert run.verdict is Verdict.NOT_ENOUGH_DATA
    assert run.failure is not None
    assert run.failure.message == "the recommendation was not verified"
    assert any("no time was left for the trial verification" in note for note in run.notes)


def test_however_late_it_is_the_first_trial_is_run(tmp_path: Path) -> None:
    made = case(tmp_path)
    spend(200.0, made.session)
    assert made.advise().bench.names == ["demand"]
    assert made.session.run.verdict is Verdict.NOT_ENOUGH_DATA


def test_where_there_is_no_time_to_boot_the_app_there_is_no_answer(tmp_path: Path) -> None:
    made = case(tmp_path, demand=[OutOfTime("the time budget ended 5 s after its server began")])
    with pytest.raises(OutOfTime, match=r"after its server began \(the time budget is 60 s\)"):
        made.advise()


def test_a_set_up_that_took_long_stands_apart(tmp_path: Path) -> None:
    made = case(tmp_path)
    made.session.time_budget.apart["set-up"] = 40.0
    spend(40.0, made.session)
    assert made.advise().bench.names == [*BEFORE, "verification"]
    apart = made.session.run.notes[-1]
    assert apart.startswith("not counted in the time budget: set-up, took 40 s")


def test_an_answer_that_breaks_a_promise_is_revised_once(tmp_path: Path) -> None:
    done = case(tmp_path, verification=[late]).advise()
    assert done.bench.names == [*BEFORE, "verification", "verification"]
    assert done.progress.phases.count("model") == 2
    assert "trying again with what was learned" in done.progress.lines[0]
    # what was learned from the miss is evidence of the second answer
    assert done.pipeline.evidence is not None
    (learned,) = done.pipeline.evidence.observations.verifications
    first, second = (t.measurement for t in done.session.run.trials[-2:])
    assert learned is first
    assert done.session.run.verification is not None
    assert done.session.run.verification.trial.measurement is second
    assert done.session.run.verdict is Verdict.NOT_ENOUGH_DATA
    assert done.session.run.failure is not None
    assert "the predicted capacity was not confirmed" in done.session.run.failure.message


def test_a_promise_kept_at_the_second_try_is_kept(tmp_path: Path) -> None:
    done = case(tmp_path, verification=[late, {}]).advise()
    assert done.bench.names[-2:] == ["verification", "verification"]
    assert done.session.run.verification is not None
    kept = {r.name: r.kept for r in done.session.run.verification.rows}
    assert kept["slo_p95_ms"] is True


def test_without_time_left_nothing_is_revised(tmp_path: Path) -> None:
    made = case(tmp_path, time_budget_s=60.0, verification=[late])
    spend(50.0, made.session)
    assert made.advise().bench.names == ["demand", "contrast", "verification"]


def test_a_disturbed_trial_is_repeated_where_time_allows(tmp_path: Path) -> None:
    disturbed: list[Change] = [{"disturbed": "steal 9%"}, {}]
    roomy = case(tmp_path, 600.0, contrast=[*disturbed], crowd=[*disturbed]).advise()
    assert roomy.bench.names.count("contrast") == 2
    assert roomy.bench.names.count("crowd") == 1  # short, and counts once
    assert "contrast: disturbed (steal 9%); repeating it" in roomy.progress.lines
    # the repeated one counts, the first is no trial of the run
    assert [t.measurement.name for t in roomy.session.run.trials].count("contrast") == 1
    assert not roomy.session.run.trials[1].measurement.disturbed
    tight = case(tmp_path, 20.0, contrast=[*disturbed]).advise()
    assert tight.bench.names.count("contrast") == 1
    assert tight.session.run.trials[1].measurement.disturbed


def test_a_first_trial_of_errors_ends_the_run_with_the_servers_log(tmp_path: Path) -> None:
    (tmp_path / "demand.log").write_text("KeyError: 'user'\n")
    made = case(tmp_path, demand=[{"error_rate": 1.0, "errors": (("500 on /", 9),)}])
    with pytest.raises(AppFailed) as error:
        made.advise()
    made.session.fail(Verdict.APP_FAILED, error.value)
    run = made.session.run
    assert made.bench.names == ["demand"]
    assert made.bench.closed
    assert [t.measurement.name for t in run.trials] == ["demand"]
    assert run.failure is not None
    assert run.failure.kind == "only_errors"
    assert "KeyError" in run.failure.log_tail
    assert made.pipeline.evidence is None


@pytest.mark.parametrize("role", [Role.CONTRAST, Role.PRELOAD, Role.VERIFICATION])
def test_a_trial_that_fails_leaves_what_was_learned_before(tmp_path: Path, role: Role) -> None:
    made = case(tmp_path, **{role.value: [MeasurementInvalid("the load generator failed")]})
    with pytest.raises(MeasurementInvalid) as error:
        made.advise()
    made.session.fail(Verdict.MEASUREMENT_INVALID, error.value)
    run = made.session.run
    assert made.bench.closed
    assert run.verdict is Verdict.MEASUREMENT_INVALID
    assert run.target is not None
    assert [t.measurement.name for t in run.trials] == made.bench.names[:-1]
    assert (run.recommendation is not None) == (role is Role.VERIFICATION)
    assert made.pipeline.evidence is None  # nothing that could be concluded again


def test_what_the_app_was_given_is_known_even_of_a_run_that_fails(tmp_path: Path) -> None:
    made = case(tmp_path, demand=[AppFailed("boot", "does not boot")])
    with pytest.raises(AppFailed):
        made.advise()
    assert made.session.environ == {"SECRET_KEY": "unsaid"}
    assert "postgresql://app:hidden@127.0.0.1/app" in made.session.database_urls


def test_the_run_is_concluded_again_from_what_it_saved(tmp_path: Path) -> None:
    """With a miss, so that one verification is evidence and the other is judged."""
    done = case(tmp_path, verification=[late]).advise()
    assert done.pipeline.evidence is not None
    file = tmp_path / "measurements.json.gz"
    saved.write(file, Saved.from_run(done.session.run, done.pipeline.evidence))
    text = gzip.decompress(file.read_bytes()).decode()
    assert "unsaid" not in text  # the app's environment
    assert "hidden" not in text  # its database's password
    again = conclude_again(saved.read(file))
    run = done.session.run
    assert again.recommendation == run.recommendation
    assert again.baselines == run.baselines
    assert again.verification is not None
    assert run.verification is not None
    assert again.verification.rows == run.verification.rows
    assert (again.verdict, again.failure) == (run.verdict, run.failure)
    assert again.demand is not None
    assert run.demand is not None
    assert again.demand.cpu_s == run.demand.cpu_s
    assert again.demand.worker == run.demand.worker
    assert again.findings == run.findings
    assert again.notes == run.notes


def test_a_dry_run_plans_and_loads_nothing(tmp_path: Path) -> None:
    made = case(tmp_path)
    plan = made.pipeline.dry_run(made.progress)
    assert [t["name"] for t in plan["trials"]] == ["demand", "contrast", "preload", "verification"]
    assert not hasattr(made, "bench")


def test_with_time_left_a_leak_is_traced_to_its_lines_and_allocators_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(measured: Measurement) -> Measurement:
        served = np.linspace(0.0, 9000.0, 200)
        anon = 40e6 + 2048.0 * served
        return replace(
            measured, memory_series=(MemorySeries(1, np.linspace(0, 60, 200), served, anon, anon),)
        )

    other = allocators.Alternative("fewer arenas", {"MALLOC_ARENA_MAX": "2"})
    monkeypatch.setattr(allocators, "alternatives", lambda environ, installed: [other])
    changes = {name: [leaking] for name in ("demand", "contrast", "preload")}
    done = case(tmp_path, **changes, allocator=[MeasurementInvalid("no time")]).advise()
    assert done.session.run.demand is not None
    assert done.session.run.demand.worker.leak_class == "leak"
    assert done.bench.names == [*BEFORE, "verification", "holders", "allocator"]
    servers = {name: server for name, server, *_ in done.bench.ran}
    assert servers["holders"] == servers["allocator"] == "embedded"
    # one that fails costs no answer
    assert any("failed: no time" in note for note in done.session.run.notes)
    assert done.session.run.verification is not None
