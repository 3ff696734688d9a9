"""The comparison as it runs: what the app costs, each server's own best, then turn after turn.

It begins as the main job does, on the embedded server. What is recommended for each is for the
cores that measure, not for the budget's: every number is then about the same thing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from pretune.advisor.demand import estimate as demand
from pretune.advisor.demand import server_costs
from pretune.advisor.demand.values import Demand
from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.model.calibration import Calibration, calibrate
from pretune.advisor.model.predict import capacity, predict
from pretune.advisor.pipeline import Pipeline
from pretune.advisor.preflight.options import Options
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.preflight.servers import EMBEDDED, GUNICORN, START
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.progress import Progress
from pretune.advisor.recommendation import search
from pretune.advisor.resources import cgroups
from pretune.advisor.resources.budget import P95_FACTOR, Budget, Slo
from pretune.advisor.resources.trial_cgroup import MEMORY_FRACTION
from pretune.advisor.run import Failure, Trial
from pretune.advisor.trials import plan
from pretune.advisor.trials.bench import Bench, Stage
from pretune.advisor.trials.plan import PlannedTrial
from pretune.advisor.verdict import Verdict
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.workload import Load
from pretune.server.adapters.launch import Launch

STEP_RAMP_S = 0.5  # users of a step begin at random moments of so many seconds
STEP_WARM_S = 0.3  # and so long after that counts for nothing
CHECK_S = 1.5  # of load before anything is done to a server
CHECK_USERS = 8  # at least: so that some requests wait when it happens


@dataclass(frozen=True)
class _Known:
    """What every server's answer is made of."""

    demand: Demand
    budget: Budget
    slo: Slo
    tuning: Calibration
    think_s: float


class Comparison(Pipeline):
    """``compare`` may raise; ``outcome`` gives what is known whatever happened."""

    def __init__(self, options: Options, workspace: Workspace, asked: Sequence[str] | None) -> None:
        # One instance, as much as it carries, on these cores: what a comparison is about.
        alone = replace(
            options, server=EMBEDDED, front=None, rps=None, instances=1, cpu_factor=None
        )
        super().__init__(alone, workspace)
        self._asked = asked
        self._entries: dict[str, Entry] = {}
        self._absent: tuple[contestants.Absent, ...] = ()
        self._users = 0
        self._plan = times.Plan()

    def outcome(self) -> Result:
        return Result(
            run=self._run,
            entries=tuple(self._entries.values()),
            absent=self._absent,
            users=self._users,
            time_budget_s=self._budget(),
            took_s=time.monotonic() - self._began,
        )

    def compare(self, progress: Progress) -> None:
        """Raises AppFailed, MeasurementInvalid, Refused, HookError."""
        model = threading.Thread(target=_warm_up, name="model-warm-up", daemon=True)
        model.start()
        known = self._preflight(progress)
        target = known.target
        here, self._absent = contestants.find(self._asked, target.interface, target.python)
        self._entries = {server.verified: Entry(server) for server in here}
        self._set_times()
        model.join()
        if not here:
            self._end(Verdict.NOT_ENOUGH_DATA, "none of the servers asked for can carry this app")
            return
        bench = Bench(self._workspace, known, progress)
        try:
            first = self._first_trials(known, bench, progress)
            self._recommend(self._learn(known, bench, first), bench, progress)
            self._rounds(bench, progress)
            self._live(known, bench, progress)
        finally:
            bench.close()
        self._conclude_comparison()

    def _set_times(self) -> None:
        count = len(self._entries)
        if self._options.sources.get("time_budget") != "--time-budget":
            self._options = replace(self._options, time_budget_s=times.budget_s(count))
        self._plan = times.plan(self._budget(), count)

    # ---- what the app costs, and what each server adds

    def _first_trials(
        self, known: Preflight, bench: Bench, progress: Progress
    ) -> list[Measurement]:
        interface, connections = known.target.interface, known.budget.pg_connections
        alone, together, *_ = plan.trials(interface, self._budget(), connections, preloads=False)
        alone = replace(alone, duration_s=self._plan.demand_s)
        together = replace(together, duration_s=self._plan.contrast_s)
        measured = [self._trial(bench, alone, EMBEDDED, progress, after_s=0.0)]
        together = plan.busy_contrast(together, measured[0], connections)
        measured.append(self._trial(bench, together, EMBEDDED, progress, after_s=0.0))
        cores = measured[1].conditions.server_cores
        crowd = plan.crowd_trial(together, cores, self._budget(), connections)
        if crowd is not None:
            crowd = replace(crowd, duration_s=self._plan.cost_s)
            measured.append(self._trial(bench, crowd, EMBEDDED, progress, after_s=math.inf))
        kind = together.settings.worker_class
        found = {(EMBEDDED, kind): server_costs.cost_of(measured[1])}
        for name in self._entries:
            if name == EMBEDDED:
                continue
            there = self._cost_trial(bench, name, together, progress)
            if there is not None:
                measured.append(replace(there, name=server_costs.COST_TRIAL))
                found[name, kind] = server_costs.cost_of(there)
                if (name, kind) == (GUNICORN, "gthread"):
                    found[name, "sync"] = found[name, kind]
        self._run = replace(
            self._run,
            workload=bench.workload,
            server_costs={key: cost for key, cost in found.items() if cost is not None},
        )
        return measured

    def _cost_trial(
        self, bench: Bench, name: str, contrast: PlannedTrial, progress: Progress
    ) -> Measurement | None:
        planned = replace(
            contrast,
            name=f"{name}-cost",
            why=f"the same on {name}: what changes there",
            duration_s=self._plan.cost_s,
            ramp_s=plan.RAMP_S,
            stop_under_load=False,
        )
        try:
            return self._trial(bench, planned, name, progress, after_s=math.inf)
        except (AppFailed, MeasurementInvalid) as error:
            self._change(name, failure=_first_line(error))
            return None

    def _learn(self, known: Preflight, bench: Bench, measured: Sequence[Measurement]) -> _Known:
        found = demand.assemble(
            bench.workload,
            measured[0],
            measured[1],
            [m for m in measured[2:] if m.name != server_costs.COST_TRIAL],
            returned_at_boot_bytes=known.inspection["boot_memory"]["returned_bytes"],
            costs=self._run.server_costs,
            seed=self._options.seed,
        )
        tuning = calibrate(found, measured, seed=self._options.seed)
        slo = replace(known.slo, p95_s=search.slo_p95(found, known.slo))
        source = "--p95"
        if known.slo.p95_s is None:
            source = f"{P95_FACTOR:g} x the unloaded p95, on the embedded server"
        cores = min(known.budget.cores, bench.conditions().server_cores)
        self._run = replace(self._run, demand=found, slo=slo, slo_source=source)
        budget = replace(known.budget, cores=cores)
        return _Known(found, budget, slo, tuning, bench.think_s)

    # ---- each at its own best

    def _recommend(self, known: _Known, bench: Bench, progress: Progress) -> None:
        for name in self._going():
            progress.phase("model", f"what is best on {name}", times.MODEL_S)
            self._recommend_for(name, known, bench)
        if not self._going():
            return
        most = [
            e.recommendation.predicted.users for e in self._entries.values() if e.recommendation
        ]
        self._users = max(1, min(most) // 2)
        for name in self._going():
            settings = self._entries[name].settings
            assert settings is not None
            there = server_costs.on(known.demand, name, settings.worker_class)
            conditions = replace(
                bench.conditions(name), generator_cpu_s_per_request=there.generator_cpu_s
            )
            alike = predict(
                there, settings, self._users, conditions,
                reserve_bytes=known.budget.reserve_bytes, **self._given(known),
            )  # fmt: skip
            self._change(name, alike=alike)

    def _given(self, known: _Known) -> dict[str, Any]:
        return {
            "seed": self._options.seed,
            "calibration": known.tuning,
            "think_s": known.think_s,
        }

    def _recommend_for(self, name: str, known: _Known, bench: Bench) -> None:
        interface = self._run.target.interface if self._run.target else "wsgi"
        kind = "asgi" if interface == "asgi" else "gthread"
        there = server_costs.on(known.demand, name, kind)
        conditions = replace(
            bench.conditions(name), generator_cpu_s_per_request=there.generator_cpu_s
        )
        given = self._given(known)
        seed = given.pop("seed")
        model = partial(capacity, **given)
        found = search.recommend(
            there, known.budget, known.slo, conditions, interface, model, seed=seed
        )
        if found.recommendation is None:
            self._change(name, failure=found.reason)
            return
        settings = plan.verifiable(
            found.recommendation.settings,
            there.worker,
            cgroups.available_ram() * MEMORY_FRACTION,
            conditions.server_cores,
            known.budget.pg_connections,
        )
        self._change(name, recommendation=found.recommendation, settings=settings)

    # ---- turn after turn

    def _rounds(self, bench: Bench, progress: Progress) -> None:
        number, took = 0, 0.0
        while self._going() and times.another(number, self._left(), took, len(self._going())):
            began = time.monotonic()
            order = self._going()
            for name in order[number % len(order) :] + order[: number % len(order)]:
                if self._late():
                    return
                turn = self._turn(bench, self._entries[name], number + 1, progress)
                self._change(name, turns=(*self._entries[name].turns, turn))
            number, took = number + 1, time.monotonic() - began

    def _turn(self, bench: Bench, entry: Entry, number: int, progress: Progress) -> Turn | None:
        assert entry.settings is not None
        slo = self._run.slo
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
            measured = bench.run(
                name, entry.settings, load, server=entry.name, then=look_for_the_end
            )
        except AppFailed as error:
            self._change(entry.name, failure=f"round {number}: {_first_line(error)}")
            return None
        except MeasurementInvalid as error:
            self._run = self._run.with_notes(f"{name} gave nothing: {error}")
            return None
        if measured.disturbed:
            progress.line(f"{name}: disturbed ({measured.disturbed})")
        self._run = replace(self._run, trials=(*self._run.trials, Trial(measured, entry.alike)))
        return Turn(name, measured, tuple(steps), crossing(steps, slo))

    def _first_users(self, entry: Entry) -> tuple[int, int]:
        """Where to begin, and how many loads there may be."""
        before = [turn.crossing for turn in entry.done if turn.crossing is not None]
        if before:
            return before[-1].users, FURTHER_STEPS
        assert entry.recommendation is not None
        return entry.recommendation.predicted.users, FIRST_STEPS

    def _step(self, stage: Stage, users: int, number: int) -> Step:
        seconds = STEP_RAMP_S + STEP_WARM_S + self._plan.step_s
        sent = stage.send(Load(users, seconds, self._seed(number), ramp_s=STEP_RAMP_S))
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
        return self._options.seed + number

    # ---- what deploys and supervisors do to it

    def _live(self, known: Preflight, bench: Bench, progress: Progress) -> None:
        if bench.workload.locustfile:
            self._run = self._run.with_notes(
                "reload, recycling and TERM were not tried: the users of a locustfile may act on "
                "what is lost"
            )
        for name in self._going():
            if self._late():
                return
            if not bench.workload.locustfile:
                self._try_signals(bench, self._entries[name], progress)
                self._try_recycling(bench, self._entries[name], progress)
            self._try_broken(known, self._entries[name], progress)

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
            self._run = self._run.with_notes(f"{name} gave nothing: {_first_line(error)}")

    def _try_broken(self, known: Preflight, entry: Entry, progress: Progress) -> None:
        progress.phase("lifecycle", f"{entry.server.label}: an app that does not boot", 3.0)
        assert entry.settings is not None
        directory = self._workspace.directory("broken")
        directory.chmod(0o755)
        tries = broken.write(directory)
        rings = self._workspace.directory(f"broken-{entry.name}")
        launch = Launch(
            target=broken.TARGET,
            settings=entry.settings,
            python=known.target.python,
            chdir=directory,
            env=self._workspace.marked(known.environ),
            log=self._workspace.log(f"{entry.name}-broken"),
            bind=broken.free_address(),
            telemetry=rings,
            cores=known.core_plan.server,
            on_spawn=self._workspace.spawned,
        )
        self._learn_of(entry.name, boot=broken.watch(START[entry.name], launch, tries))

    # ---- the entries

    def _late(self) -> bool:
        limit = times.limit_s(self._budget(), len(self._entries))
        return time.monotonic() - self._began > limit

    def _going(self) -> list[str]:
        """Who has not dropped out."""
        return [name for name, entry in self._entries.items() if not entry.failure]

    def _change(self, name: str, **changes: Any) -> None:
        self._entries[name] = replace(self._entries[name], **changes)

    def _learn_of(self, name: str, **changes: Any) -> None:
        found: Lifecycle = replace(self._entries[name].lifecycle, **changes)
        self._change(name, lifecycle=found)

    def _conclude_comparison(self) -> None:
        entries = self._entries.values()
        if any(e.done for e in entries) and self._late():
            self._end(
                Verdict.NOT_ENOUGH_DATA,
                f"{times.LATE:g} times as long as it should take, and not at the end: the machine "
                "is too busy for a comparison",
            )
        elif any(t.crossing is not None for e in entries for t in e.done):
            self._run = replace(self._run, verdict=Verdict.FITS)
        elif any(step.enough for e in entries for t in e.done for step in t.steps):
            self._end(Verdict.DOES_NOT_FIT, "no server keeps the SLO, with the fewest users tried")
        elif any(e.done for e in entries):
            self._end(Verdict.NOT_ENOUGH_DATA, "too few answers under load for a p95")
        else:
            said = "; ".join(f"{e.name}: {e.failure}" for e in entries if e.failure)
            self._end(Verdict.DOES_NOT_FIT, said or "no server could be measured")

    def _end(self, verdict: Verdict, why: str) -> None:
        self._run = replace(self._run, verdict=verdict, failure=Failure("verdict", why))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _warm_up() -> None:
    from pretune.advisor.model.simulation import warm_up

    warm_up()
