"""The joint search for settings under every budget, and the reason for each setting."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.advisor.model.prediction import Prediction
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Candidate:
    """One arrangement at the highest load that keeps the SLO; ``rejected_by`` "" for the winner."""

    settings: Settings
    predicted: Prediction
    rejected_by: str


@dataclass(frozen=True)
class Baseline:
    """Somebody else's formula on the same app and budget."""

    name: str
    settings: Settings
    predicted: Prediction
    violates: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """Something to set around the server; ``reason`` is one sentence or two."""

    name: str
    value: int | str
    reason: str


@dataclass(frozen=True)
class Recommendation:
    """``headroom``: budget name -> fraction of it left free by the prediction's upper end."""

    settings: Settings
    predicted: Prediction
    binding: str
    headroom: tuple[tuple[str, float], ...]
    reasons: tuple[tuple[str, str], ...]  # setting -> sentence
    deployment: tuple[Advice, ...] = ()
