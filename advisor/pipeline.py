"""The main job: preflight, trials, demand, model, recommendation, verification, findings.

The steps fill in one Run, so that a run which ends early still leaves all it has learned.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pretune.advisor import judge
from pretune.advisor.demand import allocators, breakdown, server_costs
from pretune.advisor.demand import estimate as demand
from pretune.advisor.demand.values import Demand
from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.findings import diagnose
from pretune.advisor.model import extrapolation, memory
from pretune.advisor.model.calibration import Calibration, calibrate
from pretune.advisor.model.case import discipline
from pretune.advisor.model.occupancy import idle_workers
from pretune.advisor.model.predict import capacity, predict
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.preflight import preflight
from pretune.advisor.preflight.options import SHORTEST_TIME_BUDGET_S, Options
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.preflight.servers import EMBEDDED
from pretune.advisor.profiler.measurement import Conditions, Measurement
from pretune.advisor.progress import Progress
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import answer, search, today
from pretune.advisor.recommendation.today import Today
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources import cgroups
from pretune.advisor.resources.budget import UNLOADED_SOURCE, Budget
from pretune.advisor.resources.trial_cgroup import MEMORY_FRACTION
from pretune.advisor.reverse_proxy import cost, steps
from pretune.advisor.reverse_proxy.values import Fronted
from pretune.advisor.run import Failure, Run, Trial, Verification
from pretune.advisor.trials import follow_up, plan
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.plan import PlannedTrial
from pretune.advisor.verdict import Verdict
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.logs import log_tail
from pretune.advisor.workspace.reaper import TIMED_OUT
from pretune.server.adapters.catalogue import offer
from pretune.server.settings import Settings

# A trial is repeated at most this often when the machine disturbed it.
REPEATS = 1
# How often the recommendation is revised when its verification broke a promise.
REVISIONS = 1
REPORT_S = 3.0  # writing the report
MODEL_S = 12.0  # searching, with all cores to itself, and writing the report


class Pipeline:
    """One run. ``advise`` may raise; ``result`` gives what is known whatever happened."""

    def __init__(self, options: Options, workspace: Workspace) -> None:
        self._options = options
        self._workspace = workspace
        self._run = Run(options.location.spec, options.seed, Verdict.NOT_ENOUGH_DATA)
        self._began = time.monotonic()
        # the search's own verdict, before anything was verified
        self._judged: Budget | None = None  # with the instances that were found
        self._predicted, self._reason = Verdict.NOT_ENOUGH_DATA, "no arrangement was predicted"

        # what the app was given: it holds secrets that no report may repeat
        self.environ: Mapping[str, str] = {}
        self.database_urls: tuple[str, ...] = ()

    def _learn_environment(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def result(self) -> Run:
        return self._run

    def failed(self, verdict: Verdict, error: AppFailed | MeasurementInvalid) -> None:
        """The run ends here; what was learned before stays."""
        if isinstance(error, AppFailed):
            failure = Failure(error.kind, error.message, error.traceback, error.log_tail)
        else:
            failure = Failure("measurement", str(error))
        self._run = replace(self._run, verdict=verdict, failure=failure)

    def cleaned(self, outcome: Mapping[str, object]) -> None:
        """How the minder's work went; a teardown that failed is worth a note."""
        code = outcome.get("teardown")
        if code in (None, 0):
            return
        said = "did not end in time" if code == TIMED_OUT else f"ended with exit code {code}"
        self._run = self._run.with_notes(
            f"the teardown command {said}; its output is in {self._workspace.log('teardown')}"
        )

    def dry_run(self, progress: Progress) -> dict[str, Any]:
        """What would be measured, without load."""
        from pretune.advisor.documents.plan import describe

        known = self._preflight(progress)
        whole = self._options.time_budget_s
        return describe(self._run, known, self._planned(known), self._budget(), whole)

    def advise(self, progress: Progress) -> None:
        """Raises AppFailed, MeasurementInvalid, Refused, HookError."""
        model = threading.Thread(target=_warm_up, name="model-warm-up", daemon=True)
        model.start()
        known = self._preflight(progress)
        # compiling would take CPU from the first trial
        progress.update("compiling the model")
        model.join()
        bench = Bench(self._workspace, known, progress)
        try:
            planned = self._planned(known)
            measured: list[Measurement] = []
            for number, trial in enumerate(planned):
                if trial.name == server_costs.CONTRAST_TRIAL:
                    most = known.budget.pg_connections
                    trial = plan.busy_contrast(trial, measured[0], most)
                if trial.name == "preload":
                    trial = plan.busy_preload(trial, measured[1])
                rest = sum(p.expected_s for p in planned[number + 1 :])
                after = rest + self._answer_s() + follow_up.RESERVE_S
                after += self._there_s(known, planned[number:])
                after += steps.expected_s(known, self._budget())
                server = known.servers.measured
                if trial.name == "preload" and known.servers.differ:
                    # servers preload differently: where the answer is for
                    server, trial = known.servers.verified, replace(trial, ramp_s=plan.RAMP_S)
                measured.append(self._trial(bench, trial, server, progress, after))
                if trial.name == server_costs.CONTRAST_TRIAL:
                    measured += self._there(known, bench, trial, measured, progress)
                if trial.name == server_costs.CONTRAST_TRIAL and known.front:
                    direct = [m for m in measured if m.name in server_costs.SATURATED_TRIALS][-1]
                    through = steps.cost_trial(
                        self._run, known, bench.workload, trial, direct, self._budget()
                    )
                    measured.append(
                        self._trial(bench, through, known.servers.verified, progress, math.inf)
                    )
                    self._run = steps.learned(self._run, measured[-1], direct)
            self._run = replace(self._run, workload=bench.workload)
            for _ in range(1 + REVISIONS):
                progress.phase("model", "searching workers x threads under all budgets", 8.0)
                solved = self._solve(known, bench, measured)
                if solved is not None and self._run.front and self._run.front.checks is None:
                    why = "the server without nginx and behind it: files, slow clients, uploads"
                    progress.phase("checks", why, steps.ASKING_S)
                    self._run = steps.asked(self._run, known, self._workspace, progress.update)
                if solved is None or self._verified(known, bench, solved, progress):
                    break
                # the model learns from its miss; the next answer is verified again
                measured.append(self._run.trials[-1].measurement)
                if self._left() < self._answer_s():
                    break
                progress.line("the prediction did not hold; once more with what was learned")
            self._look_further(known, bench, progress)
        finally:
            bench.close()
        self._conclude(known, bench)

    def _preflight(self, progress: Progress) -> Preflight:
        known = preflight.run(self._options, self._workspace, progress, self._learn_environment)
        databases = [d.get("url") or "" for d in known.inspection.get("databases", ())]
        self.database_urls = (known.database_url or "", *databases)
        self._run = replace(
            self._run,
            target=known.target,
            budget=known.budget,
            database=known.database,
            slo=known.slo,
            slo_source="" if known.slo.p95_s else UNLOADED_SOURCE,
            workload=known.workload,
            boot_memory=known.inspection["boot_memory"],
            server=known.servers.label,
            front=Fronted(known.front.name, known.front.version) if known.front else None,
            today=_today(known),
            notes=known.notes,
        )
        return known

    def _planned(self, known: Preflight) -> tuple[PlannedTrial, ...]:
        return plan.trials(
            known.target.interface,
            self._budget(),
            known.budget.pg_connections,
            preloads=all(
                offer(server).preloads
                for server in (known.servers.measured, known.servers.verified)
            ),
        )

    def _trial(
        self,
        bench: Bench,
        planned: PlannedTrial,
        server: str,
        progress: Progress,
        after_s: float,
    ) -> Measurement:
        """The measurement, repeated when the machine disturbed it and time allows.

        ``after_s``: what is still to come needs so long. Raises for a trial that says nothing.
        """
        load = planned.load(self._options.seed)
        for attempt in range(1 + REPEATS):
            progress.phase(planned.name, planned.why, planned.expected_s)
            result = bench.run(
                planned.name,
                planned.settings,
                load,
                server=server,
                probes=planned.probes,
                stop_under_load=planned.stop_under_load,
                front=planned.front,
            )
            if not result.disturbed or attempt == REPEATS:
                break
            if self._left() < planned.expected_s + after_s:
                break
            progress.line(f"{planned.name}: disturbed ({result.disturbed}); once more")
        self._run = replace(self._run, trials=(*self._run.trials, Trial(result)))
        if planned.name == "demand":
            _check_first(result, self._workspace)
        return result

    def _there(
        self,
        known: Preflight,
        bench: Bench,
        contrast: PlannedTrial,
        before: Sequence[Measurement],
        progress: Progress,
    ) -> list[Measurement]:
        """What the app costs on the server of the answer. ``before``: the demand and the contrast
        trial."""
        _, on_first = before
        planned = plan.there(
            _server(known),
            contrast,
            on_first.conditions.server_cores,
            self._budget(),
            known.budget.pg_connections,
            rps=None if bench.workload.locustfile else known.slo.rps,
            carried_rps=on_first.throughput_rps.value,
        )
        found = [
            self._trial(bench, trial, known.servers.verified, progress, after_s=math.inf)
            for trial in planned
        ]
        self._run = replace(self._run, server_costs=server_costs.learned([*before, *found]))
        return found

    def _there_s(self, known: Preflight, planned: Sequence[PlannedTrial]) -> float:
        """How long that takes, if it is still to come."""
        budget = known.budget
        return sum(
            trial.expected_s
            for contrast in planned
            if contrast.name == server_costs.CONTRAST_TRIAL
            for trial in plan.there(
                _server(known), contrast, budget.cores, self._budget(), budget.pg_connections
            )
        )

    def _budget(self) -> float:
        """For trials; what is asked of the front besides is taken off."""
        whole = self._options.time_budget_s
        if self._options.front is None:
            return whole
        return max(SHORTEST_TIME_BUDGET_S, whole - steps.ASKING_S)

    def _answer_s(self) -> float:
        """What solving and one verification take."""
        asking = self._options.front is not None and not (
            self._run.front and self._run.front.checks
        )
        checks = steps.ASKING_S if asking else 0.0
        return MODEL_S + plan.duration("verification", self._budget()) + plan.AROUND_S + checks

    def _left(self) -> float:
        return self._began + self._options.time_budget_s - time.monotonic()

    def _solve(
        self, known: Preflight, bench: Bench, measured: Sequence[Measurement]
    ) -> _Solved | None:
        """Demand, calibration and the joint search; None when nothing fits the budgets."""
        # memory of another server's tree is no evidence of what this one's consists of
        alike = [
            m
            for m in measured[2:]
            if m.name not in server_costs.COST_TRIALS
            and (m.conditions.server == known.servers.measured or m.name == "preload")
        ]
        found = demand.assemble(
            bench.workload,
            measured[0],
            measured[1],
            alike,
            returned_at_boot_bytes=known.inspection["boot_memory"]["returned_bytes"],
            costs=self._run.server_costs,
            seed=self._options.seed,
        )
        if self._run.front is not None:
            found = cost.on(found, self._run.front.cost)
        # the budget's machine: this one unless the user says otherwise
        beyond = extrapolation.extrapolate(known.budget, measured[0].conditions.server_cores)
        there = extrapolation.moved(
            server_costs.on(found, known.servers.verified, measured[0].settings.worker_class),
            known.budget.cpu_factor or 1.0,
        )
        slo = known.slo
        source = "--p95"
        if slo.p95_s is None:
            slo = replace(slo, p95_s=search.slo_p95(there, slo))
            source = UNLOADED_SOURCE
        assert slo.p95_s is not None
        tuning = calibrate(found, measured, seed=self._options.seed)
        explained = breakdown.assemble(bench.workload, measured[0], measured[1])
        self._run = replace(
            self._run,
            demand=found,
            extrapolation=beyond,
            inside=explained,
            own_lock=tuning.lock,
            slo=slo,
            slo_source=source,
        )
        # a rate that is asked for comes as arrivals; a locustfile's users are its own
        arrivals = slo.rps is not None and bench.workload.locustfile is None
        answered = answer.solve(
            answer.Question(
                there,
                known.budget,
                slo,
                budget_conditions(known, self._run.front),
                known.target.interface,
                extrapolation.widened(tuning, beyond.log_sd),
                bench.think_s,
                arrivals,
                self._options.seed,
                self._run.today.settings if self._run.today else None,
            )
        )
        outcome = answered.found
        self._judged = answered.budget
        self._run = replace(
            self._run,
            candidates=outcome.candidates,
            recommendation=today.compared(outcome.recommendation, self._run.today),
            baselines=answered.baselines,
            today=_predicted_today(self._run.today, answered),
            fleet=answered.fleet,
        )
        self._predicted, self._reason = outcome.verdict, outcome.reason
        if outcome.recommendation is None:
            return None
        self._run = steps.told(self._run, known)
        # what is promised there, in this machine's time
        p95_s = slo.p95_s * found.unloaded_p95_s / there.unloaded_p95_s
        rps = answered.each_rps if arrivals else None
        return _Solved(found, outcome.recommendation, tuning, p95_s, rps)

    def _verified(
        self, known: Preflight, bench: Bench, solved: _Solved, progress: Progress
    ) -> bool:
        """Runs the recommendation, predicted for the trial's own conditions and measured there.

        Whether every promise was kept; a prediction that missed by little is no reason to go on.
        """
        server = known.servers.verified
        wanted = solved.recommendation.settings
        there = server_costs.on(solved.demand, server, wanted.worker_class)
        settings = self._verifiable(known, bench, there, wanted)
        through = steps.through(self._run, known, bench.workload, settings, 0.0, known.budget.cores)
        conditions = replace(
            bench.conditions(server, through), generator_cpu_s_per_request=there.generator_cpu_s
        )
        given: dict[str, Any] = {
            "seed": self._options.seed,
            "reserve_bytes": known.budget.reserve_bytes,
            "calibration": solved.calibration,
            "think_s": bench.think_s,
        }
        predicted, rps = self._expected(solved, there, settings, conditions, given)
        what = f"{predicted.users} users" if rps is None else f"{rps:g} requests a second"
        # a leak is worth more with its lines than with a longer look at the answer
        reserve = follow_up.RESERVE_S if there.worker.leak_class == "leak" else 0.0
        after = reserve + REPORT_S if reserve else 0.0
        planned = PlannedTrial(
            "verification",
            f"{settings.workers} workers x {settings.threads} threads on {server}, {what}"
            + (f", through {known.front.name}" if known.front else ""),
            settings,
            predicted.users,
            plan.verification_duration(self._budget(), self._left(), after),
            stop_under_load=True,
            rps=rps,
            ramp_s=plan.RAMP_S if server != EMBEDDED and rps is None else 0.0,
            front=steps.through(
                self._run,
                known,
                bench.workload,
                settings,
                predicted.throughput_rps.value,
                conditions.server_cores,
            ),
        )
        seconds = planned.duration_s
        idle = Interval.exact(0.0)  # arrivals find every worker in turn
        if rps is None:
            idle = idle_workers(discipline(server, settings), settings.workers, predicted.users)
        predicted = replace(
            predicted,
            pss_bytes=memory.peak_pss_of_trial(
                there.worker, settings, predicted.throughput_rps, seconds, idle
            ),
        )
        measured = self._trial(bench, planned, server, progress, after_s=reserve)
        *others, _ = self._run.trials
        trial = Trial(measured, predicted)
        assert self._run.slo is not None
        slo = replace(self._run.slo, p95_s=solved.p95_s)
        rows = judge.rows(predicted, measured, self._judged or known.budget, slo)
        self._run = replace(
            self._run,
            trials=(*others, trial),
            verification=Verification(
                trial, rows, solved.p95_s, known.servers.worker_class(settings.worker_class)
            ),
        )
        return not judge.broken(measured, self._judged or known.budget, slo)

    def _verifiable(
        self, known: Preflight, bench: Bench, there: Demand, wanted: Settings
    ) -> Settings:
        """With no more workers than this machine can run."""
        settings = plan.verifiable(
            wanted,
            there.worker,
            cgroups.available_ram() * MEMORY_FRACTION,
            bench.conditions(known.servers.verified).server_cores,
            known.budget.pg_connections,
        )
        if settings != wanted:
            self._run = self._run.with_notes(
                f"{wanted.workers} workers are more than this machine can run; "
                f"{settings.workers} of them were verified"
            )
        return settings

    def _expected(
        self,
        solved: _Solved,
        there: Demand,
        settings: Settings,
        conditions: Conditions,
        given: Mapping[str, Any],
    ) -> tuple[Prediction, float | None]:
        """What the verification is to show, and at how many requests/s; None: by users."""
        rps = solved.rps
        if rps is None:
            return capacity(there, settings, conditions, solved.p95_s, **given), None
        if self._run.fleet or self._run.extrapolation != extrapolation.NOTHING:
            # what was asked of a larger machine may be more than this one can show
            most = capacity(there, settings, conditions, solved.p95_s, arrivals=True, **given)
            rps = min(rps, most.rps or rps)
        return predict(there, settings, 0, conditions, rps=rps, **given), rps

    def _look_further(self, known: Preflight, bench: Bench, progress: Progress) -> None:
        """With the time that is left, what explains the memory; it changes no answer."""
        for question in follow_up.questions(self._run, known.environ, allocators.installed()):
            trial = question.trial
            if self._left() < trial.expected_s + REPORT_S:
                return
            progress.phase(trial.name, trial.why, trial.expected_s)
            load = trial.load(self._options.seed)
            # Snapshots are taken by our own worker; memory is compared on one server.
            server = EMBEDDED if question.watch else known.servers.measured
            try:
                measured = bench.run(
                    trial.name,
                    trial.settings,
                    load,
                    server=server,
                    environ=question.environ,
                    watch=question.watch,
                )
            except (AppFailed, MeasurementInvalid) as error:
                self._run = self._run.with_notes(f"the trial of {trial.why} gave nothing: {error}")
                continue
            self._run = question.learn(self._run, measured)

    def _conclude(self, known: Preflight, bench: Bench) -> None:
        """The verdict and the findings, from all that is known."""
        assert self._run.slo is not None
        verdict, why = judge.verdict(
            self._run, self._judged or known.budget, self._run.slo, self._predicted, self._reason
        )
        failure = Failure("verdict", why) if why else None
        self._run = judge.with_doubt(replace(self._run, verdict=verdict, failure=failure))
        self._run = replace(
            self._run, findings=diagnose.diagnose(self._run, known.inspection.get("settings"))
        )


@dataclass(frozen=True)
class _Solved:
    demand: Demand
    recommendation: Recommendation
    calibration: Calibration
    p95_s: float
    rps: float | None  # of one instance, where the verification's load is an open one


def _server(known: Preflight) -> plan.Server:
    servers = known.servers
    return plan.Server(servers.verified, servers.differ, offer(servers.verified))


def _today(known: Preflight) -> Today | None:
    deployed = known.look.deployed
    if deployed is None:
        return None
    return today.of(deployed, known.target.interface, known.servers.verified)


def _predicted_today(found: Today | None, answered: answer.Answer) -> Today | None:
    if found is None or answered.today is None:
        return found
    baseline = answered.today
    return replace(found, predicted=baseline.predicted, violates=baseline.violates)


def budget_conditions(known: Preflight, before: Fronted | None = None) -> Conditions:
    """Of the machine the budget describes: no generator there, a local database competes."""
    return Conditions(
        server_cores=known.budget.cores,
        shared_cores=0.0,
        pinned=False,
        database_local=bool(known.database and known.database.local),
        server=known.servers.verified,
        front=before.name if before else "",
        front_keeps=before is None or before.keeps,
    )


def _check_first(measured: Measurement, workspace: Workspace) -> None:
    """Whether the demand trial can carry any advice. Raises AppFailed, MeasurementInvalid."""
    silent = judge.unanswered(measured)
    if silent:
        raise MeasurementInvalid(silent)
    if measured.requests == 0 or measured.error_rate == 1.0:
        shown = "; ".join(f"{what} ({count})" for what, count in measured.errors[:5])
        raise AppFailed(
            "only_errors",
            f"under load the app answered only errors: {shown or 'no answer at all'}",
            log_tail=log_tail(workspace.log(measured.name)),
        )
    if measured.generator_saturated:
        raise MeasurementInvalid(
            f"the load generator used {measured.generator_cpu:.0%} of its core: "
            "what it saw is not what the app can do"
        )


def _warm_up() -> None:
    from pretune.advisor.model.simulation import warm_up

    warm_up()
