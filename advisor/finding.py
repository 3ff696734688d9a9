"""One diagnosed problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """``id`` is stable and kebab-case; ``evidence`` holds measured numbers, unit in the name."""

    id: str
    severity: str
    title: str
    evidence: dict[str, Any]
    fix: str
