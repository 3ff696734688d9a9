"""Differences that an answer's sentences state, and whether measuring bears them out.

A sentence names another arrangement by one setting and says what it would carry; all else is as in
the answer. Of the best arrangement of another class the sentence gives the workers. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.servers.ratios import Estimate, paired
from pretune.server.settings import Settings

# "2 would carry 9.1% less", "3 would carry the same"
_CARRY = re.compile(r"(\d+) would carry (?:([\d.]+)% (more|less)|(the same))")
_SYNC = re.compile(
    r"best sync arrangement tried \((\d+) workers?\) is (?:([\d.]+)% slower|no faster)"
)
SAME = 0.02  # so near to 1 "the same" may be
TRUE, FALSE, OPEN = "true", "false", "cannot be told"


@dataclass(frozen=True)
class Claim:
    """``ratio``: the other's requests/s over the answer's, as stated; ``at_most``: or less."""

    text: str
    other: Settings
    ratio: float
    at_most: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "other": self.other.to_json(),
            "ratio": self.ratio,
            "at_most": self.at_most,
        }


def read(reasons: Mapping[str, str], answer: Settings) -> list[Claim]:
    """All that the sentences claim of arrangements that can be run."""
    found: list[Claim] = []
    for name in ("workers", "threads"):
        for match in _CARRY.finditer(reasons.get(name, "")):
            other = replace(answer, **{name: int(match[1])})
            change = float(match[2]) / 100 if match[2] else 0.0
            ratio = 1 + change if match[3] == "more" else 1 - change
            found.append(Claim(f"{name}: {match[0]}", other, ratio))
    match = _SYNC.search(reasons.get("worker_class", ""))
    if match:
        other = replace(answer, workers=int(match[1]), threads=1, worker_class="sync")
        loss = float(match[2]) / 100 if match[2] else 0.0
        found.append(Claim(f"worker_class: {match[0]}", other, 1 - loss, at_most=not match[2]))
    return found


def judge(ratio: float, at_most: bool, measured: Estimate | None, late: bool = False) -> str:
    """Hold a stated ratio against the measured one with its interval.

    A difference is true where it is measured in the same direction, false where the interval lies
    on the other side, or shows that there is none; "the same" is false where there is one.
    ``late``: the other broke the p95 at this load and the answer did not, so it carries less.
    """
    if measured is None:
        return OPEN
    if late and ratio < 1 - SAME:
        return TRUE
    low, high = measured.low, measured.high
    if at_most:
        return TRUE if high <= 1 + SAME else FALSE if low > 1 + SAME else OPEN
    if abs(ratio - 1) <= SAME:
        if low >= 1 - SAME and high <= 1 + SAME:
            return TRUE
        return FALSE if low > 1 + SAME or high < 1 - SAME else OPEN
    if ratio < 1:
        return TRUE if high < 1 else FALSE if low >= 1 - SAME / 2 else OPEN
    return TRUE if low > 1 else FALSE if high <= 1 + SAME / 2 else OPEN


def measured_ratio(
    by_hand: Sequence[Mapping[str, Any]], other: Mapping[str, Any]
) -> Estimate | None:
    """An arrangement's requests/s over the answer's, which stands first, by rounds."""
    wanted = _shape(other)
    for each in by_hand[1:]:
        if _shape(each["settings"]) == wanted:
            return paired(_series(each), _series(by_hand[0]))
    return None


def _shape(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    return settings["workers"], settings["threads"], settings["worker_class"]


def _series(row: Mapping[str, Any]) -> dict[int, float]:
    return {n: each["users"]["rps"] for n, each in enumerate(row["rounds"])}
