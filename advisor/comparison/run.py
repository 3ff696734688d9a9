"""The comparison as it runs: what the app costs, each server's own best, then turn after turn.

It begins as the main job does, on the embedded server. What is recommended for each is for the
cores that measure, not for the budget's: every number is then about the same thing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pretune.advisor.comparison import broken, contestants, lifecycle
from pretune.advisor.comparison import plan as times
from pretune.advisor.comparison.entry import Entry, Result, Turn
from pretune.advisor.comparison.lifecycle import Check, Lifecycle
from pretune.advisor.comparison.steps import (
    FIRST_STEPS,
    FURTHER_STEPS,
    Step,
    crossing,
    next_users,
    step_of,
)
from pretune.advisor.conclusion import Estimate, estimate, pose_question
from pretune.advisor.demand import server_costs
from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.model import simulation
from pretune.advisor.model.predict import capacity, predict
from pretune.advisor.model.question import Question
from pretune.advisor.observations import Observations
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.preflight.servers import EMBEDDED, START, Servers
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.progress import Progress
from pretune.advisor.recommendation import search
from pretune.advisor.resources import cgroups
from pretune.advisor.resources.trial_cgroup import MEMORY_FRACTION
from pretune.advisor.run import Failure
from pretune.advisor.session import Session
from pretune.advisor.trials import plan, sequence
from pretune.advisor.trials.bench import Bench, Stage
from pretune.advisor.trials.plan import PlannedTrial, Terms
from pretune.advisor.trials.runner import Trials
from pretune.advisor.verdict import Verdict
from pretune.advisor.verification import runnable
from pretune.loadtests.workload import Load
from pretune.server.adapters.launch import Launch

FIRST = frozenset({Role.DEMAND, Role.CONTRAST, Role.CROWD})  # trials on the embedded server
STEP_RAMP_S = 0.5  # users of a step begin at random moments of so many seconds
STEP_WARM_S = 0.3  # and so long after that counts for nothing
CHECK_S = 1.5  # of load before anything is done to a server
CHECK_USERS = 8  # at least: so that some requests wait when it happens


class Comparison:
    """One comparison. ``compare`` may raise; ``outcome`` gives what is known whatever happened.

    ``bench`` makes what runs the trials: the real one, or a stand-in.
    """

    def __init__(
        self,
        session: Session,
        asked: Sequence[str] | None,
        bench: Callable[..., Bench] = Bench,
    ) -> None:
        # One instance, as much as it carries, on these cores: what a comparison is about.
        session.options = replace(
            session.options, server=EMBEDDED, front=None, rps=None, instances=1, cpu_factor=None
        )
        self._session = session
        self._make_bench = bench
        self._asked = asked
        self._entries: dict[str, Entry] = {}
        self._absent: tuple[contestants.Absent, ...] = ()
        self._users = 0
        self._plan = times.Plan()

    def outcome(self) -> Result:
        return Result(
            run=self._session.run,
            entries=tuple(self._entries.values()),
            absent=self._absent,
            users=self._users,
            time_budget_s=self._budget_s,
            took_s=time.monotonic() - self._session.time_budget.began,
        )

    def compare(self, progress: Progress) -> None:
        """Raises AppFailed, MeasurementInvalid, Refused, HookError."""
        session = self._session
        compiling = simulation.start_warm_up()
        preflight = session.preflight(progress)
        target = preflight.target
        here, self._absent = contestants.find(self._asked, target.interface, target.python)
        self._entries = {server.verified: Entry(server) for server in here}
        self._set_times()
        compiling.join()
        if not here:
            self._end(Verdict.NOT_ENOUGH_DATA, "none of the servers asked for can carry this app")
            return
        bench = self._make_bench(session.workspace, preflight, progress)
        trials = Trials(bench, progress, session.options.seed, session.time_budget)
        try:
            observations = self._observe(preflight, trials)
            facts = self._facts(preflight, bench)
            estimate = self._estimate(facts, observations)
            self._recommend(facts, estimate, trials)
            self._rounds(trials)
            self._live(preflight, trials)
        finally:
            bench.close()
        self._conclude_comparison()

    @property
    def _budget_s(self) -> float:
        return self._session.options.time_budget_s

    def _set_times(self) -> None:
        session, count = self._session, len(self._entries)
        if session.options.sources.get("time_budget") != "--time-budget":
            session.options = replace(session.options, time_budget_s=times.budget_s(count))
            session.time_budget.seconds = self._budget_s
        self._plan = times.plan(self._budget_s, count)

    # ---- what the app costs, and what each server adds

    def _observe(self, preflight: Preflight, trials: Trials) -> Observations:
        """Run the app's first trials on the embedded server, then one on each other server."""
        terms = self._terms(preflight)

        def run(planned: PlannedTrial, server: str, after_s: float) -> Measurement:
            measured = trials.run(planned, server, after_s)
            self._session.add_trial(measured)
            return measured

        *_, observations = sequence.observe(terms, run, FIRST)
        for name in self._entries:
            if name != EMBEDDED:
                terms_on_server = replace(terms, servers=Servers(EMBEDDED, name))
                observations = self._observe_server(terms_on_server, observations, trials)
        self._session.run = replace(
            self._session.run,
            workload=trials.bench.workload,
            server_costs=server_costs.learn_costs(observations),
        )
        return observations

    def _terms(self, preflight: Preflight) -> Terms:
        return Terms(
            interface=preflight.target.interface,
            servers=Servers(EMBEDDED, EMBEDDED),
            cores=preflight.budget.cores,
            pg_connections=preflight.budget.pg_connections,
            seconds={
                Role.DEMAND: self._plan.demand_s,
                Role.CONTRAST: self._plan.contrast_s,
                Role.CROWD: self._plan.cost_s,
                Role.SERVER: self._plan.cost_s,
            },
        )

    def _observe_server(
        self, terms: Terms, observations: Observations, trials: Trials
    ) -> Observations:
        """Run the contrast trial on another server; it drops out where that fails."""
        server = terms.servers.verified
        planned = plan.plan_server(terms, observations)
        assert planned is not None
        planned = replace(planned, name=f"{server}-cost", ramp_s=plan.RAMP_S, stop_under_load=False)
        try:
            measured = trials.run(planned, server)
        except (AppFailed, MeasurementInvalid) as error:
            self._change(server, failure=_first_line(error))
            return observations
        self._session.add_trial(measured)
        return observations.plus(measured)

    def _facts(self, preflight: Preflight, bench: Bench) -> Facts:
        """Preflight's, with a budget of the cores that measure."""
        cores = min(preflight.budget.cores, bench.conditions().server_cores)
        budget = replace(preflight.budget, cores=cores)
        return replace(preflight.facts, workload=bench.workload, budget=budget)

    def _estimate(self, facts: Facts, observations: Observations) -> Estimate:
        estimated = estimate(facts, observations, seed=self._session.options.seed)
        source = estimated.slo_source
        if facts.slo.p95_s is None:
            source = f"{source}, on the embedded server"
        self._session.run = replace(
            self._session.run, demand=estimated.demand, slo=estimated.slo, slo_source=source
        )
        return estimated

    # ---- each at its own best

    def _recommend(self, facts: Facts, estimated: Estimate, trials: Trials) -> None:
        for name in self._going():
            trials.progress.phase("model", f"what is best on {name}", times.MODEL_S)
            question = self._ask(name, facts, estimated, trials.bench)
            self._recommend_for(name, question)
        if not self._going():
            return
        most = [
            e.recommendation.predicted.users for e in self._entries.values() if e.recommendation
        ]
        self._users = max(1, min(most) // 2)
        for name in self._going():
            settings = self._entries[name].settings
            assert settings is not None
            question = self._ask(name, facts, estimated, trials.bench, settings.worker_class)
            of_one = replace(question, budget=replace(question.budget, instances=1))
            alike = predict(of_one, settings, self._users)
            self._change(name, alike=alike)

    def _ask(
        self,
        name: str,
        facts: Facts,
        estimated: Estimate,
        bench: Bench,
        worker_class: str | None = None,
    ) -> Question:
        """The question of a server's best settings, in the conditions of its trials here."""
        question = pose_question(
            facts,
            estimated,
            bench.conditions(name),
            seed=self._session.options.seed,
            think_s=bench.think_s,
            worker_class=worker_class,
        )
        generator_cpu_s = question.demand.generator_cpu_s
        return replace(
            question,
            conditions=replace(question.conditions, generator_cpu_s_per_request=generator_cpu_s),
        )

    def _recommend_for(self, name: str, question: Question) -> None:
        search_result = search.recommend(replace(question, arrivals=False), capacity)
        if search_result.recommendation is None:
            self._change(name, failure=search_result.reason)
            return
        settings = runnable(
            search_result.recommendation.settings,
            question.demand.worker,
            cgroups.available_ram() * MEMORY_FRACTION,
            question.conditions.server_cores,
            question.budget.pg_connections,
        )
        self._change(name, recommendation=search_result.recommendation, settings=settings)

    # ---- turn after turn

    def _rounds(self, trials: Trials) -> None:
        number, took = 0, 0.0
        while self._going() and times.another(number, trials.left_s, took, len(self._going())):
            began = time.monotonic()
            order = self._going()
            for name in order[number % len(order) :] + order[: number % len(order)]:
                if self._late():
                    return
                turn = self._turn(trials, self._entries[name], number + 1)
                self._change(name, turns=(*self._entries[name].turns, turn))
            number, took = number + 1, time.monotonic() - began

    def _turn(self, trials: Trials, entry: Entry, number: int) -> Turn | None:
        assert entry.settings is not None
        slo, progress = self._session.run.slo, trials.progress
        assert slo is not None
        steps: list[Step] = []
        first, most = self._first_users(entry)

        def look_for_the_end(stage: Stage) -> None:
            while (users := next_users(steps, slo, first, most)) is not None:
                progress.update(f"{users} users")
                steps.append(self._step(stage, users, number))

        name = f"{entry.name}-{number}"
        progress.phase(f"round {number}", entry.server.label, self._plan.turn_s)
        load = self._load(self._plan.alike_s, number)
        try:
            measured = trials.bench.run(
                name, entry.settings, load, server=entry.name, then=look_for_the_end
            )
        except AppFailed as error:
            self._change(entry.name, failure=f"round {number}: {_first_line(error)}")
            return None
        except MeasurementInvalid as error:
            self._session.note(f"{name} could not be measured: {error}")
            return None
        if measured.disturbed:
            progress.line(f"{name}: disturbed ({measured.disturbed})")
        self._session.add_trial(measured, entry.alike)
        return Turn(name, measured, tuple(steps), crossing(steps, slo))

    def _first_users(self, entry: Entry) -> tuple[int, int]:
        """The users of the first load, and how many loads there may be."""
        before = [turn.crossing for turn in entry.done if turn.crossing is not None]
        if before:
            return before[-1].users, FURTHER_STEPS
        assert entry.recommendation is not None
        return entry.recommendation.predicted.users, FIRST_STEPS

    def _step(self, stage: Stage, users: int, number: int) -> Step:
        seconds = STEP_RAMP_S + STEP_WARM_S + self._plan.step_s
        sent = stage.send(
            Load(users, seconds, self._seed(number), stage.think_s, ramp_s=STEP_RAMP_S)
        )
        began = sent.result.time_started
        return step_of(
            users,
            sent.records,
            began + STEP_RAMP_S + STEP_WARM_S,
            began + seconds,
            sent.result.cpu_fraction,
        )

    def _load(self, seconds: float, number: int) -> Load:
        return Load(self._users, seconds, self._seed(number), ramp_s=plan.RAMP_S)

    def _check_load(self) -> Load:
        return Load(max(CHECK_USERS, 2 * self._users), CHECK_S, self._seed(0))

    def _seed(self, number: int) -> int:
        """Every server has the same traffic in one round."""
        return self._session.options.seed + number

    # ---- what deploys and supervisors do to it

    def _live(self, preflight: Preflight, trials: Trials) -> None:
        bench, progress = trials.bench, trials.progress
        if bench.workload.locustfile:
            self._session.note(
                "reload, recycling and TERM were not tried, because a locustfile's users may "
                "react to lost requests"
            )
        for name in self._going():
            if self._late():
                return
            if not bench.workload.locustfile:
                self._try_signals(bench, self._entries[name], progress)
                self._try_recycling(bench, self._entries[name], progress)
            self._try_broken(preflight, self._entries[name], progress)

    def _try_signals(self, bench: Bench, entry: Entry, progress: Progress) -> None:
        load = self._check_load()

        def act(stage: Stage) -> None:
            self._learn_of(entry.name, reload=lifecycle.reload(stage, load))
            if stage.server.exit_code is None:
                self._learn_of(entry.name, term=lifecycle.term(stage, load))

        progress.phase("lifecycle", f"{entry.server.label}: reload and TERM under load", 9.0)
        assert entry.settings is not None
        self._try(bench, entry, "signals", entry.settings, act)

    def _try_recycling(self, bench: Bench, entry: Entry, progress: Progress) -> None:
        assert entry.settings is not None
        hindrance = lifecycle.recycles(entry.name, entry.settings)
        if hindrance:
            self._learn_of(entry.name, recycling=Check(None, hindrance))
            return
        load = self._check_load()
        rates = [turn.measured.throughput_rps.value for turn in entry.done]
        settings = lifecycle.recycled(entry.settings, rates[-1] if rates else math.nan)

        def act(stage: Stage) -> None:
            self._learn_of(entry.name, recycling=lifecycle.recycling(stage, load))

        progress.phase("lifecycle", f"{entry.server.label}: recycling under load", 9.0)
        self._try(bench, entry, "recycling", settings, act)

    def _try(
        self, bench: Bench, entry: Entry, what: str, settings: Any, act: Callable[[Stage], None]
    ) -> None:
        name = f"{entry.name}-{what}"
        try:
            bench.run(name, settings, self._check_load(), server=entry.name, then=act)
        except (AppFailed, MeasurementInvalid) as error:
            self._session.note(f"{name} gave nothing: {_first_line(error)}")

    def _try_broken(self, preflight: Preflight, entry: Entry, progress: Progress) -> None:
        progress.phase("lifecycle", f"{entry.server.label}: an app that does not boot", 3.0)
        assert entry.settings is not None
        directory = self._session.workspace.directory("broken")
        directory.chmod(0o755)
        tries = broken.write(directory)
        rings = self._session.workspace.directory(f"broken-{entry.name}")
        launch = Launch(
            target=broken.TARGET,
            settings=entry.settings,
            python=preflight.target.python,
            chdir=directory,
            env=self._session.workspace.marked(preflight.environ),
            log=self._session.workspace.log(f"{entry.name}-broken"),
            bind=broken.free_address(),
            telemetry=rings,
            cores=preflight.core_plan.server,
            on_spawn=self._session.workspace.spawned,
        )
        self._learn_of(entry.name, boot=broken.watch(START[entry.name], launch, tries))

    # ---- the entries

    def _late(self) -> bool:
        limit = times.limit_s(self._budget_s, len(self._entries))
        return time.monotonic() - self._session.time_budget.began > limit

    def _going(self) -> list[str]:
        """Names of the servers that have not dropped out."""
        return [name for name, entry in self._entries.items() if not entry.failure]

    def _change(self, name: str, **changes: Any) -> None:
        self._entries[name] = replace(self._entries[name], **changes)

    def _learn_of(self, name: str, **changes: Any) -> None:
        observed: Lifecycle = replace(self._entries[name].lifecycle, **changes)
        self._change(name, lifecycle=observed)

    def _conclude_comparison(self) -> None:
        entries = self._entries.values()
        if any(e.done for e in entries) and self._late():
            self._end(
                Verdict.NOT_ENOUGH_DATA,
                f"{times.LATE:g} times as long as it should have taken, and it is not finished: "
                "the machine is too busy for a comparison",
            )
        elif any(t.crossing is not None for e in entries for t in e.done):
            self._session.run = replace(self._session.run, verdict=Verdict.FITS)
        elif any(step.enough for e in entries for t in e.done for step in t.steps):
            self._end(
                Verdict.DOES_NOT_FIT, "no server keeps the SLO, even with the fewest users tried"
            )
        elif any(e.done for e in entries):
            self._end(Verdict.NOT_ENOUGH_DATA, "too few answers under load for a p95")
        else:
            failures = "; ".join(f"{e.name}: {e.failure}" for e in entries if e.failure)
            self._end(Verdict.DOES_NOT_FIT, failures or "no server could be measured")

    def _end(self, verdict: Verdict, why: str) -> None:
        run = self._session.run
        self._session.run = replace(run, verdict=verdict, failure=Failure("verdict", why))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
