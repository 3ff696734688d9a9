"""The main job: preflight, trials, conclusion, verification, findings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pretune.advisor import verification
from pretune.advisor.conclusion import Conclusion, conclude
from pretune.advisor.demand import allocators, estimate
from pretune.advisor.demand.apart import judge_apart
from pretune.advisor.failure import AppFailed, MeasurementInvalid, OutOfTime
from pretune.advisor.headline import find_better
from pretune.advisor.model import simulation
from pretune.advisor.observations import Observations
from pretune.advisor.outcome import finish, with_conclusion
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.preflight.servers import EMBEDDED
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.progress import Progress
from pretune.advisor.resources import cgroups
from pretune.advisor.resources.trial_cgroup import MEMORY_FRACTION
from pretune.advisor.reverse_proxy import checks, steps
from pretune.advisor.reverse_proxy.values import Fronted
from pretune.advisor.saved import Evidence
from pretune.advisor.session import Session
from pretune.advisor.time_budget import REPORT_S
from pretune.advisor.trials import answering, follow_up, plan, sequence
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.plan import PlannedTrial, Terms
from pretune.advisor.trials.runner import Trials
from pretune.loadtests import slow

# How often the recommendation is revised when its verification broke a promise.
REVISIONS = 1
DEMAND_S = 3.0  # that the first trial may take longer on a busy machine, however late it is
BENCH_S = 2.0  # starting the load generator
MODEL_S = 4.0  # searching, with all cores to itself


class Pipeline:
    """One run to its answer. ``bench`` makes what runs the trials: the real one, or a stand-in."""

    def __init__(self, session: Session, bench: Callable[..., Bench] = Bench) -> None:
        self._session = session
        self._make_bench = bench
        self.evidence: Evidence | None = None  # of the answer, once the run has come to its end
        self._dropped: tuple[Role, ...] = ()  # trials that there is no room for

    def dry_run(self, progress: Progress) -> dict[str, Any]:
        """Describe what would be measured, without load."""
        from pretune.advisor.documents.plan import describe

        preflight = self._session.preflight(progress)
        terms, whole_s = self._terms(preflight), self._session.time_budget.seconds
        return describe(self._session.run, preflight, sequence.planned(terms), terms, whole_s)

    def advise(self, progress: Progress) -> None:
        """Raises AppFailed, MeasurementInvalid, OutOfTime, Refused, HookError."""
        session = self._session
        compiling = simulation.start_warm_up()
        preflight = session.preflight(progress)
        # compiling would take CPU from the first trial
        progress.update("compiling the model")
        with session.time_budget.not_counted("compiling the model, once"):
            compiling.join()
        with session.time_budget.counted(BENCH_S, "starting the load, on a busy machine"):
            bench = self._make_bench(session.workspace, preflight, progress)
        try:
            trials = Trials(bench, progress, session.options.seed, session.time_budget)
            terms = self._terms(preflight)
            observations = self._observe(terms, trials)
            self._measure_apart(preflight, terms, trials)
            session.run = replace(session.run, workload=bench.workload)
            if thin := estimate.describe_unmeasured(bench.workload, observations.demand):
                session.note(thin)
            facts = replace(preflight.facts, workload=bench.workload)
            conclusion, evidence = self._answer(preflight, facts, observations, terms, trials)
            self._follow_up(preflight, conclusion, observations, trials)
        finally:
            bench.close()
            for about, problem in bench.problems.items():
                session.note(self._explain(preflight, about, problem))
            if apart := session.time_budget.describe_apart():
                session.note(apart)
        session.run = finish(session.run, facts, conclusion)
        self.evidence = evidence

    def _explain(self, preflight: Preflight, about: str, problem: str) -> str:
        if about != "stop":
            return problem
        loss = answering.find_loss(trial.measurement for trial in self._session.run.trials)
        return answering.explain_stop(problem, loss, preflight.servers.label)

    def _terms(self, preflight: Preflight) -> Terms:
        """Return what plans depend on, with the seconds of load that there is room for now."""
        whole = Terms(
            interface=preflight.target.interface,
            servers=preflight.servers,
            cores=preflight.budget.cores,
            pg_connections=preflight.budget.pg_connections,
            seconds=plan.durations(self._session.time_budget.seconds),
            rps=preflight.rps,
            around_s=plan.around(preflight.target.boot_s),
            front=preflight.front.name if preflight.front else "",
            through=lambda settings, rps: steps.configure_for_trial(
                self._session.run.front, preflight, preflight.workload, settings, rps, 1.0
            ),
        )
        roles = {trial.role for trial in sequence.planned(whole)} | {Role.VERIFICATION}
        wanted = {role: whole.seconds[role] for role in Role if role in roles}
        room_s = self._session.time_budget.left_s - MODEL_S - REPORT_S - self._checks_s
        seconds = plan.fit(wanted, whole.around_s, room_s)
        self._dropped = tuple(role for role in wanted if role not in seconds)
        return replace(whole, seconds=seconds)

    def _describe_time(self, what: str, trials: Trials) -> str:
        """Say what the time budget had no room for, and what the app's boots took of it."""
        boots_s = trials.bench.boots_s
        boots = f", {sum(boots_s):.0f} s of it in {len(boots_s)} boots of the app" * bool(boots_s)
        return f"{what} (the time budget is {self._session.time_budget.seconds:.0f} s{boots})"

    @property
    def _checks_s(self) -> float:
        """Seconds that the checks of the reverse proxy will take."""
        front = self._session.run.front
        return checks.SECONDS if front is not None and front.checks is None else 0.0

    def _answer_s(self, terms: Terms) -> float:
        """Seconds for a conclusion and its verification."""
        verified_s = terms.seconds[Role.VERIFICATION] + terms.around_s + plan.BETWEEN_S
        return MODEL_S + self._checks_s + verified_s + REPORT_S

    def _observe(self, terms: Terms, trials: Trials) -> Observations:
        """Run the trials before the answer."""
        session, time_budget = self._session, self._session.time_budget
        left_out = [str(role) for role in self._dropped]

        def run(planned: PlannedTrial, server: str, after_s: float) -> Measurement | None:
            after_s += self._answer_s(terms) + follow_up.RESERVE_S
            until = time_budget.ends_at_last - MODEL_S - REPORT_S
            if planned.role is Role.DEMAND:  # without it there is nothing to say
                until = max(until, time.monotonic() + planned.expected_s + DEMAND_S)
            try:
                measured = trials.run(planned, server, after_s, until)
            except OutOfTime as error:
                if planned.role is Role.DEMAND:
                    raise OutOfTime(self._describe_time(f"{error}", trials)) from error
                left_out.append(planned.name)
                return None
            session.add_trial(measured)
            return measured

        def leave_out(planned: PlannedTrial) -> bool:
            late = trials.left_s < planned.expected_s + self._answer_s(terms)
            if late:
                left_out.append(planned.name)
            return late

        *_, observations = sequence.observe(terms, run, leave_out=leave_out)
        if left_out:
            what = f"left out for want of time: {', '.join(left_out)}"
            session.note(self._describe_time(what, trials))
        if observations.front is not None:
            direct = observations.saturated()[-1]
            assert session.run.front is not None
            self._set_front(*steps.learn_cost(session.run.front, observations.front, direct))
        return observations

    def _measure_apart(self, preflight: Preflight, terms: Terms, trials: Trials) -> None:
        """Run the routes that would starve the others, where time allows. It changes no answer."""
        session, apart = self._session, preflight.workload.apart
        planned = plan.plan_apart(terms, apart, session.time_budget.seconds)
        if planned is None or trials.left_s < planned.expected_s + self._answer_s(terms):
            return
        trials.progress.phase(planned.name, planned.why, planned.expected_s)
        try:
            measured = trials.bench.run(
                planned.name,
                planned.settings,
                planned.load(session.options.seed),
                server=preflight.servers.measured,
                probes=True,
                workload=slow.only_apart(preflight.workload),
                until=session.time_budget.ends_at_last - MODEL_S - REPORT_S,
            )
        except (AppFailed, MeasurementInvalid) as error:
            session.note(f"the trial of {planned.why} failed: {error}")
            return
        session.run = replace(session.run, slow=judge_apart(apart, measured))

    def _answer(
        self,
        preflight: Preflight,
        facts: Facts,
        observations: Observations,
        terms: Terms,
        trials: Trials,
    ) -> tuple[Conclusion, Evidence]:
        """Conclude and verify; once more where the verification broke a promise, or carried surely
        less than another trial of the run."""
        session = self._session
        for revision in range(1 + REVISIONS):
            if revision:
                trials.progress.line(
                    "the prediction did not hold; trying again with what was learned"
                )
            detail = "searching workers x threads under all budgets"
            trials.progress.phase("model", detail, 8.0)
            with session.time_budget.counted(MODEL_S, "the model, on a busy machine"):
                conclusion, evidence = self._conclude(facts, observations, trials.bench)
            if conclusion.recommendation is None:
                break
            self._check_front(preflight, trials)
            try:
                measured, kept = self._verify(facts, conclusion, terms, trials)
            except OutOfTime as error:
                # what an earlier answer showed says nothing of this one
                session.run = replace(session.run, verification=None)
                session.note(self._describe_time(f"not verified: {error}", trials))
                break
            kept = kept and find_better(session.run) is None
            if kept or answering.loses_requests(measured, observations.contrast):
                break
            # the model learns from its miss; the next answer is verified again
            observations = observations.plus(measured)
            if trials.left_s < self._answer_s(terms):
                break
        return conclusion, evidence

    def _conclude(
        self, facts: Facts, observations: Observations, bench: Bench
    ) -> tuple[Conclusion, Evidence]:
        session = self._session
        front = session.run.front
        keeps = front is None or front.keeps
        conclusion = conclude(
            facts,
            observations,
            seed=session.options.seed,
            think_s=bench.think_s,
            front_keeps=keeps,
        )
        session.run = with_conclusion(session.run, facts, conclusion)
        recommendation = conclusion.recommendation
        recommended = None if recommendation is None else recommendation.settings
        return conclusion, Evidence(facts, observations, bench.think_s, keeps, recommended)

    def _check_front(self, preflight: Preflight, trials: Trials) -> None:
        """Ask once what standing behind the reverse proxy gives."""
        session, advised = self._session, self._session.run.recommendation
        if session.run.front is None or session.run.front.checks is not None:
            return
        assert advised is not None
        why = "the server by itself and behind nginx: files, slow clients, uploads"
        trials.progress.phase("checks", why, checks.SECONDS)
        self._set_front(
            *steps.run_checks(
                session.run.front,
                preflight,
                advised.settings,
                advised.predicted.throughput_rps.value,
                session.workspace,
                trials.progress.update,
            )
        )

    def _set_front(self, front: Fronted, note: str) -> None:
        self._session.run = replace(self._session.run, front=front)
        if note:
            self._session.note(note)

    def _verify(
        self, facts: Facts, conclusion: Conclusion, terms: Terms, trials: Trials
    ) -> tuple[Measurement, bool]:
        """Run the recommendation; say whether every promise was kept. A prediction that missed by
        little is no reason to go on."""
        session, bench = self._session, trials.bench
        recommendation, server = conclusion.recommendation, facts.servers.verified
        assert recommendation is not None
        # a leak is worth more with its lines than with a longer trial of the answer
        leaks = conclusion.estimate.demand.worker.leak_class == "leak"
        after_s = follow_up.RESERVE_S + REPORT_S if leaks else 0.0
        through = partial(steps.configure_for_trial, session.run.front, facts, facts.workload)
        cores = bench.conditions(server).server_cores
        front = through(recommendation.settings, 0.0, cores)
        planned = verification.plan_verification(
            facts,
            conclusion,
            bench.conditions(server, front),
            seed=session.options.seed,
            think_s=bench.think_s,
            seconds=verification.plan_seconds(
                terms.seconds[Role.VERIFICATION], trials.left_s - REPORT_S, after_s
            ),
            free_bytes=cgroups.available_ram() * MEMORY_FRACTION,
            through=lambda settings, rps: through(settings, rps, cores),
        )
        if planned.reduced:
            session.note(
                f"{recommendation.settings.workers} workers are more than this machine can run; "
                f"{planned.trial.settings.workers} of them were verified"
            )
        reserve_s = follow_up.RESERVE_S if leaks else 0.0
        until = session.time_budget.ends_at_last - REPORT_S
        trial = replace(planned.trial, around_s=terms.around_s)
        measured = trials.run(trial, server, reserve_s, until)
        session.add_trial(measured, planned.whole.predicted)
        judged = verification.judge_verification(facts, conclusion, planned, measured)
        session.run = replace(session.run, verification=judged)
        return measured, verification.keeps_promises(conclusion, measured)

    def _follow_up(
        self,
        preflight: Preflight,
        conclusion: Conclusion,
        observations: Observations,
        trials: Trials,
    ) -> None:
        """Run, with the time that is left, what explains the memory; it changes no answer."""
        session = self._session
        worker = conclusion.estimate.demand.worker
        planned = follow_up.plan_follow_ups(
            worker, observations.contrast, preflight.environ, allocators.installed()
        )
        for each in planned:
            trial = each.trial
            if trials.left_s < trial.expected_s + REPORT_S:
                return
            trials.progress.phase(trial.name, trial.why, trial.expected_s)
            # Snapshots are taken by our own worker; memory is compared on one server.
            server = EMBEDDED if each.watch else preflight.servers.measured
            try:
                measured = trials.bench.run(
                    trial.name,
                    trial.settings,
                    trial.load(session.options.seed),
                    server=server,
                    environ=each.environ,
                    watch=each.watch,
                    until=session.time_budget.ends_at - REPORT_S,
                )
            except (AppFailed, MeasurementInvalid) as error:
                session.note(f"the trial of {trial.why} failed: {error}")
                continue
            session.run = session.run.with_learned(each.learn(measured))
