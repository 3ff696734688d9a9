"""Planned trials, run: until a deadline, and once more where the machine disturbed one."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.progress import Progress
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.plan import PlannedTrial

# What a trial may take longer than planned on a busy machine; beyond that it has overrun.
OVERRUN_S = 10.0
# A trial is repeated at most this often when the machine disturbed it.
REPEATS = 1


@dataclass(frozen=True)
class Trials:
    """A bench, the traffic's seed, and when the run should end (``time.monotonic``)."""

    bench: Bench
    progress: Progress
    seed: int
    deadline: float
    overruns: list[str] = field(default_factory=list)  # "demand took 21 s instead of 6 s"

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, planned: PlannedTrial, server: str, after_s: float = math.inf) -> Measurement:
        """Run a trial; repeat it where the machine disturbed it and time allows.

        ``after_s``: what is still to come needs so long; infinite: it is not repeated. Raises
        AppFailed, MeasurementInvalid.
        """
        load = planned.load(self.seed)
        for attempt in range(1 + REPEATS):
            self.progress.phase(planned.name, planned.why, planned.expected_s)
            began = time.monotonic()
            measured = self.bench.run(
                planned.name,
                planned.settings,
                load,
                further=[replace(each, seed=self.seed) for each in planned.further],
                role=planned.role,
                server=server,
                probes=planned.probes,
                stop_under_load=planned.stop_under_load,
                front=planned.front,
            )
            took_s = time.monotonic() - began
            if took_s > planned.expected_s + OVERRUN_S:
                self.overruns.append(
                    f"{planned.name} took {took_s:.0f} s instead of {planned.expected_s:.0f} s"
                )
                break
            disturbed = next(
                (m.disturbed for m in (measured, *measured.further) if m.disturbed), ""
            )
            if not disturbed or attempt == REPEATS:
                break
            if self.left_s < planned.expected_s + after_s:
                break
            self.progress.line(f"{planned.name}: disturbed ({disturbed}); repeating it")
        return measured
