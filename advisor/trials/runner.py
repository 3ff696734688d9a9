"""Planned trials, run: until a deadline, and once more where the machine disturbed one."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from pretune.advisor.failure import OutOfTime
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.progress import Progress
from pretune.advisor.time_budget import TimeBudget
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.plan import PlannedTrial

# A trial is repeated at most this often when the machine disturbed it.
REPEATS = 1


@dataclass(frozen=True)
class Trials:
    """A bench, the traffic's seed, and the time that all may take."""

    bench: Bench
    progress: Progress
    seed: int
    time_budget: TimeBudget

    @property
    def left_s(self) -> float:
        return self.time_budget.left_s

    def run(
        self,
        planned: PlannedTrial,
        server: str,
        after_s: float = math.inf,
        until: float = math.inf,
    ) -> Measurement:
        """Run a trial; repeat it where the machine disturbed it and time allows.

        ``after_s``: what is still to come needs so long; infinite: it is not repeated. ``until``
        (``time.monotonic``) it is over: with less load where time is short, or ended. Raises
        AppFailed, MeasurementInvalid, and OutOfTime where there is no time for it.
        """
        for attempt in range(1 + REPEATS):
            trial = planned.within(until - time.monotonic())
            if trial is None:
                raise OutOfTime(f"no time was left for the trial {planned.name}")
            self.progress.phase(trial.name, trial.why, trial.expected_s)
            measured = self.bench.run(
                trial.name,
                trial.settings,
                trial.load(self.seed),
                further=[replace(each, seed=self.seed) for each in trial.further],
                role=trial.role,
                server=server,
                probes=trial.probes,
                stop_under_load=trial.stop_under_load,
                front=trial.front,
                until=until,
            )
            disturbed = next(
                (m.disturbed for m in (measured, *measured.further) if m.disturbed), ""
            )
            if not disturbed or attempt == REPEATS:
                break
            if self.left_s < trial.expected_s + after_s:
                break
            self.progress.line(f"{trial.name}: disturbed ({disturbed}); repeating it")
        return measured
