"""One run of the tool: what it was asked, where it works, and the value that it fills in.

What a run has learned stays in ``run`` however it ends, so that a run which ends early still
leaves a report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.findings import diagnose
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.preflight import preflight
from pretune.advisor.preflight.options import Options
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.progress import Progress
from pretune.advisor.recommendation import today
from pretune.advisor.resources.budget import UNLOADED_SOURCE
from pretune.advisor.reverse_proxy.values import Fronted
from pretune.advisor.run import Failure, Run, Trial
from pretune.advisor.time_budget import TimeBudget
from pretune.advisor.verdict import Verdict
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.logs import log_tail
from pretune.advisor.workspace.reaper import TIMED_OUT


class Session:
    """``environ`` and ``database_urls`` are what the app was given: secrets that no report may
    repeat. ``find`` is preflight's ``run``, or a stand-in."""

    def __init__(
        self,
        options: Options,
        workspace: Workspace,
        find: Callable[..., Preflight] = preflight.run,
    ) -> None:
        self.options = options
        self.workspace = workspace
        self.run = Run(options.location.spec, options.seed, Verdict.NOT_ENOUGH_DATA)
        self.environ: Mapping[str, str] = {}
        self.database_urls: tuple[str, ...] = ()
        self.time_budget = TimeBudget(options.time_budget_s)
        self._find = find

    def preflight(self, progress: Progress) -> Preflight:
        """Raises AppFailed, OutOfTime, Refused, HookError."""
        facts = self._find(
            self.options, self.workspace, progress, self._learn_environment, self.time_budget
        )
        self.database_urls = (facts.database_url or "", *facts.database_urls)
        deployed = facts.look.deployed
        interface, server = facts.target.interface, facts.servers.verified
        self.run = replace(
            self.run,
            target=facts.target,
            budget=facts.budget,
            database=facts.database,
            slo=facts.slo,
            slo_source="" if facts.slo.p95_s else UNLOADED_SOURCE,
            workload=facts.workload,
            boot_memory=facts.boot_memory,
            server=facts.servers.label,
            front=Fronted(facts.front.name, facts.front.version) if facts.front else None,
            today=None if deployed is None else today.take_deployed(deployed, interface, server),
            notes=facts.notes,
        )
        return facts

    def _learn_environment(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def add_trial(self, measured: Measurement, predicted: Prediction | None = None) -> None:
        self.run = replace(self.run, trials=(*self.run.trials, Trial(measured, predicted)))

    def note(self, sentence: str) -> None:
        self.run = self.run.with_notes(sentence)

    def fail(self, verdict: Verdict, error: AppFailed | MeasurementInvalid) -> None:
        """End the run here; what was learned before stays."""
        if isinstance(error, AppFailed):
            tail = error.log_tail or self._last_log_tail()
            failure = Failure(error.kind, error.message, error.traceback, tail)
        else:
            failure = Failure(error.kind, str(error), error.traceback)
        self.run = replace(self.run, verdict=verdict, failure=failure)
        self.run = replace(self.run, findings=diagnose.diagnose(self.run))

    def _last_log_tail(self) -> str:
        """The end of the log of the last trial's server."""
        if not self.run.trials:
            return ""
        return log_tail(self.workspace.log(self.run.trials[-1].measurement.name))

    def note_cleanup(self, outcome: Mapping[str, object]) -> None:
        """Note a teardown that failed; ``outcome`` is the reaper's."""
        code = outcome.get("teardown")
        if code in (None, 0):
            return
        ending = "did not end in time" if code == TIMED_OUT else f"ended with exit code {code}"
        log = self.workspace.log("teardown")
        self.note(f"the teardown command {ending}; its output is in {log}")
