"""The main job: preflight, trials, conclusion, verification, findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pretune.advisor import verification
from pretune.advisor.conclusion import Conclusion, conclude
from pretune.advisor.demand import allocators
from pretune.advisor.demand.apart import judge_apart
from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.model import simulation
from pretune.advisor.observations import Observations
from pretune.advisor.outcome import finish, with_conclusion
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.options import SHORTEST_TIME_BUDGET_S
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
from pretune.advisor.trials import answering, follow_up, plan, sequence
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.plan import PlannedTrial, Terms
from pretune.advisor.trials.runner import Trials
from pretune.loadtests import slow

# How often the recommendation is revised when its verification broke a promise.
REVISIONS = 1
REPORT_S = 3.0  # writing the report
MODEL_S = 12.0  # searching, with all cores to itself, and writing the report


class Pipeline:
    """One run to its answer. ``bench`` makes what runs the trials: the real one, or a stand-in."""

    def __init__(self, session: Session, bench: Callable[..., Bench] = Bench) -> None:
        self._session = session
        self._make_bench = bench
        self.evidence: Evidence | None = None  # of the answer, once the run has come to its end

    def dry_run(self, progress: Progress) -> dict[str, Any]:
        """Describe what would be measured, without load."""
        from pretune.advisor.documents.plan import describe

        preflight = self._session.preflight(progress)
        planned = sequence.planned(self._terms(preflight))
        whole = self._session.options.time_budget_s
        return describe(self._session.run, preflight, planned, self._trials_budget_s, whole)

    def advise(self, progress: Progress) -> None:
        """Raises AppFailed, MeasurementInvalid, Refused, HookError."""
        session = self._session
        compiling = simulation.start_warm_up()
        preflight = session.preflight(progress)
        # compiling would take CPU from the first trial
        progress.update("compiling the model")
        compiling.join()
        bench = self._make_bench(session.workspace, preflight, progress)
        try:
            trials = Trials(bench, progress, session.options.seed, session.deadline)
            observations = self._observe(preflight, trials)
            self._measure_apart(preflight, trials)
            session.run = replace(session.run, workload=bench.workload)
            facts = replace(preflight.facts, workload=bench.workload)
            conclusion, evidence = self._answer(preflight, facts, observations, trials)
            self._follow_up(preflight, conclusion, observations, trials)
        finally:
            bench.close()
            for problem in bench.problems.values():
                session.note(problem)
        session.run = finish(session.run, facts, conclusion)
        self.evidence = evidence

    def _terms(self, preflight: Preflight) -> Terms:
        return Terms(
            interface=preflight.target.interface,
            servers=preflight.servers,
            cores=preflight.budget.cores,
            pg_connections=preflight.budget.pg_connections,
            seconds=plan.durations(self._trials_budget_s),
            rps=preflight.rps,
            front=preflight.front.name if preflight.front else "",
            through=lambda settings, rps: steps.configure_for_trial(
                self._session.run.front, preflight, preflight.workload, settings, rps, 1.0
            ),
        )

    @property
    def _trials_budget_s(self) -> float:
        """Seconds of the time budget, without what the checks of the reverse proxy take."""
        options = self._session.options
        if options.front is None:
            return options.time_budget_s
        return max(SHORTEST_TIME_BUDGET_S, options.time_budget_s - checks.SECONDS)

    @property
    def _answer_s(self) -> float:
        """Seconds for a conclusion and its verification."""
        front = self._session.run.front
        checks_s = checks.SECONDS if front is not None and front.checks is None else 0.0
        load_s = plan.duration(Role.VERIFICATION, self._trials_budget_s)
        return MODEL_S + load_s + plan.AROUND_S + plan.BETWEEN_S + checks_s

    def _observe(self, preflight: Preflight, trials: Trials) -> Observations:
        """Run the trials before the answer."""
        session = self._session

        def run(planned: PlannedTrial, server: str, after_s: float) -> Measurement:
            after_s += self._answer_s + follow_up.RESERVE_S
            measured = trials.run(planned, server, after_s)
            session.add_trial(measured)
            return measured

        left_out: list[str] = []

        def leave_out(planned: PlannedTrial) -> bool:
            if trials.overruns:
                left_out.append(planned.name)
            return bool(trials.overruns)

        *_, observations = sequence.observe(self._terms(preflight), run, leave_out=leave_out)
        if left_out:
            session.note(
                f"{'; '.join(trials.overruns)}: to keep near the time budget of "
                f"{session.options.time_budget_s:.0f} s these trials were left out: "
                f"{', '.join(left_out)}"
            )
        if observations.front is not None:
            direct = observations.saturated()[-1]
            assert session.run.front is not None
            self._set_front(*steps.learn_cost(session.run.front, observations.front, direct))
        return observations

    def _measure_apart(self, preflight: Preflight, trials: Trials) -> None:
        """Run the routes that would starve the others, where time allows. It changes no answer."""
        session, apart = self._session, preflight.workload.apart
        planned = plan.plan_apart(self._terms(preflight), apart, self._trials_budget_s)
        if planned is None or trials.left_s < planned.expected_s + self._answer_s:
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
            )
        except (AppFailed, MeasurementInvalid) as error:
            session.note(f"the trial of {planned.why} failed: {error}")
            return
        session.run = replace(session.run, slow=judge_apart(apart, measured))

    def _answer(
        self, preflight: Preflight, facts: Facts, observations: Observations, trials: Trials
    ) -> tuple[Conclusion, Evidence]:
        """Conclude and verify; once more where the verification broke a promise."""
        for revision in range(1 + REVISIONS):
            if revision:
                trials.progress.line(
                    "the prediction did not hold; trying again with what was learned"
                )
            detail = "searching workers x threads under all budgets"
            trials.progress.phase("model", detail, 8.0)
            conclusion, evidence = self._conclude(facts, observations, trials.bench)
            if conclusion.recommendation is None:
                break
            self._check_front(preflight, trials)
            measured, kept = self._verify(facts, conclusion, trials)
            if kept or answering.loses_requests(measured, observations.contrast):
                break
            # the model learns from its miss; the next answer is verified again
            observations = observations.plus(measured)
            if trials.left_s < self._answer_s:
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
        self, facts: Facts, conclusion: Conclusion, trials: Trials
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
                self._trials_budget_s, trials.left_s - REPORT_S, after_s
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
        measured = trials.run(planned.trial, server, reserve_s)
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
                )
            except (AppFailed, MeasurementInvalid) as error:
                session.note(f"the trial of {trial.why} failed: {error}")
                continue
            session.run = session.run.with_learned(each.learn(measured))
