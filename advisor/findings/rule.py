"""What a rule of findings is: from a run to its evidence, and two sentences that quote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.run import Run


@dataclass(frozen=True)
class Case:
    """A run, and the settings the application itself was configured with, as inspected."""

    run: Run
    app: Mapping[str, Any]

    @property
    def trials(self) -> tuple[Measurement, ...]:
        return tuple(t.measurement for t in self.run.trials)

    @property
    def asgi(self) -> bool:
        return self.run.target is not None and self.run.target.interface == "asgi"


Evidence = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """``title`` and ``fix`` are formatted with the evidence; ``show`` makes numbers readable."""

    id: str
    severity: str
    evidence: Callable[[Case], Evidence | None]
    title: str
    fix: str
