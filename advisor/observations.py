"""The measurements of a run so far, one for each role: all that conclusions rest on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pretune.advisor.profiler.measurement import Measurement, Role


@dataclass(frozen=True)
class Observations:
    """The trials of one run, each in its role; None and () for those that were not run.

    ``servers`` holds the contrast trial again: on the server of the answer, or in a comparison on
    every other server that takes part. ``verifications`` are in the order in which they ran.
    ``preload_failed``: why the preloaded trial could not be run, "" where it could.
    """

    demand: Measurement
    contrast: Measurement | None = None
    servers: tuple[Measurement, ...] = ()
    alone: Measurement | None = None
    sync: Measurement | None = None
    sync_alone: Measurement | None = None
    crowd: Measurement | None = None
    front: Measurement | None = None
    preload: Measurement | None = None
    verifications: tuple[Measurement, ...] = ()
    preload_failed: str = ""

    @classmethod
    def from_trials(cls, trials: Iterable[Measurement]) -> Observations:
        """Sort trials by their roles. Raises ValueError where none has the demand's."""
        with_role = [t for t in trials if t.role is not None]
        first = next((t for t in with_role if t.role is Role.DEMAND), None)
        if first is None:
            raise ValueError("there is no demand trial")
        observations = cls(first)
        for trial in with_role:
            observations = observations.plus(trial)
        return observations

    def plus(self, trial: Measurement) -> Observations:
        """Add a trial, in place of an earlier one of its role unless the role may have several."""
        match trial.role:
            case None:
                return self
            case Role.SERVER:
                return replace(self, servers=(*self.servers, trial))
            case Role.VERIFICATION:
                return replace(self, verifications=(*self.verifications, trial))
            case role:
                changes: dict[str, Any] = {role.name.lower(): trial}
                return replace(self, **changes)

    def changed(self, change: Callable[[Measurement], Measurement]) -> Observations:
        """The same with every trial changed."""
        return Observations.from_trials([change(trial) for trial in self.all()])

    def all(self) -> tuple[Measurement, ...]:
        """Every trial, in the order of the fields."""
        single = (self.alone, self.sync, self.sync_alone, self.crowd, self.front, self.preload)
        trials = (self.demand, self.contrast, *self.servers, *single, *self.verifications)
        return tuple(t for t in trials if t is not None)

    def saturated(self) -> tuple[Measurement, ...]:
        """Trials of one worker with several requests at once: the contrast, then other servers'."""
        return (*(() if self.contrast is None else (self.contrast,)), *self.servers)

    def memory_trials(self) -> tuple[Measurement, ...]:
        """Further trials that show what the demand trial's process tree consists of.

        Another server's tree is no evidence of that. Servers preload differently, too, so that
        trial runs on the server of the answer, and counts wherever it ran.
        """
        here = self.demand.conditions.server
        trials = (self.crowd, self.front, self.preload, *self.verifications)
        return tuple(
            t
            for t in trials
            if t is not None and (t.conditions.server == here or t.role is Role.PRELOAD)
        )
