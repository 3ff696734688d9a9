"""The joint search for settings under every budget, and the reason for each setting."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pretune.advisor.model import paired
from pretune.advisor.model.paired import Difference
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.shown import Shown
from pretune.advisor.recommendation.evidence import Evidence
from pretune.server.settings import Settings

UNKNOWN_BINDING = "unknown"
# found by arithmetic, however little is known of times
ARITHMETIC = frozenset({"ram_bytes", "pg_connections", "fds", "rps"})


@dataclass(frozen=True)
class Candidate:
    """One arrangement at the highest load that keeps the SLO; ``rejected_by`` "" for the winner.

    ``difference``: from the winner; None for the winner itself, and where there is none.
    """

    settings: Settings
    predicted: Prediction
    rejected_by: str
    difference: Difference | None = None


@dataclass(frozen=True)
class Baseline:
    """Somebody else's formula on the same app and budget.

    ``difference``: from what is recommended; None where that is for several machines.
    """

    name: str
    settings: Settings
    predicted: Prediction
    violates: tuple[str, ...]
    difference: Difference | None = None

    def beside(self, recommended: Recommendation) -> Baseline:
        """With the difference from what is recommended."""
        ours = recommended.settings, recommended.predicted
        found = paired.difference((self.settings, self.predicted), ours)
        return replace(self, difference=found)


@dataclass(frozen=True)
class Advice:
    """Something to set around the server; ``reason`` is one sentence or two."""

    name: str
    value: int | str
    reason: str


@dataclass(frozen=True)
class Recommendation:
    """``headroom``: budget name -> fraction of it left free by the prediction's upper end.

    ``server``: that the answer is for. ``impossible``: setting -> why that server does not have it
    as it is set.
    """

    settings: Settings
    predicted: Prediction
    binding: str
    headroom: tuple[tuple[str, float], ...]
    reasons: tuple[tuple[str, str], ...]  # setting -> sentence
    deployment: tuple[Advice, ...] = ()
    server: str = ""
    impossible: tuple[tuple[str, str], ...] = ()
    evidence: tuple[tuple[str, Evidence], ...] = ()  # setting -> what stands behind its value
    shown: Shown | None = None  # the trial that carried more than the model is sure of

    def doubted(self, why: str) -> Recommendation:
        """With what binds left open, because ``why``. What a budget forbids is arithmetic and
        stays."""
        if self.binding in ARITHMETIC:
            return self
        named = self.predicted.explanation
        expected = f"probably, but not certainly, {named}"
        return replace(
            self,
            binding=UNKNOWN_BINDING,
            predicted=replace(self.predicted, explanation=f"{why}; {expected}"),
            reasons=tuple((name, reason.replace(named, expected)) for name, reason in self.reasons),
        )
